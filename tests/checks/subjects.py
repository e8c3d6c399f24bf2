"""The estimators under contract, found in the package's rooms, and MLlib's classes beside them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pyspark.ml import Estimator
from pyspark.ml.param import Params
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DoubleType, IntegerType

import sparkml_lsml.classification
import sparkml_lsml.neural
import sparkml_lsml.regression
from tests.spark.helpers import KINDS, cells, frame_of, numbers

Array = npt.NDArray[np.float64]
Task = Literal["binary", "multiclass", "regression"]
Whose = Literal["ours", "mllib"]

CLASSES: dict[Task, int] = {"binary": 2, "multiclass": 3}
FEATURES = 3

ROOMS: dict[ModuleType, Task] = {
    sparkml_lsml.classification: "binary",
    sparkml_lsml.regression: "regression",
    sparkml_lsml.neural: "binary",
}
"""The rooms of estimators, and the labels that they take where `TASKS` says nothing else."""

TASKS: dict[str, tuple[Task, ...]] = {
    "LogisticRegression": ("binary", "multiclass"),
    "OneVsRest": ("multiclass",),
    "MLPClassifier": ("multiclass", "binary"),
    "MLPRegressor": ("regression",),
}

FOLDED = ("CalibratedClassifier",)
"""Estimators with random folds: rows in another order or form give another model, which is not what
the checks ask for. Their tests are beside those of the classifiers."""

OF_TORCH = ("TorchClassifier", "TorchRegressor")
"""Estimators that need PyTorch, which is not there: they have tests of their own, `tests/torch`."""

NETWORKS = ("MLPClassifier", "MLPRegressor", "MultilayerPerceptronClassifier")
"""Estimators whose objective has more minima than one. Which of them a fit ends in follows from its
start and its way, and differs between solvers, weights and forms of rows that only round
differently; so their checks take a way that is all gradients of all rows (l-bfgs, in float64), of
layers with few units, and from one start. Where a check asks for the least objective there is, they
have one of their own (`check_hard_data_of_networks`). MLlib's networks have no penalty, which most
checks vary: `test_multilayer_perceptron` compares them."""

SETTINGS: dict[str, Any] = {"regParam": 0.1, "maxIter": 100, "tol": 1e-10}
"""Both find the minimum, so that the way to it does not matter."""

WAY = {"solver": "l-bfgs", "dtype": "float64", "maxIter": 300, "seed": 3}

OWN_SETTINGS: dict[str, dict[str, Any]] = {
    # a smooth loss, as the minimum of the hinge loss is hard to reach exactly
    "ours-LinearSVC": {"loss": "squaredHinge"},
    "ours-MLPClassifier": {**WAY, "layers": {"multiclass": [3, 2, 3], "binary": [3, 2, 2]}},
    # two units that may take each other's part have a valley of minima
    "ours-MLPRegressor": {**WAY, "layers": {"regression": [3, 1, 1]}, "activation": "tanh"},
    # a sigmoid with the penalty of the checks learns nothing but the shares of the classes
    "ours-MultilayerPerceptronClassifier": {**WAY, "layers": {"binary": [3, 2]}},
    # MLlib's OWL-QN stalls at kinks wherever rounding takes it: a short way shows the same
    "mllib-LinearSVC": {"maxIter": 3},
}


@dataclass(frozen=True)
class Spec:
    """A class, whose it is, and which labels it is checked with."""

    whose: Whose
    cls: type[Any]
    task: Task

    def __str__(self) -> str:
        return f"{self.whose}-{self.cls.__name__}" + (f"-{self.task}" if self.second else "")

    @property
    def second(self) -> bool:
        """Whether the class is also checked with other labels, which come first."""
        return self.task not in TASKS.get(self.cls.__name__, (self.task,))[:1]

    @property
    def room(self) -> ModuleType:
        """Where its classes are to be found: ours, or MLlib's."""
        [room] = [room for room in ROOMS if self.cls.__name__ in room.__all__]
        found = room if self.whose == "ours" else twin_of(room)
        assert found is not None
        return found


def twin_of(room: ModuleType) -> ModuleType | None:
    """MLlib's room of the same classes; None where there is none to compare with."""
    if room is sparkml_lsml.neural:
        return None
    return import_module(f"pyspark.ml.{room.__name__.rpartition('.')[2]}")


def estimators(room: ModuleType) -> list[type[Any]]:
    """The estimators that a room exports."""
    listed = [getattr(room, name) for name in room.__all__]
    return [item for item in listed if inspect.isclass(item) and issubclass(item, Estimator)]


def specs() -> Iterator[Spec]:
    """Each estimator of the package, and MLlib's class of the same name where there is one."""
    for room, usual in ROOMS.items():
        for cls in estimators(room):
            if cls.__name__ in (*FOLDED, *OF_TORCH):
                continue
            twin = getattr(twin_of(room), cls.__name__, None)
            for task in TASKS.get(cls.__name__, (usual,)):
                yield Spec("ours", cls, task)
                if twin is not None:
                    yield Spec("mllib", twin, task)


SPECS = list(specs())


SELDOM = ("MultilayerPerceptronClassifier",)
"""Estimators that are all but another, which is checked more often."""


