"""Progress: what is shown where, and how long it says it takes."""

from __future__ import annotations

import io
import itertools
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.classification import LinearSVC, LogisticRegression
from sparkml_lsml.engine.solvers import Iteration
from sparkml_lsml.errors import DataError, ParamError
from sparkml_lsml.spark.cluster.jobs import JobGroup, surrounding_jobs
from sparkml_lsml.spark.watching import progress as room
from sparkml_lsml.spark.watching.callbacks import Fit, ModelOfFit
from sparkml_lsml.spark.watching.displays import LogLines, NotebookBar, TerminalLine
from sparkml_lsml.spark.watching.logs import JsonFormatter
from sparkml_lsml.spark.watching.progress import SETTING, Progress, tasks_of, time_left
from tests.faults import wait_for
from tests.spark.helpers import binary_rows, frame
from tests.terminal import Screen

ROOT = Path(__file__).resolve().parents[2]
nan = math.nan


def line(iteration: int, norm: float = nan, gap: float = nan, **more: Any) -> Iteration:
    """An iteration of two seconds, with an objective of 10."""
    passes = iteration + 1
    return Iteration(iteration, 10.0, norm, 1.0, passes, 2.0 * iteration, gap, **more)


def fit_of(*limits: int, tol: float = 1e-6) -> Fit:
    params = [{"maxIter": limit, "tol": tol} for limit in limits]
    models = tuple(ModelOfFit("LinearSVC", each, "l-bfgs") for each in params)
    return Fit("LinearSVC", models, 100, 4, "local")


# ---------------------------------------------------- time left


@pytest.mark.parametrize("measure", ["norm", "gap"])
def test_time_left_follows_a_linear_convergence(measure: str) -> None:
    """What falls by a tenth an iteration is at tol, relative to 10, in as many as digits lack."""
    lines = [line(k, **{measure: 10.0 * 10.0**-k}) for k in range(5)]
    # 1e-4 of the objective at iteration 4; 1e-7 at iteration 7, three iterations of 2 s later
    assert time_left(lines, 100, 1e-7) == pytest.approx((6.0, 192.0))
    # not beyond maxIter
    assert time_left(lines, 6, 1e-7) == pytest.approx((4.0, 4.0))
    # reached, and the loop just has not ended yet
    assert time_left(lines, 100, 1e-3) == pytest.approx((0.0, 192.0))


@pytest.mark.parametrize(
    ("norms", "tol"),
    [
        ([1.0, 2.0, 4.0, 8.0, 16.0], 1e-6),  # it rises
        ([1.0, 0.1, 0.01], 1e-6),  # too few for a trend
        ([1.0, 0.1, 0.01, 1e-3, 1e-4], 0.0),  # nothing to reach
        ([nan] * 6, 1e-6),
        ([0.0] * 6, 1e-6),
    ],
)
def test_time_left_without_a_trend_is_that_of_max_iter(norms: list[float], tol: float) -> None:
    lines = [line(k, norm) for k, norm in enumerate(norms)]
    most = 2.0 * (20 - (len(norms) - 1))
    assert time_left(lines, 20, tol) == (most, most)


# ---------------------------------------------------- the terminal


def terminal(width: int = 100, encoding: str = "utf-8") -> tuple[Any, Any]:
    """A terminal in memory, and what is written to it."""
    rich = pytest.importorskip("rich.console")
    written = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    console = rich.Console(file=written, force_terminal=True, width=width, legacy_windows=False)
    return TerminalLine(console), written.buffer


def shown(buffer: Any) -> list[str]:
    screen = Screen()
    screen.write(buffer.getvalue().decode())
    return screen.text()


def test_one_line_stays_in_a_terminal() -> None:
    display, written = terminal()
    progress = Progress("LinearSVC", display)
    display._live.refresh()
    [text] = shown(written)
    assert text[2:].startswith("LinearSVC: reading rows, 0.")
    progress.tasks = "3/8 tasks"
    assert "reading rows, 3/8 tasks, " in progress.text()
    fit = fit_of(50)
    progress.on_fit_begin(fit)
    assert "first pass" in progress.text()
    progress.tasks = ""
    for k in range(6):
        progress.on_iteration(fit, 0, line(k, 10.0**-k))
    display._live.refresh()
    [text] = shown(written)
    assert len(text) <= 100
    assert "iteration 5/50, 6 passes, objective 10, " in text
    # 1e-6 of the objective now: none is left
    assert text.endswith("about 0.0 s left (at most 90 s)")
    progress.close(KeyboardInterrupt())
    [text] = shown(written)
    assert text.startswith("LinearSVC: ended by KeyboardInterrupt after 0.")


