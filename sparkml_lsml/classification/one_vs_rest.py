"""One-vs-rest: a binary classifier for each class, all trained in shared passes."""

import os
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyspark.ml.classification as mllib
import pyspark.sql.functions as F
from pyspark.ml.util import DefaultParamsReader, MLReader, MLWriter
from pyspark.sql import DataFrame

from sparkml_lsml.classification.classes import MAX_COEFFICIENTS, odd_labels
from sparkml_lsml.classification.linear_svc import LinearSVC
from sparkml_lsml.classification.logistic_regression import LogisticRegression
from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.errors import DataError, ExportError, ParamError
from sparkml_lsml.export import Exportable, Form
from sparkml_lsml.losses.registry import is_registered
from sparkml_lsml.spark.folders.composite import check_classes, source_of
from sparkml_lsml.spark.folders.pathtext import path_text
from sparkml_lsml.spark.folders.persistence import WholeWriter, reading
from sparkml_lsml.spark.models.model import LinearModel, own_transform
from sparkml_lsml.spark.models.scoring import add_scores
from sparkml_lsml.spark.params.bases import CheckedParams
from sparkml_lsml.spark.params.feature_columns import features_of
from sparkml_lsml.spark.params.ranges import COUNT, Range
from sparkml_lsml.spark.rows.columns import check_numeric
from sparkml_lsml.spark.rows.frames import check_frame, column_of, column_type
from sparkml_lsml.spark.rows.shared import ResidentRows, frame_of
from sparkml_lsml.spark.training.estimator import own_fit
from sparkml_lsml.spark.training.training import Training, raise_diverged
from sparkml_lsml.worker.finishing import HighestFinish
from sparkml_lsml.worker.scoring import Scorer

Array = npt.NDArray[np.float64]


class OneVsRest(CheckedParams, mllib.OneVsRest[Any]):
    """Multiclass classification by a binary classifier for each class, trained together.

    Takes the place of :class:`pyspark.ml.classification.OneVsRest` with its Params. Where the
    classifier is a `LinearSVC` or a binomial `LogisticRegression` of this package, the rows are
    read once and the models of all classes share each pass over them; each has the objective and
    the stopping rule of a fit of its own. Other classifiers, subclasses with a ``fit`` or ``_fit``
    of their own, ``family="multinomial"``, losses of the user's, a ``classWeight`` (there 1 is a
    class and 0 the rest) and the solvers ``sgd`` and ``cocoa`` take MLlib's road, fit by fit;
    ``parallelism`` matters only there.

    Parameters
    ----------
    featuresCol, labelCol, predictionCol, rawPredictionCol, parallelism
        As in MLlib; labels are 0, 1, 2, ...
    classifier : Classifier
        Its columns are replaced by those of this estimator.
    weightCol : str, optional
        The classifier's own if it is not given.

    Raises
    ------
    ParamError
        From ``fit``, when a Param of the classifier is out of its range.
    DataError, ColumnError
        From ``fit``, when rows or columns cannot be used; the message counts the rows.
    DivergedError
        From ``fit``, when a step size was too long.

    Notes
    -----
    `load` also reads what MLlib's class has saved.

    References
    ----------
    Rifkin and Klautau (2004), In defense of one-vs-all classification, JMLR 5.

    Examples
    --------
    >>> from pyspark.ml.linalg import Vectors
    >>> rows = [(float(i % 3), Vectors.dense(i % 3 == 1, i % 3 == 2)) for i in range(12)]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> model = OneVsRest(classifier=LinearSVC(regParam=0.01)).fit(df)
    >>> [row.prediction for row in model.transform(df).limit(3).collect()]
    [0.0, 1.0, 2.0]
    >>> model.models[2].summary.notes
    ('one of 3 models that shared their passes',)
    """

    _ranges: ClassVar[dict[str, Range]] = {"parallelism": COUNT}

    def _fit(self, dataset: DataFrame | ResidentRows) -> mllib.OneVsRestModel:
        frame = frame_of(dataset)
        check_frame(frame, type(self).__name__)
        own: Any = self.copy()
        own._normalise()  # a param map passes by the setters
        classifier: Any = self.getClassifier()
        if getattr(classifier, "_initial", None) is not None:
            raise ParamError(
                "OneVsRest trains a model for each class, and an initial model is of one: found a "
                "classifier with one, expected one without. Call setInitialModel(None) on it"
            )
        if not _shares_passes(classifier):
            self._check_columns(frame)
            return super()._fit(frame)._resetUid(self.uid)
        columns = {
            classifier.labelCol: self.getLabelCol(),
            classifier.featuresCol: self.getFeaturesCol(),
            classifier.predictionCol: self.getPredictionCol(),
        }
        if self.isDefined(self.weightCol) and self.getWeightCol():
            columns[classifier.weightCol] = self.getWeightCol()
        models = _fit_classes(classifier.copy(columns)._normalise(), dataset)
        return self._copyValues(OneVsRestModel(models)._resetUid(self.uid))

    def _check_columns(self, dataset: DataFrame) -> None:
        """Refuse what MLlib's road would meet as an error of Spark with a plan."""
        column_type(dataset, self.getFeaturesCol(), "featuresCol")
        check_numeric(dataset, self.getLabelCol(), "labelCol")
        if self.isDefined(self.weightCol) and self.getWeightCol():
            check_numeric(dataset, self.getWeightCol(), "weightCol")

    def write(self) -> MLWriter:
        """A writer; call ``overwrite()`` on it to replace what is at the path."""
        return WholeWriter(self, super().write())

    @classmethod
    def read(cls) -> "_Reader":  # type: ignore[override]
        """A reader of this class, and of what MLlib's has saved."""
        return _Reader(cls, mllib.OneVsRest.read())


