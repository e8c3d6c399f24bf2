"""Rows that are packed once, for several fits."""

import contextlib
import threading
import weakref
from collections.abc import Callable, Hashable
from copy import copy
from dataclasses import replace
from typing import Any, Self, TypeVar

from pyspark.sql import DataFrame

from sparkml_lsml.display import html, text
from sparkml_lsml.engine.blocks.report import Task
from sparkml_lsml.spark.cluster.session import context
from sparkml_lsml.spark.rows.frames import check_frame
from sparkml_lsml.spark.rows.plan import IngestPlan
from sparkml_lsml.spark.rows.resident import ResidentBlocks

Key = tuple[Any, ...]

T = TypeVar("T")


class ResidentRows:
    """Rows of a frame that stay packed between fits: ``fit`` of estimators and searches takes them.

    The first fit reads the rows from their source and packs them, as fits of a frame do. Fits that
    want them packed in the same way find them there: same columns of features, label and weight,
    same kind of labels, same ``dtype`` and ``execution``, same weights of classes. For others they
    are packed once more, beside the first; so are those of a search, with the number of the fold of
    each row, for all searches with these folds. Models are those of a fit of the frame. The solver
    ``cocoa`` keeps duals beside its rows, and packs its own. ``evaluate`` reads the frame.

    Blocks stay on the executors, on local disks outside of Spark's memory (small data in the memory
    of the driver), until `unpersist`, the end of a ``with`` block, or until nobody holds this
    object. Rows are as they were when they were packed: a block that is lost is read again, and if
    its rows have changed by then, the fit ends with a `SourceChangedError`.

    Parameters
    ----------
    frame : DataFrame

    Attributes
    ----------
    frame : DataFrame
        What the rows are of.

    Raises
    ------
    TypeError
        If it is no frame, or one without an end.
    BackendError
        If it is one of Spark Connect.

    Examples
    --------
    >>> from pyspark.ml.linalg import Vectors
    >>> import sparkml_lsml
    >>> from sparkml_lsml.classification import LinearSVC, LogisticRegression
    >>> data = [(float(i % 2), Vectors.dense(i % 2 + 0.1 * (i % 3))) for i in range(60)]
    >>> df = spark.createDataFrame(data, ["label", "features"])
    >>> with sparkml_lsml.resident(df) as rows:
    ...     models = [LogisticRegression(regParam=r).fit(rows) for r in (0.1, 0.01)]
    ...     print(len(rows.packed), models[1].summary.notes)
    1 ('rows were resident: packed by an earlier fit',)
    """

    def __init__(self, frame: DataFrame) -> None:
        check_frame(frame, "resident")
        context(frame)
        self.frame = frame
        self._folds: Hashable = None
        self._packed: dict[Key, ResidentBlocks] = {}
        self._facts: dict[Hashable, Any] = {}
        self._lock = threading.RLock()
        self._finalizer = weakref.finalize(self, _release_beside, self._packed)
        # the session may be gone by then, and its folders go with it
        self._finalizer.atexit = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unpersist()

    def unpersist(self) -> None:
        """Remove what is packed; a later fit packs anew."""
        with self._lock:
            self._facts.clear()
            _release(self._packed)

    @property
    def packed(self) -> tuple[str, ...]:
        """What is packed, in words: its task, size and place."""
        return tuple(_told(plan, blocks) for plan, blocks in self._entries())

    def _entries(self) -> list[tuple[IngestPlan, ResidentBlocks]]:
        with self._lock:
            return [(key[0], blocks) for key, blocks in self._packed.items()]

    def __repr__(self) -> str:
        found = self.packed
        return f"ResidentRows: {'; '.join(found) if found else 'nothing packed yet'}"

    def _repr_html_(self) -> str:
        """What is packed, in a notebook."""
        entries = self._entries()
        if not entries:
            return html.card("ResidentRows", "", html.paragraph("nothing packed yet"))
        header = ["features", "labels", "weights", "folds", "rows", "size", "where"]
        parts = [html.table(header, [_cells(*each) for each in entries], left=3)]
        if len(entries) > 1:
            total = sum(blocks.nbytes for _, blocks in entries)
            parts.append(html.paragraph(f"{text.size(total)} in all"))
        return html.card("ResidentRows", "", *parts)

    def blocks(self, plan: IngestPlan) -> ResidentBlocks:
        """The rows packed as a plan wants them, by now or before, for one fit to use.

        Its release leaves them as they are.

        Raises
        ------
        DataError, ColumnError, DiskError, SourceChangedError
            See `ResidentBlocks.pack`.
        """
        key = key_of(plan, self._folds)
        with self._lock:
            packed = self._packed.get(key)
            if packed is not None and not packed.stopped:  # with the session that it was of
                if plan.task == "binary" and not {*packed.report.labels} <= {0.0, 1.0}:
                    return ResidentBlocks.pack(self.frame, plan)  # which says what is wrong
                return packed.lent(plan, again=True)
            packed = self._packed[key] = ResidentBlocks.pack(self.frame, plan)
            return packed.lent(plan, again=False)

    def folded(self, frame: DataFrame, folds: Hashable) -> "ResidentRows":
        """The same rows for a search that has added a column of folds to their frame.

        Parameters
        ----------
        frame : DataFrame
        folds : hashable
            How the column was made: searches that make it alike share what is packed.
        """
        found = copy(self)
        found.frame, found._folds = frame, folds
        return found

    def remembered(self, what: Hashable, ask: Callable[[], T]) -> T:
        """What was learned of the rows in a job of its own, asked once while they are packed."""
        with self._lock:
            if what not in self._facts:
                self._facts[what] = ask()
            found: T = self._facts[what]
            return found