def test_narrow_terminals_show_what_matters_most() -> None:
    progress = Progress("LinearSVC", LogLines())
    fit = fit_of(50)
    progress.on_fit_begin(fit)
    for k in range(3):
        progress.on_iteration(fit, 0, line(k, 0.5, validation=0.25))
    assert "objective 10, gradient 5.0e-01, validation 0.25, 0.0 s, at most" in progress.text()
    assert progress.text(60) == "LinearSVC: iteration 2/50, 0.0 s, at most 96 s left"


def test_no_end_is_foretold_in_an_iteration_that_takes_longer() -> None:
    progress = Progress("LinearSVC", LogLines())
    fit = fit_of(50)
    progress.on_fit_begin(fit)
    for k in range(3):
        progress.on_iteration(fit, 0, line(k))
    assert progress.text().endswith(" left")
    progress._heard -= 4.9  # iterations took 2 s each
    assert progress.text().endswith(" left")
    progress._heard -= 0.2
    assert progress.text().endswith("objective 10, 0.0 s")


def test_terminals_without_unicode_get_ascii() -> None:
    display, written = terminal(encoding="ascii")
    progress = Progress("LinearSVC", display)
    display._live.refresh()
    progress.close()
    assert written.getvalue().decode("ascii")


def test_models_that_share_passes_have_one_line() -> None:
    progress = Progress("LinearSVC", LogLines())
    fit = fit_of(50, 80)
    progress.on_fit_begin(fit)
    for k in range(3):
        for model in (0, 1):
            progress.on_iteration(fit, model, line(k))
    text = progress.text()
    assert text.startswith("LinearSVC: 2 models, iteration 2/80, 3 passes, ")
    # the one that may take 78 iterations more
    assert text.endswith("at most 2 min 36 s left")
    for k in range(3, 30):  # the second one has ended
        progress.on_iteration(fit, 0, line(k))
    assert progress.text().endswith("at most 42 s left")


def interrupted(work: Callable[[], Any], act: Callable[[], Any], moment: int) -> bool:
    """Do something at one step of the interpreter in this room; whether it came to that."""
    left = moment

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != room.__file__:
            return None
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if left == 0 and event == "opcode":
            act()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return left <= 0


@pytest.mark.parametrize("fit", [fit_of(20), fit_of(20, 30, 40)], ids=["fewer", "more"])
@pytest.mark.parametrize("during", ["drawing", "telling"])
def test_a_line_is_drawn_at_any_moment(fit: Fit, during: str) -> None:
    """As by its own thread: while a fit begins, and a fit begins while it is drawn."""
    for moment in itertools.count(1):
        progress = Progress("LinearSVC", LogLines())
        begun = fit_of(50, 80)
        progress.on_fit_begin(begun)
        for k, model in itertools.product(range(3), range(2)):
            progress.on_iteration(begun, model, line(k))

        def tell(progress: Progress = progress) -> None:
            progress.on_fit_begin(fit)
            progress.on_iteration(fit, len(fit.models) - 1, line(0))

        both = (progress.text, tell)
        if not interrupted(*(both if during == "drawing" else both[::-1]), moment):
            break
    assert moment > 30


class Broken:
    """A terminal that was closed."""

    def start(self, *_: Any) -> None:
        raise BrokenPipeError

    begin = update = stop = start


def test_a_display_that_fails_ends_no_fit() -> None:
    progress = Progress("LinearSVC", Broken())
    fit = fit_of(5)
    progress.on_fit_begin(fit)
    progress.on_iteration(fit, 0, line(0))
    progress.close()