class Rows:
    """Forty rows of a task; what checks do to them is done by Spark, lazily."""

    def __init__(self, spark: SparkSession, task: Task) -> None:
        rng = np.random.default_rng(7)
        X = rng.normal(size=(41, FEATURES))
        X = np.round(X * 64.0) / 64.0 * (np.abs(X) > 0.4)  # zeros; and exact as float32
        raw = X @ [1.0, -2.0, 0.5] + rng.normal(size=len(X))
        if task == "regression":
            y = np.round(5.0 * raw)  # whole numbers fit every type of a label
        else:
            y = np.digitize(raw, [0.2] if task == "binary" else [-0.8, 0.8]).astype(np.float64)
        X[40] = [900.0, -700.0, 800.0]
        self._all = frame_of(
            spark,
            {
                "id": (IntegerType(), list(range(41))),
                "label": (DoubleType(), y.tolist()),
                **{kind: (KINDS[kind], cells(X, kind)) for kind in KINDS},
                "weight": (DoubleType(), rng.integers(1, 9, size=41).astype(float).tolist()),
                "far": (BooleanType(), [False] * 40 + [True]),
            },
        )
        self.frame = self.of("dense")
        self.X, self.y = X[:40], y[:40]

    def of(self, kind: str) -> DataFrame:
        """The rows with features of a kind of `KINDS`."""
        return self._columns(kind).where("not far").drop("far")

    def with_an_outlier(self, weight: float) -> DataFrame:
        """The rows with unit weights, and one far from all others with this weight."""
        light = F.when(F.col("far"), F.lit(weight)).otherwise(F.lit(1.0))
        return self._columns("dense").withColumn("weight", light).drop("far")

    def _columns(self, kind: str) -> DataFrame:
        # named anew in Spark, so that one frame in the JVM serves all checks
        return self._all.select("id", "label", F.col(kind).alias("features"), "weight", "far")


class Subject:
    """An estimator under check: how it is made, its rows, and a model of them.

    Parameters
    ----------
    spec : Spec
    rows : Rows
    folder : callable
        Gives a new empty folder.
    """

    def __init__(self, spec: Spec, rows: Rows, folder: Callable[[], Path]) -> None:
        self.spec, self.rows, self.folder = spec, rows, folder
        self.cls, self.task = spec.cls, spec.task
        self.frame = rows.frame
        self.spark = rows.frame.sparkSession

    def make(self, **params: Any) -> Any:
        """An estimator; Params that it lacks are its classifier's, where it has one."""
        own_settings = OWN_SETTINGS.get(f"{self.spec.whose}-{self.cls.__name__}", {})
        settings = SETTINGS | own_settings | params
        made = self.cls()
        if "layers" in settings:
            settings["layers"] = settings["layers"][self.task]
        own = {name: value for name, value in settings.items() if made.hasParam(name)}
        if made.hasParam("classifier"):
            rest = {name: value for name, value in settings.items() if name not in own}
            own["classifier"] = self.spec.room.LogisticRegression(**rest)
        return made.setParams(**own)

    def changes(self, estimator: Any, **params: Any) -> dict[Any, Any]:
        """A param map; Params that an estimator lacks are its classifier's."""
        return {owner(estimator, name).getParam(name): value for name, value in params.items()}

    @cached_property
    def model(self) -> Any:
        """A model of the rows, which no check may change."""
        return self.make().fit(self.frame)

    @cached_property
    def scores(self) -> dict[str, Array]:
        """What that model adds to the rows."""
        return scores(self.model, self.frame)

    @property
    def outputs(self) -> list[str]:
        """Params that name the columns that a model adds, in their order."""
        names = ("rawPredictionCol", "probabilityCol", "predictionCol")
        return [name for name in names if hasattr(self.cls, name)]


Check = Callable[[Subject], None]


def needs(*what: str | type[Any]) -> Callable[[Check], Check]:
    """Mark a check as one for classes that have these Params, or are of these types.

    ``classes`` and ``binary`` stand for the labels.
    """

    def mark(check: Check) -> Check:
        check.needs = what  # type: ignore[attr-defined]
        return check

    return mark


def applies(check: Check, spec: Spec) -> bool:
    """Whether a class and the labels it is checked with have what a check needs."""
    labels = {"classes": spec.task in CLASSES, "binary": spec.task == "binary"}

    def has(need: str | type[Any]) -> bool:
        if isinstance(need, type):
            return issubclass(spec.cls, need)
        return labels[need] if need in labels else hasattr(spec.cls, need)

    return all(has(need) for need in getattr(check, "needs", ()))


def checks_of(module: ModuleType) -> list[Check]:
    """The checks that a module defines."""
    found = inspect.getmembers(module, inspect.isfunction)
    return [body for name, body in found if name.startswith("check_")]


def owner(params: Any, name: str) -> Any:
    """An estimator or a model, or its classifier where that has the Param."""
    return params if params.hasParam(name) else params.getClassifier()


def numbers_of(model: Any) -> Array:
    """All numbers that a model learned."""
    parts = [numbers(each) for each in getattr(model, "models", [model])]
    return np.concatenate(parts)


def scores(model: Any, frame: DataFrame) -> dict[str, Array]:
    """The columns that a model adds, by the rows' ids."""
    found = model.transform(frame)
    added = [name for name in found.columns if name not in frame.columns]
    data = sorted(found.select("id", *added).collect())
    return {name: np.array([plain(row[name]) for row in data]) for name in added}


def plain(cell: Any) -> Any:
    return cell.toArray() if hasattr(cell, "toArray") else cell


def state(params: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The uid of an estimator or model, the Params that are set, and the defaults."""

    def named(values: dict[Any, Any]) -> dict[str, Any]:
        # a classifier equals no other, not even its copy
        return {p.name: state(v) if isinstance(v, Params) else v for p, v in values.items()}

    return params.uid, named(params._paramMap), named(params._defaultParamMap)


def assert_same(found: Any, expected: Any, rtol: float = 1e-6) -> None:
    """Compare what two models learned."""
    np.testing.assert_allclose(numbers_of(found), numbers_of(expected), rtol=rtol, atol=1e-9)


def assert_same_scores(
    found: dict[str, Array], expected: dict[str, Array], rtol: float = 1e-9
) -> None:
    """Compare two results of `scores`."""
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=rtol, atol=1e-12, err_msg=name)
