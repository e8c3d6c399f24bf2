"""Params that are given by keywords, and what is said of a name that no Param has."""

import functools
import inspect
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from pyspark import keyword_only

from sparkml_lsml.errors import UnknownParamError

M = TypeVar("M", bound=Callable[..., Any])


def unknown_param(owner: Any, name: str, known: Sequence[str]) -> UnknownParamError:
    """The error for a name that is not among those that an object knows."""
    near = get_close_matches(name, known, 1)
    hint = f": did you mean '{near[0]}'?" if near else "."
    kind = type(owner).__name__
    return UnknownParamError(f"{kind} has no Param '{name}'{hint} It has {', '.join(known)}")


def keywords(method: M) -> M:
    """As `pyspark.keyword_only`, for methods that give each Param a keyword of its own.

    Raises
    ------
    UnknownParamError
        If there is no such Param, with the name that was likely meant.
    """
    known = [*inspect.signature(method).parameters][1:]
    inner: Any = keyword_only(method)

    @functools.wraps(method)
    def checked(self: Any, *args: Any, **params: Any) -> Any:
        for name in params:
            if name not in known:
                raise unknown_param(self, name, known)
        return inner(self, *args, **params)

    return checked  # type: ignore[return-value]
