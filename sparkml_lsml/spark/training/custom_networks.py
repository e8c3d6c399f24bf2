"""Networks of users in a fit: how they travel to executors, and what is found of them there."""

import copyreg
from collections.abc import Sequence
from typing import Any, Protocol

from pyspark import cloudpickle

from sparkml_lsml.engine.passes import Pass
from sparkml_lsml.engine.predictors import Predictor
from sparkml_lsml.engine.predictors.module import ModulePredictor
from sparkml_lsml.errors import ParamError
from sparkml_lsml.networks.factory import Factory, named
from sparkml_lsml.spark.training import by_value
from sparkml_lsml.worker.trying import Findings
from sparkml_lsml.worker.trying_networks import NetworkCheck


def _reduce(factory: Factory) -> tuple[Any, ...]:
    return by_value.reduced(named, factory.make, (factory.name,), repr(factory))


copyreg.pickle(Factory, _reduce)


class _Runs(Protocol):
    def run(self, task: Pass, description: str, small: int | None = None) -> Any: ...


def check_networks(predictors: Sequence[Predictor], blocks: _Runs, name: str) -> None:
    """Make the networks of a fit where its rows are, and try them, each in one pass.

    Raises
    ------
    ParamError
        If a network cannot be sent, is another there than on the driver, or fails on rows.
    """
    different = {repr(each): each for each in predictors if isinstance(each, ModulePredictor)}
    for predictor in different.values():
        task = NetworkCheck(predictor)
        cloudpickle.dumps(task)  # whose error Spark would wrap up
        found: Findings = blocks.run(task, f"{name} check of {predictor.factory}")
        if found.faults:
            raise ParamError(found.faults[0])
