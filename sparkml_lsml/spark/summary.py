"""What a model remembers of its training."""

from dataclasses import dataclass

import pandas as pd

from sparkml_lsml.solvers import Iteration, Reason


@dataclass(frozen=True)
class TrainingSummary:
    """How a fit went.

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
    notes: tuple[str, ...] = ()

    @property
    def objectiveHistory(self) -> list[float]:
        """Objective (loss plus penalty) at each iteration, the start included."""
        return [line.objective for line in self.history]

    @property
    def totalIterations(self) -> int:
        """Number of iterations until the end."""
        return self.reason.iteration

    def __call__(self) -> "TrainingSummary":
        """The summary itself: in MLlib ``LinearSVCModel.summary`` is a method."""
        return self

    def to_pandas(self) -> pd.DataFrame:
        """The history as a table, one row an iteration."""
        return pd.DataFrame([vars(line) for line in self.history])

    def __str__(self) -> str:
        lines = [
            f"{self.rows:,} rows x {self.features:,} features in {self.partitions} blocks, "
            f"{self.nbytes / 2**20:.1f} MB",
            f"solver {self.solver} ({self.solver_reason})",
            f"{self.execution} execution ({self.execution_reason})",
            f"{self.reason}",
            f"{self.passes} passes, {self.seconds:.2f} s, of which {self.ingest_seconds:.2f} s "
            f"to read the rows; {self.sent / 2**20:.2f} MB sent",
            *self.notes,
            f"objective {self.objective:.9g}",
        ]
        return "\n".join(lines)
