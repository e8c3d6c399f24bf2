"""Progress of a fit: one line on the terminal or in a notebook, or lines of the log."""

import contextlib
import json
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pyspark import SparkContext
from pyspark.sql import SparkSession

from sparkml_lsml.engine.solvers import Iteration
from sparkml_lsml.errors import ParamError
from sparkml_lsml.spark.cluster.session import classic
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.watching.callbacks import Fit
from sparkml_lsml.spark.watching.displays import Display, LogLines, NotebookBar, TerminalLine

SETTING = "spark.sparkml_lsml.progress"
"""Spark setting of how progress is shown; may be changed between two fits."""

MODES = ("auto", "on", "off", "log")

WINDOW = 10
"""Iterations that the pace and the trend are taken from."""

LEAST_TREND = 5
"""Iterations without which there is no trend."""

SILENT = 20
"""Passes without an iteration after which a model counts as done; line searches take fewer."""

GRACE = 1.0
"""Seconds that an iteration may take beyond twice its time before no end is foretold."""

TICK = 0.2
"""Seconds between two looks at Spark; its own bar appears half a second after the last job."""

Goals = list[tuple[int, float]]
"""``maxIter`` and ``tol`` of each model."""

_showing = threading.Lock()
"""Held by the fit whose line is shown; others of this process, at the same time, are logged."""


