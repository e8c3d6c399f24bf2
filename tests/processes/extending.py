"""What `test_extending` runs with extended sources: contracts, and fits on a Spark of its own.

The working folder holds the copy, whose path is the argument. What the fits found is printed as
JSON, behind what pytest prints.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.sql import SparkSession
from scipy import sparse

import sparkml_lsml
from sparkml_lsml import losses
from sparkml_lsml.classification import LinearSVC, LogisticRegression
from sparkml_lsml.errors import ParamError
from sparkml_lsml.spark.params.fit_settings import FitSettings
from sparkml_lsml.spark.params.solvers import build_solver
from tests.documents import ROOT, blocks, run
from tests.faults import SETTINGS

Array = npt.NDArray[np.float64]

LOSS, SOLVER = "modifiedHuber", "barzilai-borwein"
CONTRACTS = ("losses", "solvers", "checkpoints")
L2 = 0.05


def rows() -> tuple[Array, Array]:
    """Features and labels; some rows lie far on the wrong side, where the tail is."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(120, 2))
    y = (X @ [2.0, -1.0] + 0.5 + rng.logistic(size=120) > 0.0).astype(float)
    y[:4] = 1.0 - (X[:4] @ [2.0, -1.0] > 0.0)
    X[:4] *= 4.0
    return X, y


def check_contracts() -> None:
    """Run the contracts of the new loss and the new solver, with everything that there is."""
    files = [f"tests/checks/test_{name}.py" for name in CONTRACTS]
    chosen = ["-k", "ModifiedHuber or BarzilaiBorwein", "-p", "no:cacheprovider", "-q"]
    if pytest.main([*files, *chosen]) != pytest.ExitCode.OK:
        sys.exit(1)


def fitted(spark: SparkSession) -> dict[str, Any]:
    """Models of the new loss and of the new solver, fitted by executors' Python workers."""
    X, y = rows()
    frame = spark.createDataFrame(
        [(label, row) for row, label in zip(X.tolist(), y.tolist(), strict=True)],
        "label double, features array<double>",
    ).repartition(2)
    svc = LinearSVC(
        loss=LOSS, regParam=L2, standardization=False, tol=1e-8, execution="distributed"
    ).fit(frame)
    net = LogisticRegression(regParam=L2, elasticNetParam=0.5, tol=1e-8)
    models = [
        net.copy({net.solver: name, net.execution: where}).fit(frame)
        for name, where in ((SOLVER, "distributed"), ("l-bfgs", "local"))
    ]
    settings = FitSettings.of(LinearSVC(solver=SOLVER, stepSize=0.25, tol=1e-3))
    solver: Any = build_solver(SOLVER, settings, 3)
    return {
        "loss": {
            "coef": [*svc.coefficients, svc.intercept],
            "objective": svc.summary.objective,
            "predictions": [row.prediction for row in svc.transform(frame).collect()],
            "doc": svc.explainParam("loss"),
        },
        "solvers": [
            {
                "coef": [*model.coefficients, model.intercept],
                "objective": model.summary.objective,
                "reason": model.summary.reason.name,
                "solver": model.summary.solver,
            }
            for model in models
        ],
        "settings": [solver.name, solver.step_size, solver.tol],
        "doc": net.explainParam("solver"),
    }


def refusal() -> str:
    """What is said to a user whose loss has the name of the new one."""
    try:
        losses.loss(LOSS, value=np.subtract, derivative=np.subtract)
    except ParamError as error:
        return str(error)
    return ""


def check_predictor() -> dict[str, float]:
    """Run the page on predictors, and compare its pullback with differences."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder:
        for block in blocks(ROOT / "docs" / "extend" / "predictor.md"):
            if block.language == "python":
                run(block, names, Path(folder))
    network = names["TanhNetwork"](features=3, hidden=4)
    rng = np.random.default_rng(2)
    X, coef = rng.normal(size=(7, 3)), rng.normal(size=(2, network.layout.size))
    weights = rng.normal(size=(7, 2, 1))
    found = {}
    for kind, rows in (("dense", X), ("sparse", sparse.csr_array(X))):
        raw, pull = network.raw_and_pullback(rows, coef)
        gradient = np.zeros_like(coef)
        pull(weights, gradient)
        slopes = np.zeros_like(coef)
        for k in range(network.layout.size):
            move = 1e-6 * (np.arange(network.layout.size) == k)
            up, down = (network.raw(rows, coef + sign * move) for sign in (1.0, -1.0))
            slopes[:, k] = (weights * (up - down)).sum(axis=(0, 2)) / 2e-6
        scores = [np.abs(network.scoring(coef[m])(rows) - raw[:, m]).max() for m in (0, 1)]
        found[f"{kind} gradient"] = float(np.abs(gradient - slopes).max())
        found[f"{kind} scores"] = float(max(scores))
    return found


def main() -> None:
    check_contracts()
    found: dict[str, Any] = {"predictor": check_predictor(), "refusal": refusal()}
    builder = SparkSession.builder.master("local[2]").appName("extending")
    spark = builder.config(map=SETTINGS).getOrCreate()
    try:
        found["fits"] = fitted(spark)
        place = spark.sparkContext.parallelize([0], 1).map(lambda _: sparkml_lsml.__file__)
        found["sources"] = [sparkml_lsml.__file__, *place.collect()]
    finally:
        spark.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
