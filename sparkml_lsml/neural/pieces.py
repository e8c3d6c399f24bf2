"""Networks that learn from one piece of rows after another."""

from dataclasses import replace
from typing import Any

import numpy as np

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.kernels.schedules import Schedule
from sparkml_lsml.engine.solvers import LocalSteps, Reason, Solution, minimize
from sparkml_lsml.errors import DivergedError, ParamError
from sparkml_lsml.spark.models.pieces import Pieces
from sparkml_lsml.spark.training.partial import Update, enter, leave


class RoundUpdate(Update):
    """A round of local steps over the piece."""

    solver = "local-steps"
    steps = "a round of local steps"

    @staticmethod
    def check(estimator: Any) -> None:
        """See `Update.check`: the end of a schedule is not known."""
        if estimator.value("learningRate") == "cosine":
            raise ParamError(
                f"{type(estimator).__name__}: partialFit does not know how many pieces there are, "
                "found learningRate='cosine': expected 'constant' or 'invscaling'"
            )

    def run(self, piece: Report) -> tuple[Solution, Pieces]:
        """See `Update.run`."""
        settings, before, objective = self._settings, self._before, self.objective
        solver = self._member.solver(self._units)
        assert isinstance(solver, LocalSteps)
        epochs = settings.localEpochs
        shape: Any = settings.learningRate or "constant"
        rate = Schedule(1.0, shape, settings.powerT).at(before.epochs)
        [seed] = np.random.SeedSequence((settings.seed, before.number)).generate_state(1)
        solver = replace(
            solver,
            schedule="constant",
            step_size=rate * solver.step_size,
            warmup=0.0,
            max_epochs=epochs,
            tol=0.0,
            seed=int(seed),
        )
        start = enter(self._units, self._iterate)
        [found] = minimize(objective, self._penalty, solver, start[None, :], max_iter=epochs)
        if found.reason.name == "diverged":
            raise DivergedError(f"{settings.estimator}: {found.reason}")
        batches = epochs * max(1.0, objective.rows_per_block / settings.batchSize)
        last = found.history[-1]
        history = (
            replace(found.history[0], iteration=0),
            replace(last, iteration=1, objective=found.objective),
        )
        coef = leave(self._units, found.coef, self._iterate)
        solution = replace(found, coef=coef, history=history, reason=Reason("piece", 1))
        return solution, self._after(piece, found.coef, batches, 1.0)
