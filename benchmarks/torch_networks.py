"""What runs where torch is installed, and nothing of ours: networks, see `elsewhere`."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import torch

ACTIVATIONS: dict[str, Callable[[], Any]] = {
    "relu": torch.nn.ReLU,
    "tanh": torch.nn.Tanh,
    "sigmoid": torch.nn.Sigmoid,
    "gelu": torch.nn.GELU,
    "identity": torch.nn.Identity,
}


def network(layers: list[int], activation: str) -> Any:
    parts: list[Any] = []
    for into, out in itertools.pairwise(layers):
        parts += [torch.nn.Linear(into, out), ACTIVATIONS[activation]()]
    return torch.nn.Sequential(*parts[:-1])


def epochs(
    path: str, layers: list[int], batch: int, threads: int, epochs: int
) -> dict[str, list[float]]:
    """Seconds of each epoch of Adam over shuffled mini-batches, the rows in memory."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    table = pq.read_table(path, columns=["features", "label"]).combine_chunks()
    y = torch.from_numpy(table["label"].to_numpy().astype("int64"))
    values = table["features"].chunk(0).flatten().to_numpy()
    X = torch.from_numpy(values.copy()).reshape(len(y), -1)
    module = network(layers, "relu")
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    loss = torch.nn.CrossEntropyLoss()
    seconds = []
    for _ in range(epochs):
        begin = time.perf_counter()
        for rows in torch.randperm(len(y)).split(batch):
            optimizer.zero_grad()
            loss(module(X[rows]), y[rows]).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return {"seconds": seconds}


def summed(loss: str, raw: Any, y: Any) -> Any:
    """A loss by its textbook's formula, summed over the rows."""
    if loss == "multinomial":
        return torch.nn.functional.cross_entropy(raw, y.long(), reduction="sum")
    if loss == "squaredError":
        return 0.5 * torch.square(raw[:, 0] - y).sum()
    margins = (2.0 * y - 1.0) * raw[:, 0]
    if loss == "logistic":
        return torch.nn.functional.softplus(-margins).sum()
    short = torch.clamp(1.0 - margins, min=0.0)
    return {"hinge": short, "squaredHinge": torch.square(short)}[loss].sum()


def gradient(
    layers: list[int], activation: str, loss: str, coef: list[float], X: Any, y: Any
) -> dict[str, list[float]]:
    """The derivatives of a summed loss in the weights and biases, layer after layer."""
    module = network(layers, activation).double()
    numbers = torch.tensor(coef, dtype=torch.float64)
    torch.nn.utils.vector_to_parameters(numbers, module.parameters())
    raw = module(torch.tensor(X, dtype=torch.float64))
    summed(loss, raw, torch.tensor(y, dtype=torch.float64)).backward()
    slopes = torch.nn.utils.parameters_to_vector([each.grad for each in module.parameters()])
    return {"gradient": slopes.tolist()}


if __name__ == "__main__":
    answers: dict[str, Callable[..., Any]] = {"epochs": epochs, "gradient": gradient}
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(answers[question.pop("what")](**question)), flush=True)
