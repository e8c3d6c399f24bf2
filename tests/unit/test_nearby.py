"""Rows near the kinks of a loss: the loss below that of all rows, and the minima found with it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.svm import LinearSVC

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.objective import Anchor, BlockObjective, LocalBlocks
from sparkml_lsml.engine.passes import Pass
from sparkml_lsml.engine.passes.near import LEAST, MOST, NEAR_BYTES, NearMemory, near_memory
from sparkml_lsml.engine.passes.reweighting import Validation
from sparkml_lsml.engine.penalties import L1, L2, ElasticNet
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization, standardize
from sparkml_lsml.engine.solvers import LBFGS, Solution, minimize, nearby
from sparkml_lsml.engine.solvers.base import Run
from sparkml_lsml.engine.solvers.checkpoint import read_run, write_run
from sparkml_lsml.engine.solvers.lbfgs import LBFGSState
from sparkml_lsml.engine.solvers.nearby import Nearby, Screening
from sparkml_lsml.engine.solvers.smoothed_lbfgs import SmoothedLBFGS, SmoothedState
from sparkml_lsml.losses import Hinge, Logistic, Loss

Array = npt.NDArray[np.float64]

ROWS, FEATURES = 4_000, 8
rng = np.random.default_rng(3)
X = rng.normal(size=(ROWS, FEATURES)) * np.linspace(0.5, 20.0, FEATURES) + 3.0
X[rng.random(X.shape) < 0.3] = 0.0
Y = (X @ rng.normal(size=FEATURES) + 20.0 * rng.normal(size=ROWS) > 0.0).astype(np.float64)
WEIGHT = rng.uniform(0.5, 2.0, size=ROWS) * (rng.random(ROWS) < 0.9)

FORMS = {"dense": np.asarray, "sparse": as_csr, "float32": partial(np.asarray, dtype=np.float32)}


class Counted(LocalBlocks):
    """Blocks that note which passes ran."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__(blocks)
        self.asked: list[str] = []

    def run(self, task: Pass, description: str) -> Any:
        self.asked.append(type(task).__name__)
        return super().run(task, description)


def made(
    form: str = "dense",
    weighted: bool = False,
    fit_intercept: bool = True,
    most: float = 0.25,
    loss: Loss | None = None,
) -> BlockObjective:
    layout = Layout(FEATURES, fit_intercept=fit_intercept)
    units = standardize(layout, X.mean(axis=0), X.std(axis=0), curvature=np.inf)
    cuts = np.split(np.arange(ROWS), [700, 701, 2_500])
    blocks = [
        Block(FORMS[form](X[rows]), Y[rows], WEIGHT[rows] if weighted else None) for rows in cuts
    ]
    return BlockObjective(
        Counted(blocks),
        loss or Hinge(),
        LinearPredictor(layout),
        units,
        nearest=NearMemory(most) if most else None,
    )


def slack_and_parts(coef: Array, width: float) -> tuple[Array, Array, Array]:
    """Slack 1 - m, loss and its derivative in the margin, by the formula of the documentation."""
    slack = 1.0 - (2.0 * Y - 1.0) * (Z @ coef)
    if width == 0.0:
        return slack, np.maximum(slack, 0.0), -(slack > 0.0).astype(np.float64)
    inside = np.square(slack + width / 2) / (2 * width)
    value = np.where(slack <= -width / 2, 0.0, np.where(slack < width / 2, inside, slack))
    return slack, value, -np.clip((slack + width / 2) / width, 0.0, 1.0)


Z = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(ROWS)])
"""The rows as the solver's coefficients see them."""

SIGNED = (2.0 * Y - 1.0)[:, None] * Z


def below(coef: Array, at: Array, near: npt.NDArray[np.bool_], w: Array, width: float) -> Any:
    """The loss of near rows, and tangents of the others, straight from the formula."""
    _, value, slope = slack_and_parts(coef, width)
    _, old, old_slope = slack_and_parts(at, width)
    tangent = old + old_slope * (SIGNED @ (coef - at))
    taken, slopes = np.where(near, value, tangent), np.where(near, slope, old_slope)
    return w @ taken / w.sum(), (w * slopes) @ SIGNED / w.sum()


