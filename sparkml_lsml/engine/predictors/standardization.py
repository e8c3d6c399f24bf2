"""Scaling and centring of features that never touches the data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.origin import Origin
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.errors import ParamError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Box:
    """Bounds on the coefficients of a model, infinite where there are none.

    Parameters
    ----------
    lower, upper : arrays of shape (layout.size,)
    """

    lower: Array
    upper: Array


@dataclass(frozen=True, eq=False)
class Standardization:
    r"""The linear map between the coefficients a solver sees and those of the stored features.

    A solver works on :math:`z_j = (x_j - \mu_j) s_j` and on labels divided by :math:`\sigma_y`,
    where the problem is well conditioned. Since :math:`z^T u = x^T w + b`, with
    :math:`w_j = \sigma_y s_j u_j` and the intercept less :math:`\mu^T w`, only coefficients and
    gradients are mapped, on the driver; rows stay as they are. Of a model with more than one map
    the first takes :math:`\mu` and :math:`s`, and the last :math:`\sigma_y`.

    Parameters
    ----------
    layout : Layout
    scale : array of shape (features,)
        :math:`s_j`: the inverse standard deviation, or less for a column whose penalty bends the
        objective more than its rows do; 0 for a column that is to have the coefficient 0.
    shift : array of shape (features,)
        :math:`\mu_j`; zeros without an intercept.
    label_scale : float
        :math:`\sigma_y` of a regression, otherwise 1.
    origin : array of shape (features,), optional
        What the stored features are less of than the rows themselves, for standard errors.
    """

    layout: Layout
    scale: Array
    shift: Array
    label_scale: float = 1.0
    origin: Array | None = None

    @staticmethod
    def identity(layout: Layout) -> "Standardization":
        """The map that changes nothing."""
        return Standardization(layout, np.ones(layout.features), np.zeros(layout.features))

    def to_stored(self, coef: Array) -> Array:
        """Coefficients for the stored features; shapes (models, layout.size)."""
        layout = self.layout
        out = coef.copy()
        out[:, layout.head] *= self.label_scale
        weights = layout.weight_matrix(out) * self.scale
        out[:, layout.weights] = weights.reshape(len(coef), -1)
        if layout.fit_intercept:
            out[:, layout.intercepts] -= weights @ self.shift
        return out

    def from_stored(self, coef: Array) -> Array:
        """The inverse of `to_stored`; a column of scale 0 gets 0."""
        layout = self.layout
        weights = layout.weight_matrix(coef)
        out = coef.copy()
        if layout.fit_intercept:
            out[:, layout.intercepts] += np.where(self.scale > 0.0, weights, 0.0) @ self.shift
        inverse = np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0.0)
        out[:, layout.weights] = (weights * inverse).reshape(len(coef), -1)
        out[:, layout.head] /= self.label_scale
        return out

    def gradient(self, gradient: Array) -> Array:
        """Gradient in the solver's coefficients from that in the stored ones."""
        layout = self.layout
        out = gradient.copy()
        weights = layout.weight_matrix(gradient)
        if layout.fit_intercept:
            weights = weights - gradient[:, layout.intercepts, None] * self.shift
        out[:, layout.weights] = (weights * self.scale).reshape(len(gradient), -1)
        out[:, layout.head] *= self.label_scale
        return out

    def box(self, bounds: Box) -> Box:
        """Bounds in the solver's coefficients from those on the stored ones.

        A bound on an intercept is one on a coordinate of the solver only where ``shift`` is 0.

        Raises
        ------
        ParamError
            If a coefficient must be 0, since its column has the scale 0, and may not.
        """
        layout = self.layout
        unit = np.ones(layout.size)
        unit[layout.head] = self.label_scale
        unit[layout.weights] *= np.tile(self.scale, layout.outputs)
        used = unit > 0.0
        excluded = np.flatnonzero(~used & ((bounds.lower > 0.0) | (bounds.upper < 0.0)))
        if len(excluded):
            first = int(excluded[0])
            raise ParamError(
                f"feature {first % layout.features} has the same value in all rows, which makes "
                f"its coefficient 0: found bounds from {bounds.lower[first]:g} to "
                f"{bounds.upper[first]:g}, expected bounds that allow 0. Drop the feature or widen "
                "them"
            )
        return Box(
            np.divide(bounds.lower, unit, out=np.full(layout.size, -np.inf), where=used),
            np.divide(bounds.upper, unit, out=np.full(layout.size, np.inf), where=used),
        )

    def penalty(self, l1: float, l2: float, units: Array | float = 1.0) -> ElasticNet:
        r"""Elastic net in the solver's coefficients.

        Parameters
        ----------
        l1, l2 : float
            Strengths of ``l1 |c|_1 + l2 / 2 |c|^2``, in the units of the label.
        units : array of shape (features,) or 1
            What is penalised: :math:`c_j = units_j w_j`. Standard deviations for the coefficients
            of features with unit variance, 1 for those of the stored features.
        """
        layout = self.layout
        label = np.ones(layout.size)
        label[layout.head] = self.label_scale
        inputs, *inner = layout.decayed
        factor = np.zeros(layout.size)
        if layout.outputs:
            first = float(label[0])
            factor[inputs] = np.tile(first * self.scale * units, layout.outputs)
        for at in inner:
            factor[at] = label[at]

        def strength(full: Array) -> Array | float:
            return full if full.any() else 0.0

        return ElasticNet(l1_strength=strength(l1 * factor), l2_strength=strength(l2 * factor**2))


