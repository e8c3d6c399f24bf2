"""What a model tells of its training."""

from __future__ import annotations

import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

from sparkml_lsml.classification import LogisticRegression
from sparkml_lsml.engine.solvers import Iteration, Reason
from sparkml_lsml.errors import ParamError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.models.summary import TrainingSummary

FEATURES = 400


def test_passes_and_bytes_are_counted(spark: SparkSession) -> None:
    rng = np.random.default_rng(0)
    rows = [(float(n % 2), rng.normal(size=FEATURES).tolist()) for n in range(60)]
    frame = spark.createDataFrame(rows, "label double, features array<double>").repartition(2)
    fit = LogisticRegression(execution="distributed", regParam=0.1, maxIter=5, tol=0.0)
    summary = fit.fit(frame).summary
    assert summary.partitions == 2
    # coefficients to one executor, and a gradient, a loss and a weight from each of two partitions
    vector = 8 * (FEATURES + 1)
    least = vector + 2 * (vector + 16)
    table = summary.to_pandas()
    assert summary.passes == table["passes"].iloc[-1] >= 6
    assert summary.sent == table["sent"].iloc[-1]
    a_pass = table["sent"] / table["passes"]
    # besides, a broadcast names its pass, and what is known of each partition
    assert ((least <= a_pass) & (a_pass <= least + 4_000)).all(), a_pass
    assert f"{summary.sent / 2**10:.1f} KB sent" in str(summary)

    local = LogisticRegression(execution="local", regParam=0.1, maxIter=5).fit(frame).summary
    assert local.sent == 0


# ---------------------------------------------------- how it is shown: no session is needed


def made(solver: str = "l-bfgs", gaps: bool = False, lines: int = 30) -> TrainingSummary:
    history = tuple(
        Iteration(n, 1.0 + 0.5**n, 0.1**n, 1.0, n + 1, 0.1 * n, 2 * 0.5**n if gaps else math.nan)
        for n in range(lines)
    )
    return TrainingSummary(
        history=history,
        objective=1.0,
        reason=Reason("max_iter", lines - 1),
        solver=solver,
        solver_reason="auto: <because>",
        execution="local",
        execution_reason="0.1 MB fit the driver",
        rows=1_234_567,
        features=3,
        partitions=1,
        nbytes=3 * 2**20,
        ingest_seconds=0.5,
        seconds=75.0,
        passes=lines,
        notes=("a note",),
    )


def test_text_is_a_compact_table() -> None:
    shown = str(made())
    lines = shown.splitlines()
    assert "1,234,567 x 3 features in 1 block, 3.0 MB" in shown
    assert "max_iter at iteration 29" in shown
    assert "raise maxIter or tol" in shown
    assert "1 min 15 s, of which 0.50 s" in shown
    assert "auto: <because>" in shown
    assert "a note" in shown
    head = next(n for n, line in enumerate(lines) if "objective  gradient" in line)
    table = [line.split() for line in lines[head + 1 :]]
    assert len(table) == 11
    assert [row[0] for row in table] == [*"01234…", "25", "26", "27", "28", "29"]
    assert "gap" not in lines[head]
    assert "gap" in str(made(gaps=True))


def test_html_is_safe_and_complete() -> None:
    shown = made()._repr_html_()
    assert "auto: &lt;because&gt;" in shown
    assert "<because>" not in shown
    assert "<script" not in shown
    for part in ("1,234,567", "max_iter at iteration 29", "raise maxIter", "<svg", "a note"):
        assert part in shown
    assert "…" in shown


def test_plot_of_the_way_to_the_minimum() -> None:
    mpl.use("Agg")
    ax = made(gaps=True).plot(by="passes")
    distance, gap = ax.lines
    assert distance.get_xdata().tolist() == list(range(1, 31))
    np.testing.assert_allclose(distance.get_ydata(), 0.5 ** np.arange(30), rtol=1e-6)
    np.testing.assert_allclose(gap.get_ydata(), 2 * 0.5 ** np.arange(30))
    assert ax.get_yscale() == "log"
    assert [each.get_text() for each in ax.get_legend().get_texts()] == [
        "objective − best",
        "duality gap",
    ]
    ax = made().plot("gradient_norm", "seconds")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 0.1 ** np.arange(30))
    np.testing.assert_allclose(ax.lines[0].get_xdata(), 0.1 * np.arange(30))
    # the normal equations have nothing to draw on a log scale
    ax = made("normal", lines=1).plot()
    assert ax.get_yscale() == "linear"
    assert ax.lines[0].get_ydata().tolist() == [2.0]
    plt.close("all")
    with pytest.raises(ParamError, match="suboptimality"):
        made().plot("loss")  # type: ignore[arg-type]
    with pytest.raises(ParamError, match="seconds"):
        made().plot(by="hours")  # type: ignore[arg-type]


def test_a_model_in_a_notebook(spark: SparkSession) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(80, 12))
    names = [f"<i>{n}" for n in range(11)]
    rows = [(float(x @ np.arange(12.0)), *map(float, x)) for x in X]
    frame = spark.createDataFrame(rows, ["label", *names, "largest"])
    columns = VectorAssembler(inputCols=[*names, "largest"], outputCol="features")
    model = LinearRegression(regParam=1e-4).fit(columns.transform(frame))
    shown = model._repr_html_()
    for part in (model.uid, "10 largest of 12 coefficients", "&lt;i&gt;10", "intercept"):
        assert part in shown
    assert shown.index("largest</td>") < shown.index("&lt;i&gt;10")
    assert "<i>10" not in shown
    assert "&lt;i&gt;0<" not in shown  # its coefficient is the smallest
    assert "on demand: summary.r2" in shown
    assert model.summary.r2 > 0.99
    shown = model._repr_html_()
    assert "on demand" not in shown
    assert "rootMeanSquaredError" in shown
    evaluated = model.evaluate(columns.transform(frame))
    assert "meanAbsoluteError" in evaluated._repr_html_()
    assert str(evaluated).splitlines()[0].split() == ["rows", "80"]