class Progress:
    """Shows how far one training is: what its callbacks are told, and that rows are read.

    Whatever goes wrong in here ends the display and not the fit.

    Parameters
    ----------
    name : str
        Of what is fitted.
    display : Display
    close : callable, optional
        To be called at the end.
    """

    def __init__(
        self, name: str, display: Display | None, close: Callable[[], None] = lambda: None
    ) -> None:
        self._name, self._display, self._close = name, display, close
        self._started = self._heard = time.monotonic()
        # one attribute, since a display looks at both from its thread at any time
        self._told: tuple[Goals, dict[int, deque[Iteration]]] = [], {}
        self.tasks = ""
        self._end = ""
        self._show(lambda display: display.start(self.text, {"fit": name, "event": "reading"}))

    def on_fit_begin(self, fit: Fit) -> None:
        """See `FitCallback`."""
        goals = [(m.params["maxIter"], m.params["tol"]) for m in fit.models]
        self._told, self._end = (goals, {}), ""
        limit = max(limit for limit, _ in goals)
        self._show(lambda display: display.begin(limit))

    def on_iteration(self, fit: Fit, model: int, iteration: Iteration) -> None:
        """See `FitCallback`."""
        if self._display is None:
            return
        self._heard = time.monotonic()
        _, told = self._told
        told.setdefault(model, deque(maxlen=WINDOW)).append(iteration)
        facts = {"fit": self._name, "event": "iteration", "model": model} | vars(iteration)
        self._show(lambda display: display.update(iteration.iteration, facts))

    def on_fit_end(
        self,
        fit: Fit,
        summaries: Sequence[TrainingSummary | None],
        error: BaseException | None,
    ) -> None:
        """See `FitCallback`."""
        found = [summary for summary in summaries if summary is not None]
        if error is not None:
            return
        if not found:
            self._end = "diverged"
            return
        seconds = f"{_duration(time.monotonic() - self._started)}"
        reasons = {str(summary.reason).partition(":")[0] for summary in found}
        many = f"{len(fit.models)} models, " if len(fit.models) > 1 else ""
        objective = "" if many else f", objective {found[0].objective:.6g}"
        what = reasons.pop() if len(reasons) == 1 else "done"
        self._end = f"{what}, {many}{_count(found[0].passes, 'pass')}{objective}, {seconds}"

    def close(self, error: BaseException | None = None) -> None:
        """Leave the last line as it is, and stop."""
        if error is not None:
            after = _duration(time.monotonic() - self._started)
            self._end = f"ended by {type(error).__name__} after {after}"
        facts = {"fit": self._name, "event": "end", "error": error and type(error).__name__}
        try:
            self._show(lambda display: display.stop(facts))
        finally:
            self._display = None
            self._close()

    def text(self, width: int = 200) -> str:
        """The line, of at most so many characters where that can be."""
        head = f"{self._name}: "
        if end := self._end:
            return head + end
        goals, told = self._told
        known = {k: found for k, lines in list(told.items()) if (found := list(lines))}
        if not known:
            elapsed = _duration(time.monotonic() - self._started)
            what = "first pass" if goals else "reading rows"
            return head + ", ".join(part for part in (what, self.tasks, elapsed) if part)
        ahead = max((lines[-1] for lines in known.values()), key=lambda line: line.passes)
        limit = max(limit for limit, _ in goals)
        many = f"{len(goals)} models, " if len(goals) > 1 else ""
        parts = {
            "iteration": f"{many}iteration {ahead.iteration}/{limit}",
            "passes": _count(ahead.passes, "pass"),
            "objective": f"objective {ahead.objective:.6g}",
            "gradient": f"gradient {ahead.gradient_norm:.1e}",
            "gap": f"gap {ahead.gap:.1e}",
            "validation": f"validation {ahead.validation:.6g}",
            "tasks": self.tasks,
            "time": self._time_left(goals, known),
        }
        for name in ("gradient_norm", "gap", "validation"):
            if not math.isfinite(getattr(ahead, name)):
                del parts[name.partition("_")[0]]
        if many:
            del parts["objective"]
        # on a narrow terminal the time that is left is worth more than the rest
        for name in ("", "tasks", "gradient", "gap", "passes", "validation", "objective"):
            parts.pop(name, None)
            line = head + ", ".join(part for part in parts.values() if part)
            if len(line) <= width:
                break
        return line

    def _time_left(self, goals: Goals, known: dict[int, list[Iteration]]) -> str:
        elapsed = _duration(time.monotonic() - self._started)
        newest = max(lines[-1].passes for lines in known.values())
        # a model of which nothing was heard for a while has come to its end
        found = [
            time_left(lines, *goals[k])
            for k, lines in known.items()
            if len(lines) > 1 and lines[-1].passes > newest - SILENT
        ]
        if not found:
            return elapsed
        last = max(_pace(lines) for lines in known.values())
        if time.monotonic() - self._heard > 2.0 * last + GRACE:
            return elapsed  # this iteration searches longer than those before: who knows how long
        about, most = (max(times) for times in zip(*found, strict=True))
        if about < most:
            return f"{elapsed}, about {_duration(about)} left (at most {_duration(most)})"
        return f"{elapsed}, at most {_duration(most)} left"

    def _show(self, what: Callable[[Display], None]) -> None:
        if self._display is not None:
            try:
                what(self._display)
            except Exception:  # a terminal that was closed, a notebook without its widgets
                self._display = None


def time_left(lines: Sequence[Iteration], max_iter: int, tol: float) -> tuple[float, float]:
    """Seconds to the end of a model: by the trend, and at most.

    The trend is a straight line through the logarithms of what ``tol`` is compared with, the
    duality gap or the norm of the gradient relative to the objective: methods that converge
    linearly follow it. Where it does not fall, or there is none, both are the time to ``max_iter``.

    Parameters
    ----------
    lines : sequence of Iteration
        The last ones, two or more.
    max_iter : int
    tol : float
    """
    last = lines[-1]
    pace = _pace(lines)
    most = max(0, max_iter - last.iteration)
    gaps = [line.gap if math.isfinite(line.gap) else line.gradient_norm for line in lines]
    sizes = [max(abs(line.objective), 1e-300) for line in lines]
    measures = np.array(gaps) / np.array(sizes)
    if tol <= 0.0 or len(lines) < LEAST_TREND or not (measures > 0.0).all():
        return most * pace, most * pace
    if not np.isfinite(measures).all():
        return most * pace, most * pace
    slope = float(np.polyfit([line.iteration for line in lines], np.log(measures), 1)[0])
    to_go = math.log(measures[-1] / tol)
    if to_go <= 0.0:
        return 0.0, most * pace
    about = min(float(most), to_go / -slope) if slope < 0.0 else float(most)
    return about * pace, most * pace


