"""The base classes of models that are networks of PyTorch."""

import json
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from sparkml_lsml.display import html
from sparkml_lsml.engine.predictors.module import ModulePredictor
from sparkml_lsml.errors import PersistenceError, shown
from sparkml_lsml.networks import registry
from sparkml_lsml.networks.factory import torch
from sparkml_lsml.neural.torch_params import TorchParams
from sparkml_lsml.spark.models.model import BlockModel
from sparkml_lsml.spark.models.pieces import Pieces
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.ranges import Range
from sparkml_lsml.worker.scoring import Scorer

Array = npt.NDArray[np.float64]


class TorchModel(BlockModel, TorchParams):
    """What networks of PyTorch have in common.

    Parameters
    ----------
    predictor : ModulePredictor
        Without constants of the loss.
    coef : array of shape (layout.size,)
    summary : TrainingSummary, optional
    """

    _ranges: ClassVar[dict[str, Range]] = TorchParams._ranges

    def __init__(
        self, predictor: ModulePredictor, coef: Array, summary: TrainingSummary | None = None
    ) -> None:
        super().__init__(summary)
        self._predictor = predictor
        self._coef = np.asarray(coef, dtype=np.float64)
        size = predictor.layout.size
        if self._coef.shape != (size,):
            raise ValueError(
                f"found numbers of shape {self._coef.shape} for {predictor.factory}: expected "
                f"{size:,}"
            )
        self._set(
            network=predictor.factory.name,
            networkParams=json.loads(predictor.arguments),
            inputShape=list(predictor.shape),
            precision=predictor.precision,
        )

    @property
    def tensors(self) -> dict[str, Array]:
        """Parameters and buffers of the module by their names, as copies."""
        predictor = self._predictor
        shapes = {each.name: each.shape for each in predictor.tensors}
        return {
            name: self._coef[at].reshape(shapes[name]).copy()
            for name, at in predictor.places.items()
        }

    def toTorch(self) -> Any:
        """The network as a ``torch.nn.Module`` with its weights, in the mode of evaluation.

        It takes a float32 batch of the shape (rows, *inputShape) and returns raw predictions: of a
        regression those at unit scale, see ``labelScale`` and ``labelCentre``.

        Raises
        ------
        BackendError
            Without torch.
        """
        library, predictor = torch(), self._predictor
        module = predictor.factory.built(predictor.shape, predictor.outputs, predictor.arguments)
        state = module.state_dict()
        given = {name: library.from_numpy(values) for name, values in self.tensors.items()}
        # buffers that are no part of the state are as the module has made them
        state.update({name: given[name].to(state[name].dtype) for name in state if name in given})
        module.load_state_dict(state)
        return module.eval()

    def _scorer(self) -> Scorer:
        return Scorer(self._predictor, self._coef, self._finish())

    def _saved_arrays(self) -> dict[str, Array]:
        return {"weights": self._coef, **self._saved_pieces()}

    def _restore(self, arrays: dict[str, Array]) -> None:
        """Take over what was saved beside the weights."""
        self._pieces = Pieces.of_arrays(arrays, self.numFeatures, len(self._coef))

    def _saved_facts(self) -> dict[str, Any]:
        predictor = self._predictor
        return {
            "network": predictor.factory.name,
            "networkParams": predictor.arguments,
            "inputShape": list(predictor.shape),
            "outputs": predictor.outputs,
            "precision": predictor.precision,
            "scale": predictor.scale,
            "centre": predictor.centre,
            "tensors": [[each.name, list(each.shape), each.buffer] for each in predictor.tensors],
        }

    @classmethod
    def _from_saved(cls, arrays: dict[str, Array], facts: dict[str, Any]) -> Self:
        name = facts["network"]
        if not registry.is_known(name):
            known = ", ".join([*registry.READY, *registry.registered()])
            raise PersistenceError(
                f"was saved with the network {shown(name)}, which is not known here: register it "
                f"with sparkml_lsml.neural.register before loading. Known are {known}"
            )
        predictor = ModulePredictor.of(
            registry.find(name),
            facts["inputShape"],
            facts["outputs"],
            facts["networkParams"],
            precision=facts["precision"],
            scale=facts["scale"],
            centre=facts["centre"],
        )
        return cls(predictor, arrays["weights"])

    def _check_loaded(self) -> None:
        super()._check_loaded()
        predictor = self._predictor
        names = ("network", "networkParams", "inputShape", "precision")
        found = [self.value(name) for name in names]
        expected = [
            predictor.factory.name,
            json.loads(predictor.arguments),
            list(predictor.shape),
            predictor.precision,
        ]
        if found != expected:
            raise ValueError(
                f"its Params {', '.join(names)} say {found}, its weights are of {expected}"
            )

    def _repr_html_(self) -> str:
        """The model in a notebook: its layers, and its summary."""
        table = html.table(["tensor", "shape", "numbers"], self._rows())
        parts = [html.facts(self._facts()), html.details("Tensors", table)]
        if self.hasSummary:
            parts.append(html.details("Training", *self.summary._html_parts()))
        return html.card(type(self).__name__, self.uid, *parts)

    def _facts(self) -> list[tuple[str, str]]:
        predictor = self._predictor
        return [
            ("network", predictor.factory.name),
            ("rows", " x ".join(f"{size:,}" for size in predictor.shape)),
            ("outputs", f"{predictor.outputs:,}"),
            ("numbers", f"{len(self._coef):,}"),
        ]

    def _rows(self) -> list[list[str]]:
        """The tensors, a row each."""
        return [
            [each.name, " x ".join(f"{n:,}" for n in each.shape) or "1", f"{each.size:,}"]
            for each in self._predictor.tensors
        ]

    def __repr__(self) -> str:
        predictor = self._predictor
        return (
            f"{type(self).__name__}: uid={self.uid}, network={predictor.factory.name}, "
            f"inputShape={list(predictor.shape)}, outputs={predictor.outputs}"
        )