def points(number: int) -> Array:
    return np.random.default_rng(number).normal(size=FEATURES + 1) * 0.3


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("form", FORMS)
def test_near_rows_are_as_they_are_and_others_lie_on_their_tangents(
    form: str, weighted: bool
) -> None:
    objective, w = made(form, weighted), WEIGHT if weighted else np.ones(ROWS)
    at, width = points(1), 0.05
    anchor = Anchor(at, width, share=0.1)
    _, _, radius = objective.near(at, width, anchor)
    slack, _, _ = slack_and_parts(at, 0.0)
    for coef in (at, at + 0.05 * points(2), points(3)):
        value, gradient, _ = objective.near(coef, width, anchor)
        # of each block the nearest rows are taken: those of all blocks within the least radius,
        # and which of the others follows from their own
        near = np.zeros(ROWS, dtype=np.bool_)
        for rows in np.split(np.arange(ROWS), [700, 701, 2_500]):
            counted = rows[w[rows] > 0.0]
            order = counted[np.argsort(np.abs(slack[counted]), kind="stable")]
            # float32 rows differ in the eighth digit, and none of these is that close to another
            near[
                order[
                    : min(
                        max(int(np.ceil(0.1 * len(rows))), inside(slack, rows, w, width)),
                        int(0.25 * len(rows)),
                    )
                ]
            ] = True
        wanted, slopes = below(coef, at, near, w, width)
        close = 1e-5 if form == "float32" else 1e-11
        assert value == pytest.approx(wanted, rel=close)
        np.testing.assert_allclose(gradient, slopes, rtol=0.0, atol=close)
    assert objective.passes == 1
    assert 0.0 < radius < 1.0


def inside(slack: Array, rows: npt.NDArray[np.intp], w: Array, width: float) -> int:
    return int(np.sum((np.abs(slack[rows]) < width / 2) & (w[rows] > 0.0)))


@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", ""])
@pytest.mark.parametrize("form", FORMS)
def test_at_the_anchor_it_is_the_loss_of_all_rows_for_every_narrower_width(
    form: str, fit_intercept: bool
) -> None:
    objective = made(form, weighted=True, fit_intercept=fit_intercept)
    at = points(1)[: objective.layout.size]
    anchor = Anchor(at, 0.02, share=0.1)
    for width in (0.02, 0.01, 1e-3, 0.0):
        value, gradient, radius = objective.near(at, width, anchor)
        assert radius > 0.01
        whole, slopes = objective.value_and_gradient(at[None], smoothing=np.array([width]))
        assert value == pytest.approx(whole[0], rel=1e-13)
        np.testing.assert_allclose(gradient, slopes[0], rtol=0.0, atol=1e-13)


def test_it_is_never_above_the_loss_of_all_rows() -> None:
    objective, at = made(most=0.05), points(1)
    for share in (0.05, 0.01):
        for step in (1e-3, 0.1, 1.0, 30.0):
            coef = at + step * points(5)
            value, _, radius = objective.near(coef, 0.01, Anchor(at, 0.01, share))
            assert radius >= 0.005
            whole, _ = objective.value_and_gradient(coef[None], smoothing=np.array([0.01]))
            assert value <= whole[0] * (1.0 + 1e-13)


def test_more_rows_are_taken_where_more_are_bent_but_no_more_than_there_is_room_for() -> None:
    objective, at = made(most=0.25), points(1)
    slack, _, _ = slack_and_parts(at, 0.0)
    for width, covered in ((0.2, True), (3.0, False)):
        bent = np.mean(np.abs(slack) < width / 2)
        assert bent > 0.02
        assert (bent < 0.2) == covered
        _, _, radius = objective.near(at, width, Anchor(at, width, share=0.02))
        # told, so that a solver does not take a bent row's tangent for its loss
        assert (radius >= width / 2) == covered


def test_rows_at_one_distance_are_all_near_or_all_left_out() -> None:
    # a constant model puts all rows of a class on the kink: there is no room for them
    objective = made(most=0.25)
    at = np.zeros(FEATURES + 1)
    at[-1] = 1.0
    _, _, radius = objective.near(at, 0.01, Anchor(at, 0.01, share=0.1))
    assert radius == 0.0


def test_rows_that_are_all_near_leave_none_out() -> None:
    objective, at = made(most=1.0), points(1)
    anchor = Anchor(at, 0.01, share=1.0)
    for coef in (at, points(7)):
        value, gradient, radius = objective.near(coef, 0.01, anchor)
        assert radius == np.inf
        whole, slopes = objective.value_and_gradient(coef[None], smoothing=np.array([0.01]))
        assert value == pytest.approx(whole[0], rel=1e-12)
        np.testing.assert_allclose(gradient, slopes[0], rtol=0.0, atol=1e-12)


