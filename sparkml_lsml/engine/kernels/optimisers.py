"""Steps along gradients, in place on one flat vector: the optimisers of local steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]
Numbers = npt.NDArray[np.intp]

CHUNK = 16_384
"""Coordinates at a time: what a step reads and writes of them stays in the cache."""


class Optimiser(Protocol):
    """Frozen settings of a step; what it remembers lies in vectors that it is handed."""

    @property
    def vectors(self) -> int:
        """Vectors as long as the coefficients that it remembers; 0 at the start of a round."""
        ...

    @property
    def decoupled(self) -> bool:
        """Whether the L2 penalty is a decay beside the step, and not in the gradients."""
        ...

    @property
    def ramp(self) -> int:
        """Steps over which it begins."""
        ...

    def scale(self, partitions: int) -> float:
        """What makes up for averaging the models of so many partitions, as a factor of the step."""
        ...

    def step(
        self, w: Floats, gradient: Floats, rate: float, t: int, memory: Sequence[Floats]
    ) -> Floats | float:
        """Step number ``t``, from 1, in place; ``gradient`` may be overwritten.

        Returns
        -------
        float or array of shape (size,)
            How far a gradient of 1 would have led, which a proximal step goes on with.
        """
        ...

    def linear(self, decayed: bool) -> bool:
        """Whether a step without a gradient is a linear map of a coefficient and its direction.

        Parameters
        ----------
        decayed : bool
            Whether the L2 penalty is in the gradients.
        """
        ...

    def idle_map(self, rate: float, t: int, l2: float) -> Array:
        """What step ``t`` makes of a coefficient and its direction without a gradient.

        Parameters
        ----------
        rate : float
        t : int
        l2 : float
            Strength of the penalty, whose gradient or decay it has.

        Returns
        -------
        array of shape (2, 2)
        """
        ...

    def make_up(
        self, w: Floats, memory: Sequence[Floats], missed: Floats, met: Numbers, t: int
    ) -> None:
        """Take, in place, the steps that coordinates have missed for want of a gradient.

        Parameters
        ----------
        w : array of shape (columns, weights a column)
        memory : sequence of arrays of this shape
        missed : array of shape (2, 2, columns, 1)
            Products of `idle_map` of these steps, of the type of ``w``.
        met : array of shape (columns, 1)
            The last step with a gradient, from 1.
        t : int
            The last step.
        """
        ...


@dataclass(frozen=True)
class Sgd:
    r"""Gradient descent, with momentum or without.

    .. math:: v \leftarrow \mu v - \eta g, \qquad w \leftarrow w + v,

    and in Nesterov's form :math:`w \leftarrow w + \mu v - \eta g` with the new v.

    Parameters
    ----------
    momentum : float
        :math:`\mu` in [0, 1).
    nesterov : bool

    References
    ----------
    Sutskever et al. (2013), On the importance of initialization and momentum in deep learning,
    ICML.

    Examples
    --------
    >>> import numpy as np
    >>> w, v = np.array([1.0]), np.zeros(1)
    >>> for t in (1, 2):
    ...     _ = Sgd(momentum=0.5).step(w, np.array([2.0]), 0.1, t, [v])
    >>> w.round(12).tolist()  # 1 - 0.2 - (0.1 + 0.2)
    [0.5]
    """

    momentum: float = 0.0
    nesterov: bool = False
    decoupled: ClassVar[bool] = False
    ramp: ClassVar[int] = 1

    @property
    def vectors(self) -> int:
        """See `Optimiser.vectors`."""
        return 1 if self.momentum else 0

    def scale(self, partitions: int) -> float:
        """See `Optimiser.scale`: as many partitions take as many times fewer steps each."""
        return float(partitions)

    def step(
        self, w: Floats, gradient: Floats, rate: float, t: int, memory: Sequence[Floats]
    ) -> float:
        """See `Optimiser.step`."""
        gradient *= rate
        if not self.momentum:
            w -= gradient
            return rate
        [v] = memory
        v *= self.momentum
        v -= gradient
        if self.nesterov:
            w += self.momentum * v
            w -= gradient
        else:
            w += v
        return rate

    def linear(self, decayed: bool) -> bool:
        """See `Optimiser.linear`."""
        return True

    def idle_map(self, rate: float, t: int, l2: float) -> Array:
        """See `Optimiser.idle_map`."""
        decay, kept = rate * l2, self.momentum
        # the new velocity, and where it leads
        v = np.array([-decay, kept])
        w = [1.0 - decay, 0.0] + kept * v if self.nesterov else np.array([1.0, 0.0]) + v
        return np.array([w, v])

    def make_up(
        self, w: Floats, memory: Sequence[Floats], missed: Floats, met: Numbers, t: int
    ) -> None:
        """See `Optimiser.make_up`: the direction is the velocity."""
        (ww, wv), (vw, vv) = missed
        if not memory:
            w *= ww
            return
        [v] = memory
        before = v.copy()
        v *= vv
        v += vw * w
        w *= ww
        w += wv * before


@dataclass(frozen=True)
class Adam:
    r"""Adam: the mean of the last gradients over the root of their mean square.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
        w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}.

    Parameters
    ----------
    beta1, beta2 : float
        Shares of the former averages that are kept, in [0, 1).
    epsilon : float
    decoupled : bool
        AdamW: the decay of the weights goes beside the step and is not divided by its root.

    References
    ----------
    Kingma and Ba (2015), Adam: A Method for Stochastic Optimization, ICLR, algorithm 1; Loshchilov
    and Hutter (2019), Decoupled Weight Decay Regularization, ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> w, memory = np.zeros(2), [np.zeros(2), np.zeros(2)]
    >>> _ = Adam(epsilon=0.0).step(w, np.array([3.0, -0.01]), 0.1, 1, memory)
    >>> w.round(12).tolist()
    [-0.1, 0.1]
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decoupled: bool = False
    vectors: ClassVar[int] = 2
    # the first steps have the length of all, whatever noise they follow: m and v know little yet
    ramp: ClassVar[int] = 20

    def scale(self, partitions: int) -> float:
        """See `Optimiser.scale`.

        The length of a step does not depend on the gradient. Where it is mostly noise, so many
        independent walks as there are partitions average to one that is their root shorter.
        """
        return math.sqrt(partitions)

    def step(
        self, w: Floats, gradient: Floats, rate: float, t: int, memory: Sequence[Floats]
    ) -> Floats:
        """See `Optimiser.step`."""
        m, v = memory
        m *= self.beta1
        m += (1.0 - self.beta1) * gradient
        np.square(gradient, out=gradient)
        gradient *= 1.0 - self.beta2
        v *= self.beta2
        v += gradient
        lengths: Floats = np.sqrt(v, out=gradient)
        lengths *= (1.0 - self.beta2**t) ** -0.5
        lengths += self.epsilon
        np.divide(rate, lengths, out=lengths)
        change = m * lengths
        change /= 1.0 - self.beta1**t
        w -= change
        return lengths

    def linear(self, decayed: bool) -> bool:
        """See `Optimiser.linear`: not with a penalty that its root divides.

        Nor where the root forgets sooner than the mean, so that steps without a gradient grow.
        """
        return not decayed and self.beta2 > 0.0 and self.beta1**2 <= self.beta2

    def idle_map(self, rate: float, t: int, l2: float) -> Array:
        """See `Optimiser.idle_map`."""
        left = self.beta1 / math.sqrt(self.beta2)
        length = rate * math.sqrt(1.0 - self.beta2**t) / (1.0 - self.beta1**t)
        return np.array([[1.0 - rate * l2, -length * left], [0.0, left]])

    def make_up(
        self, w: Floats, memory: Sequence[Floats], missed: Floats, met: Numbers, t: int
    ) -> None:
        """See `Optimiser.make_up`: the direction is the mean over the root, as of the next step."""
        m, v = memory
        unit = np.sqrt(self.beta2 / (1.0 - self.beta2 ** (met + 1.0))).astype(v.dtype)
        change = np.sqrt(v)
        change *= unit
        change += self.epsilon
        np.divide(m, change, out=change)
        change *= unit * missed[0, 1]
        w *= missed[0, 0]
        w += change
        for each, beta in zip(memory, (self.beta1, self.beta2), strict=True):
            each *= (beta ** (t - met)).astype(each.dtype)


def in_chunks(
    optimiser: Optimiser,
    w: Floats,
    gradient: Floats,
    rate: float,
    t: int,
    memory: Sequence[Floats],
    l1: Floats | float = 0.0,
) -> None:
    """A step of all coordinates, chunk after chunk, and soft thresholding by ``rate * l1``."""
    l1 = np.asarray(l1, dtype=w.dtype)
    thresholds = np.broadcast_to(l1, w.shape) if l1.any() else None
    for start in range(0, len(w), CHUNK):
        at = slice(start, start + CHUNK)
        part = w[at]
        lengths = optimiser.step(part, gradient[at], rate, t, [each[at] for each in memory])
        if thresholds is not None:
            part[:] = np.sign(part) * np.maximum(np.abs(part) - lengths * thresholds[at], 0.0)
