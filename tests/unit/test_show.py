"""`show` of folders that are written here as the format says, and of damaged ones; no Spark."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sparkml_lsml.cli import show
from sparkml_lsml.cli.app import main
from sparkml_lsml.cli.saved import LocalFolder, Part, inspect, weights_of
from sparkml_lsml.errors import PersistenceError
from sparkml_lsml.spark.folders.arrays import chunks, declare
from sparkml_lsml.spark.folders.metadata import to_line

CLASS = "sparkml_lsml.classification.logistic_regression.LogisticRegressionModel"
WEIGHTS = np.array([[0.25, -4.0, 0.0, 2.0], [1.0, 0.5, 0.0, -3.0]])


def write_metadata(folder: Path, line: str) -> None:
    (folder / "metadata").mkdir(parents=True)
    (folder / "metadata" / "part-00000").write_text(line + "\n", encoding="utf-8")
    (folder / "metadata" / "_SUCCESS").touch()
    (folder / "metadata" / ".part-00000.crc").touch()


def write_model(
    folder: Path, coefficients: Any = WEIGHTS, tables: Any = None, **params: Any
) -> Path:
    """Write a model as `SafeWriter` does."""
    arrays = {"coefficients": coefficients, "intercepts": np.array([0.5, -0.5])}
    metadata = {
        "class": CLASS,
        "timestamp": 1_750_000_000_000,
        "sparkVersion": "4.0.0",
        "uid": "LogisticRegression_12ab",
        "paramMap": {"regParam": 0.1, "maxIter": 100, **params},
        "defaultParamMap": {"regParam": 0.0, "maxIter": 100, "featuresCol": "features"},
        "formatVersion": 1,
        "arrays": declare(arrays),
        "facts": {"numClasses": 3},
    }
    if tables is not None:
        metadata |= {"formatVersion": 2, "tables": tables}
    write_metadata(folder, to_line(metadata))
    rows = [*chunks(arrays)]
    table = pa.table(
        {
            "name": pa.array([row[0] for row in rows], pa.string()),
            "chunk": pa.array([row[1] for row in rows], pa.int32()),
            # Spark calls the items of a list so
            "values": pa.array(
                [row[2] for row in rows], pa.list_(pa.field("element", pa.float64()))
            ),
        }
    )
    (folder / "data").mkdir()
    pq.write_table(
        table,
        folder / "data" / "part-00000.parquet",
        compression="none",
        use_dictionary=False,
        write_statistics=False,  # in which a number would be a second time
    )
    return folder


def write_stage(folder: Path, name: str, **params: Any) -> None:
    metadata = {"class": name, "uid": folder.name, "paramMap": params, "defaultParamMap": {}}
    write_metadata(folder, json.dumps(metadata))


def parts_of(folder: Path, top: int = 3) -> list[Part]:
    return inspect(LocalFolder(folder), str(folder), top)


def shown(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["show", str(folder), *options]) == 0
    return capsys.readouterr().out


def test_a_model(tmp_path: Path) -> None:
    [part] = parts_of(write_model(tmp_path / "m"))
    assert (part.place, part.name) == ("", CLASS)
    assert part.params == {"regParam": 0.1}
    assert part.arrays == {"coefficients": [2, 4], "intercepts": [2]}
    assert part.nbytes == 80
    assert part.weights is not None
    assert (part.weights.outputs, part.weights.features, part.weights.nonzero) == (2, 4, 6)
    # by the largest of both classes: |-4|, |-3|, |1|; a feature of zeros is never named
    assert part.weights.largest == [1, 3, 0]
    assert part.weights.coefficients == [[-4.0, 2.0, 0.25], [0.5, -3.0, 1.0]]
    assert part.weights.intercepts == [0.5, -0.5]
    assert len(parts_of(tmp_path / "m", 9)[0].weights.largest) == 3  # type: ignore[union-attr]


def test_text_of_a_pipeline_names_features(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    folder = tmp_path / "pipeline"
    write_stage(folder, "pyspark.ml.pipeline.PipelineModel", stageUids=["a", "b"])
    names = ["age", "income", "visits", "rooms"]
    assembler = "org.apache.spark.ml.feature.VectorAssembler"
    write_stage(folder / "stages" / "0_a", assembler, inputCols=names, outputCol="features")
    write_model(folder / "stages" / "1_b")
    text = shown(folder, capsys, "--top", "2")
    lines = [line.split() for line in text.splitlines()]
    assert ["PipelineModel"] in lines
    assert ["saved", "2025-06-15", "15:06", "UTC,", "Spark", "4.0.0,", "format", "1"] in lines
    assert ["Params", "regParam=0.1"] in lines
    assert "4 features, 3 classes; 6 of 8 coefficients are not 0" in text
    assert "of metadata and arrays: verified" in text
    assert ["intercept", "0.5", "-0.5"] in lines
    assert lines.index(["income", "-4", "0.5"]) < lines.index(["rooms", "2", "-3"])
    assert "age" not in text.split("largest coefficients")[1]


def test_names_are_not_guessed(tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    write_stage(folder, "pyspark.ml.pipeline.PipelineModel")
    assembler = "org.apache.spark.ml.feature.VectorAssembler"
    # one of the columns is a vector
    write_stage(
        folder / "stages" / "0_a", assembler, inputCols=["a", "b", "c"], outputCol="features"
    )
    write_model(folder / "stages" / "1_b")
    # another column than the one of the model
    write_stage(
        folder / "stages" / "2_c", assembler, inputCols=["a", "b", "c", "d"], outputCol="others"
    )
    parts = parts_of(folder)
    assert show.feature_names(parts, parts[2]) == []


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [part] = json.loads(shown(write_model(tmp_path / "m"), capsys, "--json"))["parts"]
    assert part["class"] == CLASS
    assert part["verified"] is True
    assert part["facts"] == {"numClasses": 3}
    assert part["weights"]["largest"] == [1, 3, 0]


def test_models_of_classes_in_their_order(tmp_path: Path) -> None:
    write_stage(tmp_path, "sparkml_lsml.classification.one_vs_rest.OneVsRestModel")
    for number in range(12):
        write_model(tmp_path / f"model_{number}")
    places = [part.place for part in parts_of(tmp_path)]
    assert places == ["", *(f"model_{number}" for number in range(12))]


def test_candidates_of_a_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = [[{"parent": "x", "name": "regParam", "value": v, "isJson": True}] for v in ("1", "2")]
    metadata = {
        "class": "pyspark.ml.tuning.CrossValidatorModel",
        "uid": "CrossValidatorModel_1",
        "paramMap": {"estimatorParamMaps": maps, "numFolds": 2},
        "avgMetrics": [0.75, 0.875],
        "stdMetrics": [0.25, 0.125],
    }
    write_metadata(tmp_path / "cv", json.dumps(metadata))
    lines = [line.split() for line in shown(tmp_path / "cv", capsys).splitlines()]
    assert ["regParam=1", "0.75", "0.25"] in lines
    assert ["regParam=2", "0.875", "0.125"] in lines


def test_tables_are_shown_as_they_are_declared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = [["id", "bigint"], ["factors", "array<float>"]]
    tables = {"users": {"schema": schema, "rows": 1_234_567, "checksum": "-9"}}
    folder = write_model(tmp_path / "m", tables=tables)
    text = " ".join(shown(folder, capsys).split())
    assert "table users: 1,234,567 rows of id bigint, factors array<float>; compared when" in text
    [part] = json.loads(shown(folder, capsys, "--json"))["parts"]
    assert part["tables"] == tables


def test_tables_that_nothing_has_checked_are_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A search has no format of ours, so that anything may stand there."""
    name = "sparkml_lsml.tuning.cross_validator.CrossValidatorModel"
    line = json.dumps({"class": name, "uid": "x", "tables": {"users": 3}})
    write_metadata(tmp_path / "cv", line)
    assert "users" not in shown(tmp_path / "cv", capsys)


