"""A saved model as text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sparkml_lsml.cli.saved import OURS, Part

SHOWN_PARTS, SHOWN_OUTPUTS, SHOWN_CANDIDATES = 20, 6, 20
_LONGEST = 120


def to_dict(parts: Sequence[Part]) -> dict[str, Any]:
    """All parts as plain values, for ``--json``."""
    return {
        "parts": [
            {
                "place": part.place,
                "class": part.name,
                "uid": part.metadata.get("uid"),
                "spark_version": part.metadata.get("sparkVersion"),
                "format_version": part.metadata.get("formatVersion"),
                "params": part.params,
                "facts": part.metadata.get("facts", {}),
                "arrays": part.arrays,
                "tables": part.tables,
                "nbytes": part.nbytes,
                "verified": "checksum" in part.metadata,
                "weights": None if part.weights is None else dataclasses.asdict(part.weights),
            }
            for part in parts
        ]
    }


def render(parts: Sequence[Part], console: Console) -> None:
    """Print each part: what it is, how it was set, and its largest coefficients."""
    for number, part in enumerate(parts[:SHOWN_PARTS]):
        if number:
            console.print()
        depth = part.place.count("/") + bool(part.place)
        console.print(Padding(_heading(part), (0, 0, 0, 2 * min(depth, 3))))
        for block in (_facts(part), _candidates(part), _weights(part, feature_names(parts, part))):
            if block is not None:
                console.print(Padding(block, (0, 0, 0, 2 * min(depth, 3) + 2)))
    if len(parts) > SHOWN_PARTS:
        console.print(f"\n{len(parts) - SHOWN_PARTS:,} more parts: --json shows all")


def feature_names(parts: Sequence[Part], model: Part) -> list[str]:
    """Names of a model's features, where the stage before it put plain columns together."""
    stages = model.place.rpartition("/")[0]
    if model.weights is None:
        return []
    columns = model.value("featuresCols")
    if isinstance(columns, list) and len(columns) == model.weights.features:
        return [str(name) for name in columns]
    for part in parts:
        if part.place.rpartition("/")[0] == stages and part.name.endswith(".VectorAssembler"):
            names = part.value("inputCols")
            same = part.value("outputCol") == model.value("featuresCol")
            # of columns with vectors there would be more features than names
            if same and isinstance(names, list) and len(names) == model.weights.features:
                return [str(name) for name in names]
    return []


def _heading(part: Part) -> Text:
    name = part.name.rpartition(".")[2]
    return Text.assemble((name, "bold"), (f"  {part.place}" if part.place else "", "dim"))


def _facts(part: Part) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    metadata = part.metadata

    def add(name: str, *value: str | tuple[str, str]) -> None:
        table.add_row(Text(name), Text.assemble(*value))

    add("class", part.name)
    add("uid", str(metadata.get("uid")))
    add("saved", _saved(metadata))
    if part.params:
        add("Params", ", ".join(f"{key}={_short(value)}" for key, value in part.params.items()))
    elif isinstance(metadata.get("paramMap"), dict) and part.name.startswith(OURS):
        add("Params", "all at their defaults")
    weights = part.weights
    if weights is not None:
        classes = metadata["facts"].get("numClasses")
        what = [f"{weights.features:,} features"]
        what += [f"{classes} classes"] if classes is not None else []
        total = weights.features * weights.outputs
        add("size", f"{', '.join(what)}; {weights.nonzero:,} of {total:,} coefficients are not 0")
    facts = metadata.get("facts")
    for key, value in (facts if isinstance(facts, dict) else {}).items():
        if key != "numClasses" and value is not None:
            add(key, _short(value))
    if part.arrays:
        shapes = ", ".join(f"{name} {'x'.join(map(str, s))}" for name, s in part.arrays.items())
        add("arrays", f"{shapes}, {part.nbytes:,} bytes")
    for name, found in part.tables.items():
        columns = ", ".join(f"{column} {kind}" for column, kind in found["schema"])
        add("table", f"{name}: {found['rows']:,} rows of {columns}; compared when it is loaded")
    if "checksum" in metadata:
        what_of = "metadata and arrays" if part.arrays else "metadata"
        add("SHA-256", f"of {what_of}: ", ("verified", "green"))
    return table


def _saved(metadata: dict[str, Any]) -> str:
    told = [f"Spark {metadata.get('sparkVersion')}"]
    if "formatVersion" in metadata:
        told.append(f"format {metadata['formatVersion']}")
    stamp = metadata.get("timestamp")
    if isinstance(stamp, int) and 0 <= stamp < 10**14:
        when = datetime.fromtimestamp(stamp / 1000, UTC)
        told.insert(0, when.strftime("%Y-%m-%d %H:%M UTC"))
    return ", ".join(told)


def _candidates(part: Part) -> Table | None:
    """What a search tried, and how well each did."""
    maps = part.value("estimatorParamMaps")
    means = part.metadata.get("avgMetrics", part.metadata.get("validationMetrics"))
    if not (isinstance(maps, list) and isinstance(means, list) and len(maps) == len(means)):
        return None
    spreads = part.metadata.get("stdMetrics") or [None] * len(means)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("candidate")
    table.add_column("metric", justify="right")
    table.add_column("spread", justify="right")
    for tried, mean, spread in list(zip(maps, means, spreads, strict=False))[:SHOWN_CANDIDATES]:
        named = (f"{each.get('name')}={each.get('value')}" for each in tried)
        numbers = ("" if x is None else f"{x:.6g}" for x in (mean, spread))
        table.add_row(Text(", ".join(named)), *numbers)
    return table


def _weights(part: Part, names: list[str]) -> Table | None:
    weights = part.weights
    if weights is None:
        return None
    outputs = min(weights.outputs, SHOWN_OUTPUTS)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("largest coefficients")
    for number in range(outputs):
        table.add_column("" if weights.outputs == 1 else f"class {number}", justify="right")
    if weights.outputs > outputs:
        table.add_column(f"{weights.outputs - outputs} more classes")
    table.add_row("intercept", *(f"{x:.6g}" for x in weights.intercepts[:outputs]), style="dim")
    for position, feature in enumerate(weights.largest):
        name = names[feature] if names else f"feature {feature}"
        row = (f"{weights.coefficients[k][position]:.6g}" for k in range(outputs))
        table.add_row(Text(name), *row)
    return table


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"
