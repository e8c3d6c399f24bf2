"""Trains, scores and evaluates with the jobs, then compares the estimators with Spark's MLlib."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import typer
import yaml
from pyspark.ml import Pipeline, classification, regression
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import VectorUDT
from pyspark.ml.stat import Summarizer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    NumericType,
    StringType,
)
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.synthetic import FEATURES, synthetic
from sparkml_lsml.jobs import data, pipeline
from sparkml_lsml.jobs.config import InputConfig, LabelConfig, SplitConfig
from sparkml_lsml.spark.rows.frames import quoted

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "demo"
PROPERTIES = ROOT / "conf" / "spark-defaults.conf"
REG_PARAM = 0.01
HELD_OUT = 0.2
# More rows than go to the driver as a small problem do, so that warming up warms what is measured.
WARM_UP_ROWS = 60_000
FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".json": "json",
    ".orc": "orc",
    ".libsvm": "libsvm",
    ".svm": "libsvm",
}

console = Console(highlight=False)
if not console.is_terminal or console.width > 100:
    console = Console(width=100, highlight=False)


@dataclass(frozen=True)
class DataSet:
    """A table, and how to learn from it."""

    name: str
    source: dict[str, Any]
    label: str
    task: str
    features: tuple[str, ...]
    vector: str | None = None
    label_map: dict[Any, float] | None = None
    split_by: tuple[str, ...] = ()
    job_estimator: str = "LogisticRegression"
    classes: int = 2
    more_labels: tuple[str, ...] = field(default=())

    @property
    def stages(self) -> list[dict[str, Any]]:
        if self.vector is not None:
            return []
        params = {"inputCols": list(self.features), "outputCol": "features"}
        return [{"class": "VectorAssembler", "params": params}]


def session() -> SparkSession:
    """Start Spark, whose JVM writes what it has to say into a file, not between our lines."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    ours = os.dup(2)
    with (FOLDER / "spark.log").open("a") as log:
        os.dup2(log.fileno(), 2)
        try:
            return SparkSession.builder.appName("sparkml_lsml demo").getOrCreate()
        finally:
            os.dup2(ours, 2)
            os.close(ours)


