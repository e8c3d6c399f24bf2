"""Fits of all kinds in one session, for minutes, and what grew: ``./dev/soak``."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.functions import array_to_vector
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from benchmarks.resources import ALLOWANCES, Growth, Sample, growth, sample
from sparkml_lsml.callbacks import FitCallback
from sparkml_lsml.classification import LinearSVC, LogisticRegression, LogisticRegressionModel
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.tuning import CrossValidator, regularization_path

MINUTES = 15.0
SAMPLES = 30
"""Looks at the session, spread over the run; one takes a second or two."""

WARM_UP = 1
"""Rounds of all kinds of work before the first look: what is loaded once is loaded by then."""

ROWS, FEATURES = 20_000, 20
"""3 MB of rows: fits that kept theirs would show in any of the memories."""

SETTINGS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.log.level": "OFF",
    "spark.python.unix.domain.socket.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # what Spark remembers of jobs and queries fills up in the warm-up and then stays as it is
    "spark.sql.ui.retainedExecutions": "10",
    "spark.ui.retainedJobs": "20",
    "spark.ui.retainedStages": "20",
    "spark.ui.retainedTasks": "100",
}

Work = Callable[[], Any]


def rows(spark: SparkSession, *, sparse: bool = False) -> DataFrame:
    """Rows of hashes, with a label that the features say something about, in two partitions."""
    numbers = F.sequence(F.lit(1), F.lit(FEATURES))
    kept = F.lit(0.2 if sparse else 1.0)
    values = F.transform(numbers, lambda j: F.hash("id", j) / F.lit(2.0**31))
    table = spark.range(ROWS, numPartitions=2).select(
        F.transform(values, lambda v: F.when(F.abs(v) < kept, v).otherwise(0.0)).alias("array"),
        (F.hash("id") / F.lit(2.0**31)).alias("noise"),
    )
    raw = F.col("noise") + F.col("array")[0] - F.col("array")[1]
    return table.select(
        array_to_vector(F.col("array")).alias("features"),
        raw.alias("target"),
        (raw > 0).cast("double").alias("label"),
        (1.0 + F.abs("noise")).alias("weight"),
    )


def works(spark: SparkSession, folder: Path) -> dict[str, Work]:
    """Every kind of work, by name."""
    dense, sparse = rows(spark), rows(spark, sparse=True)
    few: dict[str, Any] = {"maxIter": 5, "regParam": 0.01}
    distributed = LogisticRegression(**few, execution="distributed")
    fits: dict[str, tuple[Any, DataFrame]] = {
        "logistic": (LogisticRegression(**few), dense),
        "logistic, sparse": (LogisticRegression(**few, weightCol="weight"), sparse),
        "logistic, L1": (LogisticRegression(**few, elasticNetParam=1.0), dense),
        "logistic, accelerated": (LogisticRegression(**few, solver="accelerated"), dense),
        "logistic, cocoa": (LogisticRegression(**few, solver="cocoa"), dense),
        "hinge": (LinearSVC(**few), dense),
        "hinge, sgd": (LinearSVC(**few, solver="sgd"), sparse),
        "squared": (LinearRegression(**few, labelCol="target"), dense),
        "huber": (LinearRegression(**few, labelCol="target", loss="huber"), dense),
    }
    wrong = dense.withColumn("label", F.lit(0.5))
    broken = dense.select("label").mapInArrow(_broken, "features array<double>, label double")
    found: dict[str, Work] = {}
    for where in ("local", "distributed"):
        for name, (estimator, frame) in fits.items():
            found[f"{name}, {where}"] = partial(
                estimator.copy().setParams(execution=where).fit, frame
            )
        ours = distributed.copy().setParams(execution=where)
        found[f"wrong labels, {where}"] = partial(_fails, ours, wrong, "labels must be 0, 1, 2")
        found[f"broken source, {where}"] = partial(_fails, ours, broken, "broken off")

    path = [10.0**-n for n in range(4)]
    validator = CrossValidator(
        estimator=distributed,
        estimatorParamMaps=ParamGridBuilder().addGrid(distributed.regParam, path).build(),
        evaluator=BinaryClassificationEvaluator(),
        numFolds=2,
    )
    found["grid"] = partial(validator.fit, dense)
    found["path"] = partial(regularization_path, distributed, dense, regParams=path)
    found["save and load"] = partial(_save_and_load, distributed, dense, folder / "model")
    found["interrupt"] = partial(_interrupted, dense)
    return found


def _broken(batches: Iterator[Any]) -> Iterator[Any]:
    for batch in batches:
        raise OSError(f"broken off at {batch.num_rows} rows")
        yield batch


def _fails(estimator: Any, frame: DataFrame, told: str) -> None:
    try:
        estimator.fit(frame)
    except Exception as error:
        if told not in str(error):
            raise
    else:
        raise AssertionError(f"a fit that had to fail ended well: {told}")


def _save_and_load(estimator: Any, frame: DataFrame, folder: Path) -> None:
    estimator.fit(frame).write().overwrite().save(str(folder))
    model = LogisticRegressionModel.load(str(folder))
    model.transform(frame).agg(F.sum("prediction")).collect()
    shutil.rmtree(folder)


def _interrupted(frame: DataFrame) -> None:
    """A fit that would take hours, and a Ctrl-C in one of its passes, or between two."""
    endless = LogisticRegression(execution="distributed", solver="gradient-descent", tol=0.0)
    endless.setParams(maxIter=1_000_000, lineSearch="fixed", stepSize=1e-9)
    pressing = _Pressing()
    endless.setCallbacks([pressing])
    with contextlib.suppress(KeyboardInterrupt):
        endless.fit(frame)
        raise AssertionError("a fit of hours ended")
    pressing.timer.join()


class _Pressing(FitCallback):
    """Presses Ctrl-C once the rows are packed."""

    def __init__(self) -> None:
        self.timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))

    def on_fit_begin(self, fit: Any) -> None:
        self.timer.start()


@dataclass(frozen=True)
class Soak:
    """Looks at a session.

    Parameters
    ----------
    fits : list of int
        Pieces of work that were done by then.
    samples : list of Sample
    """

    fits: list[int]
    samples: list[Sample]

    def judge(self) -> list[Growth]:
        """What grew by how much."""
        return growth(self.fits, self.samples)


def soak(spark: SparkSession, minutes: float, seed: int, say: Callable[[str], None]) -> Soak:
    """Do every kind of work in a random order, round after round, until the time is over."""
    order = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        todo = works(spark, Path(folder))
        begin = time.monotonic()
        until = begin + 60.0 * minutes
        fits: list[int] = []
        samples: list[Sample] = []
        done = 0
        while len(samples) < 2 or time.monotonic() < until:
            names = list(todo)
            order.shuffle(names)
            for name in names:
                todo[name]()
                done += 1
            rounds = done // len(todo)
            # evenly over the time that is left, but never less than a round apart
            due = begin + len(samples) * (until - begin) / SAMPLES
            if rounds >= WARM_UP and (time.monotonic() >= due or time.monotonic() >= until):
                fits.append(done)
                samples.append(sample(spark))
                seconds = time.monotonic() - begin
                say(f"{seconds:,.0f} s: {done:,} pieces of work in {rounds:,} rounds")
    return Soak(fits, samples)


def table(found: Sequence[Growth], title: str) -> Table:
    """What grew, for the terminal."""
    shown = Table(title=title)
    shown.add_column("What the session holds", no_wrap=True)
    for name in ("First", "Last", "Grew, of allowed", "A hundred fits", ""):
        shown.add_column(name, justify="right", no_wrap=True)
    for each in found:
        allowed = ALLOWANCES[each.name]
        shown.add_row(
            each.name,
            f"{each.first:,.1f}",
            f"{each.last:,.1f}",
            f"{each.total:+,.1f} of {allowed.noise:,g}",
            f"{each.per_hundred:+,.2f} of {allowed.rate:,g}",
            "[red]grew[/red]" if each.grew else "ok",
        )
    return shown


def start(folder: str) -> SparkSession:
    """A session whose files are in a folder of its own."""
    builder = SparkSession.builder.master("local[2]").appName("sparkml_lsml soak")
    for key, value in {**SETTINGS, "spark.local.dir": folder}.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="default: %(default)g")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the work")
    arguments = parser.parse_args()
    # neither how fits end, nor what Py4J has to say of an interrupt
    logging.disable(logging.ERROR)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="soak-spark-", ignore_cleanup_errors=True) as folder:
        spark = start(folder)
        run = soak(spark, arguments.minutes, arguments.seed, console.print)
        spark.stop()
    found = run.judge()
    fits = run.fits[-1] - run.fits[0]
    console.print(table(found, f"{fits:,} fits after the first {run.fits[0]:,}"))
    grew = [each.name for each in found if each.grew]
    console.print(f"grew: {', '.join(grew)}" if grew else "nothing grew")
    return 1 if grew else 0


if __name__ == "__main__":
    sys.exit(main())