def test_an_anchor_that_was_forgotten_is_found_again_to_the_last_bit() -> None:
    objective, fresh = made("sparse"), made("sparse")
    anchors = [Anchor(points(k), 0.01, 0.1) for k in range(4)]
    first = [objective.near(points(9), 0.01, anchor) for anchor in anchors]
    assert objective.passes == 4
    objective.near(points(9), 0.01, Anchor(points(3).copy(), 0.01, 0.1))
    assert objective.passes == 4, "another array of the same numbers is the same anchor"
    for k in (0, 3, 1, 2):
        for asked in (objective, fresh):
            value, gradient, radius = asked.near(points(9), 0.01, anchors[k])
            assert (value, radius) == (first[k][0], first[k][2])
            assert gradient.tobytes() == first[k][1].tobytes()


def test_the_same_point_with_another_width_or_share_is_another_anchor() -> None:
    objective = made()
    for width, share in ((0.01, 0.1), (0.02, 0.1), (0.02, 0.05)):
        fresh, anchor = made(), Anchor(points(1), width, share)
        found, wanted = (asked.near(points(9), 0.01, anchor) for asked in (objective, fresh))
        assert found[0] == wanted[0]
        assert found[2] == wanted[2]
    assert objective.passes == 3


def test_only_one_model_of_one_margin_has_near_rows() -> None:
    assert made().nearby == 0.25
    assert made(most=0.0).nearby == 0.0
    assert made(loss=Logistic()).nearby == 0.0
    assert replace(made(), classes=(1,)).nearby == 0.0
    assert replace(made(), reweighting=Validation(0)).nearby == 0.0
    assert made().sample(100.0).nearby == 0.0


def test_room_for_fewer_rows_than_coefficients_is_none() -> None:
    assert made(most=(FEATURES + 1) / ROWS).nearby > 0.0
    assert made(most=FEATURES / ROWS).nearby == 0.0


def test_room_for_near_rows() -> None:
    for nbytes, share in ((0, MOST), (NEAR_BYTES, MOST), (16 * NEAR_BYTES, 1 / 16)):
        room = near_memory(nbytes)
        assert room is not None
        assert room.most == share
    assert near_memory(int(1.01 * NEAR_BYTES / LEAST)) is None


# ---------------------------------------------------- minima


def solved(
    objective: BlockObjective,
    penalty: ElasticNet,
    max_iter: int = 400,
    start: Array | None = None,
    **more: Any,
) -> Solution:
    solver = SmoothedLBFGS(tol=1e-6, inner=LBFGS(memory=30), close=start is not None)
    start = np.zeros(objective.layout.size) if start is None else start
    [solution] = minimize(objective, penalty, solver, start[None], max_iter=max_iter, **more)
    return solution


def asked(objective: BlockObjective) -> int:
    assert isinstance(objective.blocks, Counted)
    return objective.blocks.asked.count("NearPass")


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("strength", [1.0, 1e-1, 1e-2])
def test_the_minimum_is_that_of_liblinear(strength: float, form: str) -> None:
    # in the solver's coefficients without an intercept, which LIBLINEAR would penalise
    layout = Layout(FEATURES, fit_intercept=False)
    rows = Z[:, :FEATURES]
    units = Standardization.identity(layout)
    parts = np.array_split(np.arange(ROWS), 3)
    blocks = Counted([Block(FORMS[form](rows[part]), Y[part]) for part in parts])
    objective = BlockObjective(
        blocks, Hinge(), LinearPredictor(layout), units, nearest=NearMemory(0.25)
    )
    solution = solved(objective, L2(strength))
    C = 1.0 / (strength * ROWS)
    model = LinearSVC(loss="hinge", C=C, fit_intercept=False, tol=1e-6, max_iter=200_000)
    w = model.fit(rows, Y).coef_[0]
    wanted = np.mean(np.maximum(1.0 - (2.0 * Y - 1.0) * (rows @ w), 0.0))
    wanted += 0.5 * strength * float(w @ w)
    assert solution.reason.converged
    assert solution.objective <= wanted * (1.0 + 1e-6)
    assert asked(objective) > 0


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("form", FORMS)
def test_the_minimum_is_that_of_passes_over_all_rows_with_fewer_of_these(
    form: str, weighted: bool
) -> None:
    all_rows, near = made(form, weighted, most=0.0), made(form, weighted)
    wanted, found = solved(all_rows, L2(1e-4)), solved(near, L2(1e-4))
    assert wanted.reason.converged
    assert found.reason.converged
    assert found.objective == pytest.approx(wanted.objective, rel=1e-6)
    assert asked(near) > 0
    assert near.passes < 0.8 * all_rows.passes