def step(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")


# ---------------------------------------------------------------------------- data


def breast_cancer() -> DataSet:
    """Write the data set that scikit-learn ships: 569 rows x 30 features."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    names = [name.replace(" ", "_") for name in bunch.feature_names]
    columns = {name: bunch.data[:, index] for index, name in enumerate(names)}
    path = FOLDER / "breast_cancer.parquet"
    pq.write_table(pa.table({**columns, "benign": bunch.target}), path)
    source = {"format": "parquet", "path": str(path)}
    return DataSet("breast_cancer", source, "benign", "classification", tuple(names))


def generated(rows: int) -> DataSet:
    """Write dense rows with a class and a number to predict, unless they are there already."""
    path = FOLDER / f"generated-{rows}.parquet"
    if not (path / "_SUCCESS").exists():
        spark = session()
        synthetic(spark, rows).write.mode("overwrite").parquet(str(path))
        # The jobs run in Sparks of their own and want the memory.
        spark.stop()
    return DataSet(
        "generated",
        {"format": "parquet", "path": str(path)},
        "label",
        "classification",
        (),
        vector="features",
        split_by=("id",),
        job_estimator="LinearSVC",
        more_labels=("target",),
    )


def own_data(path: str, label: str, features: str | None, task: str | None) -> DataSet:
    """Look at the user's data and choose what to learn from it."""
    suffix = Path(path.rstrip("/")).suffix.lower()
    kind = FORMATS.get(suffix, "parquet")
    source: dict[str, Any] = {"format": kind, "path": path}
    if kind == "csv":
        source["options"] = {"header": True, "inferSchema": True}
    spark = session()
    frame = data.read(spark, InputConfig.model_validate(source))
    data.require_columns(frame, (label,), "--label")
    wanted = tuple(features.split(",")) if features else ()
    data.require_columns(frame, wanted, "--features")
    types = {item.name: item.dataType for item in frame.schema}
    vectors = [name for name in wanted or types if isinstance(types[name], VectorUDT)]
    numbers = tuple(
        name
        for name in wanted or types
        if isinstance(types[name], NumericType | BooleanType) and name != label
    )
    if wanted and len(vectors) + len(numbers) != len(wanted):
        raise typer.BadParameter("columns must be numeric, or one Vector", param_hint="--features")
    dotted = [name for name in numbers if "." in name]
    if dotted:
        console.print(f"  left out, as VectorAssembler cannot read them: {', '.join(dotted)}")
        numbers = tuple(name for name in numbers if name not in dotted)
    if not vectors and not numbers:
        raise typer.BadParameter("no numeric and no Vector column", param_hint="--input")
    vector = vectors[0] if vectors and (len(vectors) == 1 or not numbers) else None
    used = (vector,) if vector else numbers
    source["drop_nulls"] = [*used, label]
    column = quoted(label)
    some = frame.select(column).dropna().distinct().limit(101).collect()
    values = sorted(row[0] for row in some)
    discrete = isinstance(types[label], StringType | BooleanType) or (
        len(values) <= 20 and all(float(value) == int(value) for value in values)
    )
    task = task or ("classification" if discrete else "regression")
    label_map = None
    if task == "classification":
        if not 2 <= len(values) <= 100:
            raise typer.BadParameter(
                f"{len(values)} classes; expected 2 to 100", param_hint="--label"
            )
        if values != list(range(len(values))):
            label_map = {value: float(index) for index, value in enumerate(values)}
            console.print(f"  labels: {', '.join(f'{k} is {v:g}' for k, v in label_map.items())}")
    spark.stop()
    return DataSet(
        Path(path.rstrip("/")).stem,
        source,
        label,
        task,
        numbers,
        vector=vector,
        label_map=label_map,
        job_estimator="LogisticRegression" if task == "classification" else "LinearRegression",
        classes=len(values) if task == "classification" else 0,
    )


# ---------------------------------------------------------------------------- jobs


def run_jobs(dataset: DataSet) -> dict[str, Path]:
    """Train, score and evaluate with spark-submit; return where everything is."""
    place = FOLDER / dataset.name
    place.mkdir(parents=True, exist_ok=True)
    split = {"fraction": HELD_OUT, "seed": 1, "by": list(dataset.split_by)}
    label: dict[str, Any] = {"column": dataset.label}
    if dataset.label_map:
        label["map"] = dataset.label_map
    params: dict[str, Any] = {"regParam": REG_PARAM}
    if dataset.vector is not None:
        params["featuresCol"] = dataset.vector
    task = "regression"
    if dataset.task == "classification":
        task = "binary" if dataset.classes == 2 else "multiclass"
    outputs = {
        "model": place / "model",
        "predictions": place / "predictions",
        "train report": place / "train.json",
        "evaluation report": place / "evaluation.json",
    }
    configs: dict[str, dict[str, Any]] = {
        "train": {
            "input": dataset.source,
            "split": split,
            "label": label,
            "pipeline": {
                "stages": dataset.stages,
                "estimator": {"class": dataset.job_estimator, "params": params},
            },
            "output": {
                "model": str(outputs["model"]),
                "report": str(outputs["train report"]),
                "overwrite": True,
            },
        },
        "score": {
            "input": dataset.source,
            "split": split,
            "model": str(outputs["model"]),
            "output": {"predictions": {"path": str(outputs["predictions"])}, "overwrite": True},
        },
        "evaluate": {
            "task": task,
            "input": {"format": "parquet", "path": str(outputs["predictions"])},
            "label": label,
            "output": {"report": str(outputs["evaluation report"]), "overwrite": True},
        },
    }
    for job, config in configs.items():
        conf_file = place / f"{job}.yaml"
        conf_file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        submit(job, conf_file, place / f"{job}.log")
    report = json.loads(outputs["evaluation report"].read_text(encoding="utf-8"))
    names = ("accuracy", "f1", "weightedF1", "areaUnderROC", "logLoss", "rmse", "mae", "r2")
    found = {name: report["metrics"].get(name) for name in names}
    shown = "  ".join(f"{name} {value:.4f}" for name, value in found.items() if value is not None)
    console.print(f"  on {report['rows']['evaluated']:,} held-out rows: {shown}")
    return outputs


def submit(job: str, conf_file: Path, log: Path) -> None:
    program = ROOT / "jobs" / f"{job}.py"
    command = [
        str(Path(pyspark.__path__[0]) / "bin" / "spark-submit"),
        *("--properties-file", str(PROPERTIES)),
        *("--master", "local[*]", "--driver-memory", "2g"),
        *(str(program), "--conf-file", str(conf_file)),
    ]
    start = time.perf_counter()
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        console.print("".join(log.read_text(encoding="utf-8").splitlines(keepends=True)[-20:]))
        console.print(f"[red]{job} failed; its log is {log}[/red]")
        sys.exit(1)
    shown = f"spark-submit jobs/{job}.py --conf-file {relative(conf_file)}"
    console.print(f"  {shown:<74} {seconds:5.1f} s", soft_wrap=True)


def relative(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


# ---------------------------------------------------------------------------- comparison


@dataclass(frozen=True)
class Fit:
    """One fitted model and what is known of it."""

    quality: float
    objective: float | None
    seconds: float


def objectives(
    training: DataFrame, models: list[Any], loss: str, deviations: np.ndarray
) -> list[float]:
    """Compute MLlib's objective of binary or linear models anew, in one pass over all rows.

    mean(loss) + regParam / 2 * sum((coefficient_j * deviation_j)^2): with standardisation the
    penalty sees the coefficients of columns of deviation 1, and for the squared error it is
    divided by the deviation of the labels. This knows nothing of either implementation.
    """
    coefficients = np.stack([model.coefficients.toArray() for model in models], axis=1)
    intercepts = np.array([model.intercept for model in models])

    def sums(batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            count = batch.num_rows
            if count == 0:
                continue
            rows = batch.column(0).flatten().to_numpy().reshape(count, -1)
            y = batch.column(1).to_numpy()[:, None]
            margin = rows @ coefficients + intercepts
            if loss == "squared":
                losses = 0.5 * (margin - y) ** 2
            else:
                signed = (2 * y - 1) * margin
                hinge = np.maximum(0, 1 - signed)
                losses = hinge if loss == "hinge" else np.logaddexp(0, -signed)
            parts = [*losses.sum(axis=0), float(count), y.sum(), (y**2).sum()]
            yield pa.RecordBatch.from_arrays(
                [pa.array([float(value)]) for value in parts],
                [f"s{index}" for index in range(len(parts))],
            )

    names = [f"s{index}" for index in range(len(models) + 3)]
    frame = training.select(
        vector_to_array(F.col("features")).alias("x"), F.col("label").alias("y")
    )
    schema = ", ".join(f"{name} double" for name in names)
    row = frame.mapInArrow(sums, schema).agg(*(F.sum(name) for name in names)).first()
    assert row is not None
    *totals, count, of_labels, of_squares = row
    scale = 1.0
    if loss == "squared":
        scale = math.sqrt(of_squares / count - (of_labels / count) ** 2)
    penalties = 0.5 * REG_PARAM * ((coefficients * deviations[:, None]) ** 2).sum(axis=0) / scale
    return [total / count + penalty for total, penalty in zip(totals, penalties, strict=True)]


def pairs(dataset: DataSet, label: str) -> Iterator[tuple[str, Any, Any, str]]:
    """List the estimators to compare: name, ours, MLlib's, loss."""
    ours = pipeline.estimators()
    if label in dataset.more_labels or dataset.task == "regression":
        name = "LinearRegression"
        yield name, ours[name], regression.LinearRegression, "squared"
        return
    if dataset.classes == 2:
        yield "LinearSVC", ours["LinearSVC"], classification.LinearSVC, "hinge"
    name = "LogisticRegression"
    yield name, ours[name], classification.LogisticRegression, "logistic"


def prepare(spark: SparkSession, dataset: DataSet, label: str) -> tuple[DataFrame, DataFrame]:
    """Read features and label of a data set and hold the same rows out as the jobs did."""
    frame = data.read(spark, InputConfig.model_validate(dataset.source))
    parts = data.split(frame, SplitConfig(fraction=HELD_OUT, seed=1, by=dataset.split_by))
    labels = LabelConfig(column=label, map=dataset.label_map)

    def finish(part: DataFrame) -> DataFrame:
        part = data.map_labels(part, label, labels)
        if dataset.vector is None:
            assembler = VectorAssembler(inputCols=[*dataset.features], outputCol="features")
            part = Pipeline(stages=[assembler]).fit(part).transform(part)
        else:
            part = part.withColumn("features", quoted(dataset.vector))
        return part.select("features", quoted(label).cast("double").alias("label"))

    return finish(parts.training), finish(parts.held_out)


def compare(spark: SparkSession, dataset: DataSet, table: Table) -> None:
    """Fit ours and MLlib's with the same Params, and add a line for each to the table."""
    for label in (dataset.label, *dataset.more_labels):
        training, held_out = prepare(spark, dataset, label)
        row = training.select(Summarizer.metrics("std").summary(F.col("features"))).first()
        assert row is not None
        deviations = np.asarray(row[0]["std"].toArray())
        regress = label in dataset.more_labels or dataset.task == "regression"
        for name, ours, theirs, loss in pairs(dataset, label):
            models, seconds = [], []
            for kind in (ours, theirs):
                start = time.perf_counter()
                models.append(kind(regParam=REG_PARAM).fit(training))
                seconds.append(time.perf_counter() - start)
            quality = [judge(model, held_out, regress=regress) for model in models]
            found: list[float | None] = [None, None]
            if dataset.classes <= 2:
                found = [*objectives(training, models, loss, deviations)]
            table.add_row(
                f"{name}\n[dim]{dataset.name}[/dim]",
                "sparkml_lsml\nMLlib",
                "\n".join(f"{'RMSE' if regress else 'accuracy'} {value:.4f}" for value in quality),
                "\n".join("-" if value is None else f"{value:.8f}" for value in found),
                f"{seconds[0]:.2f}\n{seconds[1]:.2f}",
                f"{seconds[1] / seconds[0]:.1f} x",
            )


def judge(model: Any, rows: DataFrame, *, regress: bool) -> float:
    """Compute the RMSE, or the share of right answers, on held-out rows."""
    error = F.col("prediction") - F.col("label")
    value = F.sqrt(F.avg(error**2)) if regress else F.avg((error == 0).cast("double"))
    row = model.transform(rows).agg(value).first()
    assert row is not None
    return float(row[0])


def warm_up(spark: SparkSession) -> None:
    """Fit each estimator once: a JVM is several times slower at first."""
    ours_says = logging.getLogger("sparkml_lsml")
    # That five iterations are few is no news here.
    ours_says.setLevel(logging.ERROR)
    rows = synthetic(spark, WARM_UP_ROWS, seed=1).persist()
    rows.count()
    ours = pipeline.estimators()
    for kinds in (ours, vars(classification)):
        for name in ("LinearSVC", "LogisticRegression"):
            judge(kinds[name](maxIter=5).fit(rows), rows, regress=False)
    for kinds in (ours, vars(regression)):
        model = kinds["LinearRegression"](labelCol="target").fit(rows)
        judge(model, rows.withColumn("label", F.col("target")), regress=True)
    rows.unpersist()
    ours_says.setLevel(logging.NOTSET)


def main(
    rows: Annotated[int, typer.Option(min=1000, help="Generated rows.")] = 1_000_000,
    input_path: Annotated[
        str | None, typer.Option("--input", help="Your own Parquet, CSV, JSON, ORC or LIBSVM.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Its label column.")] = None,
    features: Annotated[
        str | None, typer.Option(help="Its feature columns, a,b,c; by default all numeric ones.")
    ] = None,
    task: Annotated[
        Literal["classification", "regression"] | None,
        typer.Option(help="By default what the label looks like."),
    ] = None,
) -> None:
    """Train, score and evaluate with the jobs, then compare the estimators with Spark's MLlib."""
    if (input_path is None) != (label is None):
        raise typer.BadParameter("--input and --label go together")
    begin = time.perf_counter()
    FOLDER.mkdir(parents=True, exist_ok=True)
    submit_args = f"--properties-file {PROPERTIES} --master local[*] --driver-memory 4g"
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"{submit_args} pyspark-shell"

    datasets = []
    if input_path is None or label is None:
        step("1. Data")
        datasets.append(breast_cancer())
        console.print("  breast_cancer: 569 rows x 30 features, from scikit-learn")
        datasets.append(generated(rows))
        console.print(
            f"  generated: {rows:,} rows x {FEATURES} correlated features, scales over three "
            f"decades,\n  a class (5 % of the labels flipped) and a number to predict"
        )
    else:
        step("1. Data")
        datasets.append(own_data(input_path, label, features, task))
        chosen = datasets[0].vector or ", ".join(datasets[0].features)
        console.print(f"  {datasets[0].task} of {label} from {chosen}", soft_wrap=True)

    outputs = {}
    for index, dataset in enumerate(datasets, start=2):
        step(f"{index}. Jobs on {dataset.name}: {dataset.job_estimator}")
        outputs[dataset.name] = run_jobs(dataset)

    step(f"{len(datasets) + 2}. Beside Spark's MLlib: same rows, same Params, one Spark")
    console.print("  warming up ...")
    spark = session()
    warm_up(spark)
    table = Table(box=box.ROUNDED, show_lines=True)
    table.add_column("Estimator")
    table.add_column("of")
    table.add_column("On held-out rows", justify="right")
    table.add_column("Training objective", justify="right")
    table.add_column("Seconds", justify="right")
    table.add_column("Faster by", justify="right")
    for dataset in datasets:
        compare(spark, dataset, table)
    spark.stop()
    console.print(table)

    step("Where everything is")
    for name, places in outputs.items():
        for what, path in places.items():
            console.print(f"  {name + ' ' + what:<34} {relative(path)}", soft_wrap=True)
    console.print(f"\n  {time.perf_counter() - begin:.0f} seconds in all")


if __name__ == "__main__":
    typer.run(main)
