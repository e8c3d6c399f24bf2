# %% [markdown]
# # Swap MLlib's classes, and time both
#
# `sparkml_lsml` has classes with the names, Params, defaults and objectives of `pyspark.ml`. This
# notebook changes the import, compares what comes out, and looks at how long it takes. It needs
# the package with the extras `spark` and `plot`, scikit-learn for the data, and Java 17 or later.

# %%
import logging
import shutil
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pyspark.ml import classification as mllib
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from sklearn.datasets import load_breast_cancer

from sparkml_lsml import classification as ours

spark = (
    SparkSession.builder.master("local[2]")
    .appName("quickstart")
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

# %% [markdown]
# ## Real data: tumours
#
# The breast cancer data that scikit-learn ships: one row a tumour, 30 measurements, label 1 for
# benign. A fifth of the rows is held out.

# %%
bunch = load_breast_cancer()
columns = [name.replace(" ", "_") for name in bunch.feature_names]
table = pd.DataFrame(bunch.data, columns=columns).assign(label=bunch.target.astype(float))
frame = (
    VectorAssembler(inputCols=columns, outputCol="features")
    .transform(spark.createDataFrame(table))
    .select("features", "label")
)
training, held_out = (part.cache() for part in frame.randomSplit([0.8, 0.2], seed=7))
training.count(), held_out.count()

# %% [markdown]
# ## The swap
#
# What follows would be written the same with either import. A fit of each class comes first and
# is not counted: a JVM that has just started is slow, and the comparison should not depend on who
# goes first.


# %%
def fitted(module, name, frame, **params):
    """A model, and the seconds that its fit took."""
    started = time.perf_counter()
    model = getattr(module, name)(**params).fit(frame)
    return model, time.perf_counter() - started


def summary_of(model):
    # MLlib's LinearSVCModel has a method where its other models have a property
    return model.summary() if callable(model.summary) else model.summary


PARAMS = {
    "LogisticRegression": {"regParam": 0.01, "tol": 1e-8},
    "LinearSVC": {"regParam": 0.01, "tol": 1e-6},
}
MODULES = {"MLlib": mllib, "sparkml_lsml": ours}

logging.getLogger("sparkml_lsml").setLevel(logging.ERROR)  # it would warn that maxIter is 2
for module in MODULES.values():
    for name in PARAMS:
        fitted(module, name, training, maxIter=2)

models, lines = {}, []
for name, params in PARAMS.items():
    for source, module in MODULES.items():
        model, seconds = fitted(module, name, training, **params)
        right = model.transform(held_out).where("prediction = label").count() / held_out.count()
        models[name, source] = model
        lines.append((name, source, summary_of(model).objectiveHistory[-1], right, seconds))
results = pd.DataFrame(
    lines, columns=["class", "by", "objective", "held-out accuracy", "seconds"]
).set_index(["class", "by"])
results.round(5)

# %% [markdown]
# The objectives are the ones that both minimise, so they can be compared. The logistic loss is
# smooth, and both find its minimum. The hinge loss of the SVM has kinks, at which MLlib's OWL-QN
# stalls: look at whose objective is lower.
#
# Coefficients, one dot each, lie on the diagonal where both classes found the same ones:

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 4.2))
for axis, name in zip(axes, PARAMS, strict=True):
    x = models[name, "MLlib"].coefficients.toArray() * table[columns].std().to_numpy()
    y = models[name, "sparkml_lsml"].coefficients.toArray() * table[columns].std().to_numpy()
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    axis.plot([low, high], [low, high], color="0.8", zorder=0)
    axis.scatter(x, y, s=22)
    axis.set(title=name, xlabel="coefficient by MLlib", ylabel="coefficient by sparkml_lsml")
    axis.set_aspect("equal")
figure.suptitle("Coefficients of standardised features")
figure.tight_layout()

# %% [markdown]
# ## Larger data: seconds
#
# A few hundred rows tell little about time. These are 200,000 generated rows with 40 correlated
# features, read from Parquet as in earnest. Each bar is one fit on this machine with two cores;
# on yours it will be another one.

# %%
folder = Path(tempfile.mkdtemp())
wide = 40
noise = F.array(*(F.randn(seed) for seed in range(wide + 1)))
rows = (
    spark.range(200_000, numPartitions=4)
    .select(noise.alias("z"))
    .select(F.expr(f"transform(slice(z, 1, {wide}), v -> v + z[{wide}])").alias("features"))
    .withColumn("margin", F.expr("aggregate(features, 0D, (sum, v) -> v - 0.9 * sum)"))
    .select("features", (F.col("margin") + F.randn(99) > 0).cast("double").alias("label"))
)
rows.withColumn("features", array_to_vector("features")).write.parquet(str(folder / "rows"))
parquet = spark.read.parquet(str(folder / "rows"))

seconds = {
    (name, source): fitted(module, name, parquet, regParam=0.01)[1]
    for name in PARAMS
    for source, module in MODULES.items()
}
pd.Series(seconds).unstack().round(2)

# %%
figure, axis = plt.subplots(figsize=(8, 2.8))
for place, source in enumerate(MODULES):
    heights = [seconds[name, source] for name in PARAMS]
    bars = axis.barh(np.arange(2) + 0.38 * (0.5 - place), heights, height=0.36, label=source)
    axis.bar_label(bars, fmt="%.1f s", padding=3)
axis.set_yticks(range(2), list(PARAMS))
axis.set(xlabel="seconds", title="A fit of 200,000 x 40 rows from Parquet, two cores")
axis.margins(x=0.12)
axis.legend(frameon=False)
figure.tight_layout()

# %% [markdown]
# The rows are read once, packed into NumPy blocks where the executors are, and never go through
# the JVM again. The summary says what was done, and why:

# %%
model, _ = fitted(ours, "LogisticRegression", parquet, regParam=0.01)
print(model.summary)

# %% [markdown]
# ## What a fit tells
#
# The history has a line for each iteration, so that solvers can be compared. These minimise the
# same objective on the tumours:

# %%
figure, axis = plt.subplots(figsize=(8, 4))
histories = {
    solver: ours.LogisticRegression(regParam=0.01, solver=solver, maxIter=60, tol=1e-9)
    .fit(training)
    .summary.to_pandas()
    for solver in ("l-bfgs", "accelerated", "gradient-descent", "sgd")
}
least = min(history["objective"].min() for history in histories.values())
for (solver, history), marker in zip(histories.items(), "osv^", strict=True):
    above = (history["objective"] - least).clip(lower=1e-10)
    axis.semilogy(history["passes"], above, marker=marker, markersize=4, label=solver)
axis.set(
    xlabel="passes over the data",
    ylabel="objective above the least",
    xlim=(0, 60),
    title="Logistic regression, regParam 0.01",
)
axis.legend(title="solver", frameon=False)
figure.tight_layout()

# %% [markdown]
# ## Errors say what to do
#
# Labels that a binary classifier cannot use are counted before the first iteration:

# %%
broken = training.withColumn("label", F.when(F.col("label") == 1.0, 3.0).otherwise(0.0))
try:
    ours.LinearSVC().fit(broken)
except ValueError as error:
    print(error)

# %%
shutil.rmtree(folder)
spark.stop()
