"""Networks by name, so that Params stay strings and a saved folder names nothing to import."""

import re
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

from sparkml_lsml.errors import ParamError
from sparkml_lsml.networks.factory import Factory, torch

NAME = re.compile(r"[A-Za-z][\w.+-]{0,63}")

READY = {
    "cnn": "images",
    "resnet-small": "images",
    "gru": "sequences",
    "lstm": "sequences",
    "attention": "sequences",
    "embeddings": "sequences",
}
"""Networks of the package, and the module of this room that makes them: it imports torch."""

_registered: dict[str, Factory] = {}
_lock = threading.Lock()


def register(name: Any, factory: Callable[..., Any]) -> None:
    """Make a network known by its name, for the Param ``network`` of the estimators of torch.

    A second one of a name takes the place of the first, as when a cell of a notebook runs again.
    The name is all that is saved of it with an estimator or a model: register the network in every
    session before such a folder is loaded. The function itself travels to the executors by value,
    with what is defined in its module; whatever else it imports has to be installed there.

    Parameters
    ----------
    name : str
    factory : callable
        Takes the shape of a row (a tuple), the number of outputs, and what ``networkParams`` holds
        as keywords, and returns a ``torch.nn.Module``. That takes a batch of rows of this shape, in
        float32, and returns raw predictions of shape (rows, outputs): no softmax.

    Raises
    ------
    ParamError
        If the name is one of the package's own or no plain name, or the factory no function.

    Examples
    --------
    >>> def line(shape, outputs):
    ...     import torch
    ...
    ...     return torch.nn.Linear(shape[0], outputs)
    >>> register("line", line)
    >>> "line" in registered()
    True
    >>> unregister("line")
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ParamError(
            f"found a network named {name!r}, expected a letter, then at most 63 letters, digits "
            "or any of _ . + -"
        )
    if name in READY:
        raise ParamError(
            f"the package has a network named {name!r} itself: expected another name than "
            f"{', '.join(READY)}"
        )
    if not callable(factory):
        raise ParamError(
            f"network {name!r}: found {factory!r}, expected a function of the shape of a row and "
            "the number of outputs that returns a torch.nn.Module"
        )
    if hasattr(factory, "state_dict"):
        raise ParamError(
            f"network {name!r}: found the module {type(factory).__name__}, expected a function "
            "that makes one: each worker makes its own"
        )
    with _lock:
        _registered[name] = Factory(name, factory)


def unregister(name: str) -> None:
    """Forget a network; nothing happens if there is none of that name."""
    with _lock:
        _registered.pop(name, None)


def registered() -> tuple[str, ...]:
    """Names of the networks that were registered, in order."""
    return tuple(sorted(_registered))


def is_known(name: Any) -> bool:
    """Whether a network of that name is the package's own, or was registered."""
    return isinstance(name, str) and (name in READY or name in _registered)


def find(name: str) -> Factory:
    """The network of a name.

    Raises
    ------
    ParamError
        If there is none.
    BackendError
        If it is one of the package's own, and torch is not installed.
    """
    if name in READY:
        torch()  # what makes these imports it, with an error that says less
        room = import_module(f"sparkml_lsml.networks.{READY[name]}")
        return Factory(name, getattr(room, name.replace("-", "_")))
    if name not in _registered:
        known = ", ".join([*READY, *registered()])
        raise ParamError(
            f"network={name!r} is not one of {known}: call sparkml_lsml.neural.register first"
        )
    return _registered[name]
