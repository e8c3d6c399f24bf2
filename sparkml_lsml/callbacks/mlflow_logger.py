"""A callback that logs a fit to MLflow."""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sparkml_lsml.engine.solvers import Iteration
from sparkml_lsml.errors import BackendError
from sparkml_lsml.spark.folders.matrices import to_json
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.watching.callbacks import Fit, FitCallback, ModelOfFit

FLUSH_SECONDS = 2.0
"""How long lines wait for others, at most: each call of a tracking server takes its time."""

MOST_METRICS, MOST_PARAMS = 1_000, 100
"""What MLflow takes in one call."""

MOST_CHARACTERS = 6_000
"""Of the value of a Param, in MLflow."""

FITS = "sparkml_lsml.fits"
"""Tag of a run: how many fits were logged to it."""


class MLflowLogger(FitCallback):
    """Log metrics an iteration, Params, the reason why the fit stopped, and its summary.

    The metrics are the numbers of an `Iteration` (``objective``, ``gradient_norm``, ``validation``,
    ...), with the iteration as their step. At the end come ``rows`` and ``features`` as metrics,
    the tag ``reason``, and the summary as ``summary.txt``. Where several models are trained
    together, names begin with the number of the model, as in ``model_3/objective``, and Params
    that all of them have in common are logged once. A second fit to the same run, such as that of
    the best model after a search, begins with ``fit_2/``, whichever logger logged the first: the
    tag ``sparkml_lsml.fits`` of the run counts them.

    It needs the extra ``mlflow``. A logger serves one fit at a time: give each of those that run
    in threads at the same time its own, and a run of its own.

    Parameters
    ----------
    run_id : str, optional
        The run to log to; by default the one that is active when the fit begins. Give it where
        fits run in threads, as those of a stream do, since a run is active in its own thread only.

    Raises
    ------
    BackendError
        From ``fit``, when MLflow is not installed, or no run is active.

    Examples
    --------
    ::

        with mlflow.start_run():
            LogisticRegression().setCallbacks([MLflowLogger()]).fit(df)
    """

    def __init__(self, run_id: str | None = None) -> None:
        self._given = run_id
        self._run = self._prefix = ""
        self._waiting: list[Any] = []
        self._flushed = 0.0

    def on_fit_begin(self, fit: Fit) -> None:
        """Log the Params."""
        self._run = ""  # if this fit does not begin, its end is not that of the one before
        mlflow = _mlflow()
        active = mlflow.active_run()
        if self._given is None and active is None:
            raise BackendError(
                "no MLflow run is active in this thread: expected one to log the fit to. Put the "
                "fit into 'with mlflow.start_run():', or give MLflowLogger a run_id"
            )
        run = self._given or active.info.run_id
        self._client = mlflow.MlflowClient()
        number = int(self._client.get_run(run).data.tags.get(FITS, 0)) + 1
        self._client.set_tag(run, FITS, number)
        self._run, self._prefix = run, f"fit_{number}/" if number > 1 else ""
        params = [
            mlflow.entities.Param(name, value[:MOST_CHARACTERS])
            for name, value in _params(fit.models, self._prefix).items()
        ]
        self._metric = mlflow.entities.Metric
        self._waiting, self._flushed = [], time.monotonic()
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._run, params=params[first : first + MOST_PARAMS])

    def on_iteration(self, fit: Fit, model: int, iteration: Iteration) -> None:
        """Log the numbers of the iteration, at once or with the next ones."""
        values = dataclasses.asdict(iteration)
        step = values.pop("iteration")
        self._add(fit, model, values, step)
        due = time.monotonic() - self._flushed >= FLUSH_SECONDS
        if due or len(self._waiting) >= MOST_METRICS:
            self._flush()

    def on_fit_end(
        self,
        fit: Fit,
        summaries: Sequence[TrainingSummary | None],
        error: BaseException | None,
    ) -> None:
        """Log what is left, the reasons, and the summaries."""
        if not self._run:
            return  # it has not begun
        for model, summary in enumerate(summaries):
            if summary is not None:
                facts = {"rows": summary.rows, "features": summary.features}
                self._add(fit, model, facts, summary.totalIterations)
        self._flush()
        for model, summary in enumerate(summaries):
            name = self._name(fit, model)
            if summary is not None:
                self._client.set_tag(self._run, f"{name}reason", str(summary.reason))
                self._client.log_text(self._run, str(summary), f"{name}summary.txt")
            else:
                reason = "diverged" if error is None else f"failed: {type(error).__name__}"
                self._client.set_tag(self._run, f"{name}reason", reason)

    def _name(self, fit: Fit, model: int) -> str:
        return self._prefix + (f"model_{model}/" if len(fit.models) > 1 else "")

    def _add(self, fit: Fit, model: int, values: Mapping[str, float], step: int) -> None:
        name, now = self._name(fit, model), int(1_000 * time.time())
        self._waiting += [
            self._metric(f"{name}{key}", float(value), now, step)
            for key, value in values.items()
            if math.isfinite(value)
        ]

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), MOST_METRICS):
            self._client.log_batch(self._run, metrics=waiting[first : first + MOST_METRICS])
        self._flushed = time.monotonic()


def _mlflow() -> Any:
    try:
        import mlflow
    except ImportError as error:
        raise BackendError(
            "MLflowLogger needs MLflow, which is not installed: pip install 'sparkml_lsml[mlflow]'"
        ) from error
    return mlflow


def _params(models: Sequence[ModelOfFit], prefix: str) -> dict[str, str]:
    """Params as text: those of all models once, others a model."""
    told = [
        {"estimator": model.estimator}
        | {name: text for name, value in model.params.items() if (text := _text(value))}
        | {"solver": model.solver}
        | {
            name: str(number)
            for name in ("held_out", "replicate", "positive")
            if (number := getattr(model, name)) >= 0
        }
        for model in models
    ]
    common = {
        name: value
        for name, value in told[0].items()
        if all(name in other and other[name] == value for other in told)
    }
    found = {f"{prefix}{name}": value for name, value in common.items()}
    for number, own in enumerate(told):
        for name, value in own.items():
            if name not in common:
                found[f"{prefix}model_{number}/{name}"] = value
    return found


def _text(value: Any) -> str:
    return str(to_json(value)) if hasattr(value, "toArray") else str(value)