@pytest.mark.parametrize("strength", [1e-4, 0.0])
@pytest.mark.parametrize("most", [0.05, 0.1])
def test_rows_that_cross_the_kink_are_noticed(
    most: float, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # too few rows, for too many iterations: the others cross the kink unseen, until all are asked
    kept: list[bool] = []
    judge = Screening.kept

    def judged(self: Screening, found: float, here: Any) -> bool:
        kept.append(judge(self, found, here))
        return kept[-1]

    monkeypatch.setattr(Screening, "kept", judged)
    wanted = solved(made(most=0.0), L2(strength))
    objective = made(most=most)
    # a start that is said to be close, and is not
    solution = solved(objective, L2(strength), start=3.0 * points(4))
    assert False in kept
    assert solution.reason.converged
    assert solution.objective <= wanted.objective * (1.0 + 1e-6)


def test_iterations_that_led_astray_are_taken_back() -> None:
    told: list[int] = []
    solution = solved(
        made(most=0.05),
        L2(1e-4),
        start=3.0 * points(4),
        callbacks=[lambda line, _: told.append(line.iteration)],
    )
    assert len(told) > len(set(told)), "no iteration was taken back"
    # what is left follows one after another, and ends where the fit does
    left = [line.iteration for line in solution.history]
    assert left == list(range(left[-1] + 1))
    assert solution.reason.iteration == left[-1]


def test_tangents_of_rows_that_may_be_bent_are_not_taken() -> None:
    inner, anchor = LBFGSState(points(1)), Anchor(points(1), 0.01, 0.1)
    screening = Screening(most=0.1, share=0.1)
    for width, radius, serves in (
        (0.01, 0.0101, True),
        (0.01, 0.0099, False),
        # narrower than the tangents are for: these are what has to be right
        (0.001, 0.0099, False),
        (0.02, 0.0101, False),
    ):
        begun = screening.begun(anchor, inner, radius, width, 7)
        assert (begun.near is not None) == serves
        # then all rows are asked until the next width
        assert (begun.limit > 0) == serves


def test_the_last_point_that_all_rows_know_may_be_the_solution() -> None:
    near = Nearby(points(2), width=0.01, share=0.1)
    state = SmoothedState(points(1), iteration=5, width=0.01, start=points(3))
    known = replace(state, screening=Screening(near=near))
    assert len(known.candidates) == len(state.candidates) + 1
    np.testing.assert_array_equal(known.candidates[-1], points(2))


def test_iterations_that_run_out_give_the_best_point_that_all_rows_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nearby, "COVERED", 0.5)
    plain = [solved(made(most=0.0), L2(1e-4), k).objective for k in (10, 20)]
    before = np.inf
    for limit in range(12, 40):
        objective = made(most=0.02)
        solution = solved(objective, L2(1e-4), limit)
        value, _ = objective.value_and_gradient(solution.coef[None])
        whole = float(value[0]) + L2(1e-4).value(solution.coef)
        assert solution.objective == pytest.approx(whole, rel=1e-13)
        # a point where near rows led astray is no solution
        assert solution.objective <= min(before, plain[0]) * (1.0 + 5e-3)
        before = solution.objective


def test_no_rows_are_left_out_with_an_l1_penalty() -> None:
    objective = made()
    solved(objective, L1(1e-3), 50)
    assert asked(objective) == 0


@pytest.mark.parametrize("most", [0.25, 0.02])
def test_a_fit_that_goes_on_from_a_checkpoint_ends_at_the_same_bits(
    most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearby, "COVERED", 0.5)
    runs: list[Run] = []
    whole = solved(made(most=most), L2(1e-4), keep=runs.append)
    # the driver that goes on has none of the near rows
    for run in runs[:: max(1, len(runs) // 12)]:
        file = io.BytesIO()
        write_run(run, file)
        again = read_run(file, [SmoothedLBFGS(inner=LBFGS(memory=30))])
        rest = solved(made(most=most), L2(1e-4), resume=again)
        assert rest.coef.tobytes() == whole.coef.tobytes()
        assert rest.reason == whole.reason


def test_a_fit_that_goes_on_without_room_for_near_rows_ends_at_the_minimum() -> None:
    runs: list[Run] = []
    whole = solved(made(), L2(1e-4), keep=runs.append)
    led = [run for run in runs if run.states[0].screening.near is not None]
    assert led
    for run in led[:: max(1, len(led) // 5)]:
        objective = made(most=0.0)
        rest = solved(objective, L2(1e-4), resume=run)
        assert rest.reason.converged
        assert rest.objective == pytest.approx(whole.objective, rel=1e-6)
        assert asked(objective) == 0
