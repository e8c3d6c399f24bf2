"""Callbacks: what is called on the driver as a fit goes on."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from sparkml_lsml.engine.solvers import Iteration
from sparkml_lsml.spark.models.summary import TrainingSummary

log = logging.getLogger("sparkml_lsml")

METHODS = ("on_fit_begin", "on_iteration", "on_fit_end")


@dataclass(frozen=True)
class ModelOfFit:
    """One of the models that are trained together.

    Attributes
    ----------
    estimator : str
        Name of the class.
    params : dict of str to value
        All Params that have a value.
    solver : str
    held_out : int
        The fold that it does not see, -1 if it sees all rows.
    replicate : int
        That of a bootstrap, -1 without.
    positive : int
        The class that a one-vs-rest tells from the others, -1 without.
    """

    estimator: str
    params: dict[str, Any]
    solver: str
    held_out: int = -1
    replicate: int = -1
    positive: int = -1

    @staticmethod
    def of(member: Any) -> "ModelOfFit":
        """What a callback may know of a member of a batch (`spark.training.member.Member`)."""
        params = member.params
        defined = [param.name for param in params.params if params.isDefined(param)]
        return ModelOfFit(
            type(params).__name__,
            {name: params.value(name) for name in defined},
            member.problem.solver,
            member.held_out,
            member.replicate,
            member.positive,
        )


@dataclass(frozen=True)
class Fit:
    """Models that are trained over the same rows, most of them in shared passes.

    Attributes
    ----------
    name : str
        Of what is fitted, as in Spark's user interface.
    models : tuple of ModelOfFit
        A model is told from the others by its place in here.
    rows, features : int
        Of the rows that are trained on.
    execution : str
        ``local`` or ``distributed``.
    """

    name: str
    models: tuple[ModelOfFit, ...]
    rows: int
    features: int
    execution: str


class FitCallback:
    """Base class of callbacks; each method does nothing until it is overridden.

    Any object with one or more of these methods will do. They are called on the driver, in the
    thread of the fit, one after the other and in the order of the callbacks. What one raises ends
    the fit, after everything that the fit holds was released; `on_fit_end` of every callback that
    was begun is called in any case. A search fits more than once: its grid, then the best model.

    Examples
    --------
    >>> class Stop(FitCallback):
    ...     def on_iteration(self, fit, model, iteration):
    ...         return iteration.objective < 0.1
    """

    def on_fit_begin(self, fit: Fit) -> None:
        """Before the first pass, when the rows are packed."""

    def on_iteration(self, fit: Fit, model: int, iteration: Iteration) -> bool | None:
        """After each iteration of a model, the start (iteration 0) included.

        Parameters
        ----------
        fit : Fit
        model : int
            Its place in ``fit.models``.
        iteration : Iteration
            The line of the history, also in ``model.summary.history`` later.

        Returns
        -------
        bool or None
            True stops this model, with the reason ``callback``; others go on.
        """
        return None

    def on_fit_end(
        self,
        fit: Fit,
        summaries: Sequence[TrainingSummary | None],
        error: BaseException | None,
    ) -> None:
        """After the last pass.

        Parameters
        ----------
        fit : Fit
        summaries : sequence of TrainingSummary or None
            One a model; None for one that diverged, or was not done when the fit failed.
        error : BaseException or None
            What ended the fit; None if it ended well.
        """


def checked_callbacks(callbacks: Iterable[Any]) -> tuple[Any, ...]:
    """The callbacks, as a tuple.

    Raises
    ------
    TypeError
        If one has none of the methods of `FitCallback`.
    """
    found = tuple(callbacks)
    for callback in found:
        has = [name for name in METHODS if callable(getattr(callback, name, None))]
        if not has or isinstance(callback, type):
            what = (
                f"the class {callback.__name__}" if isinstance(callback, type) else repr(callback)
            )
            raise TypeError(
                f"found {what} among the callbacks: expected objects with at least one of the "
                f"methods {', '.join(METHODS)}. Derive from sparkml_lsml.callbacks.FitCallback"
            )
    return found


class Watch:
    """Calls the callbacks of one fit; a context manager.

    Attributes
    ----------
    summaries : list of TrainingSummary or None
        To be filled in, one a model.
    """

    def __init__(self, callbacks: Sequence[Any], fit: Fit) -> None:
        self._callbacks, self._fit = callbacks, fit
        self._begun: list[Any] = []
        self.summaries: list[TrainingSummary | None] = [None] * len(fit.models)

    def __enter__(self) -> Self:
        try:
            for callback in self._callbacks:
                self._begun.append(callback)
                _call(callback, "on_fit_begin", self._fit)
        except BaseException as error:
            self._end(error)
            raise
        return self

    def iteration(self, model: int, line: Iteration) -> bool:
        """Tell all callbacks of an iteration; whether one of them asks to stop."""
        calls = [_call(each, "on_iteration", self._fit, model, line) for each in self._callbacks]
        return any(calls)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        """Tell all callbacks of the end, also behind one that fails."""
        failed: Exception | None = None
        for callback in self._begun:
            try:
                _call(callback, "on_fit_end", self._fit, tuple(self.summaries), error)
            except Exception as its_own:
                # what ended the fit first is what the user has to know
                if error is None and failed is None:
                    failed = its_own
                else:
                    log.warning(
                        "%s: %s.on_fit_end failed: %r",
                        self._fit.name,
                        type(callback).__name__,
                        its_own,
                    )
        if failed is not None:
            raise failed


def _call(callback: Any, name: str, *arguments: Any) -> Any:
    method = getattr(callback, name, None)
    return None if method is None else method(*arguments)
