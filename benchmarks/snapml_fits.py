"""What runs where Snap ML is installed, and nothing of ours: fits, see `elsewhere`."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import snapml  # type: ignore[import-not-found]


def fit(path: str, name: str, reg_param: float, threads: int) -> dict[str, object]:
    """Read, scale as the others do, and fit."""
    begin = time.perf_counter()
    table = pq.read_table(path, columns=["features", "label"])
    chunks = [pc.struct_field(chunk, "values") for chunk in table["features"].chunks]
    y = table["label"].to_numpy()
    X = np.concatenate([chunk.flatten().to_numpy() for chunk in chunks]).reshape(len(y), -1)
    read = time.perf_counter()
    mean, scale = X.mean(axis=0), X.std(axis=0, ddof=1)
    X = ((X - mean) / scale).astype(np.float32)
    scaled = time.perf_counter()
    settings = {"regularizer": reg_param * len(y), "n_jobs": threads, "fit_intercept": True}
    if name == "LinearSVC":
        model = snapml.SupportVectorMachine(loss="hinge", **settings)
    else:
        model = snapml.LogisticRegression(**settings)
    model.fit(X, y)
    ended = time.perf_counter()
    coefficients = np.ravel(model.coef_) / scale
    intercept = float(np.ravel(model.intercept_)[0]) - float(mean @ coefficients)
    return {
        "coefficients": coefficients.tolist(),
        "intercept": intercept,
        "seconds": {"read": read - begin, "scale": scaled - read, "fit": ended - scaled},
    }


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(fit(**json.loads(line))), flush=True)
