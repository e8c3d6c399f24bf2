"""What users wrote on its way to the executors: pickled by value, since they may lack its module.

`worker.restoring` unpacks it there.
"""

import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from pyspark import cloudpickle

from sparkml_lsml.errors import ParamError
from sparkml_lsml.worker.restoring import restored

PACKAGE = "sparkml_lsml"

_lock = threading.Lock()


def reduced(
    kind: Callable[..., Any], inner: Any, fields: tuple[Any, ...], what: str
) -> tuple[Any, ...]:
    """How a wrapper of a user's object is pickled; what its reducer in `copyreg` returns.

    Parameters
    ----------
    kind : callable
        Makes the wrapper of ``inner`` and ``fields``.
    inner : object
        What the user wrote.
    fields : tuple
        The wrapper's other arguments.
    what : str
        What it is, for errors: ``"loss 'mine'"``.

    Raises
    ------
    ParamError
        If it cannot be pickled.
    """
    return restored, (kind, _pickled(inner, what), fields, what)


def _pickled(inner: Any, what: str) -> bytes:
    # who else pickles meanwhile would do so by value too, which does no harm
    with _lock:
        known = cloudpickle.cloudpickle.list_registry_pickle_by_value()
        modules = [
            module
            for module in _modules(inner)
            if _is_local(module) and module.__name__ not in known
        ]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            data: bytes = cloudpickle.dumps(inner)
        except Exception as error:
            raise ParamError(
                f"{what} cannot be sent to executors, {type(error).__name__}: {error}. "
                "Expected functions and attributes that can be pickled"
            ) from error
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)
    return data


def _modules(inner: Any) -> Iterator[ModuleType]:
    """Modules that define an object: those of its classes, and of the functions that it holds."""
    held = _held(inner)
    nested = [part for one in held if _is_ours(type(one).__module__) for part in _held(one)]
    functions = [one for one in (*held, *nested) if callable(one)]
    names = {getattr(one, "__module__", None) for one in (*type(inner).__mro__, *functions)}
    yield from (sys.modules[name] for name in sorted(filter(None, names)) if name in sys.modules)


def _held(thing: Any) -> tuple[Any, ...]:
    return tuple(vars(thing).values()) if hasattr(thing, "__dict__") else ()


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


def _is_local(module: ModuleType) -> bool:
    """Whether a module is a file of the user's, and no package that is installed."""
    file = getattr(module, "__file__", None)
    if file is None or _is_ours(module.__name__):
        return False  # __main__ in a notebook, which travels by value anyway, or built in
    installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    path = os.path.realpath(file)
    return not any(path.startswith(os.path.realpath(root) + os.sep) for root in installed)
