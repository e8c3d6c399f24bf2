"""What a model remembers of its training."""

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparkml_lsml.display import html, plots, text
from sparkml_lsml.engine.solvers import Iteration, Reason
from sparkml_lsml.errors import ParamError, SourceChangedError
from sparkml_lsml.spark.models.evaluation import RowsSummary
from sparkml_lsml.worker.counting import Tally

Array = npt.NDArray[np.float64]

LINES_AS_TEXT, LINES_AS_HTML = 11, 15
"""Iterations that are shown; those in the middle are left out."""


@dataclass(frozen=True)
class TrainingSummary(RowsSummary):
    """How a fit went.

    Those of the estimators also have the metrics of the training rows, which are computed when the
    first of them is asked for, and then kept; see `RowsSummary`. Where the source was overwritten
    or removed by then, that is a `SourceChangedError`: ask for one before.

    Attributes
    ----------
    history : tuple of Iteration
        One line an iteration: objective, norm of the gradient, step, passes, seconds, duality gap,
        bytes sent. Of a solver that only estimates the objective on its way, or smooths the loss,
        this is the estimate.
    objective : float
        Loss plus penalty at the solution, over all rows.
    reason : Reason
        Why the solver stopped, and what to do about it.
    solver : str
        The solver that ran, and in ``solver_reason`` why it was chosen.
    solver_reason : str
    execution : str
        ``local`` where the rows fitted the driver, else ``distributed``; ``execution_reason`` says
        why.
    execution_reason : str
    rows, features, partitions : int
    nbytes : int
        Bytes of the packed rows.
    ingest_seconds, seconds : float
        Seconds to read and pack the rows, and of the whole fit.
    passes : int
        Passes over the packed rows.
    sent : int
        Bytes that the passes sent between the driver and executors: what a pass needs, once for
        each executor, and what it found, once for each partition.
    reading : str
        Who read the rows: Spark, or tasks that read Parquet files past it; and why.
    notes : tuple of str
        What the fit did of its own accord, such as shuffling sorted rows.
    """

    history: tuple[Iteration, ...]
    objective: float
    reason: Reason
    solver: str
    solver_reason: str
    execution: str
    execution_reason: str
    rows: int
    features: int
    partitions: int
    nbytes: int
    ingest_seconds: float
    seconds: float
    passes: int
    sent: int = 0
    reading: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, summary: "TrainingSummary", **more: Any) -> Self:
        """The summary of any fit as one of this class, with what that adds."""
        known = {one.name: getattr(summary, one.name) for one in fields(summary)}
        return cls(**known, **more)

    def _check_tally(self, tally: Tally) -> None:
        if tally.rows != self.rows:
            raise SourceChangedError(
                f"metrics are computed when the first of them is asked for: found {tally.rows:,} "
                f"rows, the model was trained on {self.rows:,}. The source has changed, or is not "
                "deterministic. Ask for a metric before it changes, which keeps them all, or call "
                "model.evaluate(frame)"
            )

    @property
    def objectiveHistory(self) -> list[float]:
        """Objective (loss plus penalty) at each iteration, the start included."""
        return [line.objective for line in self.history]

    @property
    def totalIterations(self) -> int:
        """Number of iterations until the end."""
        return self.reason.iteration

    def __call__(self) -> Self:
        """The summary itself: in MLlib ``LinearSVCModel.summary`` is a method."""
        return self

    def to_pandas(self) -> pd.DataFrame:
        """The history as a table, one row an iteration."""
        return pd.DataFrame([vars(line) for line in self.history])

    def plot(
        self,
        value: Literal["suboptimality", "objective", "gradient_norm"] = "suboptimality",
        by: Literal["iteration", "passes", "seconds"] = "iteration",
        ax: Any = None,
    ) -> Any:
        """Draw how the fit converged.

        Parameters
        ----------
        value : {"suboptimality", "objective", "gradient_norm"}
            ``suboptimality`` is the objective less the best that was seen, on a log scale, with the
            duality gap, which bounds it, where the solver has one. A fit of less than three
            iterations shows the objective; one with validation rows the objective and their loss.
        by : {"iteration", "passes", "seconds"}
        ax : matplotlib Axes, optional
            A new figure by default.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ParamError
            If ``value`` or ``by`` is none of these.
        ImportError
            If matplotlib is not installed.
        """
        if value not in ("suboptimality", "objective", "gradient_norm"):
            raise ParamError(
                f"value={value!r}: expected 'suboptimality', 'objective' or 'gradient_norm'"
            )
        if by not in ("iteration", "passes", "seconds"):
            raise ParamError(f"by={by!r}: expected 'iteration', 'passes' or 'seconds'")
        x = np.array([float(getattr(line, by)) for line in self.history])
        objective = np.array(self.objectiveHistory)
        held_out = np.array([line.validation for line in self.history])
        if value == "gradient_norm":
            norms = np.array([line.gradient_norm for line in self.history])
            lines, label = [("", norms)], "norm of the gradient"
        elif np.isfinite(held_out).any():
            # the training loss of these fits is not driven to its minimum
            lines = [("objective", objective), ("validation loss", held_out)]
            value, label = "objective", "loss"
        elif value == "objective" or len(x) < 3:
            value, lines, label = "objective", [("", objective)], "objective"
        else:
            lines, label = [("objective − best", self._above_best())], "objective − best"
            gap = np.array([line.gap for line in self.history])
            if np.isfinite(gap).any():
                lines.append(("duality gap", gap))
                label = "distance from the minimum"
        return plots.convergence(x, lines, by, label, value != "objective", ax)

    def _above_best(self) -> Array:
        objective = np.array(self.objectiveHistory)
        best: float = np.nanmin(np.append(objective, self.objective))
        return objective - best

    def _facts(self) -> list[tuple[str, str]]:
        sent = f", {text.size(self.sent)} sent" if self.sent else ""
        found = [
            ("stopped", str(self.reason)),
            ("solver", f"{self.solver} ({self.solver_reason})"),
            ("execution", f"{self.execution} ({self.execution_reason})"),
            (
                "rows",
                f"{self.rows:,} x {self.features:,} features in {self.partitions:,} "
                f"block{'s' * (self.partitions != 1)}, {text.size(self.nbytes)}",
            ),
            ("read", self.reading),
            (
                "time",
                f"{text.seconds(self.seconds)}, of which {text.seconds(self.ingest_seconds)} to "
                "read the rows",
            ),
            ("passes", f"{self.passes:,}{sent}"),
            ("objective", f"{self.objective:.9g}"),
        ]
        return found + [("note", note) for note in self.notes]

    def _iterations(self, most: int) -> tuple[list[str], list[Any]]:
        """Header and lines of the history; columns that say nothing are left out."""
        columns = {
            "iteration": [f"{line.iteration:,}" for line in self.history],
            "objective": [f"{line.objective:.9g}" for line in self.history],
            "gradient": [_short(line.gradient_norm) for line in self.history],
            "gap": [_short(line.gap) for line in self.history],
            "step": [_short(line.step_size) for line in self.history],
            "passes": [f"{line.passes:,}" for line in self.history],
            "seconds": [f"{line.seconds:.3f}" for line in self.history],
            "sent": [text.size(line.sent) if line.sent else "" for line in self.history],
        }
        shown = {name: cells for name, cells in columns.items() if any(cells)}
        rows = [list(row) for row in zip(*shown.values(), strict=True)]
        return list(shown), text.shortened(rows, most)

    def __str__(self) -> str:
        known = self._headline() if self.computed else []
        lines = [text.facts(self._facts() + [(name, text.number(x)) for name, x in known])]
        if self.history:
            lines += ["", text.table(*self._iterations(LINES_AS_TEXT))]
        return "\n".join(lines)

    def _html_parts(self) -> list[str]:
        parts = [html.facts(self._facts())]
        if self.computed:
            parts += [html.heading("Training rows"), *super()._html_parts()]
        elif self.evaluation is not None and self._shown:
            # a notebook that shows a model should not read all its rows for that
            hint = f"Metrics of the training rows are computed on demand: summary.{self._shown[0]}"
            parts.append(html.paragraph(hint))
        if self.history:
            above = self._above_best()
            logarithm = np.full(len(above), np.nan)
            np.log10(above, out=logarithm, where=above > 0.0)
            line = html.sparkline(logarithm, "objective − best, on a log scale")
            parts.append(html.heading("Iterations"))
            parts += [line, html.table(*self._iterations(LINES_AS_HTML))]
        return parts


def _short(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"
