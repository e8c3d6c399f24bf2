"""Training, tuning, scoring and evaluation for ``spark-submit``, each described by a YAML file.

Needs the extra ``sparkml_lsml[jobs]``; nothing else in the package imports this room.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    import pydantic  # noqa: F401
    import rich  # noqa: F401
    import typer  # noqa: F401
    import yaml  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"the jobs need the module {error.name}: pip install 'sparkml_lsml[jobs]'", name=error.name
    ) from None

from sparkml_lsml.jobs.config import EvaluateConfig, ScoreConfig, TrainConfig, TuneConfig
from sparkml_lsml.jobs.errors import ConfigError, JobError
from sparkml_lsml.jobs.loading import load_config

if TYPE_CHECKING:
    from sparkml_lsml.jobs.run import evaluate, score, train, tune

__all__ = [
    "ConfigError",
    "EvaluateConfig",
    "JobError",
    "ScoreConfig",
    "TrainConfig",
    "TuneConfig",
    "evaluate",
    "load_config",
    "score",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    # Only what runs a job needs PySpark: a configuration can be checked without it.
    if name in ("evaluate", "score", "train", "tune"):
        return getattr(import_module("sparkml_lsml.jobs.run"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
