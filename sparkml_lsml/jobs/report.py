"""The report of a job: one JSON document that says what was done, with what, and how well."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import SparkSession

import sparkml_lsml
from sparkml_lsml.jobs import redaction
from sparkml_lsml.jobs.base import Section

SCHEMA_VERSION = 1
"""Raised when a key of the report is renamed, removed, or changes its meaning."""


class Report:
    """What a job has to tell; filled in while it runs.

    Parameters
    ----------
    job
        ``train``, ``tune``, ``score`` or ``evaluate``.
    config
        Its configuration; secrets are masked and references to the environment stay references.
    spark
        The session it runs in.

    Attributes
    ----------
    rows
        Number of rows by part, e.g. ``training`` and ``held_out``.
    metrics
        As `metrics.compute` returns them; None where nothing was evaluated.
    training
        As `training_summary` returns it; None where nothing was trained.
    search
        As `search.summary` returns it; None, and left out, where nothing was searched.
    seconds
        Time by step.
    outputs
        Path by key of the configuration.
    """

    def __init__(self, job: str, config: Section, spark: SparkSession) -> None:
        self.job = job
        self.config = config
        self.spark_version = spark.version
        self.started = datetime.now(UTC)
        self.rows: dict[str, int] = {}
        self.metrics: dict[str, Any] | None = None
        self.training: dict[str, Any] | None = None
        self.search: dict[str, Any] | None = None
        self.seconds: dict[str, float] = {}
        self.outputs: dict[str, str] = {}

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time that the body takes to `seconds`."""
        start = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - start, 3)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, finished now."""
        finished = datetime.now(UTC)
        return {
            "schema_version": SCHEMA_VERSION,
            "job": self.job,
            "package_version": sparkml_lsml.__version__,
            "spark_version": self.spark_version,
            "started": self.started.isoformat(timespec="milliseconds"),
            "finished": finished.isoformat(timespec="milliseconds"),
            "seconds": {
                **self.seconds,
                "total": round((finished - self.started).total_seconds(), 3),
            },
            "rows": self.rows,
            "metrics": self.metrics,
            **({} if self.search is None else {"search": self.search}),
            "training": self.training,
            "outputs": redaction.public(self.outputs),
            "config": redaction.public(self.config.model_dump(by_alias=True)),
        }

    def to_json(self) -> str:
        """Return the report as JSON; a number that is not finite becomes null."""
        return json.dumps(_finite(self.to_dict()), indent=2, allow_nan=False) + "\n"


def training_summary(model: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Tell how the fit of a model went, as far as the model knows.

    Parameters
    ----------
    model
        The last stage of a fitted pipeline.
    params
        Params of the estimator as they were configured.

    Returns
    -------
    dict
        Always ``model`` (the class) and ``params``; ``num_features`` and, where the model has a
        summary, ``solver``, ``reason`` (why it stopped), ``iterations``, ``passes`` over the data,
        ``execution``, the ``objective``, and ``notes``: what the fit, or a search, did of its own
        accord.
    """
    result: dict[str, Any] = {"model": type(model).__name__, "params": params}
    features = getattr(model, "numFeatures", None)
    if isinstance(features, int) and features >= 0:
        result["num_features"] = features
    summary = _summary(model)
    if summary is None:
        return result
    return {
        **result,
        "solver": getattr(summary, "solver", None),
        "reason": _text(getattr(summary, "reason", None)),
        "iterations": getattr(summary, "totalIterations", None),
        "passes": getattr(summary, "passes", None),
        "execution": getattr(summary, "execution", None),
        "objective": getattr(summary, "objective", None),
        "notes": list(getattr(summary, "notes", ())),
    }


def _summary(model: Any) -> Any:
    # `summary` is a property in some of MLlib's classes, a method in others; either raises where
    # there is none.
    if not getattr(model, "hasSummary", False):
        return None
    summary = model.summary
    return summary() if callable(summary) else summary


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
