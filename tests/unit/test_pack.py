"""Packing a partition: what becomes of its rows, what is learned of them, what is left behind."""

from __future__ import annotations

import pickle
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sparkml_lsml.engine.blocks.files as files_room
import sparkml_lsml.engine.blocks.report as room
from sparkml_lsml.engine.blocks import Block, CsrRows, Moments
from sparkml_lsml.engine.blocks.disks import fit_folder
from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.engine.blocks.pack import PackSettings, pack
from sparkml_lsml.engine.blocks.report import PROBLEMS, Report
from sparkml_lsml.errors import DiskError
from sparkml_lsml.worker.packing import packer, read_report

Array = npt.NDArray[np.float64]
Usage = namedtuple("Usage", ["total", "used", "free"])

VECTOR = pa.struct(
    [
        ("type", pa.int8()),
        ("size", pa.int32()),
        ("indices", pa.list_(pa.int32())),
        ("values", pa.list_(pa.float64())),
    ]
)
IN_MEMORY = 10**9


def plan(task: str = "regression", inline: int = IN_MEMORY, **more: Any) -> PackSettings:
    chosen: dict[str, Any] = {"dtype": "float64", "weighted": False, "fit": "f00d", **more}
    return PackSettings(task=task, inline_bytes=inline, **chosen)  # type: ignore[arg-type]


def vector(values: Any, compressed: bool) -> dict[str, Any]:
    if not compressed:
        return {"type": 1, "size": None, "indices": None, "values": [float(v) for v in values]}
    kept = [j for j, value in enumerate(values) if value != 0.0]
    return {
        "type": 0,
        "size": len(values),
        "indices": kept,
        "values": [float(values[j]) for j in kept],
    }


def features_of(X: Array, form: str) -> pa.Array:
    if form == "list":
        return pa.array([row.tolist() for row in X], type=pa.list_(pa.float64()))
    mixed = form == "mixed"
    return pa.array(
        [vector(row, form == "sparse" or (mixed and n % 2 == 0)) for n, row in enumerate(X)],
        type=VECTOR,
    )


def batch(features: pa.Array, *columns: Any) -> pa.RecordBatch:
    arrays = [column if isinstance(column, pa.Array) else pa.array(column) for column in columns]
    return pa.record_batch([features, *arrays], names=["f", "l", "w"][: 1 + len(arrays)])


def cut(
    X: Array, y: Array, weight: Array | None, edges: list[int], form: str = "list"
) -> list[pa.RecordBatch]:
    found = []
    for start, stop in zip([0, *edges], [*edges, len(X)], strict=True):
        columns = [y[start:stop]] + ([] if weight is None else [weight[start:stop]])
        found.append(batch(features_of(X[start:stop], form), *columns))
    return found


def rows(seed: int = 0, number: int = 30, features: int = 6, density: float = 0.3) -> Array:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(number, features)) * (rng.random((number, features)) < density)
    return X + 0.0  # no -0.0, which is a value of its own


def dense(block: Block) -> Array:
    X = block.X
    return np.asarray(X.rows(0, block.rows).toarray() if isinstance(X, CsrRows) else X)


def opened(handle: Handle) -> Block:
    if handle.files is not None:
        assert handle.block is None
        return handle.files.open()
    assert handle.block is not None
    return handle.block


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the executor's local folder."""
    folder = tmp_path / "executor"
    folder.mkdir()
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(folder))
    return folder


