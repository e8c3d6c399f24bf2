"""Epochs of dual coordinate ascent over the rows of one block."""

import importlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import entr

from sparkml_lsml.engine.blocks.block import Block, CsrRows
from sparkml_lsml.engine.kernels import compiled
from sparkml_lsml.engine.kernels.compiled import CODES, fixed, has_numba, read_only
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import transposed_product
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.losses import Hinge, Logistic, Loss, SquaredHinge

Array = npt.NDArray[np.float64]

DUAL_LOSSES = (Hinge, SquaredHinge, Logistic)
"""Losses of a margin whose convex conjugate is known here."""


@dataclass(frozen=True)
class SdcaEpochs:
    """What one partition does in a round of dual coordinate ascent.

    Parameters
    ----------
    epochs : int
        Visits of each row.
    subproblem_scale : float
        What a partition multiplies its own changes by, so that the sum of those of all
        partitions is no step too far: their number (CoCoA+).
    multiplier_step : float
        How far the intercept moves with a dual; 0 without one.
    total : float
        Sum of the weights of the rows of all partitions.
    """

    epochs: int
    subproblem_scale: float
    multiplier_step: float
    total: float


def sdca_epochs(
    block: Block,
    loss: Loss,
    layout: Layout,
    units: Standardization,
    penalty: ElasticNet,
    settings: SdcaEpochs,
    coef: Array,
    duals: Array,
    seed: tuple[int, ...],
) -> tuple[Array, Array]:
    r"""Maximise the dual objective of the rows of a block, the other rows' duals held still.

    For the weights :math:`s_i`, their sum W and the labels :math:`\pm 1` the dual of the mean loss
    with an L2 penalty is

    .. math:: D(a) = \sum_i \frac{s_i}{W} g(a_i) - \frac12 \sum_j b_j w_j^2, \qquad
        w_j = \frac{1}{b_j} \sum_i \frac{s_i}{W} y_i a_i z_{ij},

    where g(a) is a for the hinge, with a in [0, 1]; a - a^2 / 4 for its square, with a >= 0; and
    the entropy of a for the logistic loss. One dual at a time is moved to its best value, each row
    once an epoch, in a random order that follows from ``seed``.

    Parameters
    ----------
    block : Block
    loss : Hinge, SquaredHinge or Logistic
    layout : Layout
    units : Standardization
    penalty : ElasticNet
        Its L2 strengths are positive for every column that is used.
    settings : SdcaEpochs
    coef : array of shape (layout.size,)
        In the solver's units, where all duals of all partitions put it.
    duals : array of shape (rows,)
    seed : tuple of int

    Returns
    -------
    duals : array of shape (rows,)
    change : array of shape (2, layout.size)
        By how much `dual_sums` of these rows grew.

    References
    ----------
    Shalev-Shwartz and Zhang (2013), Stochastic dual coordinate ascent methods for regularized
    loss minimization, JMLR 14; Hsieh et al. (2008), A dual coordinate descent method for
    large-scale linear SVM; Ma et al. (2015), Adding vs. averaging in distributed primal-dual
    optimization.
    """
    l2 = np.broadcast_to(np.asarray(penalty.l2(), dtype=np.float64), (layout.size,))
    l2 = l2[layout.weights]
    inverse = np.divide(units.scale**2, l2, out=np.zeros_like(units.scale), where=l2 > 0.0)
    rows = _Rows(block, loss, settings, inverse, inverse * units.shift, units.shift)
    start = units.scale * coef[layout.weights]
    bias = float(coef[layout.intercepts][0]) if layout.fit_intercept else 0.0
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(block.rows) for _ in range(settings.epochs)])
    after, point, moved, positive = rows.visit(order, start, bias, duals)
    change = np.zeros((2, layout.size))
    sums = np.divide(
        point - start,
        settings.subproblem_scale * inverse,
        out=np.zeros_like(start),
        where=inverse > 0.0,
    )
    change[1, layout.weights] = positive[:-1]
    change[0, layout.weights] = sums - positive[:-1]
    if layout.fit_intercept:
        change[1, layout.intercepts] = positive[-1]
        change[0, layout.intercepts] = moved / settings.subproblem_scale - positive[-1]
    return after, change


def dual_sums(
    block: Block, loss: Loss, layout: Layout, total: float, duals: Array
) -> tuple[Array, Array]:
    """What the duals of a block add up to, class by class.

    Returns
    -------
    sums : array of shape (2, layout.size)
        Rows times label, dual and share of the weights, for the classes 0 and 1, in the units of
        the stored features, as a gradient is.
    gains : array of shape (2,)
        See `gains`.
    """
    sums = np.zeros((2, layout.size))
    start = 0
    for X, y, weight in block.chunks(2):
        stop = start + len(y)
        share = np.full(len(y), 1.0 / total) if weight is None else weight / total
        of_class = np.stack([y == 0.0, y == 1.0], axis=1)
        columns = (share * (2.0 * y - 1.0) * duals[start:stop])[:, None] * of_class
        sums[:, layout.weights] += transposed_product(X, columns)
        if layout.fit_intercept:
            sums[:, layout.intercepts] += columns.sum(axis=0)[:, None]
        start = stop
    return sums, gains(block, loss, total, duals)


def gains(block: Block, loss: Loss, total: float, duals: Array) -> Array:
    """What the duals of the classes 0 and 1 add to the dual objective; shape (2,)."""
    share = np.ones(block.rows) if block.weight is None else block.weight
    earned = share * gain(loss, duals) / total
    return np.array([earned[block.y == label].sum() for label in (0.0, 1.0)])


