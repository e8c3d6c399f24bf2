# %% [markdown]
# # Which library wrote this? Linear SVMs on real text
#
# Thousands of docstrings ship with every Python: short technical texts, written by people. Can a
# linear model tell from its words which library a docstring comes from: NumPy, SciPy, pandas or
# scikit-learn? Nothing is downloaded; the texts are read from the installed packages.

# %%
import ast
import importlib.util
import logging
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import IDF, CountVectorizer, HashingTF, RegexTokenizer, StopWordsRemover
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from sparkml_lsml.classification import LinearSVC, OneVsRest

spark = (
    SparkSession.builder.master("local[2]")
    .appName("text")
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
# ## The texts
#
# Source files are parsed, not imported. Of each public function and class the docstring is kept
# as prose: lines of examples (`>>>`) go, and so do the names of the libraries themselves, which
# would give the answer away.

# %%
LIBRARIES = ["numpy", "scipy", "pandas", "sklearn"]
TELLING = re.compile(r"\b(numpy|np|scipy|sp|pandas|pd|sklearn|scikit|learn)\b", re.IGNORECASE)
PROMPT = re.compile(r"^\s*(>>>|\.\.\.).*$", re.MULTILINE)


def docstrings(library):
    """Rows of (library, file, text), one per public function or class that says something."""
    root = Path(importlib.util.find_spec(library).origin).parent
    for path in sorted(root.rglob("*.py")):
        if {"tests", "testing", "_lib", "externals", "vendored"} & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            text = ast.get_docstring(node) or ""
            text = TELLING.sub(" ", PROMPT.sub(" ", text))
            if len(text) > 200:
                yield library, f"{library}/{path.relative_to(root)}", text


texts = pd.DataFrame(
    [row for library in LIBRARIES for row in docstrings(library)],
    columns=["library", "file", "text"],
).drop_duplicates("text")
texts["label"] = texts["library"].map({name: float(k) for k, name in enumerate(LIBRARIES)})
texts.groupby("library").agg(
    docstrings=("text", "size"),
    files=("file", "nunique"),
    letters=("text", lambda t: t.str.len().sum()),
)

# %%
print(texts["text"].iloc[100][:400])

# %% [markdown]
# ## A fair split
#
# Docstrings of one file resemble each other, down to whole paragraphs. A model that has seen half
# of a file knows the other half. So files are held out, not rows: a hash of the file's name
# decides.

# %%
words = [
    RegexTokenizer(inputCol="text", outputCol="all", pattern="[^A-Za-z_]+"),
    StopWordsRemover(inputCol="all", outputCol="words"),
]
rows = spark.createDataFrame(texts).repartition(2)
frame = PipelineModel(stages=words).transform(rows).select("label", "file", "words").cache()
by_file = F.abs(F.xxhash64("file")) % 4
training, held_out = frame.where(by_file > 0).cache(), frame.where(by_file == 0).cache()
print(
    f"{training.count():,} docstrings to learn from, {held_out.count():,} of other files held out"
)

# %% [markdown]
# ## Words, weights, machines
#
# Spark's own stages count words and weigh them by how rare they are; `OneVsRest` of this package
# trains one SVM a library, all four in shared passes over rows that are read once. Rows stay
# sparse all the way.

# %%
logging.getLogger("sparkml_lsml").setLevel(logging.ERROR)  # 50 iterations are enough here
svm = OneVsRest(classifier=LinearSVC(regParam=0.01, maxIter=50, standardization=False))
pipeline = Pipeline(
    stages=[
        CountVectorizer(
            inputCol="words", outputCol="counts", vocabSize=20_000, minDF=3, binary=True
        ),
        IDF(inputCol="counts", outputCol="features"),
        svm,
    ]
)
model = pipeline.fit(training)
scored = model.transform(held_out).cache()
accuracy = MulticlassClassificationEvaluator(metricName="accuracy")
guess = held_out.groupBy("label").count().agg(F.max("count") / F.sum("count")).first()[0]
print(f"accuracy on files never seen: {accuracy.evaluate(scored):.3f}")
print(f"always guessing the largest library: {guess:.3f}")

# %%
pairs = scored.select("label", "prediction").toPandas()
confusion = pd.crosstab(pairs["label"], pairs["prediction"]).to_numpy()
share = confusion / confusion.sum(axis=1, keepdims=True)
figure, axis = plt.subplots(figsize=(4.8, 4.2))
axis.imshow(share, cmap="cividis", vmin=0.0, vmax=1.0)
for (row, column), count in np.ndenumerate(confusion):
    colour = "black" if share[row, column] > 0.5 else "white"
    axis.text(column, row, f"{count}", ha="center", va="center", color=colour)
axis.set_xticks(range(4), LIBRARIES)
axis.set_yticks(range(4), LIBRARIES)
axis.set(xlabel="predicted", ylabel="true", title="Held-out docstrings")
axis.spines[:].set_visible(False)
figure.tight_layout()

# %% [markdown]
# ## What gives a library away
#
# A linear model can be read. These are the words with the largest coefficients of each machine:

# %%
vocabulary = np.array(model.stages[0].vocabulary)
figure, axes = plt.subplots(1, 4, figsize=(12, 4.2))
for axis, library, machine in zip(axes, LIBRARIES, model.stages[-1].models, strict=True):
    coefficients = machine.coefficients.toArray()
    top = np.argsort(coefficients)[-12:]
    axis.barh(vocabulary[top], coefficients[top])
    axis.set(title=library, xlabel="coefficient")
figure.tight_layout()

# %% [markdown]
# ## Hashing instead of a vocabulary
#
# A vocabulary takes a pass over all texts and has to be kept. `HashingTF` needs neither: a word's
# column is its hash. Columns that words share cost accuracy where there are too few of them.

# %%
sizes = [2**bits for bits in (6, 8, 10, 12, 14)]
found = []
for size in sizes:
    hashed = Pipeline(
        stages=[
            HashingTF(inputCol="words", outputCol="counts", numFeatures=size, binary=True),
            IDF(inputCol="counts", outputCol="features"),
            svm,
        ]
    ).fit(training)
    found.append(accuracy.evaluate(hashed.transform(held_out)))

figure, axis = plt.subplots(figsize=(7, 3.6))
axis.semilogx(sizes, found, marker="o", base=2, label="HashingTF")
axis.axhline(accuracy.evaluate(scored), color="C1", linestyle="--", label="vocabulary")
axis.axhline(guess, color="0.6", linestyle=":", label="largest library")
axis.set(xlabel="columns", ylabel="accuracy on held-out files", ylim=(0, 1))
axis.legend(frameon=False)
figure.tight_layout()

# %% [markdown]
# ## Had rows been split instead of files
#
# The same model, judged on docstrings that were drawn at random. It looks better, and is not: it
# meets sentences that it knows.

# %%
mixed, drawn = frame.randomSplit([0.75, 0.25], seed=1)
random = accuracy.evaluate(pipeline.fit(mixed).transform(drawn))
print(f"held-out files {accuracy.evaluate(scored):.3f}, held-out rows {random:.3f}")

# %%
spark.stop()
