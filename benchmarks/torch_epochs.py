"""What runs where torch is installed, and nothing of ours: epochs of a network, see `elsewhere`."""

from __future__ import annotations

import itertools
import json
import sys
import time

import pyarrow.parquet as pq
import torch  # type: ignore[import-not-found]


def run(path: str, layers: list[int], batch: int, threads: int, epochs: int) -> dict[str, object]:
    """Seconds of each epoch of Adam over shuffled mini-batches, the rows in memory."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    table = pq.read_table(path, columns=["features", "label"]).combine_chunks()
    y = torch.from_numpy(table["label"].to_numpy().astype("int64"))
    values = table["features"].chunk(0).flatten().to_numpy()
    X = torch.from_numpy(values.copy()).reshape(len(y), -1)
    parts: list[torch.nn.Module] = []
    for into, out in itertools.pairwise(layers):
        parts += [torch.nn.Linear(into, out), torch.nn.ReLU()]
    module = torch.nn.Sequential(*parts[:-1])
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


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)
