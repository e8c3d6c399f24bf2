"""Linear predictors: weights times features plus an intercept."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.block import Rows
from sparkml_lsml.engine.predictors.base import Pullback
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.standardization import Standardization

Array = npt.NDArray[np.float64]

SMOOTHING_ROWS = 8
"""Rows from which a mini-batch bears no longer a step."""


@dataclass(frozen=True)
class LinearPredictor:
    """Raw predictions that are linear in the features and in the coefficients.

    Parameters
    ----------
    layout : Layout
        Without slots behind the first map, and without buffers.

    Examples
    --------
    >>> import numpy as np
    >>> predictor = LinearPredictor(Layout(features=2))
    >>> predictor.raw(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0, 5.0]])).tolist()
    [[[16.0]]]
    """

    layout: Layout
    convex: ClassVar[bool] = True
    dtype: ClassVar[np.dtype[np.floating]] = np.dtype(np.float64)

    @property
    def outputs(self) -> int:
        """See `Predictor.outputs`."""
        return self.layout.outputs

    @property
    def width(self) -> int:
        """See `Predictor.width`."""
        return self.layout.outputs

    def raw(self, X: Rows, coef: Array) -> Array:
        """See `Predictor.raw`."""
        layout, models = self.layout, len(coef)
        weights = coef[:, layout.weights].reshape(models * layout.outputs, layout.features)
        raw = np.asarray(X @ weights.T).reshape(-1, models, layout.outputs)
        if layout.fit_intercept:
            raw = raw + coef[:, layout.intercepts]
        return with_constants(raw, layout, coef)

    def scoring(self, coef: Array) -> Callable[[Rows], Array]:
        """See `Predictor.scoring`."""
        layout = self.layout
        # SciPy would copy a view of the weights for every batch
        weights = np.ascontiguousarray(layout.weight_matrix(coef[None, :])[0].T)
        intercepts = coef[layout.intercepts] if layout.fit_intercept else 0.0
        return partial(_margins, weights, intercepts)

    def raw_and_pullback(
        self, X: Rows, coef: Array, rng: np.random.Generator | None = None
    ) -> tuple[Array, Pullback]:
        """See `Predictor.raw_and_pullback`."""
        return self.raw(X, coef), partial(self.pull, X)

    def pull(self, X: Rows, derivative: Array, out: Array) -> None:
        """The pullback, which does not depend on the coefficients."""
        layout, models = self.layout, len(out)
        outputs = derivative[:, :, : layout.outputs]
        columns = outputs.reshape(len(derivative), models * layout.outputs)
        out[:, layout.weights] += transposed_product(X, columns).reshape(models, -1)
        if layout.fit_intercept:
            out[:, layout.intercepts] += outputs.sum(axis=0)
        if layout.constants:
            out[:, layout.extras] += derivative[:, :, layout.outputs :].sum(axis=0)

    def step_unit(self, curvature: float, units: Standardization, batch: int) -> float:
        r"""A step that cannot diverge for a smooth loss: the inverse of a curvature bound.

        The second derivative of the mean loss is at most :math:`c\,\mathrm{tr}(Z^T Z) / n`, with c
        the loss's own curvature, and no column of Z has more than unit variance. A loss without a
        bound counts as c = 1 where labels have unit variance: Huber's bends by the inverse of its
        scale. A mini-batch averages the curvature of its rows, so it bears a longer step than one
        row.
        """
        if not np.isfinite(curvature):
            curvature = 1.0 / units.label_scale
        columns = int(np.count_nonzero(units.scale)) + self.layout.fit_intercept
        safe = 1.0 / (curvature * max(columns, 1) * units.label_scale**2)
        return safe * min(batch, SMOOTHING_ROWS)


def _margins(weights: Array, intercepts: Array | float, X: Rows) -> Array:
    return np.asarray(X @ weights) + intercepts


def with_constants(raw: Array, layout: Layout, coef: Array) -> Array:
    """Raw predictions of shape (rows, models, outputs), and behind them the loss's constants."""
    if not layout.constants:
        return raw
    shape = (len(raw), len(coef), layout.constants)
    return np.concatenate([raw, np.broadcast_to(coef[:, layout.extras], shape)], axis=2)


def transposed_product(X: Rows, columns: Array) -> Array:
    """``columns.T @ X``, summed in float64 whatever X is; shape (columns, features)."""
    if sparse.issparse(X):
        return np.asarray((X.T @ columns).T)
    return np.asarray(columns.T @ X)
