"""Probabilities for a classifier that has only margins, such as the support vector machine."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyspark.sql.functions as F
from pyspark.ml.classification import ClassificationModel, Classifier
from pyspark.ml.linalg import DenseVector, Vector
from pyspark.sql import Column, DataFrame

from sparkml_lsml.classification.calibration_params import CalibrationParams
from sparkml_lsml.classification.classes import check_both_classes
from sparkml_lsml.classification.linear_svc import LinearSVC
from sparkml_lsml.classification.logistic_regression import LogisticRegression
from sparkml_lsml.classification.summary import (
    CalibratedClassifierSummary,
    CalibratedClassifierTrainingSummary,
)
from sparkml_lsml.engine.blocks.folds import without
from sparkml_lsml.engine.metrics.calibration import (
    METHODS,
    Calibration,
    CalibrationCounts,
    calibrate,
)
from sparkml_lsml.engine.passes.reweighting import HeldOut
from sparkml_lsml.errors import ParamError
from sparkml_lsml.spark.folders.persistence import SafeReadWrite
from sparkml_lsml.spark.folders.saved_params import params_from_json, params_to_json
from sparkml_lsml.spark.models.evaluation import Evaluation
from sparkml_lsml.spark.models.model import LinearModel, own_transform
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.bases import add_accessors
from sparkml_lsml.spark.params.keywords import keywords
from sparkml_lsml.spark.params.solvers import SAMPLING_SOLVERS
from sparkml_lsml.spark.rows.columns import check_numeric
from sparkml_lsml.spark.rows.frames import check_frame, column_of, quoted
from sparkml_lsml.spark.rows.shared import ResidentRows, folded, frame_of
from sparkml_lsml.spark.rows.validating import refuse_validation
from sparkml_lsml.spark.training.cross_fitting import check_fold, measures
from sparkml_lsml.spark.training.estimator import own_fit
from sparkml_lsml.spark.training.training import Training
from sparkml_lsml.worker.finishing import CalibratedFinish

Array = npt.NDArray[np.float64]

CLASSIFIERS: dict[str, type[Any]] = {
    "LinearSVC": LinearSVC,
    "LogisticRegression": LogisticRegression,
}


@add_accessors
class CalibratedClassifier(
    SafeReadWrite, CalibrationParams, Classifier["CalibratedClassifierModel"]
):
    r"""Probabilities for a linear classifier of two classes, by cross-fitting.

    For each fold a model is trained without its rows, and gives them margins. From the margins of
    all rows and their labels follows one function that turns a margin into a probability; the
    classifier itself is trained on all rows. This is scikit-learn's
    ``CalibratedClassifierCV(ensemble=False)``. The rows are read once, all models share the passes
    over them, and margins are counted where the rows are; ``fit`` takes `ResidentRows`, too.

    Parameters
    ----------
    classifier : LinearSVC or LogisticRegression
        Of this package, or a subclass, whose own ``fit`` or ``_fit`` is called, fold after fold; a
        `LinearSVC` by default. Its columns of features, labels and weights are
        replaced by those of this estimator. It is no Param, but kept by ``copy`` and ``save``; maps
        of Params (grids) reach its Params.
    method : {"sigmoid", "isotonic"}
        ``sigmoid`` has two parameters, ``isotonic`` any function that does not fall; the latter
        needs some thousand rows.
    featuresCol, labelCol, predictionCol, rawPredictionCol, probabilityCol : str
        ``rawPrediction`` holds the margins of the classifier. Labels are 0 and 1.
    featuresCols : list of str, optional
        Columns of numbers or booleans that are the features, in place of ``featuresCol``; the
        classifier's own if they are not given.
    weightCol : str, optional
        The classifier's own if it is not given. A ``classWeight`` of the classifier weighs its
        training, not the calibration: probabilities are those of the rows as they are.
    numFolds : int
    foldCol : str
        Column of the fold of each row, 0 to numFolds - 1; random folds without.
    threshold : float
        Probability of class 1 above which it is predicted; with 0 and a sigmoid it always is.
    seed : int
        Of the folds.

    Raises
    ------
    ParamError
        When a Param is out of its range; from ``fit``, when the classifier is another one, or has a
        solver that draws rows by itself.
    DataError, ColumnError
        From ``fit``, when rows or columns cannot be used, or the rows outside of a fold are of one
        class.
    DivergedError
        From ``fit``, when a step size was too long.

    References
    ----------
    Platt (1999), Probabilistic outputs for support vector machines; Lin, Lin and Weng (2007), A
    note on Platt's probabilistic outputs for support vector machines, Machine Learning 68; Zadrozny
    and Elkan (2002), Transforming classifier scores into accurate multiclass probability estimates.

    Examples
    --------
    >>> from pyspark.ml.linalg import Vectors
    >>> rows = [(float(i % 3 > 0), Vectors.dense(i % 3 + 0.1 * (i % 7))) for i in range(60)]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> svc = LinearSVC(regParam=0.1)
    >>> model = CalibratedClassifier(classifier=svc, numFolds=3, seed=1).fit(df)
    >>> row = model.transform(df).first()
    >>> row.prediction, bool(row.probability[1] < 0.2)
    (0.0, True)
    """

    @keywords
    def __init__(
        self,
        *,
        classifier: Any = None,
        method: str = "sigmoid",
        featuresCol: str = "features",
        labelCol: str = "label",
        predictionCol: str = "prediction",
        rawPredictionCol: str = "rawPrediction",
        probabilityCol: str = "probability",
        weightCol: str | None = None,
        numFolds: int = 5,
        foldCol: str = "",
        threshold: float = 0.5,
        seed: int = 0,
        featuresCols: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        given = dict(self._input_kwargs)
        chosen = given.pop("classifier", None)
        self._classifier: Any = LinearSVC() if chosen is None else chosen
        self._set(**given)

    def setParams(self, **params: Any) -> Self:
        """Set the classifier and Params by name, with the keywords of the constructor."""
        if "classifier" in params:
            self._classifier = params.pop("classifier")
        return self._set(**params)

    def setClassifier(self, value: Any) -> Self:
        """Set the classifier that is calibrated."""
        self._classifier = value
        return self

    def getClassifier(self) -> Any:
        """The classifier that is calibrated."""
        return self._classifier

    def copy(self, extra: Any = None) -> Self:
        """A copy, with a copy of the classifier; ``extra`` may hold Params of both."""
        copied = super().copy(extra)
        copied._classifier = self._classifier.copy(extra)
        return copied

    def _fit(self, dataset: DataFrame | ResidentRows) -> "CalibratedClassifierModel":
        frame = frame_of(dataset)
        check_frame(frame, type(self).__name__)
        own: Any = self.copy()._normalise()
        classifier = own._binary_classifier()
        classifier._check_fit(frame)
        folds = own.value("numFolds")
        rows, fold = own._folds(dataset, folds)
        name = type(self).__name__
        with Training(classifier, rows, "binary", fold=fold, folds=folds, name=name) as training:
            report = training.report
            check_both_classes(report.labels, "the rows")
            members = []
            for number in range(folds):
                seen = without(report.folds, number)
                check_fold(number, seen.moments, report.folds[number].moments)
                check_both_classes(seen.labels, f"the rows outside of fold {number}")
                members.append(training.member(classifier, seen, held_out=number))
            members.append(training.member(classifier))
            if own_fit(classifier):
                parts = [frame_of(rows).where(fold != number) for number in range(folds)]
                models = _fit_one_by_one(classifier, [*parts, frame])
            else:
                models = training.models(members)
            found = measures(
                models[:-1],
                HeldOut(tuple(range(folds))),
                CalibrationCounts,
                training.blocks,
                weighted=True,
                factors=training.factors,
            )
        counts = CalibrationCounts()
        for each in found:
            counts.merge(each)
        last = models[-1]
        model = CalibratedClassifierModel(
            last._coefficients,
            last._intercepts,
            calibrate(own.value("method"), counts),
            CalibratedClassifierTrainingSummary.of(last.summary),
        )
        model._resetUid(self.uid)
        own._copyValues(model)
        for name in ("featuresCols", "weightCol"):
            column = classifier.value(name)
            if column:  # the classifier's own counts where this estimator has none
                model._set(**{name: column})
        model._summarise(frame)
        return model

    def _binary_classifier(self) -> Any:
        """A copy of the classifier, checked, with the columns of this estimator."""
        given: Any = self._classifier
        known: tuple[type[Any], ...] = (LinearSVC, LogisticRegression)
        if not isinstance(given, known):
            raise ParamError(
                f"classifier is a {type(given).__module__}.{type(given).__name__}: expected a "
                f"{' or a '.join(CLASSIFIERS)} of sparkml_lsml.classification"
            )
        if given.value("solver") in SAMPLING_SOLVERS:
            raise ParamError(
                f"the classifier has solver='{given.value('solver')}', which draws rows by itself "
                "and cannot leave out those of a fold: expected solver='auto' or another"
            )
        refuse_validation(given, type(self).__name__)
        columns: dict[Any, Any] = {
            given.featuresCol: self.getOrDefault("featuresCol"),
            given.labelCol: self.getOrDefault("labelCol"),
        }
        if self.value("featuresCols"):
            columns[given.featuresCols] = self.value("featuresCols")
        if self.value("weightCol"):
            columns[given.weightCol] = self.value("weightCol")
        if given.hasParam("family"):
            if given.value("family") == "multinomial":
                raise ParamError(
                    "the classifier has family='multinomial': expected 'binomial' or 'auto', since "
                    "one margin is calibrated"
                )
            columns[given.family] = "binomial"
        return given.copy(columns)._normalise()

    def _folds(
        self, rows: DataFrame | ResidentRows, folds: int
    ) -> tuple[DataFrame | ResidentRows, Column]:
        """The rows with a column of their folds, and that column."""
        dataset = frame_of(rows)
        name = self.value("foldCol")
        if name:
            check_numeric(dataset, name, "foldCol")
            return rows, column_of(dataset, name)
        name = f"{self.uid}_fold"
        seed = self.value("seed")
        number = F.floor(F.rand(seed) * folds).cast("int")
        frame = dataset.select("*", number.alias(name))
        return folded(rows, frame, ("calibration", seed, folds)), quoted(name)

    def _check_loaded(self) -> None:
        self._normalise()

    def _nested_stages(self) -> list[Any]:
        """See `sparkml_lsml.spark.folders.composite.nested_stages`."""
        return [self._classifier]

    def _saved_facts(self) -> dict[str, Any]:
        classifier = self._classifier
        kind = type(classifier)
        if CLASSIFIERS.get(kind.__name__) is not kind:
            raise ParamError(
                f"classifier is a {kind.__module__}.{kind.__name__}, which cannot be saved: "
                f"expected a {' or a '.join(CLASSIFIERS)} of sparkml_lsml.classification"
            )
        return {"classifier": {"class": kind.__name__, **params_to_json(classifier)}}

    @classmethod
    def _from_saved(cls, arrays: dict[str, Array], facts: dict[str, Any]) -> "CalibratedClassifier":
        saved = facts["classifier"]
        classifier = CLASSIFIERS[saved["class"]]()
        params_from_json(classifier, saved)
        classifier._check_loaded()
        return cls(classifier=classifier)


def _fit_one_by_one(classifier: Any, parts: list[DataFrame]) -> list[Any]:
    """Models of a subclass with a ``fit`` of its own, which knows what it does with the rows."""
    models = [classifier.fit(rows) for rows in parts]
    for model in models:
        # margins are counted where the rows are, from coefficients
        if not isinstance(model, LinearModel) or own_transform(model):
            raise ParamError(
                f"{type(classifier).__name__} fits a {type(model).__name__} that is no linear "
                "model of sparkml_lsml, or scores in a way of its own: expected a "
                f"{' or a '.join(f'{name}Model' for name in CLASSIFIERS)}, whose margins are "
                "calibrated"
            )
    return models


@add_accessors
class CalibratedClassifierModel(LinearModel, CalibrationParams, ClassificationModel):
    """Model of a `CalibratedClassifier`.

    ``transform`` adds ``rawPrediction`` (the margins of the two classes), ``probability`` and
    ``prediction``, in one function. A row whose features hold NaN gets NaN, a row without features
    gets null.

    Attributes
    ----------
    coefficients : DenseVector of length numFeatures
        Of the classifier that was trained on all rows.
    intercept : float
    calibration : SigmoidCalibration or IsotonicCalibration
        The function from margins to probabilities, see
        :mod:`sparkml_lsml.engine.metrics.calibration`.
    summary : CalibratedClassifierTrainingSummary
        How the fit to all rows went; its metrics are those of the calibrated model.
    """

    def __init__(
        self,
        coefficients: Array,
        intercepts: Array,
        calibration: Calibration,
        summary: TrainingSummary | None = None,
    ) -> None:
        super().__init__(coefficients, intercepts, summary)
        self._calibration = calibration

    @property
    def coefficients(self) -> DenseVector:
        """Coefficients of the features."""
        return DenseVector(self._coefficients[0])

    @property
    def intercept(self) -> float:
        """Intercept, 0 without one."""
        return float(self._intercepts[0])

    @property
    def calibration(self) -> Calibration:
        """The function from margins to probabilities."""
        return self._calibration

    @property
    def numClasses(self) -> int:
        """Number of classes, 2."""
        return 2

    def evaluate(self, dataset: DataFrame | ResidentRows) -> CalibratedClassifierSummary:
        """Metrics of the model on rows with labels, which are computed when asked for.

        Of `ResidentRows` the frame is read.

        Raises
        ------
        ColumnError
            If the features or the label are missing, or of a type that cannot be used.
        """
        return CalibratedClassifierSummary(evaluation=Evaluation.of(self, dataset).check())

    def predictRaw(self, value: Vector) -> DenseVector:
        """Margins of the two classes for one vector of features."""
        return DenseVector(self._score_one(value, "raw"))

    def predictProbability(self, value: Vector) -> DenseVector:
        """Probabilities of the two classes for one vector of features."""
        return DenseVector(self._score_one(value, "probability"))

    def _finish(self) -> Callable[[Array], dict[str, Array]]:
        return CalibratedFinish(self._calibration, float(self.getOrDefault("threshold")))

    def _saved_arrays(self) -> dict[str, Array]:
        return {**super()._saved_arrays(), "calibration": self._calibration.to_array()}

    def _saved_facts(self) -> dict[str, Any]:
        [method] = [name for name, cls in METHODS.items() if isinstance(self._calibration, cls)]
        return {"method": method}

    @classmethod
    def _from_saved(
        cls, arrays: dict[str, Array], facts: dict[str, Any]
    ) -> "CalibratedClassifierModel":
        calibration = METHODS[facts["method"]].from_array(arrays["calibration"])
        return cls(arrays["coefficients"], arrays["intercepts"], calibration)
