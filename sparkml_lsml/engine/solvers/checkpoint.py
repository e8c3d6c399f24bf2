"""A `Run` as a file, exact to the last bit, and back.

The file is a zip archive of two members: ``run.json``, and ``values``, the numbers of all arrays
one after another (float64, little-endian). Reading builds only what the solvers of the fit are made
of: no class is looked up by a name that a file gives, and nothing is pickled.
"""

import dataclasses
import io
import json
import math
import struct
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.solvers.base import Best, Iteration, Progress, Reason, Run, Smooth, State
from sparkml_lsml.engine.solvers.nearby import Screening
from sparkml_lsml.engine.solvers.search import Search

Array = npt.NDArray[np.float64]

FORMAT = 2
PIECE = 2**24
"""Bytes that are read at a time."""

DAMAGE = (
    zipfile.BadZipFile,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RuntimeError,
    struct.error,
)
"""What bytes that were changed make the standard library raise."""

_NUMBERS = np.dtype("<f8")


def write_run(run: Run, file: BinaryIO) -> None:
    """Write a run to a binary file that is open.

    Raises
    ------
    TypeError
        If a solver or a state holds something else than float64 arrays, numbers, strings, tuples
        and dataclasses of these.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> from sparkml_lsml.engine.solvers import LBFGS
    >>> state = State(np.array([1.0, 0.5]), objective=0.25, iteration=3)
    >>> run = Run((LBFGS(),), (state,), ((),), (None,), passes=4, sent=0, seconds=0.5)
    >>> file = io.BytesIO()
    >>> write_run(run, file)
    >>> again = read_run(file, [LBFGS()])
    >>> again.states[0].coef.tolist(), again.iteration
    ([1.0, 0.5], 3)
    """
    writer = _Writer()
    header = {"format": FORMAT, "run": writer.plain(run)}
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("run.json", json.dumps(header))
        # members of 20 million coefficients pass the 2 GB of the older format
        with archive.open("values", "w", force_zip64=True) as values:
            for array in writer.arrays:
                values.write(np.ascontiguousarray(array, dtype=_NUMBERS).data.cast("B"))


def read_run(file: BinaryIO, solvers: Sequence[Any]) -> Run:
    """Read what `write_run` wrote.

    Parameters
    ----------
    file : binary file
    solvers : sequence
        The solvers of the fit, one a model: their classes, and states, may be in the file.

    Raises
    ------
    ValueError
        If the file is damaged, or is of other solvers.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            header = json.loads(_member(archive, "run.json", file).tobytes())
            values = _member(archive, "values", file).view(_NUMBERS)
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError("it is not a checkpoint of this version of sparkml_lsml")
        run = _Reader(_classes(solvers), values).value(header["run"])
    except DAMAGE as error:
        raise ValueError(f"it is damaged: {error}") from error
    if not isinstance(run, Run) or [type(s) for s in run.solvers] != [type(s) for s in solvers]:
        raise ValueError("it is of other solvers")
    return run


def _member(archive: zipfile.ZipFile, name: str, file: BinaryIO) -> npt.NDArray[np.uint8]:
    """Bytes of a member, in memory that is no larger than the file; checks their checksum."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > file.seek(0, io.SEEK_END):
        raise ValueError(f"it is damaged: {name} is larger than the file")
    found = np.zeros(info.file_size, dtype=np.uint8)
    start = 0
    with archive.open(info) as member:
        while piece := member.read(PIECE):
            found[start : start + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
            start += len(piece)
    return found


def _classes(solvers: Sequence[Any]) -> dict[str, type]:
    """Classes that a run of these solvers is made of, by name."""
    found: list[type] = [Run, Iteration, Best, Reason, Smooth, Progress, Search, State]
    found.append(Screening)
    found += _below(State)
    pending = list(solvers)
    while pending:
        solver = pending.pop()
        if dataclasses.is_dataclass(solver) and type(solver) not in found:
            found.append(type(solver))
            pending += [getattr(solver, field.name) for field in dataclasses.fields(solver)]
    return {cls.__name__: cls for cls in found}


def _below(cls: type) -> list[type]:
    found: list[type] = []
    direct: type
    for direct in cls.__subclasses__():
        found += [direct, *_below(direct)]
    return found


class _Writer:
    """Turns values into what JSON has; each array is kept once, however often it is held."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self._places: dict[int, int] = {}
        self._end = 0

    def plain(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.ndarray) and value.dtype == np.float64:
            if id(value) not in self._places:
                self._places[id(value)] = self._end
                self.arrays.append(value)
                self._end += value.size
            return {"array": list(value.shape), "at": self._places[id(value)]}
        if isinstance(value, np.bool_ | np.integer | np.floating):
            return value.item()
        if isinstance(value, tuple):
            return [self.plain(each) for each in value]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {
                field.name: self.plain(getattr(value, field.name))
                for field in dataclasses.fields(value)
                if field.metadata.get("lasting", True)
            }
            return {"class": type(value).__name__, "fields": fields}
        raise TypeError(f"a {type(value).__name__} cannot be kept in a checkpoint")


class _Reader:
    """The way back; every part of an array is checked to be there."""

    def __init__(self, classes: dict[str, type], values: Array) -> None:
        self._classes, self._values = classes, values
        self._arrays: dict[tuple[int, ...], Array] = {}

    def value(self, plain: Any) -> Any:
        if isinstance(plain, list):
            return tuple(self.value(each) for each in plain)
        if not isinstance(plain, dict):
            return plain
        if "array" in plain:
            return self._array(plain["at"], tuple(plain["array"]))
        if plain["class"] not in self._classes:
            raise ValueError(f"it holds a {plain['class']}, which the solvers of this fit do not")
        fields = {name: self.value(each) for name, each in plain["fields"].items()}
        return self._classes[plain["class"]](**fields)

    def _array(self, at: int, shape: tuple[int, ...]) -> Array:
        size = math.prod(shape)
        if min(at, size, *shape) < 0 or at + size > len(self._values):
            raise ValueError(f"it is damaged: an array of shape {shape} is not all there")
        if (at, *shape) not in self._arrays:
            # a part of the buffer would keep all of it in memory
            part = self._values[at : at + size].reshape(shape)
            self._arrays[at, *shape] = part.astype(np.float64)
        return self._arrays[at, *shape]
