# %% [markdown]
# # Gradient descent, momentum and SGD, seen
#
# Training a linear model means walking downhill on a loss surface. With two coefficients the
# surface can be drawn, and the walk with it; with thirty it cannot, but what two showed still
# holds. The data are those that scikit-learn ships: tumours (`breast_cancer`) and patients
# (`diabetes`).

# %%
import logging

import matplotlib.pyplot as plt
import numpy as np
from pyspark.sql import SparkSession
from sklearn.datasets import load_breast_cancer, load_diabetes

from sparkml_lsml.classification import LogisticRegression
from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.penalties import L2
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.engine.solvers import LBFGS, MiniBatchSGD, minimize
from sparkml_lsml.errors import DivergedError
from sparkml_lsml.losses import Logistic
from sparkml_lsml.regression import LinearRegression

plt.style.use("tableau-colorblind10")
plt.rcParams.update({"figure.dpi": 120, "axes.spines.top": False, "axes.spines.right": False})
logging.getLogger("sparkml_lsml").setLevel(logging.ERROR)  # many fits stop at maxIter on purpose

# %% [markdown]
# ## A surface with a valley
#
# Two measurements of the tumours, *concavity* and *concave points*, resemble each other: their
# correlation is 0.92. A logistic regression on two such features has a loss surface with a long,
# narrow valley. Along the valley the two coefficients trade places at little cost, and across it
# every step hurts.
#
# The subpackages below Spark are plain NumPy, so that no session is needed here: an objective over
# blocks of this process, a penalty, and solvers.

# %%
bunch = load_breast_cancer()
names = ["mean concavity", "mean concave points"]
pair = bunch.data[:, [list(bunch.feature_names).index(name) for name in names]]
X = (pair - pair.mean(axis=0)) / pair.std(axis=0)
y = 1.0 - bunch.target  # 1 for malignant
print(f"correlation {np.corrcoef(X.T)[0, 1]:.2f}")

layout = Layout(features=2, fit_intercept=False)
penalty = L2(0.001)


def fresh():
    blocks = LocalBlocks([Block(X, y)])
    return BlockObjective(
        blocks, Logistic(), LinearPredictor(layout), Standardization.identity(layout)
    )


def trail(solver, steps, start):
    """Every point of a solver's walk, shape (points, 2)."""
    points = [np.array(start)]

    def keep(run):
        state = run.states[0]
        points.append(getattr(state, "point", state.coef))

    minimize(fresh(), penalty, solver, np.array([start]), max_iter=steps, keep=keep)
    return np.array(points)


[best] = minimize(fresh(), penalty, LBFGS(tol=1e-12), np.zeros((1, 2)))
print(f"minimum {best.objective:.4f} at {best.coef.round(2)}")

# %% [markdown]
# Three ways downhill, all from the same place and with the same step. `MiniBatchSGD` is all three
# of them: over all rows it is gradient descent, with momentum the heavy ball, and over a sample
# of the rows SGD.

# %%
START, STEPS = (-1.0, 0.5), 60
common = {"schedule": "constant", "average": False, "tol": 0.0, "step_size": 1.0}
WALKS = {
    "gradient descent": MiniBatchSGD(**common),
    "with momentum 0.8": MiniBatchSGD(momentum=0.8, **common),
    "SGD, 5 % of the rows a step": MiniBatchSGD(fraction=0.05, seed=3, **common),
}
trails = {name: trail(solver, STEPS, START) for name, solver in WALKS.items()}

grid_x, grid_y = np.meshgrid(np.linspace(-3, 3, 121), np.linspace(-2, 6, 121))
points = np.column_stack([grid_x.ravel(), grid_y.ravel()])
margins = X @ points.T
surface = np.logaddexp(0.0, -(2 * y - 1)[:, None] * margins).mean(axis=0)
surface += 0.0005 * np.square(points).sum(axis=1)
surface = surface.reshape(grid_x.shape)
levels = best.objective + np.geomspace(0.001, 1.5, 16)

