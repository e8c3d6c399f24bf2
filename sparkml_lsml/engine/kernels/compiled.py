"""When the compiled kernels serve, and how their arrays are laid out.

They give the numbers of the NumPy kernels, up to the order in which rows are summed, and serve
where Numba is installed and a block is large enough to repay its import.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block, CsrRows
from sparkml_lsml.engine.predictors import LinearPredictor, Predictor
from sparkml_lsml.losses import Hinge, Logistic, Loss, Squared, SquaredHinge
from sparkml_lsml.losses.one_vs_rest import OneVsRestLoss
from sparkml_lsml.losses.smoothed_hinge import SmoothedHinge

Array = npt.NDArray[np.float64]
Factors = Callable[[int, int], Array]
Sums = tuple[Array, Array, Array]

LARGE = 10_000_000
"""Stored values from which a block is worth the import of Numba, half a second a process."""

FUSED_MODELS = 2
"""Models up to which one loop over dense rows beats the matrix products of more models."""

CODES: dict[type, str] = {
    Hinge: "HINGE",
    SquaredHinge: "SQUARED_HINGE",
    Logistic: "LOGISTIC",
    Squared: "SQUARED",
    SmoothedHinge: "SMOOTHED_HINGE",
}
"""Losses that the loops know, by the names of their codes; all others stay with NumPy."""

FACTOR_ROWS = 65_536
"""Sparse rows at a time whose factors are held for all models."""

NONE = np.zeros(0)
NO_FACTORS = np.zeros((0, 1))


@dataclass(frozen=True)
class Compiled:
    """The compiled loops, set up for one loss and batch of models."""

    loops: ModuleType
    code: int
    parameter: Array
    rest: OneVsRestLoss | None = None
    """Where labels differ between the models; only `slopes` serves then."""

    def dense(self, block: Block, coef: Array) -> Sums:
        """Losses, gradients of shape (models, features + 1) and weights, a model each."""
        value, gradient = np.zeros(len(coef)), np.zeros_like(coef)
        assert not isinstance(block.X, CsrRows)
        weight = NONE if block.weight is None else block.weight
        arrays = [read_only(a) for a in (block.X, block.y, weight, coef)]
        total = self.loops.dense_gradient(*arrays, self.code, self.parameter, value, gradient)
        return value, gradient, np.full(len(coef), total)

    def sparse(self, block: Block, factors: Factors | None, coef: Array) -> Sums:
        """The same for sparse rows, whose weights may differ between the models."""
        assert isinstance(block.X, CsrRows)
        X = block.X
        value, totals = np.zeros(len(coef)), np.zeros(len(coef))
        one = len(coef) == 1
        columns = coef[0] if one else np.ascontiguousarray(coef.T)
        gradient = np.zeros_like(columns)
        step = block.rows if factors is None else FACTOR_ROWS
        for start in range(0, block.rows, step):
            stop = min(start + step, block.rows)
            table = NO_FACTORS if factors is None else factors(start, stop)
            arrays = (
                X.data,
                X.indices,
                X.indptr[start : stop + 1],
                block.y[start:stop],
                NONE if block.weight is None else block.weight[start:stop],
                table[:, 0] if one else table,
                columns,
            )
            rows = [read_only(array) for array in arrays]
            if one:
                parameter = float(self.parameter[0])
                sums = self.loops.sparse_gradient_of_one(*rows, self.code, parameter, gradient)
                value += sums[0]
                totals += sums[1]
            else:
                self.loops.sparse_gradient(
                    *rows, self.code, self.parameter, value, gradient, totals
                )
        return value, np.atleast_2d(gradient.T), totals

    def slopes(
        self, y: Array, weight: Array | None, factors: Array | None, raw: Array
    ) -> tuple[Array, Array]:
        """Turn raw predictions (rows, models) into weighted derivatives; losses and weights."""
        models = raw.shape[1]
        value, totals = np.zeros(models), np.zeros(models)
        weight = NONE if weight is None else weight
        factors = NO_FACTORS if factors is None else factors
        signs = None if self.rest is None else self.rest.signs(y)
        if signs is not None:
            raw *= signs
            y = np.ones_like(y)
        self.loops.losses_and_slopes(
            *(read_only(a) for a in (y, weight, factors)),
            self.code,
            self.parameter,
            raw,
            value,
            totals,
        )
        if signs is not None:
            raw *= signs
        return value, totals


def flat_rows(block: Block) -> tuple[Array, ...]:
    """Values, column numbers, row pointers, labels and weights, in one form for all rows.

    Dense rows are their flat values, with no column numbers.
    """
    if isinstance(block.X, CsrRows):
        form = (block.X.data, block.X.indices, block.X.indptr)
    else:
        pointers = np.arange(block.rows + 1) * block.features
        form = (np.ravel(block.X), np.zeros(0, dtype=np.int32), pointers)
    weight = NONE if block.weight is None else block.weight
    return fixed(*form, block.y, weight)


def compiled(loss: Loss, predictor: Predictor, models: int, values: int) -> Compiled | None:
    """The compiled loops, or None where NumPy serves: they know linear predictors of one output.

    Parameters
    ----------
    loss : Loss
    predictor : Predictor
    models : int
    values : int
        Stored values of the block.
    """
    rest = loss if isinstance(loss, OneVsRestLoss) else None
    loss = loss if rest is None else rest.binary
    name = CODES.get(type(loss))
    known = isinstance(predictor, LinearPredictor) and predictor.outputs == 1
    if name is None or not known or values < LARGE or not has_numba():
        return None
    loops = importlib.import_module("sparkml_lsml.engine.kernels.loops")
    parameter = np.zeros(models)
    if isinstance(loss, SmoothedHinge):
        parameter[:] = loss.width
    return Compiled(loops, getattr(loops, name), parameter, rest)


@functools.cache
def has_numba() -> bool:
    """Whether Numba is installed; it is not imported to find out."""
    return importlib.util.find_spec("numba") is not None


def fixed(*values: Any) -> tuple[Any, ...]:
    """The values, of which arrays are only read."""
    return tuple(read_only(v) if isinstance(v, np.ndarray) else v for v in values)


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A contiguous view that cannot be written, as mapped arrays are: one type serves for all."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
