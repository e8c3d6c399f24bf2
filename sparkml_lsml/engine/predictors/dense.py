"""Networks of dense layers, and how errors go back through them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.block import Rows
from sparkml_lsml.engine.predictors.activations import ACTIVATIONS, Floats
from sparkml_lsml.engine.predictors.base import Pullback
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import with_constants
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.errors import ParamError

Array = npt.NDArray[np.float64]

# what overflows shows in the loss, where solvers see it: a warning would say it for each piece
quietly = np.errstate(over="ignore", invalid="ignore")


class Map(NamedTuple):
    """One layer's part of a flat vector, as views: weights (outputs, inputs) and biases."""

    W: Floats
    b: Floats


class Hidden(NamedTuple):
    """What a hidden layer leaves for the way back."""

    z: Floats
    """What its map returns, shape (rows, outputs)."""
    a: Floats
    """What its activation makes of it."""
    kept: Floats | None
    """What dropout multiplies this by: 0, or what makes up for the others."""

    @property
    def out(self) -> Floats:
        """What the next layer sees."""
        return self.a if self.kept is None else self.a * self.kept


@dataclass(frozen=True)
class DensePredictor:
    r"""A multilayer perceptron.

    Rows :math:`a_0 = x` go through the layers :math:`l = 1, \dots, L`,

    .. math:: z_l = W_l a_{l-1} + b_l, \qquad a_l = \phi(z_l),

    and :math:`z_L` are the raw predictions. The derivatives :math:`\delta_L` of the loss in these
    go back,

    .. math:: \partial W_l = \delta_l a_{l-1}^T, \qquad \partial b_l = \delta_l, \qquad
        \delta_{l-1} = W_l^T \delta_l \odot \phi'(z_{l-1}),

    summed over the rows. Rows are those of matrices here, so that :math:`W_l` stands transposed in
    the code. Sparse rows stay so: nothing as wide as they are is made but the first weights.

    Parameters
    ----------
    sizes : tuple of int
        Numbers of a row at each stage: features, units of each hidden layer, raw predictions.
    activation : {"relu", "tanh", "sigmoid", "gelu", "identity"}
        Of the hidden layers.
    constants : int
        Parameters of the loss itself.
    dropout : float
        Share of the hidden units that each row does without in training, in [0, 1). The others
        count for more, so that predictions take all of them as they are.
    precision : {"float32", "float64"}
        What a piece of rows is computed in.

    Raises
    ------
    ParamError
        If there is no such network.

    References
    ----------
    Rumelhart, Hinton and Williams (1986), Learning representations by back-propagating errors,
    Nature 323; Srivastava et al. (2014), Dropout, JMLR 15.

    Examples
    --------
    >>> import numpy as np
    >>> network = DensePredictor((2, 3, 1), precision="float64")
    >>> network.layout.size
    13
    >>> coef = np.arange(13.0)[None, :]
    >>> X = np.array([[1.0, -1.0]])
    >>> raw, pull = network.raw_and_pullback(X, coef)
    >>> raw.tolist()  # 9 (0 - 1 + 6) + 10 (2 - 3 + 7) + 11 (4 - 5 + 8) + 12
    [[[194.0]]]
    >>> gradient = np.zeros_like(coef)
    >>> pull(np.ones_like(raw), gradient)
    >>> gradient[0, 9:].tolist()
    [5.0, 6.0, 7.0, 1.0]
    """

    sizes: tuple[int, ...]
    activation: str = "relu"
    constants: int = 0
    dropout: float = 0.0
    precision: str = "float32"
    convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise ParamError(
                f"found layers {self.sizes}: expected the number of features, the units of each "
                "hidden layer, and the number of raw predictions, each at least 1"
            )
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ParamError(f"found activation={self.activation!r}: expected one of {known}")
        if not 0.0 <= self.dropout < 1.0:
            raise ParamError(f"found dropout={self.dropout}: expected a share in [0, 1)")
        if self.precision not in ("float32", "float64"):
            raise ParamError(f"found precision={self.precision!r}: expected float32 or float64")

    @cached_property
    def layout(self) -> Layout:
        """See `Predictor.layout`."""
        return Layout.dense(self.sizes, self.constants)

    @property
    def outputs(self) -> int:
        """See `Predictor.outputs`."""
        return self.sizes[-1]

    @cached_property
    def dtype(self) -> np.dtype[np.floating]:
        """See `Predictor.dtype`."""
        return np.dtype(self.precision)

    @property
    def width(self) -> int:
        """See `Predictor.width`."""
        return sum(self.sizes[1:])

    def narrowed(self, features: int) -> "DensePredictor":
        """The same of so many features."""
        return replace(self, sizes=(features, *self.sizes[1:]))

    def maps(self, coef: npt.NDArray[Any]) -> list[Map]:
        """The layers of one model, as views of its flat vector."""
        return [Map(coef[W].reshape(shape), coef[b]) for W, b, shape in self._places]

    @quietly
    def raw(self, X: Rows, coef: Array) -> Array:
        """See `Predictor.raw`."""
        cast = coef.astype(self.dtype, copy=False)
        raw = np.stack([self._forward(X, self.maps(one))[0] for one in cast], axis=1)
        return with_constants(raw.astype(np.float64), self.layout, coef)

    @quietly
    def raw_and_pullback(
        self, X: Rows, coef: Array, rng: np.random.Generator | None = None
    ) -> tuple[Array, Pullback]:
        """See `Predictor.raw_and_pullback`."""
        models = [self.maps(one) for one in coef.astype(self.dtype, copy=False)]
        found = [self._forward(X, maps, rng) for maps in models]
        raw = np.stack([each for each, _ in found], axis=1).astype(np.float64)
        hidden = [layers for _, layers in found]
        return with_constants(raw, self.layout, coef), partial(self._pull, X, models, hidden)

    def scoring(self, coef: Array) -> Callable[[Rows], Array]:
        """See `Predictor.scoring`."""
        return partial(self._score, self.maps(coef.astype(self.dtype)))

    def step_unit(self, curvature: float, units: Standardization, batch: int) -> float:
        """See `Predictor.step_unit`: 1 where labels have unit variance.

        Behind a hidden layer no bound of the curvature holds. A loss without one, such as Huber's
        or an absolute error, grows with the scale of the labels; others do with its square.
        """
        return 1.0 / units.label_scale ** (2 if np.isfinite(curvature) else 1)

    @cached_property
    def _places(self) -> list[tuple[slice, slice, tuple[int, int]]]:
        """Weights, biases, and the shape of the weights, of each layer."""
        layout = self.layout
        slots = (layout.weights, layout.intercepts, *layout.slots)
        shapes = zip(self.sizes[1:], self.sizes[:-1], strict=True)
        return list(zip(slots[::2], slots[1::2], shapes, strict=True))

    def _forward(
        self, X: Rows, maps: Sequence[Map], rng: np.random.Generator | None = None
    ) -> tuple[Floats, list[Hidden]]:
        """Raw predictions of one model, and its hidden layers."""
        activation = ACTIVATIONS[self.activation]
        hidden: list[Hidden] = []
        a: Any = X
        for W, b in maps[:-1]:
            z = np.asarray(a @ W.T)
            z += b
            layer = Hidden(z, activation.function(z), self._drawn(rng, z.shape))
            hidden.append(layer)
            a = layer.out
        W, b = maps[-1]
        return np.asarray(a @ W.T) + b, hidden

    def _drawn(self, rng: np.random.Generator | None, shape: tuple[int, ...]) -> Floats | None:
        """What dropout multiplies a layer by: of mean 1."""
        if rng is None or not self.dropout:
            return None
        kept = rng.random(shape, dtype=np.float32) >= self.dropout
        return kept * self.dtype.type(1.0 / (1.0 - self.dropout))

    @quietly
    def _pull(
        self,
        X: Rows,
        models: Sequence[Sequence[Map]],
        hidden: Sequence[Sequence[Hidden]],
        derivative: Array,
        out: npt.NDArray[Any],
    ) -> None:
        """The pullback."""
        for k, maps in enumerate(models):
            delta = derivative[:, k, : self.outputs].astype(self.dtype)
            self._backward(X, maps, hidden[k], delta, self.maps(out[k]))
        if self.constants:
            out[:, self.layout.extras] += derivative[:, :, self.outputs :].sum(axis=0)

    def _backward(
        self,
        X: Rows,
        maps: Sequence[Map],
        hidden: Sequence[Hidden],
        delta: Floats,
        gradient: Sequence[Map],
    ) -> None:
        """Add the derivatives of one model to those in ``gradient``."""
        activation = ACTIVATIONS[self.activation]
        for number in reversed(range(len(maps))):
            dW, db = gradient[number]
            # row after row, as NumPy adds: in single precision a long column would not add up
            db += delta.sum(axis=0, dtype=np.float64)
            if number == 0:
                dW += _first_slopes(X, delta, dW.dtype)
                return
            below = hidden[number - 1]
            dW += delta.T @ below.out
            delta = delta @ maps[number].W
            if below.kept is not None:
                delta *= below.kept
            delta *= activation.derivative(below.z, below.a)

    @quietly
    def _score(self, maps: Sequence[Map], X: Rows) -> Array:
        return self._forward(X, maps)[0].astype(np.float64)


def _first_slopes(X: Rows, delta: Floats, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Derivatives in the first weights, shape (outputs, features)."""
    if sparse.issparse(X):
        # pieces of sparse rows are long, and added row after row
        return np.asarray((X.T @ delta.astype(dtype, copy=False)).T)
    return np.asarray(delta.T @ X)
