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


def check_all(kind: type[C], document: yamlfile.Document, *, imports: bool = True) -> C:
    """Check keys and values as `loading.check`, and also classes, Params and what is searched.

    Imports PySpark, and starts no JVM.

    Parameters
    ----------
    kind
        What the document should be.
    document
        A file that was read.
    imports
        Whether to import the modules that the configuration names, which runs their code. Without
        them any text may be the name of a loss, where there are some.

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
    imported = imports and config is not None
    if imported:
        problems += import_problems(config)
    if isinstance(part, TrainConfig):
        redact = Redactor(document.tree)
        found = pipeline.check_pipeline(part)
        if isinstance(part, TuneConfig) and hasattr(part, "search"):
            found += search.check_search(part)
        if not imported and document.tree.get("imports"):
            found = [each for each in found if not _may_be_registered(each, part, document.tree)]
        problems += [Problem(each.path, redact(each.message), each.line) for each in found]
    if problems or config is None:
        raise document.error(problems)
    return config


def _may_be_registered(problem: Problem, config: TrainConfig, tree: Any) -> bool:
    """Whether a problem is the name of a loss, which a module that is not imported may register."""
    kind = pipeline.estimators().get(config.pipeline.estimator.class_name)
    if "loss" not in problem.path or not hasattr(kind, "loss"):
        return False
    for key in problem.path:
        tree = tree[key]
    return isinstance(tree, str)


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
