"""The rows of saved tables, which executors write, compare and read."""

from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkml_lsml.errors import PersistenceError, shown
from sparkml_lsml.spark.folders.paths import exists, file_system, without_globs
from sparkml_lsml.spark.folders.tables import Declared, Schema, check_declared, check_schema

Tables = dict[str, DataFrame]


def schema_of(table: str, frame: DataFrame) -> Schema:
    """Name and type of each column, checked.

    Raises
    ------
    PersistenceError
        If there is a column that cannot be saved.
    """
    return check_schema(table, [[f.name, f.dataType.simpleString()] for f in frame.schema])


def schemas_of(tables: Tables) -> dict[str, Schema]:
    """The schema of each table; see `schema_of`."""
    return {name: schema_of(name, frame) for name, frame in tables.items()}


def frames_of(spark: SparkSession, path: str, schemas: dict[str, Schema]) -> Tables:
    """The tables below a folder, whose rows are not looked at."""
    return {name: _frame(spark, path, name, schema) for name, schema in schemas.items()}


def write_tables(tables: Tables, path: str) -> Declared:
    """Let executors write tables below a folder; what its metadata have to say of them."""
    schemas = schemas_of(tables)
    check_declared({name: {"schema": s, "rows": 0, "checksum": "0"} for name, s in schemas.items()})
    declared = {}
    for name, schema in schemas.items():
        frame = tables[name]
        # other codecs than this may lack on the machine that reads
        frame.write.option("compression", "snappy").parquet(_folder(path, name))
        written = _frame(frame.sparkSession, path, name, schema)
        declared[name] = {"schema": schema, **_facts(written)}
    return declared


def read_tables(spark: SparkSession, path: str, declared: Declared) -> Tables:
    """The tables below a folder, which are those that its metadata declare.

    Executors read each table once, to compare its rows; the frames read it again when they are
    used.

    Raises
    ------
    PersistenceError
        If a table is missing, has other columns, or other rows in any value.
    """
    for name in declared:
        if not exists(spark, _folder(path, name)):
            raise PersistenceError(f"lacks the table '{name}': the folder is damaged")
    frames = frames_of(spark, path, {name: entry["schema"] for name, entry in declared.items()})
    for name, frame in frames.items():
        expected = {key: declared[name][key] for key in ("rows", "checksum")}
        if (found := _facts(frame)) != expected:
            raise PersistenceError(
                f"has a table '{name}' of {shown(found)}, expected {shown(expected)}: the folder "
                "is damaged"
            )
    return frames


def reads_from(frame: DataFrame, path: str) -> bool:
    """Whether a frame is of files below a folder, and so ends with it."""
    files, hadoop = file_system(frame.sparkSession, path)
    below = str(files.makeQualified(hadoop).toUri().toString()).rstrip("/") + "/"
    return any(file.startswith(below) for file in frame.inputFiles())


def _folder(path: str, table: str) -> str:
    return f"{path}/tables/{table}"


def _frame(spark: SparkSession, path: str, table: str, schema: Schema) -> DataFrame:
    text = ", ".join(f"`{name}` {kind}" for name, kind in schema)
    return spark.read.schema(text).parquet(without_globs(_folder(path, table)))


def _facts(frame: DataFrame) -> dict[str, Any]:
    """Number of rows, and the sum of their hashes, which no order changes."""
    # hashes pass over nulls, and would not tell in which column they are
    parts = [part for name in frame.columns for part in (F.col(name).isNull(), F.col(name))]
    row: Column = F.xxhash64(*parts).cast("decimal(20,0)")
    found = frame.agg(F.count(F.lit(1)).alias("rows"), F.sum(row).alias("sum")).first()
    assert found is not None
    return {"rows": int(found["rows"]), "checksum": str(found["sum"] or 0)}
