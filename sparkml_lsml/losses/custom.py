"""A user's loss as the package works with it, and losses made of functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses.base import Array

Function = Callable[[Array, Array], Any]
"""Takes labels and raw predictions, arrays of one shape, and returns an array of that shape."""

Kinks = Callable[[Array], Any]
"""Takes labels of shape (rows,), and returns the raw predictions where the derivative jumps: an
array of that shape, or a list of several."""

BESIDE = 1e-9
"""How far beside a kink its two slopes are taken, relative to where it is."""

LEAST = 1e-300
"""A width that only keeps 0 / 0 from happening."""


@dataclass(frozen=True, eq=False)
class CustomLoss:
    """A user's loss, as the package works with it.

    It is what solvers and passes see. Results are turned into float64 arrays and their shapes are
    checked; overflow is no warning, since solvers refuse values that are not finite.

    Parameters
    ----------
    inner : Loss
        What the user wrote.
    name : str
    smooth : bool
    curvature : float
    """

    inner: Any
    name: str
    smooth: bool
    curvature: float

    @property
    def constants(self) -> tuple[str, ...]:
        """See :class:`~sparkml_lsml.losses.base.Loss`; a registered loss has none."""
        return ()

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Value and derivative; shapes as in :class:`~sparkml_lsml.losses.base.Loss`.

        Raises
        ------
        ParamError
            If the user's code fails, or returns arrays of other shapes.
        """
        try:
            with np.errstate(all="ignore"):
                found = self.inner.value_and_derivative(y, raw)
            value, derivative = (np.asarray(part, dtype=np.float64) for part in found)
        except ParamError:
            raise
        except Exception as error:
            raise ParamError(
                f"loss '{self.name}' failed for labels of shape {y.shape} and raw predictions of "
                f"shape {raw.shape} with {type(error).__name__}: {error}"
            ) from error
        for what, array, shape in (
            ("value", value, raw.shape[:2]),
            ("derivative", derivative, raw.shape),
        ):
            if array.shape != shape:
                raise ParamError(
                    f"loss '{self.name}' returned a {what} of shape {array.shape} for raw "
                    f"predictions of shape {raw.shape}: expected {shape}"
                )
        return value, derivative

    def __repr__(self) -> str:
        # models of one batch have the same loss, which they find out by this
        return f"CustomLoss({self.name!r}, {id(self.inner)})"


class CustomKinkedLoss(CustomLoss):
    """A user's loss with kinks, and with smooth losses that approach it."""

    def smoothed(self, width: Array) -> CustomLoss:
        """See :class:`~sparkml_lsml.losses.base.KinkedLoss`."""
        inner = self.inner.smoothed(width)
        return CustomLoss(inner, self.name, smooth=True, curvature=float("inf"))


@dataclass(frozen=True, eq=False)
class FunctionLoss:
    """A loss made of two functions; see `loss`."""

    name: str
    value: Function
    derivative: Function
    smooth: bool = True
    curvature: float = float("inf")
    constants: tuple[str, ...] = ()

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Value and derivative; shapes as in :class:`~sparkml_lsml.losses.base.Loss`."""
        margins = raw[:, :, 0]
        labels = np.broadcast_to(y[:, None], margins.shape)
        value = self._shaped("value", self.value(labels, margins), margins)
        return value, self._shaped("derivative", self.derivative(labels, margins), margins)[
            :, :, None
        ]

    def _shaped(self, what: str, found: Any, margins: Array) -> Array:
        array = np.asarray(found, dtype=np.float64)
        if array.shape != margins.shape:
            raise ParamError(
                f"loss '{self.name}': {what}(y, raw) returned an array of shape {array.shape} for "
                f"arrays of shape {margins.shape}: expected one number for each"
            )
        return array


@dataclass(frozen=True, eq=False)
class KinkedFunctionLoss(FunctionLoss):
    """A loss made of two functions, whose kinks are known."""

    kinks: Kinks = np.asarray

    def smoothed(self, width: Array) -> "SmoothedKinks":
        """The loss with a parabola of that width at each kink."""
        return SmoothedKinks(self, width)


@dataclass(frozen=True, eq=False)
class SmoothedKinks:
    r"""A loss whose kinks are parabolas.

    At a kink k the derivative jumps by J, so the loss is a smooth function plus
    :math:`J \max(0, f - k)`. In place of that stands
    :math:`J \frac{(f - k + \gamma / 2)^2}{2 \gamma}` where f is within :math:`\gamma / 2` of k. For
    the hinge this is :class:`~sparkml_lsml.losses.SmoothedHinge`.

    Parameters
    ----------
    of : KinkedFunctionLoss
    width : array of shape (models,)
        :math:`\gamma`; 0 is the loss itself.

    References
    ----------
    Chapelle (2007), Training a support vector machine in the primal, Neural Computation 19.
    """

    of: KinkedFunctionLoss
    width: Array

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Value and derivative; shapes as in :class:`~sparkml_lsml.losses.base.Loss`."""
        margins = raw[:, :, 0]
        value, derivative = self.of.value_and_derivative(y, raw)
        slope = derivative[:, :, 0]
        for kink in self._kinks(y):
            beside = BESIDE * np.maximum(1.0, np.abs(kink))
            sides = np.stack([kink - beside, kink + beside], axis=1)[:, :, None]
            left, right = self.of.value_and_derivative(y, sides)[1][:, :, 0].T[:, :, None]
            jump = right - left
            past = margins - kink[:, None]
            share = np.clip(past / np.maximum(self.width, LEAST) + 0.5, 0.0, 1.0)
            parabola = share * (past + 0.5 * self.width * (1.0 - share))
            value = value + jump * (parabola - np.maximum(past, 0.0))
            # right on the kink the user's slope is any of those between the two sides
            slope = np.where(
                past == 0.0, left + jump * share, slope + jump * (share - (past > 0.0))
            )
        return value, slope[:, :, None]

    def _kinks(self, y: Array) -> list[Array]:
        found = self.of.kinks(y)
        several = found if isinstance(found, list | tuple) else [found]
        kinks = [np.asarray(one, dtype=np.float64) for one in several]
        if any(kink.shape != y.shape for kink in kinks):
            raise ParamError(
                f"loss '{self.of.name}': kinks(y) returned shapes {[k.shape for k in kinks]} for "
                f"labels of shape {y.shape}: expected an array of that shape, or a list of them"
            )
        return kinks


def samples(loss: CustomLoss) -> list[float]:
    """Values and derivatives at fixed points, by which to tell a loss from another of its name."""
    labels = np.array([0.0, 1.0])
    raw = np.broadcast_to(np.array([-2.3, -0.4, 0.7, 1.9]), (2, 4))[:, :, None].copy()
    value, derivative = loss.value_and_derivative(labels, raw)
    return [*value.ravel().tolist(), *derivative.ravel().tolist()]
