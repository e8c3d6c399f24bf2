# %% [markdown]
# # A network that reads digits
#
# scikit-learn ships 1,797 handwritten digits, each a picture of 8 x 8 grey pixels. A network of
# dense layers learns to read them here: with validation rows that end the training, curves of the
# loss, the digits that it gets wrong, a grid over its size, and its way into other tools.

# %%
import logging
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.linalg import DenseVector
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from sklearn.datasets import load_digits

from sparkml_lsml.errors import DivergedError
from sparkml_lsml.neural import MLPClassificationModel, MLPClassifier
from sparkml_lsml.tuning import CrossValidator

spark = (
    SparkSession.builder.master("local[2]")
    .appName("neural networks")
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
# ## The digits
#
# A third of the digits is held out for the end. Of the others a fifth is marked as validation:
# nothing is learned from these rows, but the training looks at them after every epoch.

# %%
digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
parts = np.array(["training", "validation", "held out"])
part = parts[np.searchsorted([0.53, 0.67], np.linspace(0.0, 1.0, len(order)))]
rows = [
    (int(k), float(digits.target[k]), digits.data[k].tolist(), str(name))
    for k, name in zip(order, part, strict=True)
]
frame = spark.createDataFrame(rows, "number int, label double, features array<float>, part string")
known = frame.where("part != 'held out'").withColumn("validation", F.col("part") == "validation")
training, held_out = known.cache(), frame.where("part = 'held out'").cache()
frame.groupBy("part").count().toPandas()


# %%
def show(numbers, titles, columns=12):
    """Pictures of digits, with a word above each."""
    lines = -(-len(numbers) // columns)
    height = (1.0 + 0.25 * max(text.count("\n") + 1 for text in titles)) * lines
    figure, axes = plt.subplots(lines, columns, figsize=(columns, height), squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    for axis, number, text in zip(axes.ravel(), numbers, titles, strict=False):
        axis.imshow(digits.images[number], cmap="gray_r")
        axis.set_title(text, fontsize=9)
    figure.tight_layout()


some = order[:24]
show(some, [str(digits.target[k]) for k in some])

# %% [markdown]
# ## Training
#
# `layers=[64, 32, 10]`: 64 pixels, a hidden layer of 32 units, and a number for each digit. A
# step follows the gradient of 16 digits. `maxIter` counts epochs: how often each digit is used.
# The step falls along a cosine, to 0 at the last of them. The training stops once the loss over
# the validation rows has not fallen for `patience` epochs, and the model has the weights of the
# best.

# %%
network = MLPClassifier(
    layers=[64, 32, 10],
    batchSize=16,
    maxIter=60,
    validationIndicatorCol="validation",
    patience=10,
    seed=1,
)
model = network.fit(training)
print(model.summary)

# %% [markdown]
# ## What a network can and cannot do, as curves
#
# Four networks: one without a hidden layer, which is multinomial logistic regression; the one
# above; a large one; and the large one with `dropout`, which leaves out half of the hidden units
# for each digit of a mini-batch. None of them stops early, to see what would have come.

# %%
choices = {
    "no hidden layer": {"layers": [64, 10]},
    "32 hidden units": {"layers": [64, 32, 10]},
    "512 hidden units": {"layers": [64, 512, 10]},
    "512, dropout 0.5": {"layers": [64, 512, 10], "dropout": 0.5},
}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.6), sharex=True, sharey=True)
for axis, (name, chosen) in zip(axes, choices.items(), strict=True):
    each = network.copy().setParams(patience=60, **chosen).fit(training)
    each.summary.plot(ax=axis)
    axis.set(title=name, xlabel="epoch", ylabel="", yscale="log", ylim=(5e-4, 4.0))
    if axis is not axes[0]:
        axis.get_legend().remove()
    least = min(line.validation for line in each.summary.history)
    right = each.evaluate(held_out).accuracy
    print(f"{name:17} least validation loss {least:.3f}, {right:.1%} of the held-out digits right")
axes[0].set_ylabel("mean loss")
figure.tight_layout()

# %% [markdown]
# Without a hidden layer both curves level off: such a model cannot do better. With hidden units
# the loss of the training digits (blue) falls on and on, and the validation loss (yellow) does
# not follow: from some epoch on digits are learned by heart. The large network is there after a
# few epochs, and its validation loss rises again. With dropout it takes longer, and what it
# reaches on its way is the least validation loss of the four; its blue curve is of networks with
# units left out, and jumps. That is why a fit keeps the weights of the best epoch.

# %% [markdown]
# ## Which digits are mixed up?
#
# `evaluate` counts in one pass over rows that the training has not seen.

# %%
quality = model.evaluate(held_out)
print(f"{quality.accuracy:.1%} of {held_out.count():,} digits right")
_ = quality.plot_confusion_matrix().set_title("Held-out digits")

# %% [markdown]
# These are the ones that it gets wrong: what they are, what the network took them for, and the
# probability that it gave to that. Of some a person would not be sure either.

# %%
scored = model.transform(held_out).where("prediction != label")
wrong = scored.select("number", "label", "prediction", "probability").toPandas()
wrong["sure"] = [row.probability[int(row.prediction)] for row in wrong.itertuples()]
wrong = wrong.sort_values("sure", ascending=False)
titles = [
    f"{row.label:.0f}, not {row.prediction:.0f}\n{row.sure:.0%}" for row in wrong.itertuples()
]
show(wrong["number"].tolist(), titles)

# %% [markdown]
# ## A grid over size and dropout
#
# `CrossValidator` trains all networks and folds on rows that are read once. Here there are no
# validation rows: the folds tell.

# %%
plain = MLPClassifier(layers=[64, 32, 10], batchSize=16, maxIter=30, seed=1)
sizes, shares = [8, 32, 128], [0.0, 0.2, 0.5]
grid = (
    ParamGridBuilder()
    .addGrid(plain.layers, [[64, size, 10] for size in sizes])
    .addGrid(plain.dropout, shares)
    .build()
)
FOLDS = 3
search = CrossValidator(
    estimator=plain,
    estimatorParamMaps=grid,
    evaluator=MulticlassClassificationEvaluator(metricName="accuracy"),
    numFolds=FOLDS,
    seed=7,
)
searched = search.fit(training)
mean = np.array(searched.avgMetrics).reshape(len(sizes), len(shares))
error = np.array(searched.stdMetrics).reshape(mean.shape) / np.sqrt(FOLDS - 1)

figure, axis = plt.subplots(figsize=(7, 3.8))
places = np.arange(len(sizes))
for k, (share, marker) in enumerate(zip(shares, "os^", strict=True)):
    moved = places + 0.08 * (k - 1)
    axis.errorbar(
        moved, mean[:, k], yerr=error[:, k], marker=marker, capsize=3, label=f"dropout {share:g}"
    )
axis.set_xticks(places, [f"{size}" for size in sizes])
axis.set(
    xlabel="hidden units", ylabel="accuracy", title=f"{FOLDS} folds, mean ± one standard error"
)
axis.legend(frameon=False, loc="lower right")
figure.tight_layout()
best = searched.bestModel
print(f"best: {best}, {best.evaluate(held_out).accuracy:.1%} of the held-out digits right")

# %% [markdown]
# More units help here. Dropout does not, in so few epochs, and it hurts a small network, which has
# no units to spare.

# %% [markdown]
# ## A step that is too long
#
# Every fit ends in a model of finite numbers or in an error. A round whose loss grows a
# hundredfold, or is not finite in some partition, is done again with half the step; after six
# halvings the error says where it broke.

# %%
for step in (0.1, 1e6):
    try:
        each = plain.copy({plain.stepSize: step}).fit(training)
        print(f"stepSize {step:g}: {each.evaluate(held_out).accuracy:.1%} right")
    except DivergedError as failure:
        print(f"stepSize {step:g}: {failure}")

# %% [markdown]
# ## Save it, and take it elsewhere
#
# A saved model is JSON and Parquet, without pickles. `toSklearn()` gives scikit-learn's
# `MLPClassifier` with the same weights, `toONNX()` a graph for any runtime, and
# `MultilayerPerceptronClassifier` of this package, which has MLlib's sigmoid layers, also
# `toMLlib()`.

# %%
with tempfile.TemporaryDirectory() as folder:
    best.write().overwrite().save(f"{folder}/digits")
    loaded = MLPClassificationModel.load(f"{folder}/digits")
elsewhere = best.toSklearn()
pixels = digits.data[order[-5:]]
probability = elsewhere.predict_proba(pixels)
ours = [loaded.predictProbability(DenseVector(each)).toArray() for each in pixels]
print(f"{elsewhere}: largest difference {np.abs(probability - ours).max():.0e}")
print(f"ONNX: {len(best.toONNX().SerializeToString()):,} bytes")

# %%
spark.stop()
