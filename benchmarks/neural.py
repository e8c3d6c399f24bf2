"""Networks: accuracy in more partitions, and seconds beside MLlib's and beside torch.

The rows are MNIST's, from the folder that ``SPARKML_LSML_DATA`` names; without it the section is
left out. torch is measured in an environment of its own.
"""

from __future__ import annotations

import gzip
import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml.classification import MultilayerPerceptronClassifier as MLlibPerceptron
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.contestants import MLLIB, OURS, frame
from benchmarks.data import FOLDER, SPARSE_FEATURES, DataSet, ensure
from benchmarks.elsewhere import Elsewhere
from benchmarks.measure import Result, Say, Timed, alternate, shown
from benchmarks.session import CORES
from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.kernels.value_gradient import value_and_gradient
from sparkml_lsml.engine.predictors import DensePredictor
from sparkml_lsml.engine.predictors.activations import ACTIVATIONS
from sparkml_lsml.engine.predictors.initialise import start
from sparkml_lsml.losses import Hinge, Logistic, Loss, Multinomial, Squared, SquaredHinge
from sparkml_lsml.neural import MLPClassifier, MultilayerPerceptronClassifier

Floats = np.ndarray[Any, np.dtype[np.float32]]

TORCH = "torch"
LAYERS = [784, 256, 10]
EPOCHS = 10
PARTITIONS = (1, 2, 4, 8)
SMALL_LAYERS = [784, 64, 10]
"""Of the network that MLlib trains, whose best accuracy is then asked of ours."""
MLLIB_ITERATIONS = 100
EQUAL_ITERATIONS = 20
NARROW = 1_000
HIDDEN = 64
LOSSES: tuple[Loss, ...] = (Multinomial(), Logistic(), Squared(), Hinge(), SquaredHinge())


def measure(spark: SparkSession, say: Say) -> Iterator[Result]:
    """Measure all of it; nothing where there is no MNIST."""
    folder = os.environ.get("SPARKML_LSML_DATA")
    if folder is None:
        say("left out: SPARKML_LSML_DATA does not name the folder with MNIST")
        return
    train, test = (parquet(Path(folder) / "mnist", name) for name in ("train", "t10k"))
    yield from partitions(spark, train, test, say)
    yield from beside_mllib(spark, train, test, say)
    with Elsewhere("torch_networks.py", "torch==2.14.1", "pyarrow", "numpy") as torch:
        yield an_epoch(spark, train, torch, say)
        yield gradients(torch, say)
    yield widths(spark, say)


