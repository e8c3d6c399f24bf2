"""Reading row groups of Parquet files in a task, where Spark would do no more than that."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

BUFFER = 1 << 20
"""Bytes of a column that are read at once: a row group may be larger than the memory of a worker,
and a mapped file that is cut would end it."""

Split = tuple[str, int, int]
"""A file, and the bytes of it, from the first to before the last, whose row groups are read."""

RowGroups = tuple[str, tuple[int, ...], int]
"""A file, the row groups of it that were read, and how many it has."""

NUMBERS = {
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
}
"""What files have for numbers of these types of Spark. PyArrow rounds decimals in another way."""

LISTS = {"array<float>": pa.float32(), "array<double>": pa.float64()}

VECTOR = {"type": pa.int8(), "size": pa.int32(), "indices": pa.int32(), "values": pa.float64()}
"""Fields of the struct that vectors are stored as; lists of the last two."""


class UnreadableError(Exception):
    """A file that is not what the driver expected, or cannot be opened: Spark is to read it."""


@dataclass(frozen=True)
class SourceColumns:
    """Which columns of the files hold what a fit wants.

    Parameters
    ----------
    features : str or tuple of str
        A column of vectors or arrays, or columns of numbers.
    label : str
    weight : str or None
    fold : str or None
        Booleans: false is fold 0, true is fold 1.
    types : mapping of str to str
        By column, what Spark takes its values for: a key of `NUMBERS` or `LISTS`, or ``vector``.
    factors : mapping of float to float, optional
        By label, what the weight of a row is multiplied by.
    """

    features: str | tuple[str, ...]
    label: str
    weight: str | None
    fold: str | None
    types: Mapping[str, str]
    factors: Mapping[float, float] | None = None


class RowGroupReader:
    """The rows of some parts of files, in batches of one size, as Spark would send them.

    Parameters
    ----------
    splits : iterable of Split
    columns : SourceColumns
    rows : int
        Of a batch; the last one may have less.

    Attributes
    ----------
    read : list of RowGroups
        What was read so far.
    """

    def __init__(self, splits: Iterable[Split], columns: SourceColumns, rows: int) -> None:
        self.read: list[RowGroups] = []
        self._splits, self._columns, self._rows = splits, columns, rows

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Batches of the columns features, label, and those of weight and fold that there are.

        Raises
        ------
        UnreadableError
            If a file is no longer there, or is another than expected.
        """
        for batch in _of_size(self._source(), self._rows):
            yield arranged(batch, self._columns)

    def _source(self) -> Iterator[pa.RecordBatch]:
        names = list(self._columns.types)
        for path, start, end in self._splits:
            try:
                with pq.ParquetFile(path, buffer_size=BUFFER) as file:
                    check_schema(file.schema_arrow, self._columns.types)
                    groups = row_groups(file.metadata, start, end)
                    if groups:
                        yield from file.iter_batches(
                            self._rows, row_groups=groups, columns=names, use_threads=False
                        )
                    self.read.append((path, tuple(groups), file.metadata.num_row_groups))
            except (OSError, pa.ArrowException) as error:
                told = str(error).partition("\n")[0]
                raise UnreadableError(f"{path}: {type(error).__name__}: {told}") from error
            except UnreadableError as error:
                raise UnreadableError(f"{path}: {error}") from error


def row_groups(metadata: Any, start: int, end: int) -> list[int]:
    """The row groups of a file whose middle lies in some bytes of it, which is Spark's rule.

    A row group begins at its first page, and is as long as its compressed columns.
    """
    found = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = [group.column(k) for k in range(group.num_columns)]
        first = columns[0].data_page_offset
        if columns[0].has_dictionary_page:
            first = min(first, columns[0].dictionary_page_offset or first)
        middle = first + sum(column.total_compressed_size for column in columns) // 2
        if start <= middle < end:
            found.append(number)
    return found


