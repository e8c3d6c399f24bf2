"""Predictions of a model for Arrow columns of features."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkml_lsml.engine.blocks.arrow import to_features
from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.predictors import Layout, LinearPredictor, Predictor

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scorer:
    """Predictions of a model; what the executors run.

    Parameters
    ----------
    predictor : Predictor
    coef : array of shape (predictor.layout.size,)
        For the features as they are.
    finish : callable
        Takes raw predictions of shape (rows, outputs) and returns a dict with ``raw`` and
        ``probability`` of shape (rows, classes), as far as the model has them, and ``prediction``
        of shape (rows,).
    """

    predictor: Predictor
    coef: Array
    finish: Callable[[Array], dict[str, Array]]

    @staticmethod
    def linear(
        coefficients: Array, intercepts: Array, finish: Callable[[Array], dict[str, Array]]
    ) -> "Scorer":
        """Of weights of shape (outputs, features) and intercepts of shape (outputs,)."""
        outputs, features = coefficients.shape
        predictor = LinearPredictor(Layout(features, outputs))
        return Scorer(predictor, np.concatenate([coefficients.ravel(), intercepts]), finish)

    def score(self, X: Any) -> dict[str, Array]:
        """Predictions for rows of shape (rows, features); features that are NaN give NaN."""
        return self.finish(self._raw(X.astype(self.predictor.dtype, copy=False)))

    @cached_property
    def _raw(self) -> Callable[[Any], Array]:
        return self.predictor.scoring(self.coef)

    def score_arrow(self, column: pa.Array, kinds: tuple[str, ...]) -> pa.Array:
        """Predictions for an Arrow column of features, as structs; null features give null.

        Raises
        ------
        ValueError
            If the rows have another number of features than the model.
        """
        found = to_features(column)
        expected = self.predictor.layout.features
        if found.bad_indices:
            raise ValueError(
                f"{found.bad_indices} sparse rows have indices that are negative, too large, "
                "not increasing or not as many as the values: repair the features"
            )
        rows = int(found.present.sum())
        if rows and (found.shortest, found.longest) != (expected, expected):
            sizes = sorted({found.shortest, found.longest} - {expected})
            raise ValueError(
                f"the model was trained on {expected} features, found rows with "
                f"{' and '.join(str(size) for size in sizes)}: score the features that it was "
                "trained on"
            )
        parts: dict[str, list[Array]] = {kind: [] for kind in kinds}
        if rows and found.X is not None:
            # chunk by chunk: margins of many classes would not fit the cache otherwise
            for X, _, _ in Block(found.X, np.zeros(rows)).chunks(self.predictor.width):
                scores = self.score(X)
                for kind in kinds:
                    parts[kind].append(scores[kind])
        arrays = [_to_arrow(parts[kind], kind, found.present) for kind in kinds]
        return pa.StructArray.from_arrays(arrays, names=list(kinds))


def _to_arrow(parts: list[Array], kind: str, present: npt.NDArray[np.bool_]) -> pa.Array:
    """One score a row as Arrow, with null where the features are null."""
    if kind == "prediction":
        values = np.concatenate(parts) if parts else np.zeros(0)
        if present.all():
            return pa.array(values)
        full = np.zeros(len(present))
        full[present] = values
        return pa.array(full, mask=~present)
    table = np.concatenate(parts) if parts else np.zeros((0, 1))
    offsets = np.zeros(len(present) + 1, dtype=np.int32)
    np.cumsum(np.where(present, table.shape[1], 0), out=offsets[1:])
    flat = pa.array(np.ascontiguousarray(table).reshape(-1))
    if present.all():
        return pa.ListArray.from_arrays(pa.array(offsets), flat)
    starts = pa.array(offsets, mask=np.append(~present, False))
    return pa.ListArray.from_arrays(starts, flat)


_VECTOR = {
    "type": pa.int8(),
    "size": pa.int32(),
    "indices": pa.list_(pa.int32()),
    "values": pa.list_(pa.float64()),
}
"""Fields of Spark's vector struct."""


def from_pandas(column: "pd.Series[Any] | pd.DataFrame") -> pa.Array:
    """Features as Arrow had them before Spark made pandas of them: of structs it makes frames."""
    import pandas as pd  # takes long, and workers of Spark 4.1 and later do without

    if isinstance(column, pd.DataFrame):
        fields = [pa.array(column[name], kind, from_pandas=True) for name, kind in _VECTOR.items()]
        return pa.StructArray.from_arrays(fields, names=list(_VECTOR), mask=fields[-1].is_null())
    lists = pa.array(column, from_pandas=True)
    # where all are null the type is unknown
    return lists.cast(_VECTOR["values"]) if pa.types.is_null(lists.type) else lists
