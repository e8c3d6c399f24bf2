"""How the step of local updates changes over a training."""

import math
from dataclasses import dataclass
from typing import Literal

Shape = Literal["constant", "invscaling", "cosine"]


@dataclass(frozen=True)
class Schedule:
    r"""The step after so many epochs, fractions of them included.

    Parameters
    ----------
    step : float
        The longest.
    shape : {"constant", "invscaling", "cosine"}
        ``invscaling`` divides by :math:`(1 + e)^p` after e epochs; ``cosine`` multiplies by
        :math:`f + (1 - f) (1 + \cos(\pi e / E)) / 2`, which ends at f after E.
    power : float
        The p of ``invscaling``.
    epochs : int
        E, the whole training.
    floor : float
        f, in [0, 1].
    warmup : float
        Share of E over which the step grows from 0 to what it would be otherwise, in [0, 1).

    References
    ----------
    Loshchilov and Hutter (2017), SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR; Goyal
    et al. (2017), Accurate, Large Minibatch SGD (warm-up).

    Examples
    --------
    >>> schedule = Schedule(0.1, "cosine", epochs=10, warmup=0.1)
    >>> [round(schedule.at(epoch), 3) for epoch in (0.5, 1.0, 5.0, 10.0)]
    [0.05, 0.098, 0.05, 0.0]
    """

    step: float
    shape: Shape = "constant"
    power: float = 0.5
    epochs: int = 100
    floor: float = 0.0
    warmup: float = 0.0

    def at(self, epoch: float) -> float:
        """The step after so many epochs."""
        step = self.step
        if self.shape == "invscaling":
            step /= (1.0 + epoch) ** self.power
        elif self.shape == "cosine":
            done = min(1.0, epoch / self.epochs)
            step *= self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * done))
        rising = self.warmup * self.epochs
        return step * epoch / rising if epoch < rising else step