def less_origin(coef: Array, layout: Layout, origin: Origin | None, *, back: bool = False) -> Array:
    """Coefficients for rows that were packed less an origin, from those for rows as they are.

    Parameters
    ----------
    coef : array of shape (layout.size,)
    layout : Layout
        The first map has intercepts, which take up the difference.
    origin : Origin or None
    back : bool
        The other way round.
    """
    if origin is None or not np.isfinite(coef).all():
        return coef
    if not layout.outputs or not layout.fit_intercept:
        raise ValueError(
            "rows were packed less an origin, and the first map has no intercepts that take it up"
        )
    out, weights = coef.copy(), layout.weight_matrix(coef[None, :])[0]
    out[layout.intercepts] = origin.intercepts(weights, coef[layout.intercepts], back)
    return out


def stored_coefficients(units: Sequence[Standardization], coef: Array) -> Array:
    """Coefficients for the stored features of a batch of models, each in its own units."""
    return np.concatenate(
        [one.to_stored(row[None, :]) for one, row in zip(units, coef, strict=True)]
    )


def standardize(
    layout: Layout,
    mean: Array,
    deviation: Array,
    *,
    curvature: float,
    l2: float = 0.0,
    standardized: bool = True,
    label_scale: float = 1.0,
    about_zero: bool = False,
) -> Standardization:
    r"""The map under which every coordinate bends the objective about equally.

    With an intercept features are centred, so a column bends the mean loss by
    :math:`c\,\sigma_j^2` at most, without one by :math:`c\,(\sigma_j^2 + \mu_j^2)`. The means
    then bend it in one direction, which a quasi-Newton method learns in a few iterations: it needs
    about half as many of them if columns are scaled by the variance alone. Its L2 penalty adds to
    what a column bends. The scale is one over the square root of the sum, in units where a
    column of unit variance without penalty keeps its scale: a diagonal preconditioner. It changes
    the path of a solver, never the minimum.

    Parameters
    ----------
    layout : Layout
    mean, deviation : arrays of shape (features,)
    curvature : float
        The bound c of the loss; infinity counts as 1.
    l2 : float
        Strength of the L2 penalty.
    standardized : bool
        Whether the penalty is on the coefficients of features with unit variance.
    label_scale : float
    about_zero : bool
        Without an intercept, scale by the second moment about zero, which bounds the step of
        first-order methods.
    """
    if not layout.outputs:
        # no map of the features alone that could take a scale or a shift
        return replace(Standardization.identity(layout), label_scale=label_scale)
    bound = curvature if np.isfinite(curvature) else 1.0
    centred = layout.fit_intercept
    used = deviation > 0.0
    if not centred and not standardized:
        used = used | (mean != 0.0)  # a constant column is a bias that the user made
    constant = used & (deviation == 0.0)
    moment = np.square(deviation)
    if not centred:
        moment = moment + np.where(constant | about_zero, np.square(mean), 0.0)
    penalised = l2 * (np.square(deviation) if standardized else 1.0)
    bend = moment + penalised / bound
    scale = np.zeros_like(mean)
    scale[used] = 1.0 / np.sqrt(bend[used])
    shift = mean.copy() if centred else np.zeros_like(mean)
    return Standardization(layout, scale, shift, label_scale)
