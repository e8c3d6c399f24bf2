"""Fitted estimators of scikit-learn, whose predictions are those of our models."""

import math
from typing import Any

import numpy as np

from sparkml_lsml.errors import ExportError
from sparkml_lsml.export.form import Array, Form, HasForm, Hidden, missing

CERTAIN = 1075.0 * math.log(2.0)
"""Margin above which the probability of class 0, about exp(-margin), underflows to 0."""


def to_sklearn(model: HasForm) -> Any:
    """The model as an estimator: see :meth:`Exportable.toSklearn`."""
    try:
        import sklearn  # noqa: F401
    except ModuleNotFoundError as error:
        raise missing(error) from None
    owner: Any = model
    form = model._form()
    if form.hidden is not None:
        return _network(form, form.hidden)
    match form.kind:
        case "regression":
            return _regression(owner, form)
        case "svc":
            return _svc(form)
        case "binomial" | "multinomial":
            return _logistic(form)
        case "one-vs-rest":
            return _one_vs_rest(owner, form)


def _regression(model: Any, form: Form) -> Any:
    from sklearn.linear_model import HuberRegressor, LinearRegression

    if model.getOrDefault("loss") == "huber":
        made = HuberRegressor(epsilon=model.getOrDefault("epsilon"))
        made.scale_ = model.scale
    else:
        made = LinearRegression()
    made.coef_ = form.coefficients[0].copy()
    made.intercept_ = float(form.intercepts[0])
    made.n_features_in_ = form.coefficients.shape[1]
    return made


def _svc(form: Form) -> Any:
    from sklearn.svm import LinearSVC

    made = _fitted(LinearSVC(loss="hinge"), form.coefficients, form.intercepts, 2)
    return _above(made, form.threshold, "decision_function")


def _logistic(form: Form) -> Any:
    from sklearn.linear_model import LogisticRegression

    classes = max(2, len(form.intercepts))
    coefficients, intercepts, threshold = form.coefficients, form.intercepts, 0.5
    if form.kind == "multinomial":
        threshold = _common_threshold(form.thresholds)
        if classes == 2:
            # softmax of two margins is the logistic function of their difference
            coefficients, intercepts = np.diff(coefficients, axis=0), np.diff(intercepts)
        else:
            # softmax there takes the largest margin from itself, which must not be infinite
            intercepts = np.nan_to_num(intercepts)
    made = _fitted(LogisticRegression(), coefficients, intercepts, classes)
    if threshold == 0.5:
        return _above(made, form.threshold, "decision_function")
    if threshold == 1.0:
        return _above(made, CERTAIN, "decision_function")
    return _above(made, threshold, "predict_proba")


def _network(form: Form, hidden: Hidden) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.preprocessing import LabelBinarizer

    activation = {"sigmoid": "logistic"}.get(hidden.activation, hidden.activation)
    if activation not in ("identity", "logistic", "relu", "tanh"):
        raise ExportError(
            f"activation='{hidden.activation}': scikit-learn has identity, relu, sigmoid and tanh, "
            "expected one of these. Use toONNX()"
        )
    maps, threshold = [*hidden.maps, (form.coefficients, form.intercepts)], 0.5
    sizes = tuple(len(biases) for _, biases in hidden.maps)
    if form.kind == "regression":
        made = MLPRegressor(hidden_layer_sizes=sizes, activation=activation)
        made.out_activation_, made.n_outputs_ = "identity", 1
    else:
        made = MLPClassifier(hidden_layer_sizes=sizes, activation=activation)
        threshold, classes = _common_threshold(form.thresholds), len(form.intercepts)
        made.classes_ = np.arange(float(classes))
        made._label_binarizer = LabelBinarizer().fit(made.classes_)
        made.out_activation_, made.n_outputs_ = "softmax", classes
        if classes == 2:
            # softmax of two margins is the logistic function of their difference
            maps[-1] = np.diff(form.coefficients, axis=0), np.diff(form.intercepts)
            made.out_activation_, made.n_outputs_ = "logistic", 1
    made.coefs_ = [weights.T.copy() for weights, _ in maps]
    made.intercepts_ = [biases.copy() for _, biases in maps]
    made.n_features_in_, made.n_layers_ = form.features, len(maps) + 1
    return made if threshold == 0.5 else _above(made, threshold, "predict_proba")


def _common_threshold(thresholds: Array | None) -> float:
    """The probability of class 1 from which it is predicted; 0.5 where nothing weighs classes.

    Raises
    ------
    ExportError
        If three or more classes have different thresholds.
    """
    if thresholds is None or (thresholds == thresholds[0]).all():
        return 0.5
    if len(thresholds) == 2:
        # p1 / t1 > p0 / t0 with p0 = 1 - p1
        return float(thresholds[1] / thresholds.sum())
    raise ExportError(
        f"thresholds={thresholds.tolist()}: scikit-learn has none for three or more classes, "
        "expected equal ones. Clear them with model.clear(model.thresholds), or use toONNX()"
    )


def _one_vs_rest(model: Any, form: Form) -> Any:
    from sklearn.linear_model import SGDClassifier
    from sklearn.svm import LinearSVC

    classes = len(form.intercepts)
    if classes == 1:
        raise ExportError(
            "the model has one class, found in scikit-learn is no classifier with fewer than two: "
            "use toONNX()"
        )
    # not OneVsRestClassifier: of classes that tie it takes the last, these take the first as we do
    logistic = model.models[0]._form().kind == "binomial"
    made = SGDClassifier(loss="log_loss") if logistic else LinearSVC(loss="hinge")
    return _fitted(made, form.coefficients, form.intercepts, classes)


def _fitted(made: Any, coefficients: Array, intercepts: Array, classes: int) -> Any:
    """The classifier with the attributes that its ``fit`` would set."""
    made.coef_ = coefficients.copy()
    made.intercept_ = intercepts.copy()
    made.classes_ = np.arange(float(classes))
    made.n_features_in_ = coefficients.shape[1]
    return made


def _above(made: Any, threshold: float, method: str) -> Any:
    """The classifier that predicts 1 where the score is above the threshold."""
    if threshold == 0.0 and method == "decision_function":
        return made  # as it does by itself
    from sklearn.frozen import FrozenEstimator
    from sklearn.model_selection import FixedThresholdClassifier

    # scikit-learn asks for at least the threshold: the next number makes it more than ours, and
    # no score is at least NaN, as none is above infinity
    least = float(np.nextafter(threshold, np.inf)) if threshold < np.inf else np.nan
    wrapped = FixedThresholdClassifier(
        FrozenEstimator(made), threshold=least, pos_label=1.0, response_method=method
    )
    wrapped.estimator_ = wrapped.estimator
    return wrapped
