"""The methods that give a model to other libraries."""

from typing import Any

from sparkml_lsml.export.form import HasForm
from sparkml_lsml.export.mllib import to_mllib
from sparkml_lsml.export.onnx import to_onnx
from sparkml_lsml.export.sklearn import to_sklearn


class Exportable(HasForm):
    """The methods of a model that other libraries can take; the model defines its `Form`."""

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
        >>> import numpy as np
        >>> from sparkml_lsml.classification import LinearSVCModel
        >>> model = LinearSVCModel(np.array([[1.0, -2.0]]), np.array([0.5]))
        >>> theirs = model.toMLlib()
        >>> type(theirs).__module__, theirs.coefficients, theirs.uid == model.uid
        ('pyspark.ml.classification', DenseVector([1.0, -2.0]), True)
        """
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
        >>> import numpy as np
        >>> from sparkml_lsml.classification import LogisticRegressionModel
        >>> model = LogisticRegressionModel(np.array([[1.0, -2.0]]), np.array([0.5]))
        >>> found = model.toSklearn()
        >>> found
        LogisticRegression()
        >>> found.predict(np.array([[1.0, 0.0], [0.0, 1.0]]))
        array([1., 0.])
        """
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
        >>> import numpy as np
        >>> from sparkml_lsml.regression import LinearRegressionModel
        >>> model = LinearRegressionModel(np.array([[1.0, -2.0]]), np.array([0.5]))
        >>> graph = model.toONNX().graph
        >>> [value.name for value in graph.input], [value.name for value in graph.output]
        (['features'], ['prediction'])
        """
        return to_onnx(self)
