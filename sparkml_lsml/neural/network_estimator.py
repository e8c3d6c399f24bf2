"""The base classes of estimators of networks."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkml_lsml.classification.classes import count_classes, odd_labels
from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.engine.predictors import Predictor
from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses import Loss, Multinomial
from sparkml_lsml.neural.notes import noted
from sparkml_lsml.neural.params import SCHEDULES, STEPS, NetworkParams, StepsParams
from sparkml_lsml.neural.pieces import RoundUpdate
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.fit_settings import FitSettings
from sparkml_lsml.spark.params.ranges import Range
from sparkml_lsml.spark.params.solvers import choose_solver
from sparkml_lsml.spark.params.thresholds import check_thresholds
from sparkml_lsml.spark.rows.declared import DeclaredClasses
from sparkml_lsml.spark.training.estimator import BlockEstimator
from sparkml_lsml.spark.training.partial import partial_fit
from sparkml_lsml.spark.training.problem import Fitted, Problem

Array = npt.NDArray[np.float64]

LEAST_SHARE = 1e-4
"""What is added to the share of a class, which may have no rows, for the start."""


class NetworkEstimator(BlockEstimator, StepsParams, NetworkParams):
    """What estimators of networks have in common."""

    _ranges: ClassVar[dict[str, Range]] = {**StepsParams._ranges, **NetworkParams._ranges}

    def settings(self) -> FitSettings:
        """See `Trainable.settings`."""
        found = super().settings()
        given = self.isDefined(self.stepSize)
        return found if given else replace(found, stepSize=self._usual_step())

    def partialFit(self, dataset: DataFrame, model: Any = None, classes: int | None = None) -> Any:
        """A model that has also learned from a piece of rows: for data that comes in pieces.

        A call reads its piece once, and takes one round of local steps over it (``localEpochs``
        epochs of mini-batches on every partition, then their average), from the model so far. The
        model holds what the next piece needs, saved with it: moments of all features and labels so
        far, by which features are standardised, and the number of pieces. ``learningRate`` is the
        schedule over all pieces: ``constant``, where it is not set, or ``invscaling``, which
        divides by ``(1 + t) ** powerT``, t in epochs. ``maxIter``, ``tol``, ``warmup`` and
        checkpoints are without effect. To callbacks a piece is a fit of one iteration, which they
        cannot stop, other than by raising.

        Parameters
        ----------
        dataset : DataFrame
            The piece; without rows it leaves the model as it is.
        model : model of this class of estimators, optional
            From the piece before. One from `fit`, or loaded without what pieces need, brings its
            weights only. Without one, the initial model is taken, if there is one.
        classes : int, optional
            Number of classes, which ``layers`` end in anyway.

        Returns
        -------
        model
            A new one; ``model`` stays as it is. The objective in its summary is of this piece.

        Raises
        ------
        ParamError
            For solvers other than ``auto`` and ``local-steps``, ``learningRate='cosine'``, a
            ``validationIndicatorCol``, balanced classes, or a model that does not fit.
        TypeError
            If ``model`` is of another class.
        NoRowsError
            If there are neither rows nor a model.
        DataError, ColumnError
            If rows cannot be used, or have a label beyond those of ``layers``.
        DivergedError
            If the step was too long.

        Examples
        --------
        >>> from pyspark.ml.linalg import Vectors
        >>> from sparkml_lsml.neural import MLPClassifier
        >>> rows = [(float(i % 3 == 1), Vectors.dense(i % 3 + 0.1 * (i % 7))) for i in range(300)]
        >>> df = spark.createDataFrame(rows, ["label", "features"])
        >>> estimator = MLPClassifier(layers=[1, 16, 2], stepSize=0.05, batchSize=8, localEpochs=5)
        >>> model = None
        >>> for piece in df.randomSplit([1.0, 1.0, 1.0], seed=1):
        ...     model = estimator.partialFit(piece, model)
        >>> [model.predict(Vectors.dense(value)) for value in (0.3, 1.3, 2.3)]
        [0.0, 1.0, 0.0]
        """
        self._check_model(model, "partialFit")
        known = self._known_classes(classes)
        start = self._initial if model is None else model
        return partial_fit(self, dataset, start, known, RoundUpdate)

    def _known_classes(self, classes: int | None) -> int | None:
        """Number of classes, as far as it is known; ``classes`` is what a caller says."""
        return classes

    def _check_finite(self, model: Any) -> None:
        """Refuse a model to start from whose weights are not finite."""
        if not np.isfinite(model._coef).all():
            raise ParamError(
                f"{type(self).__name__}: the model to start from, {model.uid}, has weights that "
                "are not finite: start without it, setInitialModel(None)"
            )

    def _solver(self) -> str:
        """What ``solver`` stands for."""
        asked = str(self.value("solver"))
        return "local-steps" if asked == "auto" else asked

    def _usual_step(self) -> float | None:
        """The first step where none is given; None for that of the solver."""
        return STEPS.get(self.value("optimizer")) if self._solver() == "local-steps" else None

    def _start(self, network: Any) -> Array:
        """Where the training begins, in the units of the solver; each kind defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _start")

    def _check_fit(self, dataset: DataFrame) -> None:
        super()._check_fit(dataset)
        name, solver = type(self).__name__, self._solver()
        schedule = self.value("learningRate")
        known = SCHEDULES.get(solver, ())
        if schedule is not None and known and schedule not in known:
            raise ParamError(
                f"{name}: learningRate='{schedule}' with solver='{solver}', expected one of "
                f"{', '.join(known)}"
            )
        if self.value("localSteps") and self.value("localEpochs") > 1:
            raise ParamError(
                f"{name}: localSteps={self.value('localSteps')} and localEpochs="
                f"{self.value('localEpochs')}: a round takes a part of an epoch, or several of "
                "them: set one, and leave localSteps=0 or localEpochs=1"
            )

    def _problem(
        self, network: Predictor, loss: Loss, build: Callable[[Fitted], Any], **more: Any
    ) -> Problem:
        """A problem; ``more`` is of the labels."""
        asked, solver = self.value("solver"), self._solver()
        why = f"solver='{asked}'"
        if asked == "auto":
            why = "auto: epochs of mini-batches on every partition, then averages"
        elif asked == "l-bfgs":
            solver, why = choose_solver(self, loss.smooth, 0.0, network.layout.size)
        strength = self.value("regParam")
        return Problem(loss, network, 0.0, strength, solver, why, build, **more)

    def _noted(self, summary: TrainingSummary) -> TrainingSummary:
        """The summary, with what there is to say of its mini-batches."""
        return noted(summary, self.value("batchSize"), self.value("optimizer"))


