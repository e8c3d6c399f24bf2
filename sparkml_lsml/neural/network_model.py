"""The base classes of models that are networks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.ml.linalg import DenseMatrix, DenseVector, Vector
from pyspark.sql import DataFrame

from sparkml_lsml.display import html
from sparkml_lsml.engine.predictors import DensePredictor
from sparkml_lsml.export import Exportable, Form
from sparkml_lsml.export.form import Hidden, Kind
from sparkml_lsml.neural.params import LayersParams
from sparkml_lsml.neural.summary import (
    BinaryMultilayerPerceptronClassificationSummary,
    MultilayerPerceptronClassificationSummary,
)
from sparkml_lsml.neural.weights import in_mllibs_order, in_own_order, network_of
from sparkml_lsml.spark.models.evaluation import Evaluation
from sparkml_lsml.spark.models.model import BlockModel
from sparkml_lsml.spark.models.pieces import Pieces
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.thresholds import check_thresholds
from sparkml_lsml.spark.rows.shared import ResidentRows
from sparkml_lsml.worker.finishing import MultinomialFinish
from sparkml_lsml.worker.scoring import Scorer

Array = npt.NDArray[np.float64]


class NetworkModel(BlockModel):
    """What networks have in common, whatever is made of their raw predictions.

    Parameters
    ----------
    layers : list of int
    weights : DenseVector or array
        See the property of this name.
    activation : str
    summary : TrainingSummary, optional
    """

    def __init__(
        self,
        layers: Sequence[int],
        weights: Any,
        activation: str,
        summary: TrainingSummary | None = None,
    ) -> None:
        super().__init__(summary)
        self._network = network_of(layers, activation)
        values = weights.toArray() if isinstance(weights, Vector) else weights
        self._coef = in_own_order(self._network, np.asarray(values, dtype=np.float64))

    @property
    def network(self) -> DensePredictor:
        """The function that it is, apart from its weights."""
        return self._network

    @property
    def weights(self) -> DenseVector:
        """All numbers in MLlib's order: of layer after layer the weights, then the biases.

        The weights of a layer are those of its first input to all units, then of the second.
        """
        return DenseVector(in_mllibs_order(self._network, self._coef))

    @property
    def coefficientMatrices(self) -> list[DenseMatrix]:
        """The weights of each layer, of shape (units, inputs)."""
        matrices = [W for W, _ in self._maps()]
        return [DenseMatrix(len(W), W.shape[1], W.ravel(order="F")) for W in matrices]

    @property
    def interceptVectors(self) -> list[DenseVector]:
        """The biases of each layer, one a unit."""
        return [DenseVector(b) for _, b in self._maps()]

    def _maps(self) -> list[tuple[Array, Array]]:
        """Weights and biases of each layer."""
        return [(np.asarray(W), np.asarray(b)) for W, b in self._network.maps(self._coef)]

    def _scorer(self) -> Scorer:
        return Scorer(self._network, self._coef, self._finish())

    def _saved_arrays(self) -> dict[str, Array]:
        return {"weights": self.weights.toArray(), **self._saved_pieces()}

    def _restore(self, arrays: dict[str, Array]) -> None:
        """Take over what was saved beside the weights."""
        self._pieces = Pieces.of_arrays(arrays, self.numFeatures, len(self._coef))

    def _saved_facts(self) -> dict[str, Any]:
        return {"layers": list(self._network.sizes), "activation": self._network.activation}

    def _repr_html_(self) -> str:
        """The model in a notebook: its layers, and its summary."""
        parts = [html.facts(self._facts())]
        if self.hasSummary:
            parts.append(html.details("Training", *self.summary._html_parts()))
        return html.card(type(self).__name__, self.uid, *parts)

    def _facts(self) -> list[tuple[str, str]]:
        network = self._network
        layers = " → ".join(f"{size:,}" for size in network.sizes)
        return [
            ("layers", layers),
            ("activation", network.activation),
            ("weights", f"{len(self._coef):,}"),
        ]

    def __repr__(self) -> str:
        return f"{type(self).__name__}: uid={self.uid}, layers={list(self._network.sizes)}"


class TrainedNetworkModel(Exportable, NetworkModel, LayersParams):
    """What networks have in common that have the Params of the estimator that trained them."""

    def __init__(
        self,
        layers: Sequence[int],
        weights: Any,
        activation: str,
        summary: TrainingSummary | None = None,
    ) -> None:
        super().__init__(layers, weights, activation, summary)
        self._set(layers=list(layers))
        known = self.getOrDefault("activation") if self.hasParam("activation") else activation
        if activation != known:
            self._set(activation=activation)

    def _described(self, kind: Kind, thresholds: Array | None = None) -> Form:
        *maps, (coefficients, intercepts) = self._maps()
        hidden = Hidden(self._network.activation, tuple(maps))
        return Form(kind, coefficients, intercepts, thresholds=thresholds, hidden=hidden)

    def _check_loaded(self) -> None:
        super()._check_loaded()
        network = self._network
        found = [self.value("layers"), network.activation]
        if self.hasParam("activation"):
            found[1] = self.value("activation")
        if found != [list(network.sizes), network.activation]:
            raise ValueError(
                f"its Params say layers={found[0]} and activation='{found[1]}', its weights are of "
                f"{list(network.sizes)} and '{network.activation}'"
            )


class NetworkClassificationModel(TrainedNetworkModel):
    """What networks of classes have in common."""

    @property
    def numClasses(self) -> int:
        """Number of classes."""
        return self._network.outputs

    def evaluate(
        self, dataset: DataFrame | ResidentRows
    ) -> MultilayerPerceptronClassificationSummary:
        """Metrics of the model on rows with labels, which are computed when asked for.

        Of `ResidentRows` the frame is read.

        Returns
        -------
        BinaryMultilayerPerceptronClassificationSummary or MultilayerPerceptronClassificationSummary
            The latter for more than two classes.

        Raises
        ------
        ColumnError
            If the features or the label are missing, or of a type that cannot be used.
        """
        kind = MultilayerPerceptronClassificationSummary
        if self.numClasses == 2:
            kind = BinaryMultilayerPerceptronClassificationSummary
        return kind(evaluation=Evaluation.of(self, dataset).check())

    def predictRaw(self, value: Vector) -> DenseVector:
        """What the last layer makes of one vector of features, before the softmax."""
        return DenseVector(self._score_one(value, "raw"))

    def predictProbability(self, value: Vector) -> DenseVector:
        """Probabilities of the classes for one vector of features."""
        return DenseVector(self._score_one(value, "probability"))

    def _finish(self) -> Callable[[Array], dict[str, Array]]:
        return MultinomialFinish(self._thresholds())

    def _form(self) -> Form:
        return self._described("multinomial", self._thresholds())

    def _thresholds(self) -> Array | None:
        check_thresholds(self, self.numClasses)
        thresholds = self.value("thresholds")
        return None if thresholds is None else np.asarray(thresholds)
