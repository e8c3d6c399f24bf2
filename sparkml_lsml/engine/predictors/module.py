"""Modules of PyTorch as predictors: what they compute, as a function of one flat vector."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import accumulate
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.block import Rows
from sparkml_lsml.engine.predictors.base import Pullback
from sparkml_lsml.engine.predictors.layout import Layout, Slot
from sparkml_lsml.engine.predictors.linear import with_constants
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.errors import ParamError
from sparkml_lsml.networks.factory import Factory, torch

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]
Tensors = Any
"""A dict of tensors by name, of a module or in its place."""

PRECISIONS = ("float32", "bfloat16")

TRIED_ROWS = 2
"""Rows of zeros that a network is tried on before it is trained."""


@dataclass(frozen=True)
class Tensor:
    """A parameter or a buffer of a module.

    Parameters
    ----------
    name : str
    shape : tuple of int
    buffer : bool
        Whether it goes along, as a running mean does, and is not optimised.
    """

    name: str
    shape: tuple[int, ...]
    buffer: bool = False

    @property
    def size(self) -> int:
        """How many numbers."""
        return prod(self.shape)

    @property
    def decayed(self) -> bool:
        """Whether a penalty acts on it: on weights, and not on biases or scales of a norm."""
        return not self.buffer and len(self.shape) > 1


@dataclass(frozen=True)
class ModulePredictor:
    """A module of PyTorch.

    Its parameters are pieces of one flat float32 vector, one behind the other in their order, then
    the constants of the loss, then its buffers. A module computes with pieces of whatever vector it
    is given, and gradients come back as one vector: nothing is copied tensor by tensor.

    Parameters
    ----------
    factory : Factory
    shape : tuple of int
        Of a row, whose features are its numbers in C order.
    outputs : int
        Raw predictions a row.
    arguments : str
        Keywords of the factory, in JSON.
    tensors : tuple of Tensor
        Parameters, then buffers.
    constants : int
        Parameters of the loss itself.
    precision : {"float32", "bfloat16"}
        What products are computed in; bfloat16 by PyTorch's autocast.
    scale, centre : float
        Raw predictions are ``scale`` times what the module returns, plus ``centre``: those of a
        regression, so that the module works at unit scale.
    """

    factory: Factory
    shape: tuple[int, ...]
    outputs: int
    arguments: str = "{}"
    tensors: tuple[Tensor, ...] = ()
    constants: int = 0
    precision: str = "float32"
    scale: float = 1.0
    centre: float = 0.0
    convex: ClassVar[bool] = False
    dtype: ClassVar[np.dtype[np.floating]] = np.dtype(np.float32)

    @staticmethod
    def of(
        factory: Factory, shape: Sequence[int], outputs: int, arguments: str = "{}", **more: Any
    ) -> "ModulePredictor":
        """The predictor of a network, whose tensors are read off a module, and which is tried.

        Raises
        ------
        ParamError
            If no module can be made, it has no parameters or some that are no floats, or returns
            another shape than (rows, outputs).
        BackendError
            Without torch.
        """
        found = ModulePredictor(factory, tuple(shape), outputs, arguments, **more)
        module = factory.module(found.shape, outputs, arguments)
        found = replace(found, tensors=tensors_of(module, factory))
        if not any(not each.buffer for each in found.tensors):
            raise ParamError(f"{factory} has no parameters: expected some to train")
        coef = np.zeros((1, found.layout.size))
        found.raw(np.zeros((TRIED_ROWS, prod(found.shape)), dtype=np.float32), coef)
        return found

    @cached_property
    def layout(self) -> Layout:
        """See `Predictor.layout`: no map touches the features alone."""
        slots = [Slot(each.size, decayed=each.decayed) for each in self._parameters]
        # there is one head; the scale of the labels is in ``scale``, not in its numbers
        slots[-1] = replace(slots[-1], head=True)
        return Layout(
            prod(self.shape),
            0,
            fit_intercept=False,
            constants=self.constants,
            inner=tuple(slots),
            buffers=sum(each.size for each in self._buffers),
        )

    @property
    def width(self) -> int:
        """See `Predictor.width`: of what layers hold, about."""
        return self.outputs + prod(self.shape)

    def start(self, seed: int) -> Array:
        """The numbers that a module begins with, and constants of the loss of 1.

        Parameters
        ----------
        seed : int
            Of PyTorch's generator while the module is made.
        """
        library = torch()
        with library.random.fork_rng(devices=[]):
            library.manual_seed(seed)
            module = self.factory.built(self.shape, self.outputs, self.arguments)
        coef = np.zeros(self.layout.size)
        coef[self.layout.extras] = 1.0
        state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        for name, place in self.places.items():
            coef[place] = state[name].detach().numpy().ravel()
        return coef

    @cached_property
    def places(self) -> dict[str, slice]:
        """Where each tensor is in the flat vector."""
        starts = [*accumulate((t.size for t in self._parameters), initial=0)]
        buffered = [
            *accumulate((t.size for t in self._buffers), initial=self.layout.buffered.start)
        ]
        pairs = (*zip(self._parameters, starts, strict=False),)
        pairs += (*zip(self._buffers, buffered, strict=False),)
        return {tensor.name: slice(at, at + tensor.size) for tensor, at in pairs}

    def raw(self, X: Rows, coef: Array) -> Array:
        """See `Predictor.raw`."""
        with torch().inference_mode():
            rows = self._rows(X)
            found = [
                self._forward(self._numbers(one, train=False)[1], rows)
                for one in coef.astype(np.float32, copy=False)
            ]
            raw = np.stack([self._scaled(each) for each in found], axis=1)
        return with_constants(raw, self.layout, coef)

    def raw_and_pullback(
        self, X: Rows, coef: Array, rng: np.random.Generator | None = None
    ) -> tuple[Array, Pullback]:
        """See `Predictor.raw_and_pullback`.

        With ``rng``, in training, buffers that are views of ``coef`` are brought up to date there.
        """
        rows = self._rows(X)
        flats, found = [], []
        for one in coef.astype(np.float32, copy=False):
            flat, numbers = self._numbers(one, train=True)
            found.append(self._drawn(numbers, rows, rng))
            flats.append(flat)
        raw = np.stack([self._scaled(each.detach()) for each in found], axis=1)
        return with_constants(raw, self.layout, coef), partial(self._pull, flats, found)

    def scoring(self, coef: Array) -> Callable[[Rows], Array]:
        """See `Predictor.scoring`."""
        return partial(self._score, coef.astype(np.float32))

    def step_unit(self, curvature: float, units: Standardization, batch: int) -> float:
        """See `Predictor.step_unit`, and `DensePredictor.step_unit`: the scale is its own."""
        return 1.0 / self.scale ** (2 if np.isfinite(curvature) else 1)

    @cached_property
    def _parameters(self) -> tuple[Tensor, ...]:
        return tuple(each for each in self.tensors if not each.buffer)

    @cached_property
    def _buffers(self) -> tuple[Tensor, ...]:
        return tuple(each for each in self.tensors if each.buffer)

    def _module(self, train: bool) -> Any:
        """The module of this process, in the mode that is asked for.

        Raises
        ------
        ParamError
            If it has other tensors than that of the driver.
        """
        module = self.factory.module(self.shape, self.outputs, self.arguments)
        if module.training != train:
            module.train(train)
        return module

    def check(self) -> None:
        """Compare the module of this process with that of the driver.

        Raises
        ------
        ParamError
            If they differ in their tensors.
        """
        here = tensors_of(self._module(train=False), self.factory)
        if here != self.tensors:
            pairs = zip(self.tensors, here, strict=False)
            first = next((f"{b} for {a}" for a, b in pairs if a != b), f"{len(here)} tensors")
            raise ParamError(
                f"{self.factory} made another module here than on the driver: found {first}. "
                "Expected the same names and shapes each time, with the same version of torch"
            )

    def samples(self) -> list[float]:
        """Raw predictions of fixed numbers: its name says little of a network of the user's."""
        coef = np.linspace(-1.0, 1.0, self.layout.size)[None, :]
        found: list[float] = []
        for value in (0.0, 1.0):
            X = np.full((1, self.layout.features), value, dtype=np.float32)
            with contextlib.suppress(ParamError):  # it may take no such row
                # running variances that are negative make NaN, which nothing equals
                found += np.nan_to_num(self.raw(X, coef)).ravel().round(4).tolist()
        return found

    def _rows(self, X: Rows) -> Any:
        """Rows as a tensor of (rows, *shape)."""
        dense = X.toarray() if sparse.issparse(X) else X
        whole = np.ascontiguousarray(dense, dtype=np.float32).reshape(-1, *self.shape)
        return torch().from_numpy(whole)

    def _numbers(self, coef: Floats, train: bool) -> tuple[Any, Tensors]:
        """The flat tensor of the parameters, and all tensors as views of flat ones."""
        library = torch()
        end = self.layout.extras.start
        flat = library.from_numpy(coef[:end])
        flat.requires_grad_(train)
        # one split: the gradient comes back by one concatenation
        pieces = flat.split([each.size for each in self._parameters])
        found = {t.name: p.view(t.shape) for t, p in zip(self._parameters, pieces, strict=True)}
        for each in self._buffers:
            found[each.name] = library.from_numpy(coef[self.places[each.name]]).view(each.shape)
        return flat, found

    def _drawn(self, numbers: Tensors, rows: Any, rng: np.random.Generator | None) -> Any:
        """The outputs, in training with what modules draw drawn from ``rng``."""
        if rng is None:
            return self._forward(numbers, rows)
        library = torch()
        with library.random.fork_rng(devices=[]):
            library.manual_seed(int(rng.integers(2**63 - 1)))
            return self._forward(numbers, rows, train=True)

    def _forward(self, numbers: Tensors, rows: Any, train: bool = False) -> Any:
        """What the module returns, shape (rows, outputs).

        Raises
        ------
        ParamError
            If it fails, or returns another shape.
        """
        library = torch()
        low = self.precision == "bfloat16"
        try:
            with library.autocast("cpu", dtype=library.bfloat16, enabled=low):
                out = library.func.functional_call(self._module(train), numbers, (rows,))
        except Exception as error:
            raise ParamError(
                f"{self.factory} failed on rows of shape {list(rows.shape)}: "
                f"{type(error).__name__}: {error}"
            ) from error
        expected = (len(rows), self.outputs)
        found = getattr(out, "shape", None)
        if found is None or tuple(found) != expected:
            what = type(out).__name__ if found is None else f"shape {list(found)}"
            raise ParamError(
                f"{self.factory} returned {what} for {len(rows)} rows: expected shape "
                f"{list(expected)}"
            )
        return out

    def _scaled(self, out: Any) -> Array:
        raw: Array = out.float().numpy().astype(np.float64)
        return raw if self.scale == 1.0 and self.centre == 0.0 else raw * self.scale + self.centre

    def _pull(
        self, flats: Sequence[Any], found: Sequence[Any], derivative: Array, out: Floats
    ) -> None:
        """The pullback."""
        library = torch()
        end = self.layout.extras.start
        for k, (flat, raw) in enumerate(zip(flats, found, strict=True)):
            slopes = (self.scale * derivative[:, k, : self.outputs]).astype(np.float32)
            given = library.from_numpy(slopes).to(raw.dtype)
            [gradient] = library.autograd.grad(raw, flat, given)
            out[k, :end] += gradient.numpy()
        if self.constants:
            out[:, self.layout.extras] += derivative[:, :, self.outputs :].sum(axis=0)

    def _score(self, coef: Floats, X: Rows) -> Array:
        with torch().inference_mode():
            return self._scaled(self._forward(self._numbers(coef, train=False)[1], self._rows(X)))


def tensors_of(module: Any, factory: Factory) -> tuple[Tensor, ...]:
    """Parameters and buffers of a module, in their order.

    Raises
    ------
    ParamError
        If parameters are no floats.
    """
    found = []
    for name, value in module.named_parameters():
        if hasattr(value, "materialize"):
            raise ParamError(
                f"{factory} has the parameter {name} without a shape: call the module once on rows "
                "of its shape, in the function that makes it"
            )
        if not value.is_floating_point():
            raise ParamError(
                f"{factory} has the parameter {name} of {value.dtype}: expected floats"
            )
        found.append(Tensor(name, tuple(value.shape)))
    for name, value in module.named_buffers():
        found.append(Tensor(name, tuple(value.shape), buffer=True))
    return tuple(found)