class NetworkClassifier(NetworkEstimator):
    """What estimators of networks of classes have in common."""

    def _task(self) -> Task:
        return "multiclass"

    def problem(self, report: Report, declared: DeclaredClasses) -> Problem:
        """See `Trainable.problem`."""
        loss = Multinomial()
        classes = count_classes(report, declared.count, "multinomial")
        network = self._class_network(report, loss, classes)
        check_thresholds(self, network.outputs)
        return self._problem(
            network,
            loss,
            partial(self._build, network),
            start=lambda layout: self._class_start(network, report),
            warnings=(*odd_labels(report, classes, declared.names), *self._idle(classes)),
        )

    def _class_start(self, network: Any, report: Report) -> Array:
        """Where the training begins: at probabilities about as frequent as classes are.

        Otherwise the first epochs, or all, go to learning that rare classes are rare.
        """
        counts = np.zeros(network.outputs)
        for label, (_, weight) in report.labels.items():
            counts[int(label)] = weight
        logarithms = np.log(counts / counts.sum() + LEAST_SHARE)
        coef = self._start(network)
        biases = self._last_biases(network, coef)
        if len(biases):
            biases += logarithms - logarithms.mean()
        return coef

    def _class_network(self, report: Report, loss: Loss, classes: int) -> Any:
        """The network that is trained, of so many classes or more; each kind defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _class_network")

    def _last_biases(self, network: Any, coef: Array) -> Array:
        """A view of the biases of the raw predictions, where it is known which they are."""
        raise AssertionError(f"{type(self).__name__} defines no _last_biases")

    def _idle(self, classes: int) -> tuple[str, ...]:
        """What to warn of where there are more outputs than classes."""
        return ()

    def _build(self, network: Any, fit: Fitted) -> Any:
        """The model of the network that was trained; each kind defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _build")
