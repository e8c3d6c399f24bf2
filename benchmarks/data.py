"""Data sets of the benchmarks: written once as Parquet, and read without Spark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml.linalg import VectorUDT
from pyspark.sql.types import ArrayType, FloatType, StructField, StructType
from scipy import sparse

from benchmarks.synthetic import FEATURES, SCHEMA, Array, DenseRows, SparseRows, vectors

FOLDER = Path(__file__).resolve().parent.parent / "build" / "benchmarks"
FILES = 8
BATCH = 25_000
SPARSE_FEATURES = 47_000
SPARK_SCHEMA = "org.apache.spark.sql.parquet.row.metadata"
"""Where Spark looks for the types that Parquet does not know, such as vectors."""

Matrix = Array | sparse.csr_matrix


@dataclass(frozen=True)
class DataSet:
    """A seeded table of features, a class and a number to predict."""

    kind: str
    rows: int
    features: int = FEATURES
    nonzeros: int = 0
    float32: bool = False
    seed: int = 0

    @property
    def name(self) -> str:
        parts = [self.kind, str(self.rows), str(self.features)]
        parts += [f"{self.nonzeros}nz"] if self.nonzeros else []
        parts += ["float32"] if self.float32 else []
        return "-".join(parts)

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.parquet"

    @property
    def columns(self) -> list[str]:
        """Names of the columns of features, where each has one of its own."""
        return [f"x{n}" for n in range(self.features)] if self.kind == "columns" else []

    @property
    def title(self) -> str:
        size = f"{self.rows:,} x {self.features:,}"
        if self.kind == "breast_cancer":
            return f"breast_cancer, {size}"
        return f"{self.kind} {size}" + (" float32" if self.float32 else "")


def dense(rows: int, features: int = FEATURES, *, float32: bool = False) -> DataSet:
    return DataSet("dense", rows, features, float32=float32)


def separate(rows: int, features: int = FEATURES) -> DataSet:
    """The dense rows with a column for each feature."""
    return DataSet("columns", rows, features)


def power_law(rows: int, nonzeros: int = 40) -> DataSet:
    return DataSet("sparse", rows, SPARSE_FEATURES, nonzeros)


BREAST_CANCER = DataSet("breast_cancer", 569, 30)


def ensure(data: DataSet) -> None:
    """Write a data set, unless it is there already."""
    done = data.path / "_SUCCESS"
    if done.exists():
        return
    shutil.rmtree(data.path, ignore_errors=True)
    data.path.mkdir(parents=True)
    # One file for the small one, as a user would have it.
    files = FILES if data.kind != "breast_cancer" else 1
    bounds = [data.rows * number // files for number in range(files + 1)]
    for number in range(files):
        write(data, data.path / f"part-{number}.parquet", bounds[number], bounds[number + 1])
    done.touch()


def write(data: DataSet, path: Path, begin: int, end: int) -> None:
    writer = None
    for start in range(begin, end, BATCH):
        table = rows(data, start, min(BATCH, end - start))
        writer = writer or pq.ParquetWriter(path, table.schema, use_dictionary=False)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def rows(data: DataSet, start: int, count: int) -> pa.Table:
    """Make a part of the rows."""
    x: Matrix
    if data.kind == "breast_cancer":
        from sklearn.datasets import load_breast_cancer

        bunch = load_breast_cancer()
        x, label, target = bunch.data, bunch.target.astype(float), bunch.target.astype(float)
    elif data.kind == "sparse":
        x, label, target = SparseRows(data.features, data.nonzeros, data.seed)(start, count)
    else:
        x, label, target = DenseRows(data.features, data.seed)(start, count)
    schema = SCHEMA
    ids = pa.array(np.arange(start, start + count))
    if data.columns:
        assert isinstance(x, np.ndarray)
        arrays = [ids, *(pa.array(column) for column in x.T), pa.array(label), pa.array(target)]
        return pa.table(arrays, ["id", *data.columns, "label", "target"])
    if data.float32:
        assert isinstance(x, np.ndarray)
        flat = pa.array(x.astype(np.float32).ravel())
        offsets = np.arange(0, x.size + 1, data.features, dtype=np.int32)
        features = pa.ListArray.from_arrays(pa.array(offsets), flat)
        column = StructField("features", ArrayType(FloatType()))
        schema = StructType([SCHEMA["id"], column, SCHEMA["label"], SCHEMA["target"]])
    else:
        features = vectors(x)
        assert isinstance(schema["features"].dataType, VectorUDT)
    columns = [ids, features, pa.array(label), pa.array(target)]
    return pa.table(columns, schema.names).replace_schema_metadata({SPARK_SCHEMA: schema.json()})


def matrix(column: Any, features: int) -> Matrix:
    """An Arrow column of vectors or arrays as a matrix, without a loop over rows."""
    count = len(column)
    if pa.types.is_list(column.type):
        return np.asarray(column.flatten()).reshape(count, features)
    values = column.field("values")
    if column.field("indices").null_count == count:
        return np.asarray(values.flatten()).reshape(count, features)
    lengths = np.asarray(values.value_lengths())
    starts = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.asarray(column.field("indices").flatten())
    shape = (count, features)
    return sparse.csr_matrix((np.asarray(values.flatten()), indices, starts), shape=shape)


def read(data: DataSet, label: str) -> Iterator[tuple[Matrix, Array]]:
    """Read features and label in batches."""
    names = [*(data.columns or ["features"]), label]
    for path in sorted(data.path.glob("part-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=names):
            *features, y = batch.columns
            if data.columns:
                yield np.column_stack(features), np.asarray(y)
            else:
                yield matrix(features[0], data.features), np.asarray(y)


def load(data: DataSet, label: str) -> tuple[Matrix, Array]:
    """Read features and label as a whole, as a user of scikit-learn does."""
    table = pq.read_table(data.path, columns=["features", label])
    parts: list[Any] = [matrix(chunk, data.features) for chunk in table["features"].chunks]
    y = table[label].to_numpy()
    if data.kind == "sparse":
        return sparse.csr_matrix(sparse.vstack(parts, format="csr")), y
    return np.concatenate(parts), y
