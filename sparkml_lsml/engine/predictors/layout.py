"""Which part of a flat coefficient vector is what."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Slot:
    """Numbers behind the first map.

    Parameters
    ----------
    size : int
    decayed : bool
        Whether the penalty acts on them: weights, not biases.
    head : bool
        Whether they make the raw predictions, so that the scale of the labels is theirs too.
    """

    size: int
    decayed: bool = False
    head: bool = False


@dataclass(frozen=True)
class Layout:
    """Named slices of the flat vector of one model, in this order.

    The *first map*, which touches the features: weights, then intercepts. What lies behind it,
    slot after slot: nothing in a linear model. The constants of the loss. The buffers, which travel
    with a model and are never optimised.

    Parameters
    ----------
    features : int
    outputs : int
        Outputs of the first map: of a linear model its raw predictions, 1 or the number of classes
        of a multinomial loss; 0 where no map touches the features alone.
    fit_intercept : bool
        Whether the first map has intercepts.
    constants : int
        Parameters of the loss itself, one number each (Huber: its scale).
    inner : tuple of Slot
        Those of the head last.
    buffers : int

    Examples
    --------
    >>> layout = Layout(features=3, outputs=2, fit_intercept=True)
    >>> layout.size, layout.intercepts
    (8, slice(6, 8, None))
    >>> network = Layout.dense([3, 4, 2])
    >>> network.size, network.weights, network.head, network.decayed
    (26, slice(0, 12, None), slice(16, 26, None), (slice(0, 12, None), slice(16, 24, None)))
    """

    features: int
    outputs: int = 1
    fit_intercept: bool = True
    constants: int = 0
    inner: tuple[Slot, ...] = ()
    buffers: int = 0

    def __post_init__(self) -> None:
        heads = [slot.head for slot in self.inner]
        if heads != sorted(heads) or (heads and not heads[-1]):
            raise ValueError(f"slots of the head come last, and there is one: found {self.inner}")

    @staticmethod
    def dense(sizes: Sequence[int], constants: int = 0) -> "Layout":
        """Of layers of these sizes, features first and raw predictions last, each with biases."""
        features, first, *_ = sizes
        inner: tuple[Slot, ...] = ()
        for number, (into, out) in enumerate(itertools.pairwise(sizes[1:])):
            head = number == len(sizes) - 3
            inner += Slot(into * out, decayed=True, head=head), Slot(out, head=head)
        return Layout(features, first, constants=constants, inner=inner)

    @property
    def weights(self) -> slice:
        """The weights of the first map, output after output."""
        return slice(0, self.outputs * self.features)

    @property
    def intercepts(self) -> slice:
        """The intercepts of the first map, one an output; empty without intercept."""
        start = self.outputs * self.features
        return slice(start, start + (self.outputs if self.fit_intercept else 0))

    @property
    def inputs(self) -> slice:
        """The first map: all that touches the features."""
        return slice(0, self.intercepts.stop)

    @property
    def slots(self) -> tuple[slice, ...]:
        """What lies behind the first map."""
        ends = np.cumsum([self.inputs.stop, *(slot.size for slot in self.inner)]).tolist()
        return tuple(itertools.starmap(slice, itertools.pairwise(ends)))

    @property
    def head(self) -> slice:
        """What the scale of the labels multiplies: the last map and the constants of the loss."""
        starts = [at.start for slot, at in zip(self.inner, self.slots, strict=True) if slot.head]
        return slice(starts[0] if self.inner else 0, self.extras.stop)

    @property
    def decayed(self) -> tuple[slice, ...]:
        """What a penalty acts on: the weights of all maps."""
        pairs = zip(self.inner, self.slots, strict=True)
        return (self.weights, *(at for slot, at in pairs if slot.decayed))

    @property
    def extras(self) -> slice:
        """The constants of the loss."""
        stop = self.size - self.buffers
        return slice(stop - self.constants, stop)

    @property
    def buffered(self) -> slice:
        """The buffers."""
        return slice(self.size - self.buffers, self.size)

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        inner = sum(slot.size for slot in self.inner)
        return int(self.intercepts.stop) + inner + self.constants + self.buffers

    def weight_matrix(self, coef: Array) -> Array:
        """View of the weights of a batch of models, shape (models, outputs, features)."""
        return coef[:, self.weights].reshape(len(coef), self.outputs, self.features)
