"""Models whose rows executors write: saved, loaded and damaged tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml import Model
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkml_lsml.errors import PersistenceError
from sparkml_lsml.spark.folders.persistence import SafeReadWrite
from sparkml_lsml.spark.folders.tables import SCALARS

ROWS = 2_000
Arrays = dict[str, np.ndarray]


class Lookup(Model, SafeReadWrite):
    """Finds factors by an id; a test double of models that hold more than a driver does."""

    def __init__(self, factors: DataFrame | None = None) -> None:
        super().__init__()
        self._factors = factors

    def _transform(self, dataset: DataFrame) -> DataFrame:
        assert self._factors is not None
        return dataset.join(self._factors, "id", "left")

    def _saved_arrays(self) -> Arrays:
        return {"mean": np.array([0.5])}

    def _saved_tables(self) -> dict[str, DataFrame]:
        return {} if self._factors is None else {"factors": self._factors}

    @classmethod
    def _from_saved(cls, arrays: Arrays, facts: dict[str, Any]) -> Lookup:
        return cls()

    def _restore_tables(self, tables: dict[str, DataFrame]) -> None:
        self._factors = tables.get("factors")


def factors(spark: SparkSession) -> DataFrame:
    return spark.range(ROWS, numPartitions=3).select(
        "id",
        F.when(F.col("id") % 7 > 0, F.concat(F.lit("user "), "id")).alias("name"),
        F.array(F.col("id").cast("float"), F.lit(-0.25).cast("float")).alias("vector"),
    )


@pytest.fixture(scope="module")
def once(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    Lookup(factors(spark)).save(str(folder))
    return folder


@pytest.fixture
def saved(once: Path, tmp_path: Path) -> Path:
    """Folder of a saved model, for the test to damage."""
    return Path(shutil.copytree(once, tmp_path / "model"))


def content(frame: DataFrame) -> list[Any]:
    return sorted(frame.collect())


def files(folder: Path) -> list[Path]:
    return sorted((folder / "tables" / "factors").glob("part-*.parquet"))


def metadata_of(folder: Path) -> dict[str, Any]:
    [part] = (folder / "metadata").glob("part-*")
    found: dict[str, Any] = json.loads(part.read_text())
    return found


def test_tables_there_and_back(spark: SparkSession, saved: Path) -> None:
    loaded = Lookup.load(str(saved))
    assert content(loaded._saved_tables()["factors"]) == content(factors(spark))
    scored = loaded.transform(spark.createDataFrame([(7,), (8,), (-1,)], "id long"))
    assert {row["id"]: (row["name"], row["vector"]) for row in scored.collect()} == {
        7: (None, [7.0, -0.25]),
        8: ("user 8", [8.0, -0.25]),
        -1: (None, None),
    }
    found = metadata_of(saved)
    assert found["formatVersion"] == 2
    assert found["tables"]["factors"]["rows"] == ROWS
    # written by executors, a file for each partition
    assert len(files(saved)) == 3
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_every_type_that_is_declared(spark: SparkSession, tmp_path: Path) -> None:
    def columns(kind: str) -> str:
        one = "unhex('41')" if kind == "binary" else f"CAST(1 AS {kind})"
        return f"{one} a_{kind}, array({one}, NULL) b_{kind}, CAST(NULL AS {kind}) c_{kind}"

    frame = spark.sql(f"SELECT {', '.join(map(columns, SCALARS))}")
    Lookup(frame).save(str(tmp_path / "m"))
    found = Lookup.load(str(tmp_path / "m"))._saved_tables()["factors"]
    assert found.schema.simpleString() == frame.schema.simpleString()
    assert found.collect() == frame.collect()


def test_an_empty_table(spark: SparkSession, tmp_path: Path) -> None:
    Lookup(factors(spark).limit(0)).save(str(tmp_path / "m"))
    assert Lookup.load(str(tmp_path / "m"))._saved_tables()["factors"].count() == 0


def test_without_tables_the_format_is_that_of_older_versions(
    spark: SparkSession, tmp_path: Path
) -> None:
    Lookup().save(str(tmp_path / "m"))
    found = metadata_of(tmp_path / "m")
    assert found["formatVersion"] == 1
    assert "tables" not in found
    assert not (tmp_path / "m" / "tables").exists()


def test_a_loaded_model_over_itself(spark: SparkSession, saved: Path) -> None:
    """As who changes a Param does: the rows that are written are those that are replaced."""
    loaded = Lookup.load(str(saved))
    for _ in range(2):  # of which the second reads what the first has written
        loaded.write().overwrite().save(str(saved))
        assert content(loaded._saved_tables()["factors"]) == content(factors(spark))
    assert content(Lookup.load(str(saved))._saved_tables()["factors"]) == content(factors(spark))
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_model_goes_on_with_its_own_rows_where_it_was_saved_elsewhere(
    spark: SparkSession, saved: Path, tmp_path: Path
) -> None:
    loaded = Lookup.load(str(saved))
    loaded.write().overwrite().save(str(tmp_path / "copy"))
    shutil.rmtree(tmp_path / "copy")
    assert loaded._saved_tables()["factors"].count() == ROWS


def rewrite(spark: SparkSession, folder: Path, frame: DataFrame) -> None:
    rows = frame.collect()
    shutil.rmtree(folder / "tables" / "factors")
    again = spark.createDataFrame(rows, frame.schema)
    again.write.parquet(str(folder / "tables" / "factors"))


def damage(spark: SparkSession, folder: Path, kind: str) -> None:
    table = folder / "tables" / "factors"
    frame = factors(spark)
    match kind:
        case "no table":
            shutil.rmtree(table)
        case "a file less":
            files(folder)[1].unlink()
        case "a file twice":
            shutil.copy(files(folder)[0], table / "part-00009.parquet")
        case "a file of something else":
            files(folder)[0].write_bytes(b"PAR1 nothing PAR1")
        case "another value":
            changed = F.when(F.col("id") == 9, F.lit("user 8")).otherwise(F.col("name"))
            rewrite(spark, folder, frame.withColumn("name", changed))
        case "another element":
            vector = F.array(F.element_at("vector", 1) + F.lit(1.0).cast("float"), F.lit(-0.25))
            rewrite(spark, folder, frame.withColumn("vector", vector.cast("array<float>")))
        case "a column less":
            rewrite(spark, folder, frame.drop("name"))
        case "another type":
            rewrite(spark, folder, frame.withColumn("id", F.col("id").cast("string")))


@pytest.mark.parametrize(
    "kind",
    [
        "no table",
        "a file less",
        "a file twice",
        "a file of something else",
        "another value",
        "another element",
        "a column less",
        "another type",
    ],
)
def test_a_damaged_table_is_refused(spark: SparkSession, saved: Path, kind: str) -> None:
    damage(spark, saved, kind)
    with pytest.raises(PersistenceError, match="tables"):
        Lookup.load(str(saved))


def test_settings_that_pass_over_files_do_not_hide_damage(spark: SparkSession, saved: Path) -> None:
    damage(spark, saved, "a file of something else")
    setting = "spark.sql.files.ignoreCorruptFiles"
    spark.conf.set(setting, "true")
    try:
        with pytest.raises(PersistenceError, match=f"expected {{'rows': {ROWS}"):
            Lookup.load(str(saved))
    finally:
        spark.conf.unset(setting)


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (lambda: F.struct("id"), "struct<id:bigint>"),
        (F.current_timestamp, "'timestamp'"),
        (lambda: array_to_vector(F.col("vector")), "'vector'"),
    ],
    ids=["struct", "timestamp", "vector"],
)
def test_a_column_that_no_table_has_is_refused_before_anything_is_written(
    spark: SparkSession, tmp_path: Path, column: Any, told: str
) -> None:
    with pytest.raises(PersistenceError, match=told):
        Lookup(factors(spark).withColumn("more", column())).save(str(tmp_path / "m"))
    assert [*tmp_path.iterdir()] == []


def test_a_class_without_tables_refuses_a_folder_with_some(
    spark: SparkSession, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lookup, "_restore_tables", lambda self, tables: None)
    with pytest.raises(PersistenceError, match=r"found tables \['factors'\], expected \[\]"):
        Lookup.load(str(saved))