def _pace(lines: Sequence[Iteration]) -> float:
    """Seconds an iteration."""
    first, last = lines[0], lines[-1]
    return (last.seconds - first.seconds) / max(1, last.iteration - first.iteration)


def progress_of(session: SparkSession, name: str, tag: str) -> Progress:
    """The progress of a fit, shown as the setting `SETTING` says.

    Parameters
    ----------
    session : SparkSession
    name : str
        Of what is fitted.
    tag : str
        Of the jobs whose tasks are counted.

    Raises
    ------
    ParamError
        If it is none of `MODES`.
    """
    sc = classic(session)
    mode = str(session.conf.get(SETTING, "auto") or "auto")
    if mode not in MODES:
        raise ParamError(
            f"{SETTING}={mode!r}: expected one of {', '.join(MODES)}. Set it with "
            f"spark.conf.set('{SETTING}', 'auto')"
        )
    if mode == "off":
        return Progress(name, None)
    display: Display | None = None
    if mode != "log" and _showing.acquire(blocking=False):
        display = _display(shown=mode == "on")
        if display is None:
            _showing.release()
    if display is None:
        return Progress(name, LogLines())
    ended = threading.Event()

    def close() -> None:
        ended.set()
        _showing.release()

    progress = Progress(name, display, close)
    ticker = threading.Thread(target=_look, args=(sc, tag, progress, ended), daemon=True)
    ticker.start()
    return progress


def _display(shown: bool) -> Display | None:
    """What shows a line here; None if nothing does."""
    with contextlib.suppress(ImportError):
        if "ipykernel" in sys.modules and NotebookBar.fits():
            return NotebookBar()
        if shown or sys.stderr.isatty():
            return TerminalLine.made(shown)
    return None


def _look(sc: SparkContext, tag: str, progress: Progress, ended: threading.Event) -> None:
    """Count tasks, and keep Spark's own bar, which writes over the same line, from appearing.

    There is one bar for all threads of the session: it is hidden from each of them.
    """
    with contextlib.suppress(Exception):  # the context may be stopped at any time
        found = sc._jsc.sc().progressBar()
        bar = found.get() if found.isDefined() else None
        while not ended.wait(TICK):
            if bar is not None:
                bar.finishAll()
            done, tasks = tasks_of(sc, tag)
            progress.tasks = f"{done:,}/{tasks:,} tasks" if tasks else ""


def tasks_of(sc: SparkContext, tag: str) -> tuple[int, int]:
    """Tasks of the stages that run now for jobs with a tag: those that are done, and all."""
    tracker: Any = sc._jsc.sc().statusTracker()
    arrays: Any = sc._jvm.java.util.Arrays  # type: ignore[union-attr]

    def numbers(array: Any) -> set[int]:
        # each number of an array is a call of its own
        return set(json.loads(arrays.toString(array)))

    running = numbers(tracker.getActiveStageIds())
    jobs = numbers(tracker.getActiveJobIds()) if running else set()
    stages: set[int] = set()
    for job in jobs & numbers(tracker.getJobIdsForTag(tag)) if jobs else ():
        info = tracker.getJobInfo(job)
        if info.isDefined():
            stages |= numbers(info.get().stageIds())
    infos = [tracker.getStageInfo(stage) for stage in running & stages]
    known = [info.get() for info in infos if info.isDefined()]
    return sum(info.numCompletedTasks() for info in known), sum(info.numTasks() for info in known)


def _duration(seconds: float) -> str:
    if seconds < 10.0:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 6_000:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 'es'}"
