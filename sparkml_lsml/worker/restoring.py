"""What users wrote, and `spark.training.by_value` has pickled, where it arrives."""

import functools
import pickle  # nosec B403
from collections.abc import Callable
from typing import Any

from sparkml_lsml.errors import BackendError


def restored(kind: Callable[..., Any], data: bytes, fields: tuple[Any, ...], what: str) -> Any:
    """A wrapper of a user's object.

    Parameters
    ----------
    kind : callable
        Makes the wrapper of the object and ``fields``.
    data : bytes
        The object, pickled.
    fields : tuple
    what : str
        What it is, for errors: ``"loss 'mine'"``.

    Raises
    ------
    BackendError
        If it needs a module that is not there.
    """
    return kind(_unpickled(data, what), *fields)


@functools.lru_cache(maxsize=16)
def _unpickled(data: bytes, what: str) -> Any:
    """What the user wrote; a worker unpacks it once for all passes."""
    try:
        # what the driver sent of its user's own; cloudpickle reads what it writes by this, too
        return pickle.loads(data)  # nosec B301
    except ImportError as error:
        raise BackendError(
            f"{what} needs a module that the executors lack ({error}): ship it with "
            "spark.submit.pyFiles or SparkContext.addPyFile, or define all of it in one file"
        ) from error
