# %% [markdown]
# # A model that learns from a stream
#
# Rows do not always wait in a table until somebody trains on them. Here images of handwritten
# digits arrive in files, a hundred at a time. `partialFit` learns from each batch and forgets its
# rows; Spark's structured streaming hands the batches over. The images are scikit-learn's
# `digits`: 1,797 of them, 8 x 8 pixels.

# %%
import logging
import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from sklearn.datasets import load_digits

from sparkml_lsml.classification import LogisticRegression, LogisticRegressionModel
from sparkml_lsml.streaming import StreamingTrainer

spark = (
    SparkSession.builder.master("local[2]")
    .appName("streaming")
    .config("spark.python.unix.domain.socket.enabled", "true")
    .config("spark.sql.execution.arrow.pyspark.enabled", "true")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.log.level", "OFF")
    .config("spark.sparkml_lsml.progress", "off")
    .getOrCreate()
)
plt.style.use("tableau-colorblind10")
plt.rcParams.update({"figure.dpi": 120, "axes.spines.top": False, "axes.spines.right": False})
logging.getLogger("sparkml_lsml").setLevel(logging.ERROR)

# %% [markdown]
# ## Files that arrive
#
# A sixth of the images is held out. The others become 15 Parquet files in one folder, which
# stands for the place where another system drops its files.

# %%
SCHEMA = "label double, features array<double>"
digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
batches = np.array_split(order[:1500], 15)
folder = Path(tempfile.mkdtemp())


def frame_of(rows, inverted=False):
    images = 16.0 - digits.data if inverted else digits.data
    return spark.createDataFrame(
        [(float(digits.target[k]), images[k].tolist()) for k in rows], SCHEMA
    )


def drop(name, inverted_from=15):
    """One file a batch; from some number on, white on black becomes black on white."""
    for number, rows in enumerate(batches):
        part = frame_of(rows, number >= inverted_from).coalesce(1)
        part.write.parquet(str(folder / name / f"batch={number:02}"))
    return str(folder / name)


held_out = frame_of(order[1500:]).cache()
arriving = drop("arriving")

figure, axes = plt.subplots(1, 8, figsize=(9, 1.6))
figure.suptitle("From the first file")
for axis, k in zip(axes, batches[0], strict=False):
    axis.imshow(digits.images[k], cmap="gray_r")
    axis.set_title(int(digits.target[k]))
    axis.axis("off")
figure.tight_layout()

# %% [markdown]
# ## Test, then learn
#
# Each batch is scored with the model as it is, before the model learns from it: every row is a
# test first, which is an honest measure without a set of its own. `partialFit` takes the model so
# far and gives a new one. `classes=10` is needed because the first batch need not show all
# digits.


# %%
def share_right(model, frame):
    return (
        model.transform(frame)
        .agg(F.avg((F.col("prediction") == F.col("label")).cast("int")))
        .first()[0]
    )


class Learner:
    """A model, what it learns with, and how well it did on each batch before it learned from it."""

    def __init__(self, **params):
        self.estimator = LogisticRegression(regParam=0.001, **params)
        self.model = None
        self.tested = []

    def learn(self, batch, number):
        batch.cache()
        if self.model is not None:
            self.tested.append(share_right(self.model, batch))
        self.model = self.estimator.partialFit(batch, self.model, classes=10)
        batch.unpersist()


def stream(path, *learners):
    """Let learners see each file of a folder once, in order."""

    def see(batch, number):
        for learner in learners:
            learner.learn(batch.drop("batch"), number)

    query = (
        spark.readStream.schema(SCHEMA)
        .option("maxFilesPerTrigger", 1)
        .parquet(path)
        .writeStream.foreachBatch(see)
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()


learner = Learner(localEpochs=5)
stream(arriving, learner)
together = LogisticRegression(regParam=0.001).fit(frame_of(order[:1500]))

figure, axis = plt.subplots(figsize=(8, 4))
seen = 100 * np.arange(1, len(batches))
axis.plot(seen, learner.tested, marker="o", label="each batch, before it is learned")
axis.axhline(
    share_right(learner.model, held_out), color="C1", linestyle="--", label="held out, at the end"
)
axis.axhline(
    share_right(together, held_out), color="0.5", linestyle=":", label="held out, all rows at once"
)
axis.set(
    xlabel="images learned", ylabel="share recognised", title="A stream of digits", ylim=(0.7, 1)
)
axis.legend(frameon=False, loc="lower right")
figure.tight_layout()

# %% [markdown]
# One look at each batch comes close to a fit of all rows together. What is in between is the
# price of forgetting the rows.
#
# ## When the world changes
#
# After 800 images the scanner is replaced: white on black becomes black on white. Everything that
# the model knew is now upside down. Two learners see the same stream. The first has the default
# schedule, whose steps shrink as rows go by, and averages what it learned. The second keeps its
# step (`learningRate="constant"`) and its last iterate (`averaging=False`).

# %%
changing = drop("changing", inverted_from=8)
settled = Learner(localEpochs=5)
agile = Learner(localEpochs=5, learningRate="constant", averaging=False)
stream(changing, settled, agile)

figure, axis = plt.subplots(figsize=(8, 4))
axis.plot(seen, settled.tested, marker="o", label="shrinking steps, averages")
axis.plot(seen, agile.tested, marker="s", linestyle="--", label="constant steps, last iterate")
axis.axvline(800, color="0.6", linestyle=":")
axis.annotate("inverted from here", (800, 0.95), xytext=(8, 0), textcoords="offset points")
axis.set(
    xlabel="images learned", ylabel="share recognised", ylim=(0, 1), title="Digits that change"
)
axis.legend(frameon=False, loc="center left")
figure.tight_layout()

# %%
print(f"last batch: settled {settled.tested[-1]:.2f}, agile {agile.tested[-1]:.2f}")

# %% [markdown]
# Who averages everything it has ever seen is slow to change its mind. Where rows keep coming from
# the same distribution, averages and shrinking steps are better; where it moves, keep the step.
#
# ## Tomorrow
#
# A query that dies is started again, and Spark hands over the batch that it was at once more.
# `StreamingTrainer` is made for that: it saves the model after each batch together with the
# number of the batch, and learns from none of them twice. Here the query runs, ends, and is
# started again with nothing new to read: the model stays as it is.

# %%
path = str(folder / "model")
trainer = StreamingTrainer(learner.estimator, path, classes=10)


def start():
    query = (
        spark.readStream.schema(SCHEMA)
        .option("maxFilesPerTrigger", 5)
        .parquet(arriving)
        .writeStream.foreachBatch(trainer)
        .option("checkpointLocation", str(folder / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    return LogisticRegressionModel.load(path)


tomorrow = start()
again = start()
print(f"{share_right(tomorrow, held_out):.3f} of the held-out digits")
print(
    "unchanged:",
    np.array_equal(tomorrow.coefficientMatrix.toArray(), again.coefficientMatrix.toArray()),
)

# %% [markdown]
# The saved model holds what the next batch needs, and scores a stream as it scores a table.

# %%
scored = (
    tomorrow.transform(spark.readStream.schema(SCHEMA).parquet(arriving))
    .writeStream.format("memory")
    .queryName("scored")
    .trigger(availableNow=True)
    .start()
)
scored.awaitTermination()
spark.table("scored").select("label", "prediction").show(3)

# %%
shutil.rmtree(folder)
spark.stop()
