"""The steps of one block: batch, gradient, penalty, clipping, optimiser."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import blas

from sparkml_lsml.engine.blocks.block import Block, CsrRows, Rows
from sparkml_lsml.engine.kernels.local import LocalModel
from sparkml_lsml.engine.kernels.optimisers import Floats, Optimiser, in_chunks
from sparkml_lsml.engine.kernels.sgd_steps import counted, mean_weight
from sparkml_lsml.engine.predictors.base import Predictor
from sparkml_lsml.engine.predictors.standardization import Standardization

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]


class Batch(NamedTuple):
    """Rows of a mini-batch as they are stored, their labels and weights (None for all 1)."""

    X: Rows
    y: Array
    weight: Array | None


class Part(NamedTuple):
    """Coordinates that are stepped along at once, with what belongs to them."""

    w: npt.NDArray[Any]
    gradient: npt.NDArray[Any]
    memory: Sequence[Floats]
    l1: npt.NDArray[Any]
    l2: npt.NDArray[Any]


class Training:
    """The steps of a round on one block, over all coordinates of one flat vector.

    Parameters
    ----------
    block : Block
    model : LocalModel
    optimiser : Optimiser
    coef : array of shape (size,)
        Where the round starts, in the solver's units.
    max_norm : float
        Gradients that are longer are shortened to this length.

    Attributes
    ----------
    w : array of shape (size,)
        Where they have led, of the predictor's type.
    t : int
        Steps so far.
    first : float
        Mean loss of the first mini-batch, before its step.
    """

    def __init__(
        self,
        block: Block,
        model: LocalModel,
        optimiser: Optimiser,
        coef: Array,
        max_norm: float = float("inf"),
    ) -> None:
        self._block, self._model, self._optimiser = block, model, optimiser
        self._max_norm = max_norm
        dtype = model.predictor.dtype
        self.w: npt.NDArray[Any] = coef.astype(dtype)
        self.t = 0
        self.first = self._loss = self._seen = 0.0
        self._mean_weight = mean_weight(block) if len(counted(block)) else 1.0
        self._unit = model.predictor.step_unit(model.loss.curvature, model.units, 1)
        strengths = (model.penalty.l1(), model.penalty.l2())
        self._l1, self._l2 = (np.asarray(self._unit * s, dtype=dtype) for s in strengths)
        self._decayed = bool(self._l2.any())
        units = model.units
        self._plain = not units.shift.any() and bool((units.scale == 1.0).all())
        # centred, sparse rows would be dense: the first map takes up the means instead
        self._folded = isinstance(block.X, CsrRows) and bool(units.shift.any())

    @property
    def mean_loss(self) -> float:
        """Mean loss of the mini-batches, each before its step."""
        return self._loss / self._seen if self._seen else 0.0

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def run(self, steps: Sequence[tuple[float, Numbers]], rng: np.random.Generator) -> None:
        """All steps of the round: how long each is, and its rows.

        Raises
        ------
        FloatingPointError
            If they come to something that is not finite.
        """
        self._begin(len(steps))
        for rate, rows in steps:
            self._step(Batch(*self._block.take(rows)), rate, rng)
        self._end()

    def _begin(self, steps: int) -> None:
        """Make room for what is remembered."""
        self._gradient = np.zeros_like(self.w)
        self._memory = [np.zeros_like(self.w) for _ in range(self._optimiser.vectors)]
        units = self._model.units
        if not isinstance(self._block.X, CsrRows):
            # in the type of the rows: what is subtracted from them may be as large as they are
            kind = self._block.X.dtype
            self._shift, self._scale = (each.astype(kind) for each in (units.shift, units.scale))

    def _step(self, batch: Batch, rate: float, rng: np.random.Generator) -> None:
        """One step."""
        self._gradient[:] = 0.0
        model = self._model
        self._add_slopes(batch, model.predictor, model.units, self.w, self._gradient, rng)
        self._descend([Part(self.w, self._gradient, self._memory, self._l1, self._l2)], rate)

    def _end(self) -> None:
        """Look whether the steps came to something."""
        if not np.isfinite(self.w).all():
            raise FloatingPointError("coefficients are not finite")
        # of gradients that overflow Adam takes no steps: coefficients would stand still in silence
        if not all(np.isfinite(each).all() for each in self._memory):
            raise FloatingPointError("gradients or their squares are not finite")

    def _add_slopes(
        self,
        batch: Batch,
        predictor: Predictor,
        units: Standardization,
        w: npt.NDArray[Any],
        gradient: npt.NDArray[Any],
        rng: np.random.Generator,
    ) -> None:
        """Add the gradient of the mean loss of a mini-batch at ``w``."""
        y, weight = batch.y, batch.weight
        point, out = w[None, :], gradient[None, :]
        if self._folded:
            point = units.to_stored(point)
        raw, pull = predictor.raw_and_pullback(self._scaled(batch.X, units), point, rng)
        scale = 1.0 if self._folded else units.label_scale
        raw *= scale
        losses, derivative = self._model.loss.value_and_derivative(y, raw)
        value = float(losses.sum() if weight is None else weight @ losses[:, 0])
        if not np.isfinite(value):
            raise FloatingPointError(f"the loss is {value}")
        seen = float(len(y) if weight is None else weight.sum())
        self._loss += value
        self._seen += seen
        if self.t == 0:
            self.first = value / seen
        shares = 1.0 if weight is None else (weight / self._mean_weight)[:, None, None]
        pull(derivative * (scale * self._unit / len(y) * shares), out)
        if self._folded:
            gradient[:] = units.gradient(out)[0]

    def _scaled(self, X: Rows, units: Standardization) -> Rows:
        """Rows in the units of the solver, of the predictor's type."""
        dtype = self._model.predictor.dtype
        if self._plain or self._folded:
            return X.astype(dtype, copy=False)
        if sparse.issparse(X):
            X.data = (X.data * units.scale[X.indices]).astype(dtype, copy=False)
            return X
        X -= self._shift
        X *= self._scale
        return X.astype(dtype, copy=False)

    def _descend(self, parts: Sequence[Part], rate: float) -> None:
        """The penalty, and a step along the gradients of all parts together."""
        optimiser, decayed = self._optimiser, self._decayed
        for part in parts:
            if decayed and not optimiser.decoupled:
                part.gradient[:] += part.l2 * part.w
        self._clip([part.gradient for part in parts])
        self.t += 1
        for part in parts:
            if decayed and optimiser.decoupled:
                part.w[:] -= rate * part.l2 * part.w
            in_chunks(optimiser, part.w, part.gradient, rate, self.t, part.memory, part.l1)

    def _clip(self, gradients: Sequence[npt.NDArray[Any]]) -> None:
        """Shorten the gradient, where it is too long."""
        if not np.isfinite(self._max_norm):
            return
        norm = blas.snrm2 if gradients[0].dtype == np.float32 else blas.dnrm2
        length = float(np.hypot.reduce([float(norm(each)) for each in gradients]))
        if length > self._max_norm:
            for each in gradients:
                each *= self._max_norm / length