def frame_of(rows: DataFrame | ResidentRows) -> DataFrame:
    """The frame that rows are of."""
    return rows.frame if isinstance(rows, ResidentRows) else rows


def folded(
    rows: DataFrame | ResidentRows, frame: DataFrame, folds: Hashable
) -> DataFrame | ResidentRows:
    """A frame with a column of folds: see `ResidentRows.folded` for rows that are resident."""
    return rows.folded(frame, folds) if isinstance(rows, ResidentRows) else frame


def remembered(rows: DataFrame | ResidentRows, what: Hashable, ask: Callable[[], T]) -> T:
    """What is asked of rows: once of those that are resident."""
    return rows.remembered(what, ask) if isinstance(rows, ResidentRows) else ask()


def key_of(plan: IngestPlan, folds: Hashable = None) -> Key:
    """What plans must agree in to share packed rows: all but the name of who asks.

    Labels 0 and 1 are packed alike for two classes and for more. A column of folds that a search
    has added is told by how it was made (``folds``): its name is of the search, and says nothing
    of the seed.
    """
    task: Task = "multiclass" if plan.task == "binary" else plan.task
    plain = replace(plan, name="", task=task, factors=None, fold=None)
    factors = None if plan.factors is None else tuple(sorted(plan.factors.items()))
    fold = None if plan.fold is None else str(plan.fold)
    return (plain, factors, fold if folds is None else folds)


def _told(plan: IngestPlan, blocks: ResidentBlocks) -> str:
    # the two of a validation are no folds to those who asked for it
    folds = f" in {plan.folds:,} folds" if plan.folds and plan.validation is None else ""
    return (
        f"{blocks.rows:,} rows for {plan.task} labels{folds}, {text.size(blocks.nbytes)} in "
        f"{_where(blocks)}"
    )


def _cells(plan: IngestPlan, blocks: ResidentBlocks) -> list[str]:
    """The same for a table."""
    features = (
        plan.features if isinstance(plan.features, str) else f"{len(plan.features):,} columns"
    )
    labels = f"{plan.label} ({plan.task})"
    folds = f"{plan.folds:,}" if plan.folds and plan.validation is None else ""
    size = text.size(blocks.nbytes)
    return [features, labels, plan.weight or "", folds, f"{blocks.rows:,}", size, _where(blocks)]


def _where(blocks: ResidentBlocks) -> str:
    return "the driver" if blocks.local else f"{blocks.partitions:,} blocks"


def _release_beside(packed: dict[Key, ResidentBlocks]) -> None:
    """Release in a thread of its own: objects are collected in the middle of Py4J's calls, too."""
    if packed:
        threading.Thread(target=_release, args=(packed,), daemon=True).start()


def _release(packed: dict[Key, ResidentBlocks]) -> None:
    while packed:
        _, blocks = packed.popitem()
        with contextlib.suppress(Exception):  # the context may have been stopped
            blocks.release()
