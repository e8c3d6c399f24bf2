"""The base classes of estimators of networks."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkml_lsml.classification.classes import count_classes, odd_labels
from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.engine.predictors import DensePredictor, Predictor
from sparkml_lsml.engine.predictors.initialise import start
from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses import Loss, Multinomial
from sparkml_lsml.neural.calibrated import CalibratedNetworkModel
from sparkml_lsml.neural.notes import noted
from sparkml_lsml.neural.params import SCHEDULES, STEPS, LayersParams, StepsParams
from sparkml_lsml.neural.pieces import RoundUpdate
from sparkml_lsml.neural.summary import (
    BinaryMultilayerPerceptronClassificationTrainingSummary,
    MultilayerPerceptronClassificationTrainingSummary,
)
from sparkml_lsml.neural.weights import in_mllibs_order, network_of
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.fit_settings import FitSettings
from sparkml_lsml.spark.params.ranges import Range
from sparkml_lsml.spark.params.solvers import choose_solver
from sparkml_lsml.spark.params.thresholds import check_thresholds
from sparkml_lsml.spark.rows.declared import DeclaredClasses
from sparkml_lsml.spark.rows.plan import LOCAL_BYTES
from sparkml_lsml.spark.training.estimator import BlockEstimator
from sparkml_lsml.spark.training.partial import partial_fit
from sparkml_lsml.spark.training.problem import Fitted, Problem

Array = npt.NDArray[np.float64]

LEAST_SHARE = 1e-4
"""What is added to the share of a class, which may have no rows, for the start."""

ROW_SECONDS, PRODUCTS_A_SECOND = 1e-6, 2e10
"""What an epoch takes of one thread: for a row at least, and for its products, there and back."""


class NetworkEstimator(BlockEstimator, StepsParams, LayersParams):
    """What estimators of networks have in common."""

    _ranges: ClassVar[dict[str, Range]] = {**StepsParams._ranges, **LayersParams._ranges}

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
        known = self._known_classes()
        if classes not in (None, known) and self.isDefined(self.layers):
            expected = f"{known}, in which layers end" if known else "None: a regression has none"
            raise ParamError(f"{type(self).__name__}: classes={classes!r}, expected {expected}")
        start = self._initial if model is None else model
        return partial_fit(self, dataset, start, known, RoundUpdate)

    def _known_classes(self) -> int | None:
        """Number of classes; None for a regression."""
        return None

    def row_cost(self) -> float:
        """See `Trainable.row_cost`: at home stays what is trained there in about a second."""
        sizes = self.value("layers")
        products = sum(into * out for into, out in itertools.pairwise(sizes))
        row = ROW_SECONDS + products / PRODUCTS_A_SECOND
        rows = 1.0 / (max(1, self.value("maxIter")) * row)
        return float(LOCAL_BYTES / (rows * sizes[0] * np.dtype(self.value("dtype")).itemsize))

    def coefficients_of(self, model: Any, predictor: Predictor, scale: float) -> Array:
        """See `Trainable.coefficients_of`."""
        assert isinstance(predictor, DensePredictor)
        mine, its = (
            f"layers={list(each.sizes)} and activation='{each.activation}'"
            for each in (predictor, model.network)
        )
        if mine != its:
            raise ParamError(
                f"{type(self).__name__}: the model to start from, {model.uid}, has {its}, expected "
                f"{mine}"
            )
        if not np.isfinite(model._coef).all():
            raise ParamError(
                f"{type(self).__name__}: the model to start from, {model.uid}, has weights that "
                "are not finite: start without it, setInitialModel(None)"
            )
        if predictor.layout.constants:
            known = model.getOrDefault("loss") == "huber"
            return np.append(model._coef, model.scale if known else scale)
        return np.asarray(model._coef)

    def _solver(self) -> str:
        """What ``solver`` stands for."""
        asked = str(self.value("solver"))
        return "local-steps" if asked == "auto" else asked

    def _usual_step(self) -> float | None:
        """The first step where none is given; None for that of the solver."""
        return STEPS.get(self.value("optimizer")) if self._solver() == "local-steps" else None

    def _activation(self) -> str:
        return str(self.value("activation"))

    def _start(self, network: DensePredictor) -> Array:
        """Where the training begins, in the units of the solver."""
        return start(network, self.value("seed"))

    def _check_fit(self, dataset: DataFrame) -> None:
        super()._check_fit(dataset)
        name, solver = type(self).__name__, self._solver()
        if not self.isDefined(self.layers):
            raise ParamError(
                f"{name}: layers is not set: expected {self._ranges['layers'].expected}"
            )
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
        if solver != "local-steps" and self.value("dropout"):
            raise ParamError(
                f"{name}: dropout={self.value('dropout')} with solver='{solver}': units are left "
                "out in the mini-batches of solver='local-steps' alone. Set it, or dropout=0"
            )

    def _network(self, report: Report, loss: Loss) -> DensePredictor:
        """The network that is trained.

        Raises
        ------
        ParamError
            If its layers do not fit the rows.
        """
        layers = self.value("layers")
        if layers[0] != report.longest:
            raise ParamError(
                f"{type(self).__name__}: layers={layers} begin with {layers[0]:,}, the rows have "
                f"{report.longest:,} features: expected layers=[{report.longest}, ...]"
            )
        return DensePredictor(
            tuple(layers),
            self._activation(),
            len(loss.constants),
            self.value("dropout"),
            self.value("dtype"),
        )

    def _problem(
        self, network: DensePredictor, loss: Loss, build: Callable[[Fitted], Any], **more: Any
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

    def _calibrated_class(self) -> type[CalibratedNetworkModel]:
        return CalibratedNetworkModel

    def _known_classes(self) -> int | None:
        return int(self.value("layers")[-1]) if self.isDefined(self.layers) else None

    def problem(self, report: Report, declared: DeclaredClasses) -> Problem:
        """See `Trainable.problem`."""
        loss = Multinomial()
        network = self._network(report, loss)
        classes = count_classes(report, declared.count, "multinomial")
        layers = self.value("layers")
        if layers[-1] < classes:
            raise ParamError(
                f"{type(self).__name__}: layers={layers} end in {layers[-1]:,}, the labels are of "
                f"{classes:,} classes: expected layers=[..., {classes}]"
            )
        check_thresholds(self, layers[-1])
        return self._problem(
            network,
            loss,
            self._build,
            start=lambda layout: self._class_start(network, report),
            warnings=(*odd_labels(report, classes, declared.names), *self._idle(classes)),
        )

    def _class_start(self, network: DensePredictor, report: Report) -> Array:
        """Where the training begins: at probabilities about as frequent as classes are.

        Otherwise the first epochs, or all, go to learning that rare classes are rare.
        """
        counts = np.zeros(network.outputs)
        for label, (_, weight) in report.labels.items():
            counts[int(label)] = weight
        logarithms = np.log(counts / counts.sum() + LEAST_SHARE)
        coef = self._start(network)
        _, biases = network.maps(coef)[-1]
        biases += logarithms - logarithms.mean()
        return coef

    def _idle(self, classes: int) -> tuple[str, ...]:
        """What to warn of where there are more outputs than classes."""
        last = self.value("layers")[-1]
        if last <= max(2, classes):
            return ()
        return (
            f"layers end in {last:,}, and no row has a label of {classes:,} or more: the outputs "
            "beyond learn that their classes never occur",
        )

    def _build(self, fit: Fitted) -> Any:
        network = network_of(self.value("layers"), self._activation())
        kind = MultilayerPerceptronClassificationTrainingSummary
        if network.outputs == 2:
            kind = BinaryMultilayerPerceptronClassificationTrainingSummary
        return self._model(
            network.sizes, in_mllibs_order(network, fit.coef), kind.of(self._noted(fit.summary))
        )

    def _model(self, layers: Any, weights: Array, summary: TrainingSummary) -> Any:
        return self._model_class()(list(layers), weights, self._activation(), summary)
