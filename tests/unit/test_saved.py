"""Saved folders under fuzz: whatever the bytes say, a valid result or a PersistenceError."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparkml_lsml.errors import PersistenceError
from sparkml_lsml.spark.folders import arrays as stored_arrays
from sparkml_lsml.spark.folders.arrays import (
    MAX_VALUES,
    Arrays,
    Declared,
    StoredColumn,
    check_stored,
    chunks,
    declare,
    join_chunks,
)
from sparkml_lsml.spark.folders.metadata import (
    _KEYS,
    FORMAT_VERSION,
    MAX_METADATA,
    checksum,
    from_line,
    to_line,
)

Array = npt.NDArray[np.float64]

fuzz = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

CLASS = "sparkml_lsml.classification.linear_svc.LinearSVCModel"
ARRAYS = {"coefficients": np.array([[1.5, -2.0, 0.0, -0.0, 1e-300]]), "intercepts": np.array([0.5])}
METADATA: dict[str, Any] = {
    "class": CLASS,
    "timestamp": 1_750_000_000_000,
    "sparkVersion": "4.0.0",
    "uid": "LinearSVC_12ab",
    "paramMap": {"regParam": 0.1, "threshold": float("-inf"), "weightCol": "größe"},
    "defaultParamMap": {"maxIter": 100, "thresholds": [0.25, 0.75], "fitIntercept": True},
    "formatVersion": 1,
    "arrays": declare(ARRAYS),
    "facts": {"numClasses": 2},
}

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["../up", "/etc/passwd", CLASS, 2**31, -1, 2**63, "x" * 300])
)
values = st.recursive(
    scalars,
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=10), each),
    max_leaves=8,
)


def read(data: bytes) -> dict[str, Any] | None:
    """Read metadata; None where they are refused, as they may be, and nothing else."""
    try:
        return from_line(data, CLASS)
    except PersistenceError as error:
        return _short(error)


def signed(metadata: dict[str, Any]) -> bytes:
    """Give metadata a checksum that fits, so that it does not hide the checks behind it."""
    return json.dumps(metadata | {"checksum": checksum(metadata)}).encode()


def joined(rows: Iterable[Any], declared: Declared) -> Arrays | None:
    """Join arrays; None where they are refused, as they may be, and nothing else."""
    try:
        return join_chunks(rows, declared)
    except PersistenceError as error:
        return _short(error)


def _short(error: PersistenceError) -> None:
    # whatever was found is quoted in part, and on one line
    assert len(str(error)) < 1_000
    assert "\n" not in str(error)


# ---------------------------------------------------- metadata


def test_case_61_metadata_there_and_back() -> None:
    line = to_line(METADATA)
    assert "\n" not in line
    found = from_line(line.encode(), CLASS)
    assert found == METADATA | {"checksum": found["checksum"]}


@fuzz
@given(st.binary(max_size=300))
@example(b"\xff\xfe")
@example(b"[" * 200_000)
@example(b'{"a":' * 100_000)
@example(b"1" * 5_000)
def test_case_61_any_bytes_for_metadata(data: bytes) -> None:
    assert read(data) is None


@fuzz
@given(values)
def test_case_61_any_json_for_metadata(value: Any) -> None:
    assert read(json.dumps(value).encode()) is None
    assert read(signed(METADATA | value if isinstance(value, dict) else METADATA)) is not None or (
        isinstance(value, dict) and value.keys() - {"paramMap", "facts"}
    )


@fuzz
@given(st.sampled_from([*METADATA]), values)
def test_case_61_any_value_under_a_key(key: str, value: Any) -> None:
    """What is accepted has the types that the reader relies on, and sizes within the bounds."""
    found = read(signed(METADATA | {key: value}))
    if found is None:
        return
    for name, kind in _KEYS.items():
        assert type(found[name]) is kind
    assert found["class"] == CLASS
    assert 1 <= found["formatVersion"] <= FORMAT_VERSION
    assert "/" not in found["uid"]
    assert sum(np.prod(entry["shape"]) for entry in found["arrays"].values()) <= MAX_VALUES


TABLE = {"schema": [["id", "bigint"], ["factors", "array<float>"]], "rows": 3, "checksum": "-7"}


def with_tables(tables: Any) -> bytes:
    return signed(METADATA | {"formatVersion": 2, "tables": tables})


def test_case_61_tables_there_and_back() -> None:
    line = to_line(METADATA | {"formatVersion": 2, "tables": {"users": TABLE}})
    assert from_line(line.encode(), CLASS)["tables"] == {"users": TABLE}


def test_case_61_tables_and_the_version_hang_together() -> None:
    """A version of this package that knows no tables must not load a model without its own."""
    for metadata in (METADATA | {"tables": {}}, METADATA | {"formatVersion": 2}):
        with pytest.raises(PersistenceError, match="tables"):
            from_line(signed(metadata), CLASS)


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"../up": TABLE}, "a table named '../up'"),
        ({"metadata": TABLE}, "a table named 'metadata'"),
        ({"users": {**TABLE, "more": 1}}, "expected its schema, rows and checksum"),
        ({"users": {**TABLE, "rows": -1}}, "of -1 rows"),
        ({"users": {**TABLE, "rows": True}}, "of True rows"),
        ({"users": {**TABLE, "checksum": 7}}, "with the checksum 7"),
        ({"users": {**TABLE, "schema": []}}, "name and type of 1 to 64 columns"),
        ({"users": {**TABLE, "schema": [["id", "bigint"], ["ID", "int"]]}}, "a column twice"),
        ({"users": {**TABLE, "schema": [["id", "array<array<int>>"]]}}, "or an array of these"),
        ({"users": {**TABLE, "schema": [["a` int, b", "int"]]}}, "a plain name"),
        ({f"t{n}": TABLE for n in range(17)}, "names 17 tables"),
    ],
)
def test_case_61_tables_that_no_save_wrote(tables: Any, told: str) -> None:
    with pytest.raises(PersistenceError, match=re.escape(told)):
        from_line(with_tables(tables), CLASS)


@fuzz
@given(st.dictionaries(st.sampled_from(["users", "a b", ""]), values, max_size=3) | values)
def test_case_61_anything_for_tables(tables: Any) -> None:
    assert read(with_tables(tables)) is None or tables == {}


@fuzz
@given(st.sampled_from(["schema", "rows", "checksum"]), values)
def test_case_61_anything_in_a_table(key: str, value: Any) -> None:
    found = read(with_tables({"users": {**TABLE, key: value}}))
    if found is not None:
        assert key == "rows"
        assert type(value) is int
        assert value >= 0


@fuzz
@given(st.dictionaries(st.text(max_size=8) | st.just("coefficients"), values, max_size=3))
@example({"coefficients": {"shape": [2**20, 2**20], "sha256": ""}})
@example({"coefficients": {"shape": [2**31, 2**31, 0], "sha256": ""}})
@example({"a": {"shape": [2**30], "sha256": ""}, "b": {"shape": [2**31 - 1], "sha256": ""}})
@example({"a": {"shape": [-1, -1], "sha256": ""}})
@example({"a": {"shape": [True], "sha256": ""}})
@example({"a": {"shape": [1] * 100, "sha256": ""}})
@example({f"a{n}": {"shape": [1], "sha256": ""} for n in range(17)})
@example({"../a": {"shape": [1], "sha256": ""}})
def test_case_63_any_declaration_of_arrays(declared: dict[str, Any]) -> None:
    found = read(signed(METADATA | {"arrays": declared}))
    total = 0
    for entry in (found or {"arrays": {}})["arrays"].values():
        assert all(type(n) is int and 0 <= n <= MAX_VALUES for n in entry["shape"])
        total += int(np.prod(entry["shape"], dtype=object))
    assert total <= MAX_VALUES


@fuzz
@given(st.data())
def test_case_61_a_changed_byte_of_metadata(data: st.DataObject) -> None:
    """Damage is found, or did not change what is said (white space)."""
    line = bytearray(to_line(METADATA).encode())
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] = data.draw(st.integers(0, 255))
    found = read(bytes(line))
    assert found is None or found == from_line(to_line(METADATA).encode(), CLASS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"paramMap":', '"uid": "other", "paramMap":', "the key 'uid' twice"),
        ('"regParam": 0.1', '"regParam": 0.1, "regParam": 0.2', "the key 'regParam' twice"),
        ('"regParam": 0.1', '"regParam": NaN', "holds NaN"),
        ('"regParam": 0.1', '"regParam": 1e400', "'1e400', which is too large"),
        ('"maxIter": 100', '"maxIter": 9223372036854775808', "too large"),
        ('"maxIter": 100', '"maxIter": ' + "9" * 5_000, "too large"),
        ('"regParam": 0.1', '"regParam": 0.2', "changed after it was saved"),
        ('"sparkVersion"', '"language": "Python", "sparkVersion"', "['language']"),
        ('"facts": {"numClasses": 2}, ', "", "['facts']"),
        ("{", "{\n", "several lines"),
    ],
)
def test_case_61_what_an_error_says(old: str, new: str, message: str) -> None:
    line = to_line(METADATA)
    assert old in line
    with pytest.raises(PersistenceError) as caught:
        from_line(line.replace(old, new, 1).encode(), CLASS)
    assert message in str(caught.value)


ONE = {"shape": [1], "sha256": ""}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"formatVersion": 0}, "format version 0"),
        ({"arrays": {"../a": ONE}}, "an array named '../a'"),
        ({"arrays": {"": ONE}}, "an array named ''"),
        ({"arrays": {f"a{n}": ONE for n in range(17)}}, "17 arrays, expected at most 16"),
        ({"arrays": {"a": {"shape": [1]}}}, "expected its shape and its sha256"),
        ({"arrays": {"a": {"shape": [2**20, 2**20], "sha256": ""}}}, "impossible shape"),
        ({"arrays": {"a": ONE, "b": {"shape": [2**31], "sha256": ""}}}, "impossible shape"),
        ({"arrays": {"a": {"shape": [2**40, 0], "sha256": ""}}}, "impossible shape"),
    ],
)
def test_case_63_what_an_error_says_of_metadata(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(PersistenceError) as caught:
        from_line(signed(METADATA | entries), CLASS)
    assert message in str(caught.value)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), -3159064004533639301, 1e308, -5e-324])
def test_case_61_numbers_that_are_kept(number: float) -> None:
    line = to_line(METADATA | {"paramMap": {"seed": number}})
    assert from_line(line.encode(), CLASS)["paramMap"] == {"seed": number}


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_case_61_integers_that_are_refused(number: int) -> None:
    with pytest.raises(PersistenceError, match="too large"):
        to_line(METADATA | {"paramMap": {"seed": number}})


def test_case_61_metadata_without_end() -> None:
    line = to_line(METADATA) + " " * MAX_METADATA
    with pytest.raises(PersistenceError, match="longer than 16,777,216 bytes"):
        from_line(line.encode(), CLASS)


@pytest.mark.parametrize(
    "entries",
    [
        {"paramMap": {"regParam": float("nan")}},
        {"facts": {"x": {1, 2}}},
        {"uid": "a/b"},
        {"uid": ""},
        {"facts": {"x": "y" * MAX_METADATA}},
    ],
    ids=["nan", "a set", "a path", "no uid", "too long"],
)
def test_case_61_what_could_not_be_loaded_is_not_saved(entries: dict[str, Any]) -> None:
    with pytest.raises(PersistenceError):
        to_line(METADATA | entries)


# ---------------------------------------------------- arrays


@fuzz
@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,5}", fullmatch=True),
        hnp.arrays(
            np.float64,
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7),
            elements=st.floats(allow_nan=False),
        ),
        max_size=4,
    ),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_case_63_arrays_there_and_back(arrays: dict[str, Array], chunk: int, random: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_arrays, "CHUNK", chunk)
        rows = list(chunks(arrays))
        random.shuffle(rows)
        found = joined(rows, declare(arrays))
        assert found is not None
        assert found.keys() == arrays.keys()
        for name, values in arrays.items():
            assert found[name].shape == values.shape
            assert found[name].tobytes() == values.tobytes()
        check_stored(footer(rows), declare(arrays))


rows_of_anything = st.lists(
    st.tuples(
        st.sampled_from([*ARRAYS]) | st.none() | st.text(max_size=5),
        st.integers(-1, 2) | st.none(),
        st.none() | st.lists(st.floats() | st.none(), max_size=6),
    ),
    max_size=4,
)


@fuzz
@given(rows_of_anything)
def test_case_63_any_rows_for_arrays(rows: list[Any]) -> None:
    assume(rows not in (GOOD, GOOD[::-1]))
    assert joined(rows, declare(ARRAYS)) is None


@fuzz
@given(st.data())
def test_case_63_a_changed_bit_of_an_array(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([*ARRAYS]))
    bits = ARRAYS[name].copy()
    at = data.draw(st.integers(0, bits.size - 1))
    bits.reshape(-1).view(np.uint64)[at] ^= np.uint64(1 << data.draw(st.integers(0, 63)))
    assert joined(chunks(ARRAYS | {name: bits}), declare(ARRAYS)) is None


# lists, which can be compared with what hypothesis draws
GOOD = [(name, chunk, part.tolist()) for name, chunk, part in chunks(ARRAYS)]
FIRST, SECOND = GOOD


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([FIRST], "lacks the rows [('intercepts', 0)]"),
        ([*GOOD, ("more", 0, [1.0])], "chunk 0 of an array 'more'"),
        ([FIRST, FIRST], "there twice"),
        ([("intercepts", 0, FIRST[2]), SECOND], "5 numbers in chunk 0 of array 'intercepts'"),
        ([FIRST, ("intercepts", 0, [None])], "'intercepts' that holds NaN"),
        ([FIRST, ("intercepts", 0, [float("nan")])], "'intercepts' that holds NaN"),
        ([FIRST, ("intercepts", 0, None)], "no numbers in chunk 0 of array 'intercepts'"),
        ([FIRST, ("intercepts", 0, [])], "0 numbers in chunk 0"),
        ([FIRST, ("intercepts", 1, [0.5])], "chunk 1 of an array 'intercepts'"),
        ([FIRST, ("intercepts", -1, [0.5])], "chunk -1"),
        ([FIRST, ("intercepts", None, [0.5])], "chunk None"),
        ([FIRST, (None, 0, [0.5])], "an array None"),
        ([FIRST, ("../x\n", 0, [0.5])], r"'../x\n'"),
        ([FIRST, ("intercepts", 0, [0.25])], "SHA-256"),
        ([("coefficients", 0, [v + 0.0 for v in FIRST[2]]), SECOND], "SHA-256"),  # -0.0 is not 0.0
    ],
)
def test_case_63_what_an_error_says(rows: list[Any], message: str) -> None:
    with pytest.raises(PersistenceError) as caught:
        join_chunks(rows, declare(ARRAYS))
    assert message in str(caught.value)


# ---------------------------------------------------- footers


def footer(rows: list[Any]) -> list[StoredColumn]:
    """Give the footer of a file of one row group with these rows."""
    plain = {"codec": "UNCOMPRESSED", "rows": len(rows), "nbytes": 400_000, "inside": True}
    return [
        StoredColumn(path="name", kind="BINARY", values=len(rows), **plain),
        StoredColumn(path="chunk", kind="INT32", values=len(rows), **plain),
        StoredColumn(
            path="values.list.element",
            kind="DOUBLE",
            values=sum(max(len(values), 1) for _, _, values in rows),
            **plain,
        ),
    ]


def test_case_63_a_footer_of_several_row_groups() -> None:
    check_stored([*footer([FIRST]), *footer([SECOND])], declare(ARRAYS))


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (2, {"values": 2**31}, "'numbers': 2147483648"),
        (2, {"values": 5}, "'numbers': 5"),
        (0, {"rows": 10**9}, "'rows': 1000000000"),
        (0, {"nbytes": 2**21}, "impossible length"),
        (2, {"nbytes": 8 * sum(len(v) for _, _, v in GOOD) - 1}, "none in a dictionary"),
        (1, {"inside": False}, "impossible length"),
        (2, {"kind": "FLOAT"}, "('values.list.element', 'FLOAT')"),
        (2, {"path": "values.list.element.list.element"}, "expected name string, chunk int"),
        (1, {"path": "name"}, "expected name string, chunk int"),
        (0, {"path": "label"}, "expected name string, chunk int"),
        (0, {"codec": "GZIP"}, "compressed (['GZIP'])"),
    ],
)
def test_case_63_footers_that_are_refused(place: int, change: dict[str, Any], message: str) -> None:
    columns = footer(GOOD)
    columns[place] = replace(columns[place], **change)
    with pytest.raises(PersistenceError) as caught:
        check_stored(columns, declare(ARRAYS))
    assert message in str(caught.value)


@pytest.mark.parametrize("columns", [[], footer(GOOD)[:2], footer(GOOD) + footer(GOOD)[:1]])
def test_case_63_columns_that_are_missing(columns: list[StoredColumn]) -> None:
    with pytest.raises(PersistenceError, match="expected name string, chunk int"):
        check_stored(columns, declare(ARRAYS))