def test_a_foreign_class_is_shown_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foreign_module.py").write_text("raise SystemExit", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    write_stage(tmp_path / "m", "foreign_module.Evil")
    assert [part.name for part in parts_of(tmp_path / "m")] == ["foreign_module.Evil"]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(np.float64(-4.0).tobytes())] ^= 1
    path.write_bytes(data)


def compress(path: Path) -> None:
    pq.write_table(pq.read_table(path), path, compression="gzip", use_dictionary=False)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda m: compress(m / "data" / "part-00000.parquet"), "is compressed"),
        (lambda m: flip(m / "data" / "part-00000.parquet"), "SHA-256"),
        (lambda m: (m / "data" / "part-00000.parquet").write_bytes(b"PAR1"), "cannot be read"),
        (lambda m: shutil.rmtree(m / "data"), "has no folder data"),
        (lambda m: (m / "data" / "part-00001").touch(), "holds 2 files in data"),
        (lambda m: (m / "metadata" / "part-00000").write_text("{", encoding="utf-8"), "not JSON"),
        (
            lambda m: (m / "metadata" / "part-00000").write_text(
                (m / "metadata" / "part-00000")
                .read_text(encoding="utf-8")
                .replace('"regParam": 0.1', '"regParam": 0.2'),
                encoding="utf-8",
            ),
            "changed after it was saved",
        ),
        (lambda m: shutil.rmtree(m / "metadata"), "holds no metadata"),
    ],
)
def test_damage_is_told(tmp_path: Path, damage: Any, words: str) -> None:
    folder = write_model(tmp_path / "m")
    damage(folder)
    with pytest.raises(PersistenceError, match=words) as caught:
        parts_of(folder)
    assert str(folder) in str(caught.value)


def test_no_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tmp_path / "nothing")]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'nothing'} holds no metadata")


def test_a_model_without_features() -> None:
    found = weights_of({"coefficients": np.empty((1, 0)), "intercepts": np.array([2.0])}, 5)
    assert found is not None
    assert (found.largest, found.coefficients, found.intercepts) == ([], [[]], [2.0])
