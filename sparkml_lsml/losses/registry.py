"""Losses that users bring along: a registry of names, so that Params stay strings.

A loss is a class that follows the protocol `Loss`, or a pair of NumPy functions. Once it is
registered, its name works wherever an estimator has the Param ``loss``.
"""

import re
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses.base import Loss
from sparkml_lsml.losses.custom import (
    CustomKinkedLoss,
    CustomLoss,
    Function,
    FunctionLoss,
    KinkedFunctionLoss,
    Kinks,
)

NAME = re.compile(r"[A-Za-z][\w.+-]{0,63}")

_reserved: set[str] = set()
_registered: dict[str, CustomLoss] = {}
_lock = threading.Lock()


def reserve(*losses: Loss) -> None:
    """Keep the names of the package's own losses from losses of users."""
    _reserved.update(loss.name for loss in losses)


def reserved() -> frozenset[str]:
    """Names that a user's loss cannot take."""
    return frozenset(_reserved)


def register(loss: Any) -> None:
    r"""Make a user's loss known by its name, for the Param ``loss`` of estimators.

    A second loss of a name takes the place of the first, as when a cell of a notebook runs again.
    The name is all that is saved with an estimator or a model: register the loss in every session
    before such a folder is loaded. The loss itself travels to the executors by value, with what is
    defined in its module; whatever else it imports has to be installed there.

    Before the first pass of a fit the loss is tried on labels of the rows: shapes, finite values,
    the derivative against central differences, and what ``smooth`` and ``curvature`` claim.

    Parameters
    ----------
    loss : Loss
        An instance with ``name``, ``smooth``, ``value_and_derivative`` and, where they are known,
        ``curvature``; see :class:`~sparkml_lsml.losses.base.Loss`. With kinks (``smooth = False``)
        a method ``smoothed`` makes it a :class:`~sparkml_lsml.losses.base.KinkedLoss`, which the
        quasi-Newton solver can minimise. ``constants`` are not supported.

    Raises
    ------
    ParamError
        If the name is one of the package's own or no plain name, or an attribute is missing.

    Examples
    --------
    >>> import numpy as np
    >>> class LogCosh:
    ...     name, smooth, curvature = "log-cosh", True, 1.0
    ...
    ...     def value_and_derivative(self, y, raw):
    ...         error = raw - y[:, None, None]
    ...         value = np.logaddexp(error, -error) - np.log(2.0)
    ...         return value[:, :, 0], np.tanh(error)
    >>> register(LogCosh())
    >>> "log-cosh" in registered()
    True
    >>> unregister("log-cosh")
    """
    made = _wrapped(loss)
    with _lock:
        _registered[made.name] = made


def loss(
    name: str,
    *,
    value: Function,
    derivative: Function,
    smooth: bool = True,
    curvature: float = float("inf"),
    kinks: Kinks | None = None,
) -> None:
    r"""Register a loss that is a pair of functions; see `register`.

    Parameters
    ----------
    name : str
    value, derivative : callable
        Take labels and raw predictions :math:`x^T w + b`, two arrays of one shape, and return the
        loss of each pair and its derivative in the raw prediction, of that shape. Labels of a
        classifier are 0 and 1.
    smooth : bool
        Whether the derivative is continuous.
    curvature : float
        Upper bound of the second derivative, infinity without one.
    kinks : callable, optional
        Takes labels of shape (rows,), and returns the raw predictions at which the derivative
        jumps: an array of that shape, or a list of such arrays. With it the quasi-Newton solver
        replaces each kink by narrower and narrower parabolas.

    Raises
    ------
    ParamError
        If the name is one of the package's own or no plain name, or ``kinks`` are given for a loss
        that is smooth.

    Examples
    --------
    The pinball loss, whose minimum is a quantile, here the upper decile:

    >>> import numpy as np
    >>> loss(
    ...     "pinball-0.9",
    ...     value=lambda y, f: np.maximum(0.9 * (y - f), 0.1 * (f - y)),
    ...     derivative=lambda y, f: np.where(f < y, -0.9, 0.1),
    ...     smooth=False,
    ...     kinks=lambda y: y,
    ... )
    >>> from sparkml_lsml.regression import LinearRegression
    >>> LinearRegression(loss="pinball-0.9").getLoss()
    'pinball-0.9'
    >>> unregister("pinball-0.9")
    """
    for what, function in (("value", value), ("derivative", derivative)):
        if not callable(function):
            raise ParamError(f"loss {name!r}: {what}={function!r}, expected a function")
    if kinks is None:
        register(FunctionLoss(name, value, derivative, smooth, curvature))
        return
    if smooth or not callable(kinks):
        raise ParamError(
            f"loss {name!r}: found smooth={smooth!r} and kinks={kinks!r}, expected smooth=False "
            "and a function of the labels, or no kinks"
        )
    register(KinkedFunctionLoss(name, value, derivative, smooth, curvature, kinks=kinks))


def unregister(name: str) -> None:
    """Forget a loss; nothing happens if there is none of that name."""
    with _lock:
        _registered.pop(name, None)


def registered() -> tuple[str, ...]:
    """Names of the losses that were registered, in order."""
    return tuple(sorted(_registered))


def is_registered(name: Any) -> bool:
    """Whether a loss of that name was registered."""
    return isinstance(name, str) and name in _registered


def find(name: str, built_in: dict[str, Loss]) -> Loss:
    """The loss of a name: one of an estimator's own, or one that was registered.

    Raises
    ------
    ParamError
        If there is none.
    """
    found = built_in.get(name) or _registered.get(name)
    if found is None:
        raise ParamError(
            f"loss={name!r} is neither one of {', '.join(map(repr, built_in))} nor registered: "
            "call sparkml_lsml.losses.register"
        )
    return found


def _wrapped(loss: Any) -> CustomLoss:
    missing = [
        each for each in ("name", "smooth", "value_and_derivative") if not hasattr(loss, each)
    ]
    if missing or isinstance(loss, type):
        raise ParamError(
            f"found {loss!r}, which {'is a class' if isinstance(loss, type) else 'lacks'} "
            f"{', '.join(missing)}: expected an instance with name, smooth and "
            "value_and_derivative, see sparkml_lsml.losses.base.Loss"
        )
    name, smooth = loss.name, loss.smooth
    curvature, constants = getattr(loss, "curvature", np.inf), getattr(loss, "constants", ())
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ParamError(
            f"found a loss named {name!r}, expected a letter, then at most 63 letters, digits or "
            "any of _ . + -"
        )
    if name in _reserved:
        raise ParamError(
            f"the package has a loss named {name!r} itself: expected another name than "
            f"{', '.join(sorted(_reserved))}"
        )
    if not isinstance(smooth, bool | np.bool_):
        raise ParamError(f"loss '{name}' has smooth={smooth!r}, expected True or False")
    if not isinstance(curvature, int | float | np.number) or not float(curvature) > 0.0:
        raise ParamError(
            f"loss '{name}' has curvature={curvature!r}, expected a number greater than 0, or "
            "infinity"
        )
    if isinstance(constants, Sequence) and len(constants):
        raise ParamError(
            f"loss '{name}' has the constants {constants!r}: a registered loss is a function of "
            "the label and one raw prediction alone"
        )
    kinked = not smooth and callable(getattr(loss, "smoothed", None))
    made = CustomKinkedLoss if kinked else CustomLoss
    return made(loss, name, bool(smooth), float(curvature))