figure, axes = plt.subplots(1, 3, figsize=(12, 4.4), sharey=True)
for axis, (name, walk), colour in zip(axes, trails.items(), ("C0", "C1", "C5"), strict=True):
    axis.contour(grid_x, grid_y, surface, levels=levels, colors="0.75", linewidths=0.8)
    axis.plot(*walk.T, color=colour, marker="o", markersize=3, linewidth=1.2)
    axis.plot(*best.coef, marker="*", markersize=13, color="black")
    axis.set(title=name, xlabel=names[0].removeprefix("mean "), xlim=(-3, 3), ylim=(-2, 6))
axes[0].set_ylabel(names[1].removeprefix("mean "))
figure.suptitle(f"{STEPS} steps from the same start; the star is the minimum")
figure.tight_layout()

# %% [markdown]
# Gradient descent falls onto the floor of the valley at once and then creeps along it, where the
# slope is small: its steps shrink with the slope. Momentum remembers where it was going, swings
# across the floor, and is three orders of magnitude closer after as many steps. SGD gets about as
# far as gradient descent with a twentieth of the rows a step, on a crooked way. In numbers:

# %%
figure, axis = plt.subplots(figsize=(8, 4))
for (name, walk), colour in zip(trails.items(), ("C0", "C1", "C5"), strict=True):
    values = np.logaddexp(0.0, -(2 * y - 1)[:, None] * (X @ walk.T)).mean(axis=0)
    values += 0.0005 * np.square(walk).sum(axis=1)
    axis.semilogy(values - best.objective, label=name, color=colour)
    print(f"{name:28} {values[-1] - best.objective:.5f} above the minimum")
axis.set(xlabel="step", ylabel="objective above the minimum", title="The same walks")
axis.legend(frameon=False)
figure.tight_layout()

# %% [markdown]
# ## How noisy is a sample?
#
# The gradient over a sample is right on average, and its error shrinks with the square root of
# the sample: 16 times the rows, a quarter of the noise. SGD with a constant step therefore ends
# in a cloud around the minimum, and a larger batch makes the cloud smaller. So do steps that
# shrink, at the price of a slower walk.

# %%
figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), sharex=True, sharey=True)
settings = {
    "2 % of the rows": {"fraction": 0.02},
    "32 % of the rows": {"fraction": 0.32},
    "2 %, steps shrinking as 1/√t": {"fraction": 0.02, "schedule": "invscaling"},
}
for axis, (name, choice) in zip(axes, settings.items(), strict=True):
    walk = trail(MiniBatchSGD(**(common | choice)), 400, best.coef)
    axis.contour(grid_x, grid_y, surface, levels=levels[:9], colors="0.8", linewidths=0.8)
    axis.scatter(*walk[1:].T, s=6, alpha=0.5, c=np.arange(len(walk) - 1), cmap="cividis")
    axis.plot(*best.coef, marker="*", markersize=13, color="black")
    spread = np.sqrt(np.square(walk[200:] - best.coef).sum(axis=1).mean())
    axis.set(
        title=f"{name}\nlast 200 steps: {spread:.2f} away (rms)", xlim=(-1.6, 1.2), ylim=(2.8, 5.6)
    )
    axis.set_xlabel(names[0].removeprefix("mean "))
axes[0].set_ylabel(names[1].removeprefix("mean "))
figure.suptitle("400 steps of SGD that start at the minimum, dark to bright")
figure.tight_layout()

# %% [markdown]
# ## How long may a step be?
#
# A quadratic objective is stable up to twice the inverse of its largest curvature, and no
# further. Least squares on the diabetes data has ten features; the estimator's `stepSize` is in
# units in which 1 cannot diverge. Now with Spark:

