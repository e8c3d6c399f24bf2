"""What makes a module of PyTorch, as the package works with it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

from sparkml_lsml.errors import BackendError, ParamError

Arguments = dict[str, Any]


def torch() -> Any:
    """PyTorch.

    Raises
    ------
    BackendError
        If it is not installed where this is called.
    """
    try:
        return import_module("torch")
    except ImportError as error:
        raise BackendError(
            f"torch is not installed here ({error}): networks of PyTorch need it on the driver and "
            "on every executor. Install sparkml_lsml[torch] there"
        ) from error


@dataclass(frozen=True)
class Factory:
    """A function that makes modules, and the name that it was registered by.

    Parameters
    ----------
    name : str
    make : callable
        Takes the shape of a row, the number of outputs, and keywords.
    """

    name: str
    make: Callable[..., Any]

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"network {self.name!r}"

    def module(self, shape: tuple[int, ...], outputs: int, arguments: str) -> Any:
        """The module of these arguments, built once a process.

        Who uses it lends it numbers (`torch.func.functional_call`); its own stay as they were made.

        Parameters
        ----------
        shape : tuple of int
            Of a row.
        outputs : int
        arguments : str
            Keywords, in JSON.

        Raises
        ------
        ParamError
            If it cannot be made.
        BackendError
            Without torch.
        """
        return _module(self, shape, outputs, arguments)

    def built(self, shape: tuple[int, ...], outputs: int, arguments: str) -> Any:
        """A new module, with numbers of its own.

        Raises
        ------
        ParamError
            If it cannot be made.
        BackendError
            Without torch.
        """
        nn = torch().nn
        try:
            made = self.make(shape, outputs, **json.loads(arguments))
        except Exception as error:
            raise ParamError(
                f"{self} could not be made for rows of shape {list(shape)}, {outputs} outputs and "
                f"networkParams={arguments}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(made, nn.Module):
            raise ParamError(
                f"{self} made a {type(made).__module__}.{type(made).__name__}: expected a "
                "torch.nn.Module"
            )
        return made


def named(make: Callable[..., Any], name: str) -> Factory:
    """A factory, where it arrives: see `sparkml_lsml.spark.training.by_value.reduced`."""
    return Factory(name, make)


@lru_cache(maxsize=8)
def _module(factory: Factory, shape: tuple[int, ...], outputs: int, arguments: str) -> Any:
    return factory.built(shape, outputs, arguments)
