"""Probabilities for a classifier that has only margins, such as the support vector machine."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyspark.sql.functions as F
from pyspark.ml.classification import Classifier
from pyspark.ml.linalg import DenseVector
from pyspark.sql import Column, DataFrame

from sparkml_lsml.classification.calibrated_model import CalibratedModel, saved_calibration
from sparkml_lsml.classification.calibration_params import CalibrationParams
from sparkml_lsml.classification.classes import check_both_classes
from sparkml_lsml.classification.linear_svc import LinearSVC
from sparkml_lsml.classification.logistic_regression import LogisticRegression
from sparkml_lsml.classification.summary import CalibratedClassifierTrainingSummary
from sparkml_lsml.engine.blocks.folds import without
from sparkml_lsml.engine.metrics.calibration import (
    Calibration,
    CalibrationCounts,
    SigmoidCalibration,
    calibrate,
)
from sparkml_lsml.engine.passes.reweighting import HeldOut
from sparkml_lsml.errors import ParamError
from sparkml_lsml.spark.folders.persistence import SafeReadWrite
from sparkml_lsml.spark.folders.saved_params import params_from_json, params_to_json
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

Array = npt.NDArray[np.float64]

CLASSIFIERS = {
    "LinearSVC": "sparkml_lsml.classification",
    "LogisticRegression": "sparkml_lsml.classification",
    "MLPClassifier": "sparkml_lsml.neural",
    "MultilayerPerceptronClassifier": "sparkml_lsml.neural",
}
"""Classifiers that are saved with what calibrates them, and where they are from."""

AS_IT_IS = SigmoidCalibration(-1.0, 0.0)
"""The sigmoid that takes a margin for the log-odds."""


@add_accessors
class CalibratedClassifier(SafeReadWrite, CalibrationParams, Classifier[CalibratedModel]):
    r"""Probabilities for a classifier of two classes, by cross-fitting.

    For each fold a model is trained without its rows, and gives them margins. From the margins of
    all rows and their labels follows one function that turns a margin into a probability; the
    classifier itself is trained on all rows. This is scikit-learn's
    ``CalibratedClassifierCV(ensemble=False)``. The rows are read once, all models share the passes
    over them, and margins are counted where the rows are; ``fit`` takes `ResidentRows`, too.

    Parameters
    ----------
    classifier : LinearSVC, LogisticRegression, MLPClassifier or MultilayerPerceptronClassifier
        Of this package, or a subclass, whose own ``fit`` or ``_fit`` is called, fold after fold; a
        `LinearSVC` by default. A network has two classes, and its margin is its raw prediction of
        class 1 less that of class 0. Its columns of features, labels and weights are replaced by
        those of this estimator. It is no Param, but kept by ``copy`` and ``save``; maps of Params
        (grids) reach its Params.
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

    def _fit(self, dataset: DataFrame | ResidentRows) -> CalibratedModel:
        frame = frame_of(dataset)
        check_frame(frame, type(self).__name__)
        own: Any = self.copy()._normalise()
        classifier = own._binary_classifier()
        classifier._check_fit(frame)
        folds = own.value("numFolds")
        rows, fold = own._folds(dataset, folds)
        name = type(self).__name__
        with Training(classifier, rows, "binary", fold=fold, folds=folds, name=name) as training:
            check_both_classes(training.report.labels, "the rows")
            training.shuffle_for([classifier])
            report = training.report
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
            kind = _kind(classifier)
            found = measures(
                [kind.of(model, AS_IT_IS) for model in models[:-1]],
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
        summary = CalibratedClassifierTrainingSummary.of(last.summary)
        model = kind.of(last, calibrate(own.value("method"), counts), summary)
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
        _kind(given)
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
        if (
            given.hasParam("layers")
            and given.isDefined("layers")
            and given.value("layers")[-1] != 2
        ):
            raise ParamError(
                f"the classifier has layers={given.value('layers')}: expected layers that end in 2 "
                "classes, since one margin is calibrated"
            )
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
        if kind.__name__ not in CLASSIFIERS or _classifier(kind.__name__) is not kind:
            raise ParamError(
                f"classifier is a {kind.__module__}.{kind.__name__}, which cannot be saved: "
                f"expected a {_known()}"
            )
        return {"classifier": {"class": kind.__name__, **params_to_json(classifier)}}

    @classmethod
    def _from_saved(cls, arrays: dict[str, Array], facts: dict[str, Any]) -> "CalibratedClassifier":
        saved = facts["classifier"]
        classifier = _classifier(saved["class"])()
        params_from_json(classifier, saved)
        classifier._check_loaded()
        return cls(classifier=classifier)


def _classifier(name: str) -> Any:
    """The class of that name; those of rooms above this one are imported when asked for."""
    return getattr(import_module(CLASSIFIERS[name]), name)


def _kind(classifier: Any) -> type[CalibratedModel]:
    """The class of its calibrated models; those of rooms above this one bring theirs."""
    if isinstance(classifier, LinearSVC | LogisticRegression):
        return CalibratedClassifierModel
    if not hasattr(classifier, "_calibrated_class"):
        raise ParamError(
            f"classifier is a {type(classifier).__module__}.{type(classifier).__name__}: expected "
            f"a {_known()}"
        )
    found: type[CalibratedModel] = classifier._calibrated_class()
    return found


def _known() -> str:
    return " or a ".join(f"{module}.{name}" for name, module in CLASSIFIERS.items())


def _fit_one_by_one(classifier: Any, parts: list[DataFrame]) -> list[Any]:
    """Models of a subclass with a ``fit`` of its own, which knows what it does with the rows."""
    models = [classifier.fit(rows) for rows in parts]
    expected = _kind(classifier).calibrates
    for model in models:
        # margins are counted where the rows are, from coefficients
        if not isinstance(model, expected) or own_transform(model):
            raise ParamError(
                f"{type(classifier).__name__} fits a {type(model).__name__} that is no "
                f"{expected.__name__} of sparkml_lsml, or scores in a way of its own: expected "
                "one of those, whose margins are calibrated"
            )
    return models


@add_accessors
class CalibratedClassifierModel(CalibratedModel, LinearModel):
    """Model of a `CalibratedClassifier` of a linear classifier.

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

    calibrates = LinearModel

    def __init__(
        self,
        coefficients: Array,
        intercepts: Array,
        calibration: Calibration,
        summary: TrainingSummary | None = None,
    ) -> None:
        super().__init__(coefficients, intercepts, summary)
        self._calibration = calibration

    @classmethod
    def of(
        cls, model: LinearModel, calibration: Calibration, summary: TrainingSummary | None = None
    ) -> "CalibratedClassifierModel":
        """The model of a linear classifier, calibrated."""
        return cls(model._coefficients, model._intercepts, calibration, summary)

    @property
    def coefficients(self) -> DenseVector:
        """Coefficients of the features."""
        return DenseVector(self._coefficients[0])

    @property
    def intercept(self) -> float:
        """Intercept, 0 without one."""
        return float(self._intercepts[0])

    @classmethod
    def _from_saved(
        cls, arrays: dict[str, Array], facts: dict[str, Any]
    ) -> "CalibratedClassifierModel":
        calibration = saved_calibration(arrays, facts)
        return cls(arrays["coefficients"], arrays["intercepts"], calibration)
