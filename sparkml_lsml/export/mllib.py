"""MLlib's own models, made by the constructors that its estimators call."""

from typing import Any

import pyspark.ml.classification as classification
import pyspark.ml.regression as regression
import pyspark.ml.tuning as tuning
from pyspark.errors import IllegalArgumentException
from pyspark.ml import PipelineModel
from pyspark.ml.linalg import DenseMatrix, DenseVector
from pyspark.ml.wrapper import JavaParams
from pyspark.sql import SparkSession

from sparkml_lsml.errors import ExportError
from sparkml_lsml.export.form import Form, HasForm, Hidden
from sparkml_lsml.spark.cluster.session import classic
from sparkml_lsml.spark.params.feature_columns import features_of

_PACKAGE = "org.apache.spark.ml"


def to_mllib(model: Any) -> Any:
    """A model of ``pyspark.ml`` in place of one of this package, also within a pipeline.

    Parameters
    ----------
    model : pyspark.ml.Model
        A model of this package, or a ``PipelineModel``, whose stages are converted one by one;
        stages of other packages are left as they are. Of a search the best model is taken.

    Returns
    -------
    pyspark.ml.Model

    Raises
    ------
    ExportError
        If MLlib has no such model, for example of a `CalibratedClassifierModel`, or if it was
        trained on ``featuresCols``.
    BackendError
        If the session is one of Spark Connect, which has no JVM to make the model in.

    Examples
    --------
    >>> import numpy as np
    >>> from pyspark.ml import PipelineModel
    >>> from pyspark.ml.feature import VectorAssembler
    >>> from sparkml_lsml.regression import LinearRegressionModel
    >>> assembler = VectorAssembler(inputCols=["x"], outputCol="features")
    >>> model = LinearRegressionModel(np.array([[2.0]]), np.array([1.0]))
    >>> pipeline = to_mllib(PipelineModel([assembler, model]))
    >>> [type(stage).__module__ for stage in pipeline.stages]
    ['pyspark.ml.feature', 'pyspark.ml.regression']
    """
    if isinstance(model, PipelineModel):
        return PipelineModel([to_mllib(stage) for stage in model.stages])._resetUid(model.uid)
    if isinstance(model, classification.OneVsRestModel):
        # MLlib's class may hold models of this package: those that were fitted one by one
        ours = any(isinstance(part, HasForm) for part in model.models)
        return _one_vs_rest(model) if ours else model
    if isinstance(model, tuning.CrossValidatorModel | tuning.TrainValidationSplitModel):
        return to_mllib(model.bestModel)
    if not isinstance(model, HasForm):
        if type(model).__module__.startswith("sparkml_lsml."):
            raise ExportError(
                f"{type(model).__name__} has no counterpart in MLlib: expected a linear model, a "
                "one-vs-rest model, a network, or a pipeline or search of them"
            )
        return model
    features = features_of(model)
    if not isinstance(features, str):
        raise ExportError(
            f"found featuresCols={[*features]}, which MLlib's models do not have: expected a "
            "column of vectors. Put VectorAssembler(inputCols=featuresCols, outputCol='features') "
            "before model.copy({model.featuresCols: []}).toMLlib()"
        )
    classic(SparkSession._getActiveSessionOrCreate())
    form = model._form()
    made = _linear(model, form) if form.hidden is None else _network(model, form, form.hidden)
    return _with_params(made, model)


def _linear(model: Any, form: Form) -> Any:
    """The model with its numbers, without Params."""
    row, intercept = DenseVector(form.coefficients[0]), float(form.intercepts[0])
    match form.kind:
        case "regression":
            name = f"{_PACKAGE}.regression.LinearRegressionModel"
            made = JavaParams._new_java_obj(name, model.uid, row, intercept, model.scale)
            return regression.LinearRegressionModel(made)
        case "svc":
            name = f"{_PACKAGE}.classification.LinearSVCModel"
            made = JavaParams._new_java_obj(name, model.uid, row, intercept)
            return classification.LinearSVCModel(made)
        case _:
            outputs, features = form.coefficients.shape
            made = JavaParams._new_java_obj(
                f"{_PACKAGE}.classification.LogisticRegressionModel",
                model.uid,
                # row after row, which MLlib asks for where there is only one
                DenseMatrix(outputs, features, form.coefficients.ravel(), isTransposed=True),
                DenseVector(form.intercepts),
                max(2, outputs),
                form.kind == "multinomial",
            )
            return classification.LogisticRegressionModel(made)


def _network(model: Any, form: Form, hidden: Hidden) -> Any:
    """The network with its weights, without Params, its layers among them."""
    if form.kind != "multinomial" or (hidden.maps and hidden.activation != "sigmoid"):
        raise ExportError(
            f"MLlib has classifiers with sigmoid layers alone, found a {type(model).__name__} with "
            f"activation='{hidden.activation}': train with activation='sigmoid', or use toSklearn()"
            " or toONNX()"
        )
    name = f"{_PACKAGE}.classification.MultilayerPerceptronClassificationModel"
    made = JavaParams._new_java_obj(name, model.uid, model.weights)
    return classification.MultilayerPerceptronClassificationModel(made)


def _one_vs_rest(model: Any) -> Any:
    """MLlib's model of the converted models of the classes."""
    # its transform reads this column of every class, and fails where there is none
    raw = model.getRawPredictionCol() or "rawPrediction"
    parts = [to_mllib(part.copy({part.rawPredictionCol: raw})) for part in model.models]
    made = classification.OneVsRestModel(parts)._resetUid(model.uid)
    for param, value in model._paramMap.items():
        made._set(**{param.name: _estimator(value) if param.name == "classifier" else value})
    return made._set(rawPredictionCol=raw)


def _estimator(classifier: Any) -> Any:
    """MLlib's estimator of the same name and Params: a saved one-vs-rest model holds it."""
    if not type(classifier).__module__.startswith("sparkml_lsml."):
        return classifier
    made = getattr(classification, type(classifier).__name__)()
    made._resetUid(classifier.uid)
    made._java_obj = JavaParams._new_java_obj(
        f"{_PACKAGE}.classification.{type(classifier).__name__}", classifier.uid
    )
    return _with_params(made, classifier)


def _with_params(made: Any, ours: Any) -> Any:
    """MLlib's stage with the Params that are set in ours, as far as MLlib takes them."""
    for param, value in ours._paramMap.items():
        if not made.hasParam(param.name):
            continue
        try:
            pair = made._make_java_param_pair(made.getParam(param.name), value)
        except IllegalArgumentException:
            continue  # a value that only we have, such as solver="sgd"
        made._java_obj.set(pair)
        made._set(**{param.name: value})
    return made