class OneVsRestModel(Exportable, mllib.OneVsRestModel):
    """Model of a `OneVsRest`.

    ``transform`` adds ``rawPrediction`` (the margin of each class) and ``prediction``, all classes
    in one function where the models are of this package. A row whose features hold NaN gets NaN, a
    row without features gets null.

    Attributes
    ----------
    models : list of models, one a class
    """

    def _transform(self, dataset: DataFrame) -> DataFrame:
        models: Any = self.models
        if not all(isinstance(model, LinearModel) and not own_transform(model) for model in models):
            check_frame(dataset, type(self).__name__, streaming=True)
            return super()._transform(dataset)
        scorer = Scorer.linear(
            np.concatenate([model._coefficients for model in models]),
            np.concatenate([model._intercepts for model in models]),
            HighestFinish(),
        )
        outputs = {"raw": self.getRawPredictionCol(), "prediction": self.getPredictionCol()}
        features = features_of(models[0])
        if isinstance(features, str):  # the one that this model was told of
            features = self.getFeaturesCol()
        return add_scores(dataset, features, scorer, outputs, len(models), self)

    def _form(self) -> Form:
        models: Any = self.models
        forms = [model._form() for model in models if isinstance(model, Exportable)]
        if len(forms) < len(models) or any(len(form.intercepts) > 1 for form in forms):
            found = sorted({type(model).__name__ for model in models})
            raise ExportError(
                f"found a one-vs-rest model of {', '.join(found)}: expected binary models of this "
                "package, with one margin each"
            )
        return Form(
            "one-vs-rest",
            np.concatenate([form.coefficients for form in forms]),
            np.concatenate([form.intercepts for form in forms]),
        )

    def write(self) -> MLWriter:
        """A writer; call ``overwrite()`` on it to replace what is at the path."""
        return WholeWriter(self, super().write())

    @classmethod
    def read(cls) -> "_Reader":  # type: ignore[override]
        """A reader of this class, and of what MLlib's has saved."""
        return _Reader(cls, mllib.OneVsRestModel.read())


def _shares_passes(classifier: Any) -> bool:
    """Whether models of this classifier can be trained together."""
    if not isinstance(classifier, LinearSVC | LogisticRegression) or own_fit(classifier):
        return False
    multinomial = classifier.hasParam("family") and classifier.value("family") == "multinomial"
    if classifier.value("classWeight"):
        return False  # each model weighs its class against the rest
    if classifier.hasParam("loss") and is_registered(classifier.value("loss")):
        return False  # models of a batch turn the sign of the margin, not the label
    # rounds on the partitions take the same labels for all models
    return not multinomial and classifier.value("solver") not in ("sgd", "cocoa")