def gain(loss: Loss, duals: Array) -> Array:
    """What each dual adds to the dual objective of its loss."""
    if isinstance(loss, SquaredHinge):
        return duals - 0.25 * np.square(duals)
    if isinstance(loss, Logistic):
        return np.asarray(entr(duals) + entr(1.0 - duals))
    return duals


def best_dual(loss: Loss, margin: float, dual: float, bend: float) -> float:
    r"""The dual that maximises :math:`g(a) - a m - \frac12 c\,(a - a_0)^2`.

    Parameters
    ----------
    loss : Hinge, SquaredHinge or Logistic
    margin : float
        The margin m less what ``dual`` itself adds to it.
    dual, bend : float
        :math:`a_0` and c.
    """
    if isinstance(loss, Hinge):
        if bend <= 0.0:
            return 1.0 if margin < 1.0 else 0.0
        return min(max(dual + (1.0 - margin) / bend, 0.0), 1.0)
    if isinstance(loss, SquaredHinge):
        return max((1.0 - margin + bend * dual) / (bend + 0.5), 0.0)
    # the derivative of the entropy is infinite at 0 and 1: Newton's method, kept in a bracket
    low, high = 0.0, 1.0
    small = math.exp(-abs(margin))
    best = small / (1.0 + small) if margin > 0.0 else 1.0 / (1.0 + small)
    if 0.0 < dual < 1.0 and bend > 1.0:
        best = dual
    for _ in range(60):
        best = min(max(best, 1e-300), 1.0 - 1e-16)
        slope = math.log((1.0 - best) / best) - margin - bend * (best - dual)
        low, high = (best, high) if slope > 0.0 else (low, best)
        there = best + slope / (1.0 / (best * (1.0 - best)) + bend)
        if not low < there < high:
            there = 0.5 * (low + high)
        if abs(there - best) <= 1e-14 * best:
            return there
        best = there
    return best


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of a block as they are visited; `kernels.sdca_loops` names the rest."""

    block: Block
    loss: Loss
    settings: SdcaEpochs
    inverse: Array
    slant: Array
    shift: Array

    def visit(
        self, order: npt.NDArray[np.intp], start: Array, bias: float, duals: Array
    ) -> tuple[Array, Array, float, Array]:
        """Duals, the point that they lead to, the sum of the moves, and the part of class 1."""
        block, total = self.block, self.settings.total
        weight = np.ones(block.rows) if block.weight is None else block.weight
        duals, share = duals.copy(), weight / total
        point, positive = start.copy(), np.zeros(block.features + 1)
        offsets = np.array([bias, self.shift @ start, 0.0])
        centre_length = float(self.shift @ self.slant)
        stored = len(block.X.data) if isinstance(block.X, CsrRows) else block.X.size
        if stored >= compiled.LARGE // 10 and has_numba():
            point = self._compiled(order, share, centre_length, duals, point, offsets, positive)
        else:
            self._plain(order, share, centre_length, duals, point, offsets, positive)
        return duals, point, float(offsets[2]), positive

    def _compiled(
        self,
        order: npt.NDArray[np.intp],
        share: Array,
        centre_length: float,
        duals: Array,
        point: Array,
        offsets: Array,
        positive: Array,
    ) -> Array:
        loops = importlib.import_module("sparkml_lsml.engine.kernels.sdca_loops")
        codes = importlib.import_module("sparkml_lsml.engine.kernels.loops")
        settings, block = self.settings, self.block
        code = getattr(codes, CODES[type(self.loss)])
        rows = fixed(block.y, share, order)
        numbers = (code, settings.subproblem_scale, settings.multiplier_step, centre_length)
        if isinstance(block.X, CsrRows):
            matrix = fixed(block.X.data, block.X.indices, block.X.indptr)
            columns = np.stack([point, self.inverse, self.slant], axis=1)
            loops.sparse_sdca(matrix, rows, numbers, columns, (duals, offsets, positive))
            return columns[:, 0].copy()
        vectors = fixed(self.inverse, self.slant)
        state = (duals, point, offsets, positive)
        loops.dense_sdca(read_only(block.X), rows, numbers, vectors, state)
        return point

    def _plain(
        self,
        order: npt.NDArray[np.intp],
        share: Array,
        centre_length: float,
        duals: Array,
        point: Array,
        offsets: Array,
        positive: Array,
    ) -> None:
        settings, block = self.settings, self.block
        for i in order:
            if share[i] == 0.0:
                continue
            at, x = _row(block, int(i))
            cross = float(x @ self.slant[at])
            length = float(x @ (x * self.inverse[at])) + centre_length - 2.0 * cross
            length += settings.multiplier_step
            raw = float(x @ point[at]) + offsets[0] - offsets[1]
            raw += offsets[2] * (centre_length - cross)
            sign = 2.0 * float(block.y[i]) - 1.0
            before = float(duals[i])
            bend = settings.subproblem_scale * float(share[i]) * length
            after = best_dual(self.loss, sign * raw, before, bend)
            if after == before:
                continue
            duals[i] = after
            change = float(share[i]) * sign * (after - before)
            move = settings.subproblem_scale * change
            offsets += (move * settings.multiplier_step, move * cross, move)
            point[at] += move * self.inverse[at] * x
            if sign > 0.0:
                positive[at] += change * x
                positive[-1] += change


def _row(block: Block, i: int) -> tuple[npt.NDArray[np.intp] | slice, Array]:
    """Columns and values of a row."""
    X = block.X
    if isinstance(X, CsrRows):
        entries = slice(X.indptr[i], X.indptr[i + 1])
        return X.indices[entries].astype(np.intp), X.data[entries].astype(np.float64)
    assert not sparse.issparse(X)
    return slice(0, block.features), np.asarray(X[i], dtype=np.float64)
