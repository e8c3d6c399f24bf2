"""What jobs/tune.py searches: candidates, their checks, and what the report says of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats
from sklearn.model_selection import ParameterGrid

from sparkml_lsml.jobs import ConfigError, TuneConfig, search
from sparkml_lsml.jobs.checking import check_all
from sparkml_lsml.jobs.errors import dotted
from sparkml_lsml.jobs.fields import describe
from sparkml_lsml.jobs.search_config import Distribution
from sparkml_lsml.jobs.yamlfile import parse
from sparkml_lsml.tuning import CrossValidator

GRID: dict[str, Any] = {"regParam": [0.1, 1.0], "maxIter": [5, 10, 20]}


def tree(name: str = "LogisticRegression", **searched: Any) -> dict[str, Any]:
    return {
        "input": {"format": "parquet", "path": "rows.parquet"},
        "pipeline": {"estimator": {"class": name, "params": {"tol": 1e-6}}},
        "search": {"metric": "areaUnderROC", **searched},
        "output": {"model": "out/model", "report": "out/report.json"},
    }


def config_of(*arguments: Any, **searched: Any) -> TuneConfig:
    text = yaml.safe_dump(tree(*arguments, **searched), sort_keys=False)
    return check_all(TuneConfig, parse(text, "tune.yaml"))


def refusals(*arguments: Any, **searched: Any) -> dict[str, str]:
    """Return the problems of a file by their keys; each has its line."""
    with pytest.raises(ConfigError) as caught:
        config_of(*arguments, **searched)
    assert all(problem.line for problem in caught.value.problems)
    return {dotted(problem.path): problem.message for problem in caught.value.problems}


def drawn(distribution: dict[str, Any], count: int = 2000, seed: int = 0) -> list[Any]:
    params = {"regParam": distribution}
    config = config_of(random={"iterations": count, "params": params}, seed=seed)
    return [candidate["regParam"] for candidate in search.candidates(config)]


def test_a_grid_is_all_combinations() -> None:
    found = search.candidates(config_of(grid=GRID))
    assert len(found) == 6
    assert sorted(map(str, map(sorted, (each.items() for each in found)))) == sorted(
        map(str, map(sorted, (each.items() for each in ParameterGrid(GRID))))
    )
    assert [each["maxIter"] for each in found[:3]] == [5, 10, 20]


@pytest.mark.parametrize(
    ("distribution", "reference"),
    [
        ({"uniform": [2.0, 5.0]}, stats.uniform(2.0, 3.0)),
        ({"loguniform": [1e-6, 10.0]}, stats.loguniform(1e-6, 10.0)),
    ],
)
def test_draws_have_their_distribution(distribution: dict[str, Any], reference: Any) -> None:
    values = drawn(distribution)
    # at p = 1e-3 one seed in a thousand would fail; this one is fixed
    assert stats.kstest(values, reference.cdf).pvalue > 1e-3
    low, high = next(iter(distribution.values()))
    assert low <= min(values)
    assert max(values) <= high


def test_choices_are_as_likely() -> None:
    counts = np.unique(drawn({"choice": [0.1, 0.2, 0.3]}), return_counts=True)[1]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_draws_follow_the_seed() -> None:
    first = drawn({"uniform": [0.0, 1.0]}, 5, seed=3)
    assert drawn({"uniform": [0.0, 1.0]}, 5, seed=3) == first
    assert drawn({"uniform": [0.0, 1.0]}, 5, seed=4) != first
    assert drawn({"uniform": [0.0, 1.0]}, 9, seed=3)[:5] == first


def test_a_loguniform_draw_stays_between_its_ends() -> None:
    top = SimpleNamespace(uniform=lambda low, high: np.nextafter(high, np.inf))
    assert search.draw(Distribution(loguniform=(0.1, 0.3)), top) == 0.3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("searched", "key", "words"),
    [
        ({"grid": {"regparam": [1]}}, "search.grid.regparam", "did you mean 'regParam'?"),
        ({"grid": {"regParam": [0.1, -1]}}, "search.grid.regParam[1]", "-1"),
        ({"grid": {"maxIter": [1, "x"]}}, "search.grid.maxIter[1]", "expected a whole number"),
        ({"grid": {"regParam": []}}, "search.grid.regParam", "is empty"),
        ({"grid": {}}, "search.grid", "is empty"),
        ({"grid": {"labelCol": ["a", "b"]}}, "search.grid.labelCol", "cannot be searched"),
        ({"grid": {"tol": [1e-3]}}, "search.grid.tol", "also given in pipeline.estimator.params"),
        ({"grid": {"regParam": [0.1] * 101, "tol": []}}, "search.grid.tol", "is empty"),
        ({"grid": {"regParam": [0.1] * 101, "maxIter": [1] * 100}}, "search.grid", "10,100 comb"),
        ({}, "search", "expected either grid or random"),
        ({"grid": GRID, "random": {"iterations": 1, "params": {}}}, "search.random.params", "emp"),
        ({"grid": GRID, "folds": 1}, "search.folds", "2"),
        ({"grid": GRID, "folds": 3, "group": "site"}, "search.group", "either this key or folds"),
        ({"grid": GRID, "metric": "areaUnderRoc"}, "search.metric", "mean 'areaUnderROC'?"),
        ({"grid": GRID, "metric": "rmse"}, "search.metric", "does not measure a LogisticRegress"),
    ],
)
def test_a_search_that_cannot_be_carried_out(
    searched: dict[str, Any], key: str, words: str
) -> None:
    found = refusals(**searched)
    assert found.keys() == {key}
    assert words in found[key]


@pytest.mark.parametrize(
    ("distribution", "key", "words"),
    [
        ({"uniform": [0, 1], "choice": [1]}, "", "found uniform and choice"),
        ({}, "", "expected one of uniform, loguniform and choice"),
        ({"unifrom": [0, 1]}, ".unifrom", "did you mean 'uniform'?"),
        ({"uniform": [1, 0]}, ".uniform", "a lower and a higher number"),
        ({"loguniform": [0, 1]}, ".loguniform", "above 0"),
        ({"uniform": [-1, 1]}, ".uniform[0]", "-1"),
        ({"choice": [0.1, -2]}, ".choice[1]", "-2"),
    ],
)
def test_a_distribution_that_cannot_be_drawn_from(
    distribution: dict[str, Any], key: str, words: str
) -> None:
    found = refusals(random={"iterations": 3, "params": {"regParam": distribution}})
    assert found.keys() == {f"search.random.params.regParam{key}"}
    assert words in next(iter(found.values()))


@pytest.mark.parametrize("which", ["uniform", "loguniform"])
def test_fractions_for_a_param_of_whole_numbers(which: str) -> None:
    found = refusals(random={"iterations": 3, "params": {"maxIter": {which: [10, 100]}}})
    assert found.keys() == {f"search.random.params.maxIter.{which}"}
    assert "under choice" in next(iter(found.values()))


def test_the_hinge_has_no_log_loss() -> None:
    found = refusals("LinearSVC", metric="logLoss", grid=GRID)
    assert "no probabilities" in found["search.metric"]


def test_a_wrong_key_hides_no_wrong_param() -> None:
    text = yaml.safe_dump(
        tree(grid={"regparam": [1]}) | {"splitt": {}, "weight": 3}, sort_keys=False
    )
    with pytest.raises(ConfigError) as caught:
        check_all(TuneConfig, parse(text, "tune.yaml"))
    keys = {dotted(problem.path) for problem in caught.value.problems}
    assert keys == {"splitt", "weight", "search.grid.regparam"}


def test_every_key_is_described() -> None:
    keys = {key.path: key for key in describe(TuneConfig)}
    assert keys["search.random.params.*.uniform"].type == "list of 2 numbers"
    assert keys["search.random.params"].type == "mapping to keys"
    assert keys["search.grid"].type == "mapping to list of values"
    assert keys["search.metric"].default == "required"


@pytest.mark.parametrize(("larger", "best"), [(True, 1), (False, 2)])
def test_summary_names_the_best(monkeypatch: pytest.MonkeyPatch, larger: bool, best: int) -> None:
    monkeypatch.setattr(search.Search, "of", lambda *_: None)
    found = SimpleNamespace(
        avgMetrics=[0.5, 0.9, 0.1], stdMetrics=[0.0, 0.1, 0.2], getNumFolds=lambda: 4
    )
    judge = SimpleNamespace(isLargerBetter=lambda: larger, getMetricName=lambda: "m")
    searching = CrossValidator()
    monkeypatch.setattr(searching, "getEvaluator", lambda: judge)
    monkeypatch.setattr(searching, "getEstimator", lambda: None)
    monkeypatch.setattr(searching, "getEstimatorParamMaps", list)
    tried = [{"regParam": value} for value in (1.0, 2.0, 3.0)]
    told = search.summary(found, searching, tried)
    assert told["best"] == best
    assert told["folds"] == 4
    assert told["candidates"][2] == {"params": {"regParam": 3.0}, "mean": 0.1, "spread": 0.2}