def left(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


PLACES = pytest.mark.parametrize("inline", [IN_MEMORY, 0, 700], ids=["memory", "disk", "overflow"])


@PLACES
@pytest.mark.parametrize("form", ["list", "dense", "sparse", "mixed"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rows_are_packed_in_order(
    local: Path, form: str, weighted: bool, inline: int, dtype: str
) -> None:
    X, y = rows(), np.arange(30.0)
    weight = np.linspace(0.5, 2.0, 30) if weighted else None
    batches = cut(X, y, weight, [7, 7, 20], form)
    handle, report = pack(batches, plan(inline=inline, weighted=weighted, dtype=dtype))
    block = opened(handle)
    np.testing.assert_array_equal(dense(block), X.astype(dtype))
    np.testing.assert_array_equal(block.y, y)
    assert (handle.files is None) == (inline == IN_MEMORY)
    assert handle.rows == 30
    assert handle.nbytes == block.nbytes
    if weight is not None:
        np.testing.assert_array_equal(block.weight, weight)
        assert handle.weight == pytest.approx(weight.sum(), rel=1e-14)
    else:
        assert handle.weight == 30.0
    assert report.problems == {}
    assert (report.shortest, report.longest) == (6, 6)


@PLACES
@pytest.mark.parametrize("form", ["list", "dense", "sparse", "mixed"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_moments_of_features_and_labels_are_those_of_numpy(
    local: Path, form: str, weighted: bool, inline: int
) -> None:
    X, y = rows(1), np.random.default_rng(1).normal(size=30)
    weight = np.linspace(0.5, 2.0, 30) if weighted else None
    _, report = pack(cut(X, y, weight, [11, 12], form), plan(inline=inline, weighted=weighted))
    assert report.moments is not None
    assert report.label_moments is not None
    for moments, values in ((report.moments, X), (report.label_moments, y[:, None])):
        assert moments.rows == 30
        np.testing.assert_allclose(
            moments.mean(), np.average(values, axis=0, weights=weight), rtol=1e-12, atol=1e-15
        )
        expected = np.diag(np.atleast_2d(np.cov(values, rowvar=False, aweights=weight)))
        np.testing.assert_allclose(moments.variance(), expected, rtol=1e-12)
    [(total, mean)] = report.label_means
    assert total == pytest.approx(30.0 if weight is None else weight.sum(), rel=1e-14)
    assert mean == pytest.approx(np.average(y, weights=weight), rel=1e-12)


@PLACES
def test_a_dense_batch_behind_sparse_ones_and_before_them(local: Path, inline: int) -> None:
    X, y = rows(2), np.arange(30.0)
    for forms in (["list", "sparse", "list"], ["sparse", "list", "sparse"]):
        batches = [
            cut(X[k : k + 10], y[k : k + 10], None, [], "dense" if form == "list" else form)[0]
            for k, form in zip((0, 10, 20), forms, strict=True)
        ]
        handle, report = pack(batches, plan(inline=inline))
        block = opened(handle)
        assert isinstance(block.X, CsrRows)
        np.testing.assert_array_equal(dense(block), X)
        assert report.moments is not None
        assert report.moments.rows == 30
        np.testing.assert_allclose(report.moments.variance(), X.var(axis=0, ddof=1), rtol=1e-12)
        handle.files is None or handle.files.delete()  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([0, 1, 1], type=pa.int8()),
        pa.array([0, 1, 1], type=pa.int64()),
        pa.array([0.0, 1.0, 1.0], type=pa.float32()),
        pa.array([False, True, True]),
    ],
    ids=["byte", "long", "float", "boolean"],
)
def test_labels_and_weights_of_other_types_become_doubles(column: pa.Array) -> None:
    handle, _ = pack(
        [batch(features_of(np.eye(3), "list"), column, column)], plan("binary", weighted=True)
    )
    block = opened(handle)
    assert block.weight is not None
    assert (block.y.dtype, block.weight.dtype) == (np.float64, np.float64)
    assert block.y.tolist() == block.weight.tolist() == [0.0, 1.0, 1.0]


def test_classes_are_counted_with_their_weights() -> None:
    y = np.array([0.0, 2.0, 2.0, 5.0, 0.0, 2.0])
    weight = np.array([1.0, 0.5, 0.0, 2.0, 3.0, 1.0])
    batches = cut(np.eye(6), y, weight, [2, 4])
    _, report = pack(batches, plan("multiclass", weighted=True))
    # rows of weight 0 are of no class
    assert report.labels == {0.0: (2, 4.0), 2.0: (2, 1.5), 5.0: (1, 2.0)}
    _, report = pack(cut(np.eye(6), y, None, [2]), plan("multiclass"))
    assert report.labels == {0.0: (2, 2.0), 2.0: (3, 3.0), 5.0: (1, 1.0)}
    _, report = pack(cut(np.eye(6), y, None, [2]), plan("regression"))
    assert report.labels == {}


def test_too_many_classes_are_found_before_they_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "MAX_LABELS_COUNTED", 10)
    X, y = np.ones((40, 2)), np.arange(40.0)
    handle, report = pack(cut(X, y, None, [8, 16]), plan("multiclass"))
    assert report.too_many_labels
    assert not report.usable
    assert handle.rows == 0
    left, right = (pack(cut(X[:6], y[k : k + 6], None, []), plan("multiclass"))[1] for k in (0, 6))
    assert not left.too_many_labels
    assert left.merge(right).too_many_labels


@pytest.mark.parametrize("form", ["list", "dense", "sparse"])
def test_empty_partitions_and_empty_batches_are_no_problem(local: Path, form: str) -> None:
    for batches in ([], cut(np.zeros((0, 4)), np.zeros(0), None, [], form)):
        handle, report = pack(batches, plan(inline=0))
        assert (handle.rows, handle.weight, handle.files, handle.block) == (0, 0.0, None, None)
        assert report.problems == {}
        assert report.moments is None
    assert left(local) == []
    X = rows(3, 5)
    some = cut(X, np.ones(5), None, [0, 5], form)
    assert [b.num_rows for b in some] == [0, 5, 0]
    handle, report = pack(some, plan(inline=0))
    np.testing.assert_array_equal(dense(opened(handle)), X)


NAN, INF = float("nan"), float("inf")

FOUND = [
    ("binary", [1.0, None, 0.0], None, {"null_labels": 1}, {}),
    ("binary", [1.0, NAN, -INF], None, {"bad_labels": 2}, {"bad_labels": "nan"}),
    ("binary", [3.0, -1.0, 0.5], None, {"wrong_labels": 3}, {"wrong_labels": "3.0"}),
    ("multiclass", [-1.0, 2.0, 0.5], None, {"wrong_labels": 2}, {"wrong_labels": "-1.0"}),
    ("multiclass", [0.0, 2.0, 7.0], None, {}, {}),
    ("regression", [-1.0, 2.5, 1e9], None, {}, {}),
    ("regression", [INF, 2.5, None], None, {"bad_labels": 1, "null_labels": 1}, {}),
    ("regression", [1.0, 2.0, 3.0], [1.0, None, None], {"null_weights": 2}, {}),
    ("regression", [1.0, 2.0, 3.0], [-0.5, NAN, INF], {"bad_weights": 3}, {"bad_weights": "-0.5"}),
    ("regression", [1.0, 2.0, 3.0], [0.0, 0.0, 0.0], {}, {}),
    ("binary", [None, 1.0], [1.0, -1.0], {"null_labels": 1, "bad_weights": 1}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("task", "labels", "weights", "problems", "examples"), FOUND)
def test_unusable_labels_and_weights_are_counted(
    local: Path,
    task: str,
    labels: list[float | None],
    weights: list[float | None] | None,
    problems: dict[str, int],
    examples: dict[str, str],
) -> None:
    columns = [pa.array(labels, type=pa.float64())]
    if weights is not None:
        columns.append(pa.array(weights, type=pa.float64()))
    read: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(3):
            read.append(number)
            yield batch(features_of(np.eye(len(labels)), "list"), *columns)

    handle, report = pack(batches(), plan(task, inline=0, weighted=weights is not None))
    assert report.problems == {name: 3 * count for name, count in problems.items()}
    assert examples.items() <= report.examples.items()
    assert set(report.problems) <= set(PROBLEMS)
    assert report.usable == (not problems)
    assert read == [0, 1, 2], "the input has to be read to its end"
    if problems:
        assert handle.rows == 0
        assert left(local) == []


@pytest.mark.parametrize("form", ["list", "dense", "sparse", "mixed"])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_rows_with_features_that_are_not_finite_are_counted(
    local: Path, form: str, bad: float
) -> None:
    X = rows(4, 12, density=0.2) + 0.0
    X[2, 1] = X[2, 4] = X[9, 0] = bad
    good = rows(5, 12, density=0.2)
    batches = [
        *cut(good, np.zeros(12), None, [], form),
        *cut(X, np.zeros(12), None, [6], form),
        *cut(good, np.zeros(12), None, [], form),
    ]
    handle, report = pack(batches, plan(inline=0))
    assert report.problems == {"bad_features": 2}
    assert handle.rows == 0
    assert left(local) == []


def test_null_features_and_null_elements_are_told_apart() -> None:
    column = pa.array([[1.0, 2.0], None, [None, 1.0]], type=pa.list_(pa.float64()))
    _, report = pack([batch(column, [0.0, 1.0, 1.0])], plan())
    assert report.problems == {"null_features": 1, "bad_features": 1}


def test_damaged_sparse_rows_are_counted() -> None:
    bad = {"type": 0, "size": 4, "indices": [2, 1], "values": [1.0, 2.0]}
    column = pa.array([vector([1, 0, 0, 0], True), bad, bad], type=VECTOR)
    _, report = pack([batch(column, [0.0] * 3), batch(column, [0.0] * 3)], plan())
    assert report.problems == {"bad_indices": 4}


@pytest.mark.parametrize("form", ["list", "sparse"])
def test_rows_of_different_lengths_are_told_by_both(local: Path, form: str) -> None:
    batches = [
        *cut(np.ones((2, 3)), np.zeros(2), None, [], form),
        *cut(np.ones((2, 5)), np.zeros(2), None, [], form),
        *cut(np.ones((2, 4)), np.zeros(2), None, [], form),
    ]
    handle, report = pack(batches, plan(inline=0))
    assert (report.shortest, report.longest) == (3, 5)
    assert not report.usable
    assert handle.rows == 0
    assert left(local) == []


def test_values_whose_squares_overflow_are_rows_like_any_other() -> None:
    X = np.array([[1e300, 1.0], [-1e300, 2.0], [1e-300, 4.0]])
    handle, report = pack(cut(X, np.zeros(3), None, [1]), plan())
    assert report.problems == {}
    np.testing.assert_array_equal(dense(opened(handle)), X)
    assert report.moments is not None
    assert not np.isfinite(report.moments.variance()[0])
    assert report.moments.variance()[1] == pytest.approx(np.var([1, 2, 4], ddof=1))


@given(
    seed=st.integers(0, 50),
    edges=st.lists(st.integers(0, 24), max_size=4),
    form=st.sampled_from(["list", "dense", "sparse", "mixed"]),
    inline=st.sampled_from([IN_MEMORY, 0, 400]),
    weighted=st.booleans(),
)
@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_identity_depends_on_the_rows_alone(
    local: Path, seed: int, edges: list[int], form: str, inline: int, weighted: bool
) -> None:
    """Not on their order, their batches, their form, or where they are kept."""
    rng = np.random.default_rng(seed)
    X, y = rows(seed, 24), rng.normal(size=24)
    weight = rng.uniform(size=24) if weighted else None
    first, _ = pack(cut(X, y, weight, []), plan(weighted=weighted))
    order = rng.permutation(24)
    again, _ = pack(
        cut(X[order], y[order], None if weight is None else weight[order], sorted(edges), form),
        plan(weighted=weighted, inline=inline),
    )
    assert again.identity == first.identity
    assert again.weight == pytest.approx(first.weight, rel=1e-14)


@pytest.mark.parametrize("form", ["list", "sparse"])
def test_identity_of_rows_whose_places_matter(local: Path, form: str) -> None:
    """The same for other batches, and another for another order: replicates draw by places."""
    X, y = rows(3, 24), np.random.default_rng(3).normal(size=24)
    first, _ = pack(cut(X, y, None, [], form), plan(ordered=True))
    batches, _ = pack(cut(X, y, None, [5, 17], form), plan(ordered=True, inline=0))
    assert batches.identity == first.identity
    X[[4, 9]], y[[4, 9]] = X[[9, 4]], y[[9, 4]]
    swapped, _ = pack(cut(X, y, None, [], form), plan(ordered=True))
    assert swapped.identity != first.identity


CHANGES = {
    "a feature": lambda X, y, w: X.__setitem__((3, 2), np.nextafter(X[3, 2], 9.0)),
    "a label": lambda X, y, w: y.__setitem__(4, np.nextafter(y[4], 9.0)),
    "a weight": lambda X, y, w: w.__setitem__(5, np.nextafter(w[5], 9.0)),
    "columns swapped in one row": lambda X, y, w: X.__setitem__((6, [0, 1]), X[6, [1, 0]]),
    "a value moved to another column": lambda X, y, w: X.__setitem__(
        (7, slice(None)), np.roll(X[7], 1)
    ),
}


@pytest.mark.parametrize("form", ["list", "sparse"])
@pytest.mark.parametrize("change", CHANGES)
def test_identity_tells_other_rows(form: str, change: str) -> None:
    X, y, weight = rows(6, 24, density=0.7), np.arange(24.0), np.linspace(1.0, 2.0, 24)
    X[:, 0], X[:, 1] = 1.5, 0.0
    before, _ = pack(cut(X, y, weight, [], form), plan(weighted=True))
    CHANGES[change](X, y, weight)
    after, _ = pack(cut(X, y, weight, [], form), plan(weighted=True))
    assert after.identity != before.identity


@pytest.mark.parametrize("form", ["list", "sparse"])
def test_identity_tells_rows_of_ones_and_zeros_apart(form: str) -> None:
    """Whose values have all but a few bits in common."""
    size = 2_100
    hot = np.random.default_rng(0).integers(0, 6, size=(40, 2))

    def identity(columns: Array) -> Any:
        X = np.zeros((len(columns), size))
        np.put_along_axis(X, columns, 1.0, axis=1)
        return pack(cut(X, np.zeros(len(X)), None, [], form), plan())[0].identity

    beside = np.array([0, 6])
    found = [
        identity(hot + beside),
        identity(hot[:, ::-1] + beside),  # two blocks of columns in each other's place
        identity(hot + np.array([0, 6 + 2048])),
        identity((hot + 1) % 6 + beside),
        identity(hot + 6 + beside),
    ]
    assert len(set(found)) == len(found)


def test_identity_tells_labels_from_weights_and_more_rows_from_fewer() -> None:
    X = np.zeros((3, 2))
    ones, twos = np.ones(3), np.full(3, 2.0)
    first, second = (
        pack(cut(X, *pair, []), plan(weighted=True))[0].identity
        for pair in ((ones, twos), (twos, ones))
    )
    assert first != second
    shorter = pack(cut(X[:2], np.zeros(2), None, []), plan())[0].identity
    longer = pack(cut(X, np.zeros(3), None, []), plan())[0].identity
    assert shorter != longer


@pytest.mark.parametrize("inline", [IN_MEMORY, 0], ids=["memory", "disk"])
def test_what_a_task_returns_can_be_sent(local: Path, inline: int) -> None:
    handle, report = pack(cut(rows(7), np.arange(30.0), None, [9]), plan(inline=inline))
    handle_again, report_again = pickle.loads(pickle.dumps((handle, report)))
    assert handle_again.identity == handle.identity
    np.testing.assert_array_equal(dense(opened(handle_again)), rows(7))
    np.testing.assert_array_equal(report_again.moments.mean(), report.moments.mean())


def test_reports_of_partitions_merge_to_the_report_of_all_rows() -> None:
    X, y = rows(8, 40), np.random.default_rng(8).integers(3, size=40).astype(float)
    _, whole = pack(cut(X, y, None, []), plan("multiclass"))
    total = Report()
    for start, stop, form in (
        (0, 10, "sparse"),
        (10, 10, "list"),
        (10, 25, "list"),
        (25, 40, "mixed"),
    ):
        total.merge(pack(cut(X[start:stop], y[start:stop], None, [], form), plan("multiclass"))[1])
    assert total.labels == whole.labels
    assert (total.shortest, total.longest) == (6, 6)
    assert total.usable
    assert total.moments is not None
    assert whole.moments is not None
    np.testing.assert_allclose(total.moments.mean(), whole.moments.mean(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(total.moments.variance(), whole.moments.variance(), rtol=1e-12)
    assert len(total.label_means) == 3


def test_reports_of_partitions_add_their_problems() -> None:
    first = pack([batch(features_of(np.eye(2), "list"), [0.0, 7.0])], plan("binary"))[1]
    second = pack([batch(features_of(np.ones((2, 3)), "list"), [8.0, NAN])], plan("binary"))[1]
    total = Report().merge(first).merge(second)
    assert total.problems == {"wrong_labels": 2, "bad_labels": 1}
    assert total.examples["wrong_labels"] == "7.0"
    assert (total.shortest, total.longest) == (2, 3)
    assert not total.usable


def test_rows_go_to_the_disk_only_when_they_are_too_many_for_the_memory(local: Path) -> None:
    X, y = np.ones((10, 4)), np.zeros(10)
    nbytes = X.nbytes + y.nbytes
    for inline, in_memory in ((nbytes, True), (nbytes - 1, False)):
        handle, _ = pack(cut(X, y, None, [5]), plan(inline=inline))
        assert (handle.block is not None) == in_memory
        assert (left(local) == []) == in_memory


def test_files_lie_in_the_folder_of_the_fit(local: Path) -> None:
    handle, _ = pack(cut(np.ones((3, 2)), np.zeros(3), None, []), plan(inline=0, fit="cafe"))
    assert handle.files is not None
    assert Path(handle.files.folder).parent == fit_folder(local, "cafe")
    assert fit_folder(local, "cafe") == local / "sparkml_lsml-cafe"


def test_a_full_disk_leaves_nothing_behind(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frees = iter([10**12, 10**12, 10**12])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, next(frees, 1000)))
    with pytest.raises(DiskError, match="1,000 are free"):
        pack(cut(rows(9), np.zeros(30), None, [10, 20]), plan(inline=0))
    assert left(local) == []


@pytest.mark.parametrize("error", [OSError("the source broke"), KeyboardInterrupt()])
def test_an_error_or_interrupt_in_the_source_leaves_nothing_behind(
    local: Path, error: BaseException
) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from cut(rows(10), np.zeros(30), None, [10])
        assert left(local) != []
        raise error

    with pytest.raises(type(error)):
        pack(broken(), plan(inline=0))
    assert left(local) == []


def test_a_block_that_cannot_be_mapped_leaves_nothing_behind(
    local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(wanted: int) -> None:
        raise DiskError(f"{wanted} bytes cannot be mapped")

    monkeypatch.setattr(files_room, "check_address_space", refuse)
    with pytest.raises(DiskError, match="cannot be mapped"):
        pack(cut(rows(11), np.zeros(30), None, [10]), plan(inline=0))
    assert left(local) == []


@pytest.mark.parametrize("value", [None, "", ","])
def test_without_a_local_folder_nothing_is_written(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARK_LOCAL_DIRS", raising=False)
    if value is not None:
        monkeypatch.setenv("SPARK_LOCAL_DIRS", value)
    with pytest.raises(DiskError, match="SPARK_LOCAL_DIRS"):
        pack(cut(np.ones((3, 2)), np.zeros(3), None, []), plan(inline=0))


def test_moments_cover_rows_that_were_kept_before_the_disk_was_needed(local: Path) -> None:
    X = rows(12, 40)
    for form in ("list", "sparse"):
        handle, report = pack(cut(X, np.zeros(40), None, [3, 6, 30], form), plan(inline=600))
        assert handle.files is not None
        assert report.moments is not None
        assert isinstance(report.moments, Moments)
        np.testing.assert_allclose(report.moments.variance(), X.var(axis=0, ddof=1), rtol=1e-12)


@PLACES
@pytest.mark.parametrize("form", ["list", "sparse"])
def test_moments_of_the_features_are_left_out_if_nobody_wants_them(
    local: Path, form: str, inline: int
) -> None:
    X, y = rows(13, 40), np.arange(40.0) % 2
    batches = cut(X, y, None, [3, 6, 30], form)
    expected, known = pack(batches, plan("binary", inline))
    handle, report = pack(batches, plan("binary", inline, moments=False))
    assert known.moments is not None
    assert report.moments is None
    assert handle.identity == expected.identity
    np.testing.assert_array_equal(dense(opened(handle)), dense(opened(expected)))
    # all else is as it was
    assert report.labels == known.labels
    assert report.label_means == known.label_means
    assert report.label_moments is not None
    assert (report.shortest, report.longest) == (6, 6)
    assert report.merge(Report()).moments is None
    X[5, 2] = np.nan
    handle, report = pack(cut(X, y, None, [3], form), plan("binary", inline, moments=False))
    assert report.problems == {"bad_features": 1}
    assert handle.rows == 0


@pytest.mark.parametrize("moments", [True, False])
def test_folds_have_moments_where_all_rows_have(moments: bool) -> None:
    fold = pa.array(np.arange(30) % 3, pa.int32())
    [batches] = cut(rows(14), np.arange(30.0), None, [])
    batches = pa.RecordBatch.from_arrays([*batches.columns, fold], names=["f", "l", "fold"])
    [found] = packer(plan(folds=3, moments=moments))(iter([batches]))
    report = read_report(pickle.loads(found["handle"][0].as_py()), found["report"][0].as_py())
    assert len(report.folds) == 3
    assert all((one.moments is not None) == moments for one in (report, *report.folds))
    assert all(one.label_moments is not None for one in (report, *report.folds))
