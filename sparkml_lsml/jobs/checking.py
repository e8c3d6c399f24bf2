"""Everything that can be told of a configuration before Spark starts."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from sparkml_lsml.jobs import pipeline, search, yamlfile
from sparkml_lsml.jobs.base import Section
from sparkml_lsml.jobs.config import LabelConfig, TrainConfig, TuneConfig
from sparkml_lsml.jobs.errors import ConfigError, Problem
from sparkml_lsml.jobs.loading import check, import_problems, keys_of, section_in
from sparkml_lsml.jobs.redaction import Redactor

C = TypeVar("C", bound=Section)


def check_all(kind: type[C], document: yamlfile.Document) -> C:
    """Check keys and values as `loading.check`, and also classes, Params and what is searched.

    Imports PySpark and the modules that the configuration names, and starts no JVM.

    Raises
    ------
    ConfigError
        With every problem found; a wrong key in one section hides none in the pipeline.
    """
    problems: list[Problem] = []
    config: C | None = None
    try:
        config = check(kind, document)
        part: Any = config
    except ConfigError as error:
        problems += error.problems
        part = _right_sections(kind, document.tree)
    if config is not None:
        problems += import_problems(config)
    if isinstance(part, TrainConfig):
        redact = Redactor(document.tree)
        found = pipeline.check_pipeline(part)
        if isinstance(part, TuneConfig) and hasattr(part, "search"):
            found += search.check_search(part)
        problems += [Problem(each.path, redact(each.message), each.line) for each in found]
    if problems or config is None:
        raise document.error(problems)
    return config


def _right_sections(kind: type[Section], tree: Any) -> Section | None:
    """Of a wrong configuration with a pipeline, that and the search as far as they are right."""
    if not issubclass(kind, TrainConfig):
        return None
    parts: dict[str, Any] = {"label": LabelConfig(), "weight": None}
    for name in ("pipeline", "search"):
        field = keys_of(kind).get(name)
        section = section_in(field.annotation) if field is not None else None
        if section is not None:
            try:
                parts[name] = section.model_validate(tree.get(name))
            except ValidationError:
                continue
    return kind.model_construct(**parts) if "pipeline" in parts else None