def test_a_notebook_gets_a_bar_of_tqdm(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    progress = Progress("LinearSVC", NotebookBar())
    fit = fit_of(8)
    progress.on_fit_begin(fit)
    for k in range(4):
        progress.on_iteration(fit, 0, line(k))
    progress.close()
    screen = Screen()
    screen.write(capsys.readouterr().out)
    [text] = screen.text()
    assert "LinearSVC: iteration 3/8, 4 passes, objective 10" in text


# ---------------------------------------------------- tasks


def waiting(spark: SparkSession, partitions: int, until: Path) -> None:
    """A job whose tasks end when there is a file."""

    def wait(rows: Iterator[int]) -> Iterator[int]:
        while not until.exists():
            time.sleep(0.01)
        return rows

    spark.sparkContext.parallelize(range(partitions), partitions).mapPartitions(wait).count()


def test_tasks_of_other_jobs_are_not_counted(spark: SparkSession, tmp_path: Path) -> None:
    sc = spark.sparkContext
    tracker, end = sc.statusTracker(), tmp_path / "end"
    outer = JobGroup(sc, "outer")

    def ours() -> None:
        with outer.around(), JobGroup(sc, "inner", surrounding_jobs()).job("ours"):
            waiting(spark, 3, end)

    threads = [Thread(target=ours), Thread(target=waiting, args=(spark, 5, end))]
    try:
        for thread in threads:
            thread.start()
        wait_for(lambda: len(tracker.getActiveStageIds()) == 2, "both jobs")
        assert tasks_of(sc, outer.tag) == (0, 3)
        assert tasks_of(sc, JobGroup(sc, "another").tag) == (0, 0)
    finally:
        end.touch()
        for thread in threads:
            thread.join()
    wait_for(lambda: not tracker.getActiveStageIds(), "the end of both")
    assert tasks_of(sc, outer.tag) == (0, 0)


def test_all_jobs_of_a_fit_have_the_tag_that_is_counted(
    spark: SparkSession, rows: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags: list[str] = []

    def note(session: SparkSession, name: str, tag: str) -> Progress:
        tags.append(tag)
        return Progress(name, None)

    monkeypatch.setattr("sparkml_lsml.spark.training.training.progress_of", note)
    model = LogisticRegression(maxIter=3, tol=0.0, execution="distributed").fit(rows)
    [tag] = tags
    jobs = spark.sparkContext._jsc.sc().statusTracker().getJobIdsForTag(tag)
    # and one or more that read the rows
    assert len(list(jobs)) > model.summary.passes


# ---------------------------------------------------- the setting


@pytest.fixture
def rows(spark: SparkSession) -> DataFrame:
    return frame(spark, *binary_rows(60, 3))


@pytest.fixture
def setting(spark: SparkSession) -> Any:
    yield lambda value: spark.conf.set(SETTING, value)
    spark.conf.unset(SETTING)


def test_a_wrong_setting_is_refused(rows: DataFrame, setting: Any) -> None:
    setting("loud")
    with pytest.raises(ParamError, match="expected one of auto, on, off, log"):
        LogisticRegression().fit(rows)


def test_off_a_terminal_progress_goes_to_the_log(
    rows: DataFrame,
    setting: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fit = LogisticRegression(maxIter=3, tol=0.0, regParam=0.1)
    capfd.readouterr()
    fit.fit(rows)
    assert capfd.readouterr() == ("", "")
    caplog.clear()
    caplog.set_level(logging.INFO, "sparkml_lsml.progress")
    for mode in ("auto", "log"):
        setting(mode)
        model = fit.fit(rows)
        mine = [record for record in caplog.records if record.name == "sparkml_lsml.progress"]
        caplog.clear()
        first, start, last = [record.getMessage() for record in mine]
        assert first.startswith("LogisticRegression: reading rows, ")
        assert start.startswith("LogisticRegression: iteration 0/3, 1 pass, objective ")
        objective = f"{model.summary.objective:.6g}"
        passes = model.summary.passes
        assert f"max_iter at iteration 3, {passes} passes, objective {objective}, " in last
        lines = [json.loads(JsonFormatter().format(record)) for record in mine]
        assert [each["event"] for each in lines] == ["reading", "iteration", "end"]
        assert lines[1]["objective"] == model.summary.history[0].objective
        assert lines[1]["gap"] is None
        assert lines[1]["message"] == start
        assert lines[2]["level"] == "INFO"
    setting("off")
    fit.fit(rows)
    assert not caplog.records[1:]  # but for the warning of maxIter


def test_a_piece_has_a_line_of_its_passes(
    rows: DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sparkml_lsml.progress")
    summary = LinearSVC().partialFit(rows).summary
    mine = [record for record in caplog.records if record.name == "sparkml_lsml.progress"]
    first, start, last = [record.getMessage() for record in mine]
    assert first.startswith("LinearSVC: reading rows, ")
    assert start.startswith("LinearSVC: iteration 0/1, 1 pass, objective ")
    objective = f"{summary.objective:.6g}"
    assert f"piece at iteration 1, {summary.passes} passes, objective {objective}, " in last


def test_on_shows_a_line_where_no_terminal_is_found(
    rows: DataFrame, setting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    setting("on")
    LogisticRegression(maxIter=3, tol=0.0).fit(rows)
    with pytest.raises(DataError):
        LinearSVC().fit(rows.where("label > 5"))
    screen = Screen()
    screen.write(written.getvalue())
    done, failed = screen.text()
    assert done.startswith("LogisticRegression: max_iter at iteration 3, ")
    assert failed.startswith("LinearSVC: ended by NoRowsError after ")
    assert room._showing.acquire(blocking=False)
    room._showing.release()


def test_without_rich_there_is_the_log(
    rows: DataFrame,
    setting: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("rich", "rich.console", "rich.live"):
        monkeypatch.setitem(sys.modules, name, None)
    setting("on")
    caplog.set_level(logging.INFO, "sparkml_lsml.progress")
    LogisticRegression(maxIter=3).fit(rows)
    assert "reading rows" in caplog.text