def parquet(folder: Path, name: str) -> Path:
    """MNIST's idx files as Parquet: arrays of float32 between 0 and 1."""
    path = FOLDER / f"mnist-{name}.parquet"
    if not path.exists():
        X = idx(folder, f"{name}-images").reshape(-1, LAYERS[0]).astype(np.float32) / 255.0
        values = pa.array(X.reshape(-1))
        offsets = pa.array(np.arange(0, X.size + 1, LAYERS[0], dtype=np.int32))
        features = pa.ListArray.from_arrays(offsets, values)
        label = pa.array(idx(folder, f"{name}-labels").astype(np.float64))
        table = pa.table({"features": features, "label": label})
        FOLDER.mkdir(parents=True, exist_ok=True)
        # row groups that two tasks can share
        pq.write_table(table, path, use_dictionary=False, row_group_size=len(label) // 8)
    return path


def idx(folder: Path, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An idx file, compressed or not, whatever stands between its name and its kind."""
    [path] = folder.glob(f"{name}?idx*")
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])


def network(**params: Any) -> MLPClassifier:
    settings: dict[str, Any] = {"layers": LAYERS, "maxIter": EPOCHS, "tol": 0.0}
    # pixels have one unit, and some are hardly ever set: scaled they would be the loudest
    settings["standardization"] = False
    return MLPClassifier(execution="distributed", seed=1, **{**settings, **params})


def accuracy(model: Any, rows: DataFrame) -> float:
    right = F.avg(F.when(F.col("prediction") == F.col("label"), 1.0).otherwise(0.0))
    [[share]] = model.transform(rows).select(right).collect()
    return 100.0 * float(share)


def result(title: str, **found: Any) -> Result:
    return {"title": title, **found}


def partitions(spark: SparkSession, train: Path, test: Path, say: Say) -> Iterator[Result]:
    """The same Params in more and more partitions, and of rows that are sorted by label."""
    rows, held = spark.read.parquet(str(train)), spark.read.parquet(str(test)).cache()
    made = {str(number): rows.repartition(number, F.rand(1)) for number in PARTITIONS}
    made["8, sorted by label"] = rows.repartitionByRange(8, "label")
    for name, each in made.items():
        cached = each.cache()
        cached.count()
        timed = Timed[Any]()
        timed.run(partial(network().fit, cached))
        share = accuracy(timed.result, held)
        say(f"{EPOCHS} epochs in {name} partitions: {share:.2f} % in {timed.least:.1f} s")
        assert timed.result is not None
        summary = timed.result.summary
        blocks = summary.partitions
        yield result(
            f"MNIST, partitions: {name} (in {blocks} block{'s' if blocks > 1 else ''})",
            kind="partitions",
            accuracy=share,
            seconds=timed.seconds,
            partitions=blocks,
        )
        cached.unpersist(blocking=True)
    held.unpersist(blocking=True)


def beside_mllib(spark: SparkSession, train: Path, test: Path, say: Say) -> Iterator[Result]:
    """Seconds from Parquet to MLlib's best accuracy, and of its own class at equal iterations."""
    vector = array_to_vector(F.col("features").cast("array<double>")).alias("features")
    rows, held = (spark.read.parquet(str(path)) for path in (train, test))
    # MLlib's class takes no arrays
    vectors, held = (each.select(vector, "label") for each in (rows, held))
    held.cache().count()
    # both packages warm
    settings: dict[str, Any] = {"layers": SMALL_LAYERS, "seed": 1}
    MLlibPerceptron(maxIter=2, **settings).fit(vectors)
    network(layers=SMALL_LAYERS, maxIter=1).fit(rows)
    theirs = Timed[Any]()
    theirs.run(partial(MLlibPerceptron(maxIter=MLLIB_ITERATIONS, **settings).fit, vectors))
    wanted = accuracy(theirs.result, held)
    ours, reached, epochs = Timed[Any](), 0.0, 0
    while reached < wanted and epochs < EPOCHS:
        epochs += 1
        ours = Timed[Any]()
        ours.run(partial(network(layers=SMALL_LAYERS, maxIter=epochs).fit, rows))
        reached = accuracy(ours.result, held)
    say(
        f"to {wanted:.2f} %: MLlib {theirs.least:.1f} s, "
        f"ours {reached:.2f} % in {ours.least:.1f} s, {epochs} epochs"
    )
    yield result(
        f"784-64-10, to the accuracy of {MLLIB_ITERATIONS} iterations of MLlib's",
        kind="to accuracy",
        seconds={OURS: ours.seconds, MLLIB: theirs.seconds},
        accuracy={OURS: reached, MLLIB: wanted},
        epochs=epochs,
    )
    work: dict[str, Callable[[], Any]] = {
        OURS: partial(
            MultilayerPerceptronClassifier(
                maxIter=EQUAL_ITERATIONS, tol=0.0, execution="distributed", **settings
            ).fit,
            rows,
        ),
        MLLIB: partial(MLlibPerceptron(maxIter=EQUAL_ITERATIONS, tol=0.0, **settings).fit, vectors),
    }
    timed = alternate(work, 3)
    say(f"l-bfgs, {EQUAL_ITERATIONS} iterations: {shown(timed)}")
    yield result(
        f"784-64-10, l-bfgs, {EQUAL_ITERATIONS} iterations",
        kind="iterations",
        seconds={name: each.seconds for name, each in timed.items()},
        accuracy={name: accuracy(each.result, held) for name, each in timed.items()},
    )
    held.unpersist(blocking=True)


def an_epoch(spark: SparkSession, train: Path, torch: Elsewhere, say: Say) -> Result:
    """Seconds of an epoch: of ours by the history of a fit, of torch by its loop."""
    rows = spark.read.parquet(str(train)).repartition(CORES).cache()
    rows.count()
    question = {"path": str(train), "layers": LAYERS, "batch": 128, "threads": CORES}
    seconds: dict[str, list[float]] = {OURS: [], TORCH: []}
    for number in range(4):
        model = network(maxIter=4).fit(rows)
        lines = model.summary.history
        ours = min(after.seconds - before.seconds for before, after in itertools.pairwise(lines))
        answer = torch.ask(what="epochs", epochs=3, **question)
        if number:  # the first round is the warm-up
            seconds[OURS].append(ours)
            seconds[TORCH].append(min(answer["seconds"]))
    rows.unpersist(blocking=True)
    told = {name: min(each) for name, each in seconds.items()}
    say(f"an epoch of 784-256-10: {', '.join(f'{n} {s:.2f} s' for n, s in told.items())}")
    return result("784-256-10, an epoch", kind="epoch", seconds=seconds)


def gradients(torch: Elsewhere, say: Say) -> Result:
    """How far our gradients are from those of torch, at most, in double precision.

    As a share of the longest gradient of a layer; each activation with each loss.
    """
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 5))
    apart: list[float] = []
    for activation, of in itertools.product(ACTIVATIONS, LOSSES):
        outputs = 3 if of.name == "multinomial" else 1
        predictor = DensePredictor((5, 7, 6, outputs), activation, precision="float64")
        y = rng.integers(max(2, outputs), size=len(X)).astype(float)
        coef = start(predictor, seed=2) + 0.1 * rng.normal(size=predictor.layout.size)
        rows = Block(X, y)
        _, [ours], _ = value_and_gradient(rows, of, predictor, coef[None, :])
        question = {"layers": list(predictor.sizes), "activation": activation, "loss": of.name}
        answer = torch.ask(
            what="gradient", coef=coef.tolist(), X=X.tolist(), y=y.tolist(), **question
        )
        theirs = np.array(answer["gradient"])
        for mine, other in zip(predictor.maps(ours), predictor.maps(theirs), strict=True):
            for one, two in zip(mine, other, strict=True):
                # derivatives of the hinge may add up to 0
                apart.append(float(np.abs(one - two).max() / (np.abs(two).max() or 1.0)))
    worst = float(np.max(apart))
    say(f"gradients beside torch's: {worst:.1e} apart at most")
    return result(
        f"gradients of {len(ACTIVATIONS)} activations with {len(LOSSES)} losses",
        kind="gradients",
        apart=worst,
    )


def widths(spark: SparkSession, say: Say) -> Result:
    """Sparse rows in many columns, and as many non-zeros in few."""
    wide, narrow = (
        DataSet("sparse", 100_000, features, 40) for features in (SPARSE_FEATURES, NARROW)
    )
    work = {}
    for data in (wide, narrow):
        ensure(data)
        fit = network(layers=[data.features, HIDDEN, 2], maxIter=3, standardization=True).fit
        work[f"{data.features:,}"] = partial(fit, frame(spark, data))
    alternate(work, 1)
    timed = alternate(work, 3)
    say(f"sparse rows by features: {shown(timed)}")
    return result(
        f"sparse 100,000 x 47,000 beside x 1,000, one hidden layer of {HIDDEN}",
        kind="widths",
        seconds={name: each.seconds for name, each in timed.items()},
    )