def _fit_classes(classifier: Any, rows: DataFrame | ResidentRows) -> list[Any]:
    """A model for each class 0, 1, ... up to the largest label."""
    dataset = frame_of(rows)
    classifier._check_fit(dataset)
    with Training(classifier, rows, "multiclass", name="OneVsRest") as training:
        report = training.report
        classes = int(max(report.labels)) + 1
        if classes * max(report.longest, 1) > MAX_COEFFICIENTS:
            raise DataError(
                f"the largest label is {classes - 1:,}, which would mean {classes:,} models: "
                "expected classes 0, 1, 2, ... without gaps. Found "
                f"{len(report.labels):,} different labels: index them with "
                "pyspark.ml.feature.StringIndexer"
            )
        names = [f"mc2b${number}" for number in range(classes)]  # as MLlib calls them
        label = column_of(dataset, classifier.value("labelCol"))
        members = []
        for number, name in enumerate(names):
            one = F.when(label.isNotNull(), (label.cast("double") == number).cast("double"))
            member = training.member(
                classifier.copy({classifier.labelCol: name}),
                _report_of(report, number),
                positive=number,
                rows=dataset.withColumn(name, one),
            )
            if float(number) not in report.labels and len(report.labels) > 1:
                # one warning of all of them, where each model would say that it has one class
                problem = replace(member.problem, warnings=odd_labels(report, classes))
                member = replace(member, problem=problem)
            members.append(member)
        found = training.solve(members)
    raise_diverged(found)
    return found


def _report_of(report: Report, number: int) -> Report:
    """What is known of the rows where one class has the label 1, and all others have 0."""
    labels: dict[float, tuple[int, float]] = {}
    for label, (rows, weight) in report.labels.items():
        target = float(label == number)
        before = labels.get(target, (0, 0.0))
        labels[target] = (before[0] + rows, before[1] + weight)
    return replace(report, labels=labels, label_moments=None, label_means=[])


class _Reader(MLReader[Any]):
    """MLlib's reader, whose result becomes one of our class."""

    def __init__(self, owner: type[Any], reader: MLReader[Any]) -> None:
        super().__init__()
        self._owner, self._reader = owner, reader

    def load(self, path: "str | os.PathLike[str]") -> Any:
        """Load from a path.

        Raises
        ------
        PersistenceError
            If the folder holds another class, names one that is neither MLlib's, nor ours, nor
            imported already, or is damaged.
        TypeError
            If the path is neither a text nor an `os.PathLike`.
        BackendError
            If the session is one of Spark Connect.
        """
        name = self._owner.__name__
        path = path_text(path, f"{name}.load")
        theirs = f"spark.ml.classification.{name}"
        own = f"{self._owner.__module__}.{name}"
        metadata = check_classes(
            self.sparkSession, path, (own, f"py{theirs}", f"org.apache.{theirs}")
        )
        with reading(path):
            if metadata["class"] == own:
                made = self._load_own(path, metadata)
            else:
                found = self._reader.load(path)
                models = [found.models] if isinstance(found, mllib.OneVsRestModel) else []
                made = self._owner(*models)._resetUid(found.uid)
                found._copyValues(made)
        for param, value in list(made._paramMap.items()):
            # MLlib's writer saves defaults as if they had been set
            if made.hasDefault(param) and made._defaultParamMap[param] == value:
                made.clear(param)
        return made

    def _load_own(self, path: str, metadata: dict[str, Any]) -> Any:
        """What our class has saved; before Spark 4.1 MLlib's reader would ask the JVM for it."""
        source = source_of(self.sparkSession)
        load = DefaultParamsReader.loadParamsInstance
        classes = range(int(metadata.get("numClasses", 0)))
        models: list[Any] = [load(f"{path}/model_{number}", source) for number in classes]
        made = self._owner(models) if models else self._owner()
        made._resetUid(metadata["uid"])._set(classifier=load(f"{path}/classifier", source))
        DefaultParamsReader.getAndSetParams(made, metadata, skipParams=["classifier"])
        return made
