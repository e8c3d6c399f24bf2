"""Checkpoints of every solver: a run that is read again ends where the uninterrupted one did."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkml_lsml.engine.solvers import LBFGS, CoCoA, Reason, minimize
from sparkml_lsml.engine.solvers.base import Iteration, Progress, Run, Smooth, State
from sparkml_lsml.engine.solvers.checkpoint import read_run, write_run
from sparkml_lsml.engine.solvers.lbfgs import LBFGSState
from sparkml_lsml.engine.solvers.search import Search
from sparkml_lsml.losses import Logistic
from tests.checks.problems import make_problem, make_solver
from tests.checks.registry import ITERATIVE

STOPPED = 5


class Stopped(BaseException):
    """The process died here."""


def saved(run: Run) -> bytes:
    file = io.BytesIO()
    write_run(run, file)
    return file.getvalue()


def members(content: bytes) -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [archive.read(name) for name in archive.namelist()]


def runs_of(solvers: list[Any], penalty: tuple[float, float], stop: int) -> tuple[Any, Any, bytes]:
    """Solve a batch without a pause; and again, with a pause at an iteration, until there."""
    problem = make_problem(Logistic(), seed=3, l2=penalty[1])
    penalties = [problem.penalty(*penalty)] * len(solvers)
    start = np.repeat(problem.start(), len(solvers), axis=0)
    whole = minimize(problem.objective, penalties, solvers, start, max_iter=12)
    last: list[Run] = []

    def keep(run: Run) -> None:
        last[:] = [run]
        if run.iteration >= stop:
            raise Stopped

    with pytest.raises(Stopped):
        minimize(problem.objective, penalties, solvers, start, max_iter=12, keep=keep)
    found = saved(last[0])

    def resume() -> Any:
        run = read_run(io.BytesIO(found), solvers)
        return minimize(problem.objective, penalties, solvers, start, max_iter=12, resume=run)

    return whole, resume, found


@pytest.mark.parametrize("penalty", [(0.0, 0.05), (0.02, 0.05)], ids=["l2", "both"])
@pytest.mark.parametrize("cls", ITERATIVE)
def test_resumed_runs_end_where_uninterrupted_ones_do(
    cls: type, penalty: tuple[float, float]
) -> None:
    solvers = [make_solver(cls, tol=0.0, momentum=0.5), make_solver(cls, tol=0.0)]
    whole, resume, _ = runs_of(solvers, penalty, STOPPED)
    for expected, found in zip(whole, resume(), strict=True):
        assert found.reason == expected.reason
        assert np.array_equal(found.coef, expected.coef)
        lines = [(line.iteration, line.objective, line.passes) for line in found.history]
        assert lines == [(line.iteration, line.objective, line.passes) for line in expected.history]


def test_dual_ascent_keeps_its_best_point_and_its_bound() -> None:
    """The duals die with their executors; what they have proved of the minimum does not."""
    whole, resume, found = runs_of([CoCoA(tol=1e-3)], (0.0, 0.05), 4)
    [state] = read_run(io.BytesIO(found), [CoCoA()]).states
    [resumed] = resume()
    assert state.dual_files == {}
    assert state.bound > 0.0
    # within the duality gap that both stopped at
    assert resumed.objective == pytest.approx(whole[0].objective, rel=1e-3)
    assert resumed.objective <= state.objective
    assert resumed.history[-1].iteration > 4


def test_models_that_are_done_stay_done() -> None:
    problem = make_problem(Logistic(), seed=3, l2=0.05)
    penalty = problem.penalty(0.0, 0.05)
    solvers = [LBFGS(tol=0.5), LBFGS(tol=0.0)]
    runs: list[Run] = []
    start = np.repeat(problem.start(), 2, axis=0)
    whole = minimize(problem.objective, penalty, solvers, start, max_iter=6, keep=runs.append)
    assert runs[-1].reasons == (whole[0].reason, Reason("max_iter", 6))
    again = read_run(io.BytesIO(saved(runs[-1])), solvers)
    before = problem.objective.passes
    found = minimize(problem.objective, penalty, solvers, start, max_iter=6, resume=again)
    assert problem.objective.passes == before
    assert [each.reason for each in found] == [each.reason for each in whole]
    assert all(np.array_equal(a.coef, b.coef) for a, b in zip(found, whole, strict=True))


def run_of_everything() -> Run:
    """A run that holds each kind of value."""
    coef = np.array([1.0, -0.0, np.inf, 5e-324])
    factor = np.arange(16.0).reshape(4, 4)
    state = LBFGSState(
        coef,
        objective=float("nan"),
        iteration=7,
        here=Smooth(0.1, 0.2, coef, coef[::-1]),
        pairs=((coef, coef + 1.0, 0.3),),
        search=Search.along(0.1, -0.5, 0.25),
        reason="precision",
        progress=Progress(window=3, recent=(0.1, 1e300)),
    )
    line = Iteration(7, 0.1, 0.2, 0.3, 8, 0.5, float("nan"), 12)
    solver = LBFGS(curvature=factor)
    return Run((solver,), (state,), ((line,),), (Reason("converged", 7),), 8, 12, 0.5)


def test_what_is_read_is_what_was_written() -> None:
    run = run_of_everything()
    again = read_run(io.BytesIO(saved(run)), [LBFGS()])
    [old], [new] = run.states, again.states
    assert new.coef.tobytes() == old.coef.tobytes()
    assert new.here.subgradient.tobytes() == np.ascontiguousarray(old.here.subgradient).tobytes()
    assert np.isnan(new.objective)
    assert (new.progress, new.search, new.iteration) == (old.progress, old.search, 7)
    assert [part.tobytes() for part in new.pairs[0][:2]] == [
        part.tobytes() for part in old.pairs[0][:2]
    ]
    assert np.array_equal(again.solvers[0].curvature, run.solvers[0].curvature)
    assert again.reasons == run.reasons
    assert repr(again.histories) == repr(run.histories)
    # an array that several fields hold is written once
    assert new.here.gradient is new.coef


def test_other_solvers_and_classes_are_refused() -> None:
    content = saved(run_of_everything())
    with pytest.raises(ValueError, match="other solvers"):
        read_run(io.BytesIO(content), [LBFGS(), LBFGS()])
    foreign = content.replace(b'"LBFGSState"', b'"Popen_____"')
    with pytest.raises(ValueError, match="damaged"):
        read_run(io.BytesIO(foreign), [LBFGS()])


@pytest.mark.parametrize("shape", [[2, -2], [-1], [10**12], [1.5], ["4"], [5, 5, 5, 5]])
def test_arrays_that_are_not_there_are_refused(shape: list[Any]) -> None:
    text, values = members(saved(run_of_everything()))
    header = json.loads(text)
    header["run"]["fields"]["states"][0]["fields"]["coef"]["array"] = shape
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("run.json", json.dumps(header))
        archive.writestr("values", values)
    with pytest.raises(ValueError, match="damaged"):
        read_run(file, [LBFGS()])


def test_a_member_that_would_unpack_to_more_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("run.json", " " * 10**7)
        archive.writestr("values", b"")
    with pytest.raises(ValueError, match="larger than the file"):
        read_run(file, [LBFGS()])


CONTENT = saved(run_of_everything())


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 255), st.booleans())
def test_damaged_files_are_refused_or_harmless(place: int, byte: int, cut: bool) -> None:
    damaged = CONTENT[:place] if cut else CONTENT[:place] + bytes([byte]) + CONTENT[place + 1 :]
    try:
        found = read_run(io.BytesIO(damaged), [LBFGS()])
    except ValueError:
        return
    # a byte that carries nothing, such as the time of a member
    assert not cut
    assert members(saved(found)) == members(CONTENT)


def test_values_that_cannot_be_kept_are_named() -> None:
    state = State(np.arange(3))  # type: ignore[arg-type]
    run = Run((LBFGS(),), (state,), ((),), (None,), 0, 0, 0.0)
    with pytest.raises(TypeError, match="ndarray cannot be kept"):
        write_run(run, io.BytesIO())
