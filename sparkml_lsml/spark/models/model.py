"""The base classes of our models."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pyspark.ml import Transformer
from pyspark.ml.linalg import Vector
from pyspark.sql import DataFrame

from sparkml_lsml.spark.folders.persistence import SafeReadWrite
from sparkml_lsml.spark.models.evaluation import Evaluation
from sparkml_lsml.spark.models.model_card import model_card
from sparkml_lsml.spark.models.pieces import Pieces
from sparkml_lsml.spark.models.scoring import add_scores
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.bases import HasFeaturesCols
from sparkml_lsml.spark.params.feature_columns import features_of
from sparkml_lsml.worker.scoring import Scorer

Array = npt.NDArray[np.float64]


class BlockModel(HasFeaturesCols, SafeReadWrite):
    """What models have in common that were trained on resident blocks.

    Parameters
    ----------
    summary : TrainingSummary, optional
    """

    _pieces: Pieces | None = None
    """What ``partialFit`` goes on from."""

    def __init__(self, summary: TrainingSummary | None = None) -> None:
        super().__init__()
        self._summary = summary

    @property
    def numFeatures(self) -> int:
        """Number of features the model was trained on."""
        return int(self._scorer().predictor.layout.features)

    @property
    def hasSummary(self) -> bool:
        """Whether this model was trained here, and not loaded."""
        return self._summary is not None

    @property
    def summary(self) -> TrainingSummary:
        """How the training went.

        Raises
        ------
        RuntimeError
            If the model was loaded: a summary is not saved.
        """
        if self._summary is None:
            raise RuntimeError(
                f"this {type(self).__name__} has no training summary: expected a model that was "
                "fitted in this session, found one that was loaded"
            )
        return self._summary

    def _summarise(self, dataset: DataFrame) -> None:
        """Let the summary compute metrics of the rows that the model was trained on."""
        if self._summary is not None:
            evaluation = Evaluation.of(self, dataset)
            self._summary = replace(self._summary, evaluation=evaluation)

    def _finish(self) -> Callable[[Array], dict[str, Array]]:
        """What turns raw predictions into scores; each model defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _finish")

    def _outputs(self) -> dict[str, str]:
        names = {"raw": "rawPredictionCol", "probability": "probabilityCol"}
        columns = {"prediction": self.getOrDefault("predictionCol")}
        for kind, param in names.items():
            if self.hasParam(param):
                columns[kind] = self.getOrDefault(param)
        return columns

    def _scorer(self) -> Scorer:
        """Its predictor, coefficients and finish; each kind of models defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _scorer")

    def _transform(self, dataset: DataFrame) -> DataFrame:
        return add_scores(
            dataset,
            features_of(self),
            self._scorer(),
            self._outputs(),
            int(getattr(self, "numClasses", 0)),
            owner=self,
        )

    def _score_one(self, value: Vector, kind: str) -> Array:
        row = np.asarray(value.toArray(), dtype=np.float64)
        if len(row) != self.numFeatures:
            raise ValueError(
                f"the model was trained on {self.numFeatures} features, found {len(row)}"
            )
        return self._scorer().score(row[None, :])[kind][0]

    def predict(self, value: Vector) -> float:
        """Prediction for one vector of features."""
        return float(self._score_one(value, "prediction"))

    def _saved_arrays(self) -> dict[str, Array]:
        """What it saves in numbers; each kind of models defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _saved_arrays")

    def _saved_facts(self) -> dict[str, Any]:
        """What else it saves."""
        return {}

    def _saved_pieces(self) -> dict[str, Array]:
        """What ``partialFit`` goes on from, to be saved."""
        return {} if self._pieces is None else self._pieces.arrays()

    def _check_loaded(self) -> None:
        checked: Any = self  # every model has the Params of its estimator
        checked._normalise()
        self._finish()


class LinearModel(BlockModel):
    """What the linear models have in common.

    Parameters
    ----------
    coefficients : array of shape (outputs, features)
    intercepts : array of shape (outputs,)
    summary : TrainingSummary, optional
    """

    _most_outputs: ClassVar[int] = 1

    def __init__(
        self, coefficients: Array, intercepts: Array, summary: TrainingSummary | None = None
    ) -> None:
        super().__init__(summary)
        self._coefficients = np.asarray(coefficients, dtype=np.float64)
        self._intercepts = np.asarray(intercepts, dtype=np.float64)
        shape, outputs = self._coefficients.shape, self._intercepts.shape
        if len(shape) != 2 or outputs != shape[:1] or not 1 <= shape[0] <= self._most_outputs:
            most = "1 or more" if self._most_outputs > 1 else "1"
            raise ValueError(
                f"coefficients of shape {shape} and intercepts of shape {outputs} do not fit: "
                f"expected (outputs, features) and (outputs,), with {most} outputs"
            )

    @property
    def numFeatures(self) -> int:
        """Number of features the model was trained on."""
        return int(self._coefficients.shape[1])

    def _scorer(self) -> Scorer:
        return Scorer.linear(self._coefficients, self._intercepts, self._finish())

    def _saved_arrays(self) -> dict[str, Array]:
        pieces = self._saved_pieces()
        return {"coefficients": self._coefficients, "intercepts": self._intercepts, **pieces}

    def _restore(self, arrays: dict[str, Array]) -> None:
        """Take over what was saved beside coefficients and intercepts."""
        self._pieces = Pieces.of_arrays(arrays, self.numFeatures, self._coefficients.size)

    def _repr_html_(self) -> str:
        """The model in a notebook: its largest coefficients, and its summary."""
        return model_card(self)

    def __repr__(self) -> str:
        outputs, features = self._coefficients.shape
        return f"{type(self).__name__}: uid={self.uid}, outputs={outputs}, features={features}"


def own_transform(model: Any) -> str:
    """The method of scoring that a subclass of the user's has of its own; "" if it has none."""
    ours = {"transform": Transformer.transform, "_transform": BlockModel._transform}
    found = (n for n, f in ours.items() if getattr(getattr(model, n), "__func__", None) is not f)
    return next(found, "")
