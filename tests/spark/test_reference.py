"""Public data sets beside scikit-learn and LIBLINEAR: `SPARKML_LSML_DATA` names their folder."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.linear_model
import sklearn.svm
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType
from scipy import sparse
from sklearn.datasets import load_svmlight_files

from sparkml_lsml.classification import LinearSVC, LogisticRegression
from sparkml_lsml.regression import LinearRegression
from tests.spark.helpers import frame, frame_of

pytestmark = pytest.mark.reference

Array = npt.NDArray[np.float64]


def sparse_frame(spark: SparkSession, X: sparse.csr_matrix, y: Array) -> DataFrame:
    rows = [
        Vectors.sparse(X.shape[1], X.indices[start:end].tolist(), X.data[start:end].tolist())
        for start, end in zip(X.indptr[:-1], X.indptr[1:], strict=True)
    ]
    return frame_of(spark, {"label": (DoubleType(), y.tolist()), "features": (VectorUDT(), rows)})


def adult(folder: Path) -> tuple[sparse.csr_matrix, Array, sparse.csr_matrix, Array]:
    X, y, held_out, truth = load_svmlight_files(
        [str(folder / "a9a" / name) for name in ("a9a", "a9a.t")]
    )
    # LIBLINEAR takes no other indices
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return X, (y > 0).astype(float), held_out, (truth > 0).astype(float)


def test_squared_hinge_is_liblinear_s(spark: SparkSession, data_dir: Path) -> None:
    X, y, _, _ = adult(data_dir)
    sign, rows = 2.0 * y - 1.0, len(y)
    C = 1.0

    def objective(w: Array) -> float:
        """LIBLINEAR's, divided by C and the rows."""
        slack = np.maximum(0.0, 1.0 - sign * (X @ w))
        return float(slack @ slack) / rows + 0.5 * float(w @ w) / (C * rows)

    theirs = sklearn.svm.LinearSVC(C=C, fit_intercept=False, dual=False, tol=1e-10, max_iter=10_000)
    expected = objective(theirs.fit(X, sign).coef_[0])
    ours = LinearSVC(
        loss="squaredHinge",
        fitIntercept=False,
        standardization=False,
        regParam=1.0 / (C * rows),
        tol=1e-10,
        maxIter=1000,
    )
    found = objective(ours.fit(sparse_frame(spark, X, y)).coefficients.toArray())
    assert found == pytest.approx(expected, rel=1e-6)


def test_squared_hinge_on_held_out_adults(spark: SparkSession, data_dir: Path) -> None:
    X, y, held_out, truth = adult(data_dir)
    fit = LinearSVC(loss="squaredHinge", standardization=False, regParam=1.0 / len(y))
    model = fit.fit(sparse_frame(spark, X, y))
    scored = model.transform(sparse_frame(spark, held_out, truth))
    right = scored.where("label = prediction").count() / len(truth)
    assert right == pytest.approx(0.849, abs=0.002)


def test_multinomial_on_handwritten_digits(spark: SparkSession, data_dir: Path) -> None:
    def read(name: str, header: int) -> npt.NDArray[np.uint8]:
        with gzip.open(data_dir / "mnist" / f"{name}-ubyte.gz") as file:
            return np.frombuffer(file.read(), dtype=np.uint8, offset=header)

    def rows(name: str) -> tuple[DataFrame, int]:
        X = sparse.csr_matrix(read(f"{name}-images-idx3", 16).reshape(-1, 784) / 255.0)
        y = read(f"{name}-labels-idx1", 8).astype(float)
        return sparse_frame(spark, X, y), len(y)

    train, _ = rows("train")
    model = LogisticRegression(regParam=1e-4, standardization=False, maxIter=200).fit(train)
    held_out, count = rows("t10k")
    right = model.transform(held_out).where("label = prediction").count() / count
    assert right >= 0.922


def houses(folder: Path) -> tuple[Array, Array]:
    table = np.loadtxt(
        folder / "california_housing" / "cal_housing.data", delimiter=",", skiprows=1
    )
    return table[:, :-1], table[:, -1]


def test_least_squares_is_scikit_learn_s(spark: SparkSession, data_dir: Path) -> None:
    X, y = houses(data_dir)
    expected = sklearn.linear_model.LinearRegression().fit(X, y)
    for solver in ("normal", "l-bfgs"):
        model = LinearRegression(solver=solver, tol=1e-12, maxIter=1000).fit(frame(spark, X, y))
        np.testing.assert_allclose(model.coefficients.toArray(), expected.coef_, rtol=1e-6)
        np.testing.assert_allclose(model.intercept, expected.intercept_, rtol=1e-6)


def test_huber_is_scikit_learn_s(spark: SparkSession, data_dir: Path) -> None:
    X, y = houses(data_dir)
    # scikit-learn's L-BFGS neither scales nor centres: give it what it converges on
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = y / y.std()
    alpha = 1e-3
    expected = sklearn.linear_model.HuberRegressor(
        epsilon=1.35, alpha=alpha, max_iter=10_000, tol=1e-9
    ).fit(X, y)
    # its penalty is alpha |w|^2 beside a sum over the rows, ours regParam / 2 |w|^2 beside a mean
    # of halves
    model = LinearRegression(
        loss="huber",
        epsilon=1.35,
        regParam=alpha / len(y),
        standardization=False,
        tol=1e-12,
        maxIter=1000,
    ).fit(frame(spark, X, y))
    np.testing.assert_allclose(model.coefficients.toArray(), expected.coef_, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.intercept, expected.intercept_, rtol=1e-4)
    np.testing.assert_allclose(model.scale, expected.scale_, rtol=1e-4)
