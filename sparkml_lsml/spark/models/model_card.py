"""A linear model in a notebook."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkml_lsml.display import html
from sparkml_lsml.display.text import number
from sparkml_lsml.errors import ColumnError
from sparkml_lsml.spark.params.feature_columns import Features, features_of
from sparkml_lsml.spark.rows.frames import column_field

Array = npt.NDArray[np.float64]

MOST_COEFFICIENTS = 10


def model_card(model: Any) -> str:
    """HTML of a model: class, uid, intercepts, largest coefficients, and the summary.

    Features have names where the metadata of the column of the training rows gave some.
    """
    coefficients: Array = model._coefficients
    outputs, features = coefficients.shape
    summary = model.summary if model.hasSummary else None
    names: dict[int, str] = {}
    if summary is not None and summary.evaluation is not None:
        names = feature_names(summary.evaluation.dataset, features_of(model))
    facts = [("features", f"{features:,}"), *_facts(model)]
    parts = [html.facts(facts)]
    largest = np.argsort(-np.abs(coefficients).ravel(), kind="stable")[:MOST_COEFFICIENTS]
    rows = []
    for position in largest:
        output, feature = divmod(int(position), features)
        cells = [names.get(feature, str(feature))] + [str(output)] * (outputs > 1)
        rows.append((cells, float(coefficients[output, feature])))
    if rows:
        shown = f"{len(rows)} largest of {coefficients.size:,} coefficients"
        parts.append(html.heading("Coefficients" if len(rows) == coefficients.size else shown))
        header = ["feature"] + ["class"] * (outputs > 1) + ["coefficient"]
        parts.append(html.bars(header, rows))
    if summary is not None:
        parts.append(html.details("Training", *summary._html_parts()))
    return html.card(type(model).__name__, model.uid, *parts)


def _facts(model: Any) -> list[tuple[str, str]]:
    found = []
    if hasattr(model, "numClasses"):
        found.append(("classes", f"{model.numClasses:,}"))
    values = model._intercepts
    if len(values) > 1:
        shown = ", ".join(number(float(value)) for value in values[:MOST_COEFFICIENTS])
        found.append(("intercepts", shown + ", …" * (len(values) > MOST_COEFFICIENTS)))
    else:
        found.append(("intercept", number(float(values[0]))))
    return found


def feature_names(dataset: DataFrame, features: Features) -> dict[int, str]:
    """Names of features by their number: of columns, or as a `VectorAssembler` has noted them."""
    if not isinstance(features, str):
        return dict(enumerate(features))
    try:
        metadata = column_field(dataset, features, "featuresCol").metadata or {}
    except ColumnError:  # the Param was set anew after the fit
        metadata = {}
    attributes = metadata.get("ml_attr", {}).get("attrs", {})
    found: dict[int, str] = {}
    for kind in attributes.values():
        for each in kind:
            if isinstance(each, dict) and "idx" in each and "name" in each:
                found[int(each["idx"])] = str(each["name"])
    return found
