"""The base class of our estimators."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pyspark.ml import Estimator
from pyspark.sql import DataFrame

from sparkml_lsml.engine.predictors import Predictor
from sparkml_lsml.errors import DivergedError
from sparkml_lsml.spark.cluster.jobs import JobGroup
from sparkml_lsml.spark.cluster.session import context
from sparkml_lsml.spark.folders.persistence import SafeReadWrite
from sparkml_lsml.spark.params.keywords import unknown_param
from sparkml_lsml.spark.params.starting import check_fits, stored_coefficients_of
from sparkml_lsml.spark.rows.frames import check_frame
from sparkml_lsml.spark.rows.shared import ResidentRows, frame_of
from sparkml_lsml.spark.training.partial import SgdUpdate, partial_fit
from sparkml_lsml.spark.training.trainable import Trainable
from sparkml_lsml.spark.training.training import fit_linear, raise_diverged
from sparkml_lsml.spark.watching.callbacks import checked_callbacks

Array = npt.NDArray[np.float64]


class BlockEstimator(Trainable, SafeReadWrite, Estimator[Any]):
    """What estimators have in common that train on resident blocks, whatever they predict with.

    Each adds its Params, and its `problem`, which names the predictor.
    """

    def setParams(self, **params: Any) -> Self:
        """Set Params by name, with the keywords of the constructor.

        Raises
        ------
        UnknownParamError
            If a name is unknown, with the name that was likely meant.
        ParamError
            If a value is out of range.
        """
        known = [param.name for param in self.params]
        for name in params:
            if name not in known:
                raise unknown_param(self, name, known)
        return self._set(**params)

    def setCallbacks(self, callbacks: Iterable[Any]) -> Self:
        """Set what is called on the driver as a fit goes on; replaces those set before.

        Callbacks are no Params: copies of the estimator have them, those of grids, searches and
        pipelines too; a saved estimator does not.

        Parameters
        ----------
        callbacks : iterable of FitCallback
            Or of objects with one or more of its methods, see
            :class:`sparkml_lsml.callbacks.FitCallback`.

        Raises
        ------
        TypeError
            If an object has none of these methods.
        """
        self.callbacks = checked_callbacks(callbacks)
        return self

    def setInitialModel(self, model: Any) -> Self:
        """Start the fits of this estimator at the coefficients of a model; None for none.

        A good start saves passes; it never changes the minimum. A coefficient of a column that is
        constant in the new rows becomes 0, one outside its bounds moves to the nearest bound. With
        ``maxIter=0`` the fit returns the model that it was given. The solver ``normal`` needs no
        start, and the summary says so; ``cocoa`` cannot use one, and ``fit`` refuses it. The model
        is no Param: `copy` keeps it, and so do searches and their folds; `save` leaves it out.

        Parameters
        ----------
        model : model of this class of estimators, or None
            Fitted by one, loaded, or made of arrays.

        Raises
        ------
        TypeError
            If it is a model of another class. Numbers of features and classes are compared in
            ``fit``, which raises `ParamError`.

        Examples
        --------
        >>> from pyspark.ml.linalg import Vectors
        >>> from sparkml_lsml.regression import LinearRegression
        >>> rows = [(float(3 * x + 1), Vectors.dense(float(x))) for x in range(5)]
        >>> df = spark.createDataFrame(rows, ["label", "features"])
        >>> estimator = LinearRegression(solver="l-bfgs", regParam=0.1)
        >>> model = estimator.fit(df)
        >>> again = estimator.setInitialModel(model).fit(df)
        >>> again.summary.totalIterations < model.summary.totalIterations
        True
        """
        self._check_model(model, "setInitialModel")
        self._initial = model
        return self

    def getInitialModel(self) -> Any:
        """The model that fits start from, or None."""
        return self._initial

    def _check_model(self, model: Any, what: str) -> None:
        expected = self._model_class()
        if model is not None and not isinstance(model, expected):
            raise TypeError(
                f"{type(self).__name__}: {what} takes a {expected.__name__} or None, found "
                f"{type(model).__name__}"
            )

    def _fit(self, dataset: DataFrame | ResidentRows) -> Any:
        found = self._fit_together(dataset, [None])
        raise_diverged(found)
        return found[0]

    def _fit_together(self, rows: DataFrame | ResidentRows, maps: Sequence[Any]) -> list[Any]:
        """Models for param maps that differ in nothing that the ingest depends on.

        A `DivergedError` stands in place of a model that diverged.
        """
        # the copies are normalised, so that a fit leaves the estimator as it was
        members = [self.copy(extra)._normalise() for extra in maps]
        for member in members:
            member._check_fit(frame_of(rows))
        return fit_linear(members, rows)

    def _check_loaded(self) -> None:
        self._normalise()

    def _model_class(self) -> type[Any]:
        """The class of its models; each estimator defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _model_class")

    def fitMultiple(
        self, dataset: DataFrame | ResidentRows, paramMaps: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """Models for several param maps, trained together; safe for several threads.

        Nothing is done before the first model is asked for. Then the rows are read once, and all
        models that read them in the same way share the passes over them. A subclass with a ``fit``
        or ``_fit`` of its own is fitted by it, one param map after another.
        """
        frame = frame_of(dataset)
        check_frame(frame, type(self).__name__)
        if own_fit(self) in ("fit", "_fit"):
            return super().fitMultiple(frame, paramMaps)
        estimator = self.copy()
        jobs = JobGroup(context(frame), f"{type(self).__name__}-grid")
        groups: dict[Any, list[int]] = {}
        for number, extra in enumerate(paramMaps):
            member = self.copy(extra)
            groups.setdefault(member.ingest_key(), []).append(number)

        def fit(numbers: Sequence[int]) -> list[Any]:
            return estimator._fit_together(dataset, [paramMaps[n] for n in numbers])

        return FitIterator(fit, list(groups.values()), jobs)


class LinearEstimator(BlockEstimator):
    """What the linear estimators have in common."""

    def partialFit(self, dataset: DataFrame, model: Any = None, classes: int | None = None) -> Any:
        """A model that has also learned from a piece of rows: for data that comes in pieces.

        A call reads its piece once and runs ``localEpochs`` epochs of SGD over it, from the model
        so far. The model holds what the next piece needs, saved with it: moments of all features
        and labels so far, by which features are standardised, the place in the step schedule, and
        the iterate. Its coefficients are an average over the pieces, later ones weighing more
        (Lacoste-Julien, Schmidt and Bach 2012), which for rows in random order comes close to the
        solution for all of them; with ``averaging=False`` they are the iterate.

        ``learningRate`` is the schedule over all pieces: ``constant``, for rows whose distribution
        changes; ``invscaling``, which divides by ``(1 + t) ** powerT``, t in epochs; ``optimal``;
        and ``adaptive``, by default, which divides by the root of 1 + t, and by 3 whenever a
        piece's own objective would rise, which is then tried again. ``maxIter``, ``tol`` and
        checkpoints are without effect. To callbacks a piece is a fit of one iteration, which they
        cannot stop, other than by raising.

        Parameters
        ----------
        dataset : DataFrame
            The piece; without rows it leaves the model as it is.
        model : model of this class of estimators, optional
            From the piece before. One from `fit`, or loaded without what pieces need, brings its
            coefficients only. Without one, the initial model is taken, if there is one.
        classes : int, optional
            Number of classes; by default that of the model, or as many as the first piece shows.

        Returns
        -------
        model
            A new one; ``model`` stays as it is. The objective in its summary is of this piece.

        Raises
        ------
        ParamError
            For solvers other than ``auto`` and ``sgd``, a ``validationIndicatorCol``, balanced
            classes, or a model that does not fit.
        TypeError
            If ``model`` is of another class.
        NoRowsError
            If there are neither rows nor a model.
        DataError, ColumnError
            If rows cannot be used, or have a label that the model does not know.
        DivergedError
            If the step was too long.

        References
        ----------
        Bottou and Bousquet (2008), The tradeoffs of large scale learning; Bach and Moulines (2011),
        Non-asymptotic analysis of stochastic approximation algorithms for machine learning (steps
        that fall with the root, and averages).

        Examples
        --------
        >>> from pyspark.ml.linalg import Vectors
        >>> from sparkml_lsml.classification import LogisticRegression
        >>> rows = [(float(i % 2), Vectors.dense(i % 2 + 0.1 * (i % 3))) for i in range(60)]
        >>> df = spark.createDataFrame(rows, ["label", "features"])
        >>> estimator, model = LogisticRegression(regParam=0.01), None
        >>> for piece in df.randomSplit([1.0, 1.0, 1.0], seed=1):
        ...     model = estimator.partialFit(piece, model)
        >>> model.predict(Vectors.dense(0.0)), model.predict(Vectors.dense(1.1))
        (0.0, 1.0)
        """
        self._check_model(model, "partialFit")
        start = self._initial if model is None else model
        return partial_fit(self, dataset, start, classes, SgdUpdate)

    def coefficients_of(self, model: Any, predictor: Predictor, scale: float) -> Array:
        """See `Trainable.coefficients_of`."""
        layout = predictor.layout
        check_fits(model, self.settings(), layout.outputs, layout.features)
        return stored_coefficients_of(model, layout, scale)


def own_fit(estimator: BlockEstimator) -> str:
    """The method of fitting that a subclass of the user's has of its own; "" if it has none.

    What it does with the rows, such as to leave some out, shared passes would not do.
    """
    for name in ("fit", "_fit", "fitMultiple"):
        if getattr(getattr(estimator, name), "__func__", None) is not getattr(BlockEstimator, name):
            return name
    return ""


class FitIterator:
    """Trains groups of models as one of them is asked for, by any thread, until a fit fails.

    Parameters
    ----------
    fit : callable
        Takes the numbers of the models of a group, and returns them, or errors in their place.
    groups : sequence of sequences of int
    jobs : JobGroup
    """

    def __init__(
        self,
        fit: Callable[[Sequence[int]], list[Any]],
        groups: Sequence[Sequence[int]],
        jobs: JobGroup,
    ) -> None:
        self._fit = fit
        self._groups = list(groups)
        self._jobs = jobs
        self._ready: list[tuple[int, Any]] = []
        self._failed: BaseException | None = None
        self._lock = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[int, Any]:
        # a group is one fit: who asks while it runs waits for its models
        with self._lock:
            if self._failed is not None:
                raise RuntimeError("another fit of this grid failed") from self._failed
            try:
                if not self._ready and self._groups:
                    numbers = self._groups.pop(0)
                    with self._jobs.around():
                        models = self._fit(numbers)
                    self._ready = list(zip(numbers, models, strict=True))
                if not self._ready:
                    raise StopIteration
                number, model = self._ready.pop(0)
                if isinstance(model, DivergedError):
                    raise model
            except StopIteration:
                raise
            except BaseException as error:
                self._failed = error
                self._jobs.stop()
                raise
            return number, model