def check_schema(schema: pa.Schema, types: Mapping[str, str]) -> None:
    """Raise `UnreadableError` unless a file has each column once, and of the type expected."""
    folded = [name.lower() for name in schema.names]
    for name, wanted in types.items():
        # another reader may take no heed of the case of names
        if schema.names.count(name) != 1 or folded.count(name.lower()) != 1:
            raise UnreadableError(f"it does not have the column '{name}' once")
        found = schema.field(name).type
        if not _is_as(found, wanted):
            raise UnreadableError(f"column '{name}' is {found} there, expected {wanted}")


def _is_as(found: pa.DataType, wanted: str) -> bool:
    if wanted in NUMBERS:
        return bool(found == NUMBERS[wanted])
    if wanted in LISTS:
        return _is_list(found, LISTS[wanted])
    if not pa.types.is_struct(found) or {field.name for field in found} != set(VECTOR):
        return False
    kinds = {field.name: field.type for field in found}
    return (
        kinds["type"] == VECTOR["type"]
        and kinds["size"] == VECTOR["size"]
        and all(_is_list(kinds[name], VECTOR[name]) for name in ("indices", "values"))
    )


def _is_list(found: pa.DataType, values: pa.DataType) -> bool:
    lists = pa.types.is_list(found) or pa.types.is_large_list(found)
    return lists and bool(found.value_type == values)


def _of_size(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows, in batches of one size: readers end theirs where a row group ends."""
    waiting: list[pa.RecordBatch] = []
    have = 0
    for batch in batches:
        at = 0
        while batch.num_rows - at >= rows - have:
            waiting.append(batch.slice(at, rows - have))
            at += rows - have
            yield _joined(waiting)
            waiting, have = [], 0
        if at < batch.num_rows:
            waiting.append(batch.slice(at))
            have += batch.num_rows - at
    if waiting:
        yield _joined(waiting)


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    [joined] = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return joined


def arranged(batch: pa.RecordBatch, columns: SourceColumns) -> pa.RecordBatch:
    """A batch of the files' columns as one of features, label, and weight and fold if any."""

    def column(name: str) -> pa.Array:
        return batch.column(batch.schema.get_field_index(name))

    if isinstance(columns.features, str):
        features = column(columns.features)
    else:
        features = side_by_side([column(name) for name in columns.features])
    label = _doubles(column(columns.label))
    found = {"features": features, "label": label}
    weight = None if columns.weight is None else _doubles(column(columns.weight))
    if columns.factors is not None:
        weight = weighed(weight, label, columns.factors)
    if weight is not None:
        found["weight"] = weight
    if columns.fold is not None:
        found["fold"] = pc.cast(column(columns.fold), pa.int32())
    return pa.RecordBatch.from_arrays(list(found.values()), names=list(found))


def side_by_side(columns: Sequence[pa.Array]) -> pa.Array:
    """Columns of numbers as lists of double, null where one of them is."""
    rows = len(columns[0])
    X = np.empty((rows, len(columns)))
    there = np.ones(rows, dtype=np.bool_)
    for number, column in enumerate(columns):
        if column.null_count:
            there &= _there(column)
        X[:, number] = _doubles(column).to_numpy(zero_copy_only=False)
    if there.all():
        mask = None
    else:
        X, mask = X[there], pa.array(~there)
    # one offset for each row that is null, in which there is nothing
    offsets = np.append(0, np.cumsum(there, dtype=np.int64)) * len(columns)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(X.reshape(-1)), mask=mask)


def weighed(weight: pa.Array | None, label: pa.Array, factors: Mapping[float, float]) -> pa.Array:
    """Weights times the factor of the class; 1 for a label that has none."""
    values, at = np.unique(label.to_numpy(zero_copy_only=False), return_inverse=True)
    factor = np.array([factors.get(float(value), 1.0) for value in values])[at]
    if weight is None:
        return pa.array(factor)
    return pc.multiply(weight, pa.array(factor))


def _doubles(column: pa.Array) -> pa.Array:
    return column if column.type == pa.float64() else pc.cast(column, pa.float64(), safe=False)


def _there(column: pa.Array) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return found
