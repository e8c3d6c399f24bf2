# %% [markdown]
# # How strong a penalty, and how sure?
#
# Three tools that share one read of the data: the regularization path, which shows how
# coefficients enter a model; cross-validation, which chooses among them; and the bootstrap, which
# tells how much to believe. The data are scikit-learn's: 442 patients with diabetes (`diabetes`)
# and 569 tumours (`breast_cancer`).

# %%
import matplotlib.pyplot as plt
import numpy as np
from pyspark.ml.evaluation import BinaryClassificationEvaluator, RegressionEvaluator
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import SparkSession
from sklearn.datasets import load_breast_cancer, load_diabetes

from sparkml_lsml.classification import LogisticRegression
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.tuning import CrossValidator, bootstrap, regularization_path

spark = (
    SparkSession.builder.master("local[2]")
    .appName("tuning")
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


def frame_of(data, seed=0):
    order = np.random.default_rng(seed).permutation(len(data.target))
    rows = [(float(data.target[k]), data.data[k].tolist()) for k in order]
    return spark.createDataFrame(rows, "label double, features array<double>").cache()


diabetes, cancer = load_diabetes(), load_breast_cancer()
patients, tumours = frame_of(diabetes), frame_of(cancer)
print(patients.count(), tumours.count())

# %% [markdown]
# ## The path of the lasso
#
# With an L1 penalty (`elasticNetParam=1`) coefficients are exactly 0 until the penalty is weak
# enough to let them in. The path begins at the penalty at which the first one enters. All 60
# models come out of a few passes over the rows: here the normal equations take one for all of
# them, other losses share their passes ten models at a time.

# %%
lasso = LinearRegression(elasticNetParam=1.0)
path = regularization_path(lasso, patients, n=60)
scale = diabetes.data.std(axis=0, ddof=1)
coefficients = path.coefficients[:, 0, :] * scale
print(f"{len(path.models)} models from {path.passes} pass(es) over the rows")

figure, axis = plt.subplots(figsize=(8, 4.4))
order = np.argsort(-np.abs(coefficients[-1]))
styles = ["-", "--", "-.", ":"]
for rank, k in enumerate(order):
    axis.semilogx(
        path.regParams,
        coefficients[:, k],
        linestyle=styles[rank // 5],
        label=diabetes.feature_names[k],
    )
axis.axhline(0, color="0.8", zorder=0)
axis.invert_xaxis()
axis.set(
    xlabel="regParam, from strong to weak",
    ylabel="coefficient of the standardised feature",
    title="Progression of diabetes: the lasso lets in one feature after another",
)
axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), title="feature")
figure.tight_layout()

# %% [markdown]
# Body mass index and `s5` (the logarithm of triglycerides) enter first. Far to the right `s1` and
# `s2`, two measures of cholesterol that are nearly the same, run away in opposite directions:
# together they fit some noise.

# %% [markdown]
# ## Which of them? Cross-validation, with its error
#
# `CrossValidator` trains all penalties and folds in shared passes. The mean over the folds has an
# error of its own, which the bars show: one standard error. Every penalty whose mean is within
# one standard error of the best is as good as can be known from these rows; the
# *one-standard-error rule* takes the strongest of them, for the simplest model.

# %%
FOLDS = 8
strengths = path.regParams[::3]
grid = ParamGridBuilder().addGrid(lasso.regParam, [float(s) for s in strengths]).build()
search = CrossValidator(
    estimator=lasso,
    estimatorParamMaps=grid,
    evaluator=RegressionEvaluator(metricName="rmse"),
    numFolds=FOLDS,
    seed=7,
)
searched = search.fit(patients)
mean = np.array(searched.avgMetrics)
error = np.array(searched.stdMetrics) / np.sqrt(FOLDS - 1)
best = int(np.argmin(mean))
simplest = int(np.flatnonzero(mean <= mean[best] + error[best])[0])

