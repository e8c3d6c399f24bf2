"""The steps of one block of wide sparse rows: of a mini-batch's own columns alone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.block import Block, CsrRows
from sparkml_lsml.engine.kernels.local import LocalModel
from sparkml_lsml.engine.kernels.optimisers import Floats, Optimiser
from sparkml_lsml.engine.kernels.training import Batch, Numbers, Part, Training
from sparkml_lsml.engine.predictors.dense import DensePredictor
from sparkml_lsml.engine.predictors.standardization import Standardization

COLUMNS_A_VALUE = 4.0
"""Columns for each stored value of a mini-batch from which on stepping along its own alone pays."""

MARKED = 64
"""Columns for each stored value up to which to mark those of a mini-batch is faster than a sort."""

CHUNK = 16_384
"""Columns at a time that are brought up to date at the end."""


def wide(features: int, values: float) -> bool:
    """Whether mini-batches of so many stored values have few of the columns."""
    return features >= COLUMNS_A_VALUE * values


def pays(
    block: Block, model: LocalModel, optimiser: Optimiser, batch_size: int, max_norm: float
) -> bool:
    """Whether `WideTraining` takes the steps that `Training` would, and sooner.

    What a mini-batch does to the columns that it lacks has to be linear in them. It is not with an
    L1 penalty, nor with an L2 penalty inside gradients that are clipped or that Adam divides.
    """
    X, penalty = block.X, model.penalty
    if not isinstance(X, CsrRows) or not isinstance(model.predictor, DensePredictor):
        return False
    if not wide(X.features, batch_size * len(X.data) / max(1, block.rows)):
        return False
    inside = bool(np.any(penalty.l2())) and not optimiser.decoupled
    clipped = inside and bool(np.isfinite(max_norm))
    return optimiser.linear(inside) and not clipped and not np.any(penalty.l1())


class WideTraining(Training):
    r"""The steps of `Training`, where a mini-batch has few of the columns.

    The others are not touched. Without gradients a step is a linear map of a weight w and of the
    direction u that the optimiser remembers,

    .. math:: (w, u) \leftarrow M_t\, (w, u),

    with one matrix for all weights, so that what a column has missed is made up for, when it is
    met again or the round ends, by the product of the matrices of these steps. The result is that
    of `Training` but for rounding (of Adam also for the :math:`\epsilon` of these steps, which is
    taken as it is in the first of them).

    The first weights lie column after column here, which makes those of a few columns a few
    contiguous rows. Columns that are centred belong to every mini-batch: units of sparse rows
    centre those alone that most rows have.
    """

    def _begin(self, steps: int) -> None:
        predictor, optimiser = self._model.predictor, self._optimiser
        assert isinstance(predictor, DensePredictor)
        self._predictor, layout = predictor, predictor.layout
        ends = layout.weights.stop
        first, self._rest = self.w[:ends], self.w[ends:].copy()
        self._rest_memory = [np.zeros_like(self._rest) for _ in range(optimiser.vectors)]
        # the first weights column after column, and what is remembered of them
        of_columns = np.ascontiguousarray(first.reshape(layout.outputs, -1).T)
        self._state = [of_columns, *(np.zeros_like(of_columns) for _ in self._rest_memory)]
        # what is asked for again in each step would be new memory each time
        self._buffers = [np.zeros((0, layout.outputs), dtype=first.dtype) for _ in self._state]
        del self.w  # as much again
        # a column of scale 0 has no strength; it has no gradients either, and is nothing in the end
        l2 = np.broadcast_to(self._l2, layout.size)
        self._strength, self._rest_l2 = l2[:ends].max(), l2[ends:]
        centred = np.flatnonzero(self._model.units.shift)
        # at least one column: there is no network of no features
        self._some = centred if len(centred) else np.zeros(1, dtype=np.intp)
        self._met = np.zeros(layout.features, dtype=np.intp)
        self._place = np.zeros(layout.features, dtype=np.int32)
        self._marks = np.zeros(layout.features, dtype=np.bool_)
        # of each step so far the product of the maps of all steps since: first axis and last
        self._missed = np.zeros((2, steps + 1, 2))
        self._missed[:, 0] = np.eye(2)

    def _step(self, batch: Batch, rate: float, rng: np.random.Generator) -> None:
        X, units = batch.X, self._model.units
        assert isinstance(X, sparse.csr_array)
        columns, state = self._up_to_date(self._columns(X.indices))
        W, *memory = state
        self._place[columns] = np.arange(len(columns))
        places = (X.data, self._place[X.indices], X.indptr)
        batch = batch._replace(X=sparse.csr_array(places, (len(batch.y), len(columns))))
        predictor = self._predictor.narrowed(len(columns))
        layout = predictor.layout
        units = Standardization(
            layout, units.scale[columns], units.shift[columns], units.label_scale
        )
        w = np.concatenate([W.T.reshape(-1), self._rest])
        gradient = np.zeros_like(w)
        self._add_slopes(batch, predictor, units, w, gradient, rng)
        ends = layout.weights.stop
        slopes = np.ascontiguousarray(gradient[:ends].reshape(layout.outputs, -1).T)
        none = np.zeros((), dtype=w.dtype)
        flat = [each.reshape(-1) for each in memory]
        first = Part(W.reshape(-1), slopes.reshape(-1), flat, none, self._strength)
        rest = Part(self._rest, gradient[ends:], self._rest_memory, none, self._rest_l2)
        self._descend([first, rest], rate)
        self._put(columns, state)
        step = self._optimiser.idle_map(rate, self.t, float(self._strength))
        before = self._missed[:, : self.t]
        before[:] = (step @ before.reshape(2, -1)).reshape(before.shape)
        self._missed[:, self.t] = np.eye(2)

    def _columns(self, indices: npt.NDArray[np.int32]) -> Numbers:
        """Those of a mini-batch and those that are centred, in order."""
        if len(self._place) > MARKED * len(indices):
            return np.unique(np.concatenate([self._some, indices]).astype(np.intp))
        marks = self._marks
        marks[indices] = True
        marks[self._some] = True
        columns = np.flatnonzero(marks)
        marks[columns] = False
        return columns

    def _end(self) -> None:
        features = len(self._met)
        for start in range(0, features, CHUNK):
            columns = np.arange(start, min(start + CHUNK, features))
            self._put(*self._up_to_date(columns))
        first, *memory = self._state
        self.w = np.concatenate([first.T.reshape(-1), self._rest])
        self._memory = [*memory, *self._rest_memory]
        super()._end()

    def _up_to_date(self, columns: Numbers) -> tuple[Numbers, list[Floats]]:
        """Columns in another order, and the state of each after all steps so far."""
        met = self._met[columns]
        # of a column that was not met yet there is nothing but the decay
        late = (met < self.t) & ((met > 0) | (self._strength > 0.0))
        columns = np.concatenate([columns[late], columns[~late]])
        if len(self._buffers[0]) < len(columns):
            shape = (2 * len(columns), self._state[0].shape[1])
            self._buffers = [np.empty(shape, dtype=each.dtype) for each in self._state]
        pairs = zip(self._state, self._buffers, strict=True)
        found = [
            np.take(state, columns, axis=0, out=buffer[: len(columns)], mode="clip")
            for state, buffer in pairs
        ]
        met = met[late, None]
        if len(met):
            w, *memory = (each[: len(met)] for each in found)
            missed = self._missed[:, met].transpose(0, 3, 1, 2).astype(w.dtype)
            self._optimiser.make_up(w, memory, missed, met, self.t)
        return columns, found

    def _put(self, columns: Numbers, found: Sequence[Floats]) -> None:
        """Put back what is up to date."""
        for state, each in zip(self._state, found, strict=True):
            state[columns] = each
        self._met[columns] = self.t
