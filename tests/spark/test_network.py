"""An estimator whose predictor is a network: what resident blocks give is not for planes alone.

A test double. It has all that the base classes give, on the driver and on executors: grids and
searches, checkpoints, a validation, callbacks, initial models, scores, metrics, saving.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.ml.classification import ClassificationModel, Classifier
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.classification.linear_svc import _Params as SvcParams
from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.engine.predictors import DensePredictor, Predictor
from sparkml_lsml.engine.predictors.initialise import start
from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses import Multinomial
from sparkml_lsml.spark.models.model import BlockModel
from sparkml_lsml.spark.params.bases import add_accessors
from sparkml_lsml.spark.rows.declared import DeclaredClasses
from sparkml_lsml.spark.training.batch import batches
from sparkml_lsml.spark.training.estimator import BlockEstimator
from sparkml_lsml.spark.training.member import Member
from sparkml_lsml.spark.training.problem import Fitted, Problem
from sparkml_lsml.tuning import CrossValidator
from sparkml_lsml.worker.finishing import HighestFinish
from sparkml_lsml.worker.scoring import Scorer
from tests.checks.dense import explicit_raw, network
from tests.faults import hook_passes
from tests.spark.helpers import frame, nothing_left

Array = npt.NDArray[np.float64]

ROWS, FEATURES, CLASSES = 300, 3, 3
RNG = np.random.default_rng(9)
X = RNG.normal(size=(ROWS, FEATURES)) * [1.0, 50.0, 0.02] + [0.0, 200.0, 1.0]
RADII = (((X - X.mean(axis=0)) / X.std(axis=0)) ** 2).sum(axis=1)
Y = np.digitize(RADII, [1.5, 3.5]).astype(float)
WEIGHT = RNG.uniform(0.5, 2.0, size=ROWS)
HELD = np.arange(ROWS) % 4 == 0


@add_accessors
class SphereNet(BlockEstimator, SvcParams, Classifier[Any]):
    """One hidden layer; the Params are those of another classifier."""

    hidden: ClassVar[int] = 6
    activation: ClassVar[str] = "tanh"
    cost: float = 1.0

    def __init__(self, **params: Any) -> None:
        super().__init__()
        self._set(**params)

    def _model_class(self) -> type[Any]:
        return SphereNetModel

    def _task(self) -> Task:
        return "multiclass"

    def problem(self, report: Report, declared: DeclaredClasses) -> Problem:
        classes = int(max(report.labels)) + 1
        predictor = network((report.longest, self.hidden, classes), self.activation)
        asked = self.value("solver")
        solver = "l-bfgs" if asked == "auto" else asked
        return Problem(
            Multinomial(),
            predictor,
            0.0,
            self.value("regParam"),
            solver,
            "a network",
            self._build,
            start=lambda layout: start(predictor, self.value("seed")),
        )

    def row_cost(self) -> float:
        return self.cost

    def _build(self, fit: Fitted) -> SphereNetModel:
        sizes = (fit.layout.features, fit.layout.outputs, fit.layout.inner[-1].size)
        return SphereNetModel(network(sizes, self.activation), fit.coef, fit.summary)

    def coefficients_of(self, model: Any, predictor: Predictor, scale: float) -> Array:
        if model.predictor != predictor:
            raise ParamError(f"the model to start from has {model.predictor}")
        return np.asarray(model.coef)


class OtherNet(SphereNet):
    """The same layout, another function."""

    activation: ClassVar[str] = "sigmoid"


class SphereNetModel(BlockModel, SvcParams, ClassificationModel):
    def __init__(self, predictor: DensePredictor, coef: Array, summary: Any = None) -> None:
        super().__init__(summary)
        self.predictor, self.coef = predictor, coef

    @property
    def numClasses(self) -> int:
        return self.predictor.outputs

    def predictRaw(self, value: Any) -> Any:
        return self._score_one(value, "raw")

    def _finish(self) -> HighestFinish:
        return HighestFinish()

    def _scorer(self) -> Scorer:
        return Scorer(self.predictor, self.coef, self._finish())

    def _saved_arrays(self) -> dict[str, Array]:
        return {"coef": self.coef}

    def _saved_facts(self) -> dict[str, Any]:
        return {"sizes": list(self.predictor.sizes), "activation": self.predictor.activation}

    @classmethod
    def _from_saved(cls, arrays: dict[str, Array], facts: dict[str, Any]) -> SphereNetModel:
        return cls(network(facts["sizes"], facts["activation"]), arrays["coef"])


GIVEN = {"regParam": 1e-3, "tol": 1e-9, "seed": 4, "aggregationDepth": 1, "weightCol": "weight"}
SETTINGS: dict[str, dict[str, Any]] = {
    "l-bfgs": {"maxIter": 25},
    "adam": {"maxIter": 40, "solver": "adam", "stepSize": 0.5, "learningRate": "constant"},
}
EXECUTIONS = ("local", "distributed")
both_solvers = pytest.mark.parametrize("name", SETTINGS)
both_ways = pytest.mark.parametrize("execution", EXECUTIONS)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    found = frame(spark, X, Y, WEIGHT, partitions=2)
    return found.withColumn("held", (found.label < 0) | (found.weight < 0.9))


def net(name: str = "l-bfgs", **params: Any) -> SphereNet:
    return SphereNet(**GIVEN | SETTINGS[name] | params)


@both_solvers
def test_local_and_distributed_fits_are_the_same(rows: DataFrame, name: str) -> None:
    local, distributed = (net(name, execution=where).fit(rows) for where in EXECUTIONS)
    assert (local.summary.execution, distributed.summary.execution) == EXECUTIONS
    first, *_, last = [line.objective for line in local.summary.history]
    assert last < 0.7 * first
    np.testing.assert_allclose(distributed.coef, local.coef, rtol=1e-5, atol=1e-6)
    for model in (local, distributed):
        assert not [note for note in model.summary.notes if "sample" in note]


@both_ways
def test_the_objective_is_that_of_the_formula(rows: DataFrame, execution: str) -> None:
    model = net(execution=execution).fit(rows)
    raw = explicit_raw(model.predictor, X, model.coef)
    losses, _ = Multinomial().value_and_derivative(Y, raw[:, None, :])
    loss = np.average(losses[:, 0], weights=WEIGHT)
    # weights decay, biases do not; those of the first map in units of their features
    weights = model.predictor.maps(model.coef)
    deviation = np.sqrt(np.cov(X.T, aweights=WEIGHT, ddof=0).diagonal())
    decayed = ((weights[0][0] * deviation) ** 2).sum() + (weights[1][0] ** 2).sum()
    assert model.summary.objective == pytest.approx(loss + 0.5e-3 * decayed, rel=1e-3)


@both_ways
def test_scores_and_metrics_are_those_of_the_network(rows: DataFrame, execution: str) -> None:
    model = net(execution=execution).fit(rows)
    raw = explicit_raw(model.predictor, X, model.coef)
    found = model.transform(rows).toPandas()
    order = np.argsort([tuple(v) for v in X.tolist()], axis=0)[:, 0]
    mine = np.argsort([v[0] for v in found.features])
    np.testing.assert_array_equal(found.prediction.to_numpy()[mine], raw.argmax(axis=1)[order])
    accuracy = np.average(raw.argmax(axis=1) == Y, weights=WEIGHT)
    evaluator = MulticlassClassificationEvaluator(metricName="accuracy", weightCol="weight")
    assert evaluator.evaluate(model.transform(rows)) == pytest.approx(accuracy, rel=1e-9)
    assert accuracy > 0.75
    assert model.numFeatures == FEATURES
    np.testing.assert_allclose(model.predictRaw(rows.head().features), found.rawPrediction[0])


@both_ways
def test_grids_share_passes_and_are_what_fits_alone_are(rows: DataFrame, execution: str) -> None:
    estimator = net(execution=execution)
    maps = [{estimator.regParam: value} for value in (1e-3, 1e-1)]
    together = dict(estimator.fitMultiple(rows, maps))
    for number, one in enumerate(maps):
        alone = estimator.fit(rows, one)
        np.testing.assert_allclose(together[number].coef, alone.coef, rtol=1e-6, atol=1e-8)
        assert [n for n in together[number].summary.notes if "one of 2 models" in n]


def test_networks_of_another_function_share_no_pass(rows: DataFrame) -> None:
    """Their layouts are equal, their losses too: only the predictor tells them apart."""
    members = []
    for estimator in (net(), OtherNet(**SETTINGS["l-bfgs"]), net()):
        report = Report(longest=FEATURES, labels={float(k): (1, 1.0) for k in range(CLASSES)})
        problem = estimator.problem(report, DeclaredClasses())
        members.append(Member(estimator, problem, report))
    assert len({member.layout for member in members}) == 1
    assert [batch.numbers for batch in batches(members)] == [(0, 2), (1,)]


@both_ways
@both_solvers
def test_a_fit_that_died_goes_on_to_the_bit(
    rows: DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    execution: str,
) -> None:
    class Died(BaseException):
        pass

    def hook(_: Any, passes: int) -> None:
        if passes == 9:
            raise Died

    whole = net(name, execution=execution, maxIter=14).fit(rows)
    folder = str(tmp_path / "checkpoints")
    kept = {"checkpointDir": folder, "checkpointInterval": 2}
    estimator = net(name, execution=execution, maxIter=14, **kept)
    with monkeypatch.context() as context:
        hook_passes(context, hook)
        with pytest.raises(Died):
            estimator.fit(rows)
    # a network of another function is another fit
    other = OtherNet(**GIVEN | SETTINGS[name] | kept | {"maxIter": 14, "execution": execution})
    assert not [n for n in other.fit(rows).summary.notes if "resumed" in n]
    again = estimator.fit(rows)
    assert [n for n in again.summary.notes if "resumed at iteration" in n]
    assert again.coef.tobytes() == whole.coef.tobytes()
    lines = [(line.iteration, line.objective, line.passes) for line in whole.summary.history]
    assert [(o.iteration, o.objective, o.passes) for o in again.summary.history] == lines


@both_ways
def test_a_validation_stops_a_network_early(rows: DataFrame, execution: str) -> None:
    params = {"validationIndicatorCol": "held", "patience": 4, "maxIter": 300, "regParam": 0.0}
    model = net(execution=execution, **params).fit(rows)
    assert model.summary.reason.name == "early_stopping"
    losses = {line.iteration: line.validation for line in model.summary.history}
    held = WEIGHT < 0.9
    raw = explicit_raw(model.predictor, X[held], model.coef)
    values, _ = Multinomial().value_and_derivative(Y[held], raw[:, None, :])
    wanted = np.average(values[:, 0], weights=WEIGHT[held])
    assert min(losses.values()) == pytest.approx(wanted, rel=1e-6)


def test_rows_that_cost_much_stay_on_the_executors(rows: DataFrame) -> None:
    cheap, dear = net(maxIter=1), net(maxIter=1)
    dear.cost = 1e5
    assert cheap.fit(rows).summary.execution == "local"
    summary = dear.fit(rows).summary
    assert summary.execution == "distributed"
    assert "are more than 0.00031" in summary.execution_reason


def test_callbacks_see_a_network_and_stop_it(rows: DataFrame) -> None:
    seen: list[int] = []

    class Stop:
        def on_iteration(self, fit: Any, model: int, line: Any) -> bool:
            seen.append(line.iteration)
            return bool(line.iteration == 5)

    estimator = net()
    estimator.setCallbacks([Stop()])
    model = estimator.fit(rows)
    assert model.summary.reason.name == "callback"
    assert max(seen) == 5


def test_a_fit_starts_from_a_network(rows: DataFrame) -> None:
    model = net().fit(rows)
    same = net(maxIter=0).setInitialModel(model).fit(rows)
    np.testing.assert_allclose(same.coef, model.coef, rtol=1e-9, atol=1e-12)
    with pytest.raises(ParamError, match="the model to start from has"):
        OtherNet(**SETTINGS["l-bfgs"]).setInitialModel(model).fit(rows)


def test_a_network_is_saved_and_loaded(rows: DataFrame, tmp_path: Path) -> None:
    model = net().fit(rows)
    model.save(str(tmp_path / "net"))
    loaded = SphereNetModel.load(str(tmp_path / "net"))
    assert loaded.predictor == model.predictor
    assert loaded.coef.tobytes() == model.coef.tobytes()
    assert loaded.uid == model.uid
    assert not loaded.hasSummary


def test_a_search_over_networks_measures_them_on_packed_rows(
    spark: SparkSession, rows: DataFrame
) -> None:
    estimator = net(execution="distributed")
    maps = [{estimator.regParam: value} for value in (1e-3, 3.0)]
    evaluator = MulticlassClassificationEvaluator(metricName="accuracy")
    with nothing_left(spark):
        search = CrossValidator(
            estimator=estimator,
            estimatorParamMaps=maps,
            evaluator=evaluator,
            numFolds=2,
            seed=3,
        )
        found = search.fit(rows)
    assert found.avgMetrics[0] > 0.6 > found.avgMetrics[1]
    assert found.bestModel.getOrDefault("regParam") == 1e-3