figure, axis = plt.subplots(figsize=(8, 4))
axis.errorbar(strengths, mean, yerr=error, fmt="o-", markersize=4, capsize=3)
axis.axhspan(mean[best] - error[best], mean[best] + error[best], color="C0", alpha=0.12)
axis.axvline(strengths[best], color="C1", linestyle="--", label="best mean")
axis.axvline(strengths[simplest], color="C5", linestyle=":", label="one-standard-error rule")
axis.set_xscale("log")
axis.invert_xaxis()
axis.set(
    xlabel="regParam, from strong to weak",
    ylabel="root mean squared error",
    title=f"{FOLDS} folds, mean ± one standard error",
)
axis.legend(frameon=False)
figure.tight_layout()
for name, k in (("best mean", best), ("one standard error", simplest)):
    used = path.features[3 * k]
    print(f"{name:18} regParam {strengths[k]:6.2f}, error {mean[k]:.1f}, {used} of 10 features")

# %% [markdown]
# ## How sure are the coefficients?
#
# Two answers for least squares. The classical standard errors come from the normal equations and
# assume that the noise has the same variance everywhere. The bootstrap assumes nothing of the
# kind: it fits the model 300 times, with each row counted as often as a Poisson variable says,
# and looks at what comes out. All replicates share their passes.

# %%
plain = LinearRegression()
classical = plain.fit(patients)
replicates = bootstrap(plain, patients, n=300, seed=1)
low, high = replicates.interval(0.95)
center = classical.coefficients.toArray() * scale
half = 1.97 * np.array(classical.summary.coefficientStandardErrors[:-1]) * scale

figure, axis = plt.subplots(figsize=(8, 4.4))
places = np.arange(10)
axis.axvline(0, color="0.8", zorder=0)
axis.errorbar(center, places + 0.15, xerr=half, fmt="o", capsize=3, label="standard errors")
percentiles = np.stack([center - low[0] * scale, high[0] * scale - center]).clip(min=0)
axis.errorbar(center, places - 0.15, xerr=percentiles, fmt="s", capsize=3, label="bootstrap")
axis.set_yticks(places, diabetes.feature_names)
axis.set(xlabel="coefficient of the standardised feature", title="95 % intervals, least squares")
axis.legend(frameon=False)
figure.tight_layout()

# %% [markdown]
# Both say the same here. Only the intervals of `sex`, `bmi`, `bp` and `s5` leave out 0 by a
# margin; those of `s1` and `s2`, which run away on the path, are the widest.

# %% [markdown]
# ## How sure is the metric?
#
# A replicate leaves out about 37 % of the rows. The metric on those tells how much an area under
# the ROC curve moves from one sample to the next, for a strong, a usual and a weak penalty.

# %%
evaluator = BinaryClassificationEvaluator()
choices = (10.0, 0.01, 0.0001)
found = {
    strength: bootstrap(
        LogisticRegression(regParam=strength), tumours, n=150, seed=2, evaluator=evaluator
    )
    for strength in choices
}
figure, axis = plt.subplots(figsize=(8, 3.8))
bins = np.linspace(min(each.metrics.min() for each in found.values()), 1.0, 40)
for (strength, each), style in zip(found.items(), ("-", "--", ":"), strict=True):
    low_area, high_area = each.metric_interval(0.95)
    label = f"{strength:g}: {low_area:.3f} to {high_area:.3f}"
    axis.hist(each.metrics, bins=bins, histtype="step", linewidth=1.8, linestyle=style, label=label)
axis.set(
    xlabel="area under the ROC curve on rows that were not drawn",
    ylabel="replicates",
    title="Tumours: the metric of 150 replicates",
)
axis.legend(title="regParam: 95 % interval", frameon=False, loc="upper left")
figure.tight_layout()

# %% [markdown]
# The three distributions overlap widely: with 569 rows, the third digit of a metric is a matter
# of luck. To compare two models, look at the *difference* in the same replicates, which share
# their rows:

# %%
for strength in choices[::2]:
    gain = found[0.01].metrics - found[strength].metrics
    low_gain, high_gain = np.quantile(gain, [0.025, 0.975])
    print(f"regParam 0.01 instead of {strength:g}: {low_gain:+.4f} to {high_gain:+.4f}")

# %% [markdown]
# An interval above 0 says that 0.01 is the better penalty on rows like these; one that holds 0
# says that these rows do not tell.

# %%
spark.stop()
