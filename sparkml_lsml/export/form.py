"""What a model computes, and the methods that give it to other libraries."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Kind = Literal["regression", "svc", "binomial", "multinomial", "one-vs-rest"]


@dataclass(frozen=True, eq=False)
class Form:
    """The function from features to predictions that a model stands for.

    Parameters
    ----------
    kind : {"regression", "svc", "binomial", "multinomial", "one-vs-rest"}
        What margins become: themselves, classes, or classes with probabilities.
    coefficients : array of shape (outputs, features)
    intercepts : array of shape (outputs,)
        May be infinite after a fit on one class.
    threshold : float
        Of ``svc`` and ``binomial``: the margin above which the class is 1; may be infinite.
    thresholds : array of shape (classes,), optional
        What ``multinomial`` probabilities are divided by before the largest is taken.
    """

    kind: Kind
    coefficients: Array
    intercepts: Array
    threshold: float = 0.0
    thresholds: Array | None = None


class Exportable:
    """The methods of a model that other libraries can take; the model defines its `Form`."""

    def _form(self) -> Form:
        """What this model computes; each model defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _form")

    def toMLlib(self) -> Any:
        """The model as one of ``pyspark.ml``, scored in the JVM and saved in MLlib's format.

        It has the same uid and Params, as far as MLlib has them and takes their values (a
        ``solver`` that only this package has is left out), and no summary. Scores are the same up
        to rounding, but for features that hold NaN (see ``docs/mllib-differences.md``).

        Returns
        -------
        pyspark.ml.Model
            Of MLlib's class with the name of this one's.

        Raises
        ------
        BackendError
            If the session is one of Spark Connect, which has no JVM to make the model in.

        Examples
        --------
        >>> from sparkml_lsml.classification import LinearSVCModel
        >>> model = LinearSVCModel(np.array([[1.0, -2.0]]), np.array([0.5]))
        >>> theirs = model.toMLlib()
        >>> type(theirs).__module__, theirs.coefficients, theirs.uid == model.uid
        ('pyspark.ml.classification', DenseVector([1.0, -2.0]), True)
        """
        from sparkml_lsml.export.mllib import to_mllib

        return to_mllib(self)

    def toSklearn(self) -> Any:
        """The model as a fitted estimator of scikit-learn.

        ========================================  ==============================================
        Model                                     Estimator
        ========================================  ==============================================
        ``LinearSVCModel``                        ``sklearn.svm.LinearSVC``
        ``LogisticRegressionModel``               ``sklearn.linear_model.LogisticRegression``
        ``LinearRegressionModel``                 ``LinearRegression``; ``HuberRegressor`` for
                                                  Huber's loss
        ``OneVsRestModel`` of ``LinearSVC``       ``sklearn.svm.LinearSVC``
        ``OneVsRestModel`` of logistic models     ``SGDClassifier(loss="log_loss")``, which is
                                                  one-vs-rest too
        ========================================  ==============================================

        A threshold other than the usual one wraps it in a ``FixedThresholdClassifier``. Classes
        are the numbers 0.0, 1.0, ... ``predict`` and ``predict_proba`` are this model's prediction
        and probability, ``decision_function`` is its raw prediction: for two classes, in the form
        of scikit-learn, that of class 1 alone (of a multinomial model: the difference of both).
        ``fit`` would start anew, with scikit-learn's objective and defaults. Rows with NaN are an
        error in scikit-learn; an infinite intercept among three or more classes, from a fit on
        one class, becomes the largest float.

        Raises
        ------
        ExportError
            For ``thresholds`` of three or more classes, which scikit-learn does not have, and a
            one-vs-rest model of a single class.
        ModuleNotFoundError
            Without scikit-learn: ``pip install 'sparkml_lsml[export]'``.

        Examples
        --------
        >>> from sparkml_lsml.classification import LogisticRegressionModel
        >>> model = LogisticRegressionModel(np.array([[1.0, -2.0]]), np.array([0.5]))
        >>> found = model.toSklearn()
        >>> found
        LogisticRegression()
        >>> found.predict(np.array([[1.0, 0.0], [0.0, 1.0]]))
        array([1., 0.])
        """
        from sparkml_lsml.export.sklearn import to_sklearn

        return to_sklearn(self)

    def toONNX(self) -> Any:
        """The model as an ONNX graph in float64, which needs neither Python nor Spark to score.

        ===================  ======================  ==============================================
        Name                 Shape (of doubles)      What
        ===================  ======================  ==============================================
        ``features``         (rows, numFeatures)     the input
        ``prediction``       (rows,)                 the class, or the value of a regression
        ``rawPrediction``    (rows, classes)         of classifiers: margins
        ``probability``      (rows, classes)         of ``LogisticRegressionModel``
        ===================  ======================  ==============================================

        The graph follows thresholds, ties and NaN as `transform` does. It consists of plain
        operators of opset 17, with ``uid``, ``class`` and ``version`` (of this package) among the
        metadata.

        Returns
        -------
        onnx.ModelProto
            ``onnx.save(model.toONNX(), path)`` writes it.

        Raises
        ------
        ModuleNotFoundError
            Without onnx: ``pip install 'sparkml_lsml[export]'``.

        Examples
        --------
        >>> from sparkml_lsml.regression import LinearRegressionModel
        >>> model = LinearRegressionModel(np.array([[1.0, -2.0]]), np.array([0.5]))
        >>> graph = model.toONNX().graph
        >>> [value.name for value in graph.input], [value.name for value in graph.output]
        (['features'], ['prediction'])
        """
        from sparkml_lsml.export.onnx import to_onnx

        return to_onnx(self)


def missing(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error for a library that is not installed, with what to install."""
    return ModuleNotFoundError(
        f"this export needs the module {error.name}: pip install 'sparkml_lsml[export]'",
        name=error.name,
    )
