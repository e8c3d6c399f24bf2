"""The features: one column that holds them all, or columns of numbers."""

from typing import Any

Features = str | tuple[str, ...]
"""The name of a column of vectors or arrays, or the names of columns of numbers."""


def features_of(params: Any) -> Features:
    """Where an estimator or a model finds its features."""
    columns = None
    if params.hasParam("featuresCols") and params.isDefined("featuresCols"):
        columns = params.getOrDefault("featuresCols")
    return tuple(columns) if columns else str(params.getOrDefault("featuresCol"))


def told(features: Features) -> str:
    """Features in an error.

    Examples
    --------
    >>> told("features"), told(("age", "height")), told(("a", "b", "c", "d"))
    ("'features'", "'age', 'height'", "'a', 'b' and 2 more")
    """
    if isinstance(features, str):
        return f"'{features}'"
    shown = features if len(features) <= 3 else features[:2]
    more = f" and {len(features) - len(shown):,} more" if len(features) > len(shown) else ""
    return ", ".join(f"'{name}'" for name in shown) + more