# %%
spark = (
    SparkSession.builder.master("local[2]")
    .appName("descent")
    .config("spark.python.unix.domain.socket.enabled", "true")
    .config("spark.sql.execution.arrow.pyspark.enabled", "true")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.log.level", "OFF")
    .config("spark.sparkml_lsml.progress", "off")
    .getOrCreate()
)


def frame_of(data):
    rows = [(float(t), x.tolist()) for t, x in zip(data.target, data.data, strict=True)]
    return spark.createDataFrame(rows, "label double, features array<double>").cache()


patients, tumours = frame_of(load_diabetes()), frame_of(bunch)

Z = load_diabetes().data
Z = (Z - Z.mean(axis=0)) / Z.std(axis=0, ddof=1)
# the safe step is one over the number of columns, the intercept among them
limit = 2.0 / np.linalg.eigvalsh(Z.T @ Z / len(Z)).max() * (Z.shape[1] + 1)
print(f"by the largest eigenvalue, steps are stable up to stepSize = {limit:.2f}")

floor = LinearRegression().fit(patients).summary.objective
figure, axis = plt.subplots(figsize=(8, 4))
for step, style in ((0.2, "-"), (1.0, "--"), (0.95 * limit, "-."), (1.05 * limit, ":")):
    estimator = LinearRegression(
        solver="gradient-descent", lineSearch="fixed", stepSize=step, maxIter=60, tol=0.0
    )
    try:
        history = estimator.fit(patients).summary.to_pandas()
        above = history["objective"] - floor
        axis.semilogy(history["iteration"], above, style, label=f"{step:.2f}")
    except DivergedError as error:
        print(f"stepSize {step:.2f}: {error}")
axis.set(xlabel="step", ylabel="objective above the minimum", title="Least squares, fixed steps")
axis.legend(title="stepSize", frameon=False)
figure.tight_layout()

# %% [markdown]
# A step beyond the limit is refused as diverged, with advice. Just below it the steps are long
# and swing from one wall of the valley to the other; a fifth of the safe step wastes passes.
# `lineSearch="backtracking"`, the default, finds a good length by itself.

# %% [markdown]
# ## On all thirty measurements
#
# What counts in a cluster is the number of passes over the data. `accelerated` is momentum in its
# best form (FISTA); `sgd` runs whole epochs on each partition in one pass, and
# `varianceReduction` corrects its noise; `l-bfgs` learns the shape of the valley and turns it
# into a bowl.

# %%
SOLVERS = {
    "gradient descent": {"solver": "gradient-descent"},
    "accelerated": {"solver": "accelerated"},
    "local SGD": {"solver": "sgd", "batchSize": 16},
    "the same, variance reduced": {"solver": "sgd", "batchSize": 16, "varianceReduction": True},
    "L-BFGS": {"solver": "l-bfgs"},
}
histories = {
    name: LogisticRegression(regParam=0.001, maxIter=100, tol=1e-10, **choice)
    .fit(tumours)
    .summary.to_pandas()
    for name, choice in SOLVERS.items()
}
least = LogisticRegression(regParam=0.001, maxIter=1000, tol=1e-13).fit(tumours).summary.objective

figure, axis = plt.subplots(figsize=(8, 4.4))
for (name, history), style in zip(histories.items(), ("-", "--", ":", "-.", "-"), strict=True):
    above = (history["objective"] - least).clip(lower=1e-8)
    axis.semilogy(history["passes"], above, style, label=name)
axis.set(
    xlabel="passes over the data",
    ylabel="objective above the minimum",
    title="Logistic regression on 569 tumours, regParam 0.001",
    xlim=(0, 100),
)
axis.legend(frameon=False)
figure.tight_layout()

# %% [markdown]
# The picture is the one from the valley. SGD is furthest after the first few passes and then
# stands in its cloud, unless its noise is corrected. Plain descent creeps, and momentum overtakes
# it. Whoever learns the curvature wins, which is why `auto` chooses a quasi-Newton method.

# %%
spark.stop()
