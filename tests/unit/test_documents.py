"""What the pages of the documentation show besides Python: shell commands, YAML, links."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparkml_lsml.jobs import EvaluateConfig, ScoreConfig, TrainConfig, TuneConfig, load_config
from tests.documents import ROOT, Block, blocks, pages

BLOCKS = [block for page in pages() for block in blocks(page)]
OURS = re.compile(r"(?<![\w/.~-])(?:\./)?((?:dev|jobs|conf|tests|notebooks|docs)/[\w./-]*\w)")
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")
COMMANDS = {"bash", "console", "sh"}
PARAMS = ROOT / "docs" / "guide" / "params.md"
PARAM = re.compile(r"^\| `(\w+)` \| (?:`([^`]+)`|not set) \|", re.MULTILINE)


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def name(block: Block) -> str:
    return block.place


def test_no_fence_is_astray() -> None:
    """One too many makes text of the code behind it, which then nobody runs."""
    assert [block.place for block in BLOCKS if re.search("^ *```", block.text, re.M)] == []


@pytest.mark.parametrize("block", of(*COMMANDS), ids=name)
def test_commands_are_well_formed_and_name_files_that_exist(block: Block) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "-n"], input=block.text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    missing = [path for path in OURS.findall(block.text) if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("block", of("json"), ids=name)
def test_json_is_well_formed(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", of("yaml"), ids=name)
def test_yaml_is_what_it_is_for(block: Block, tmp_path: Path) -> None:
    content = yaml.safe_load(block.text)
    if "input" not in content:
        return  # not a job file
    path = tmp_path / "job.yaml"
    path.write_text(block.text)
    if "search" in content:
        load_config(TuneConfig, str(path))
    elif "pipeline" in content:
        load_config(TrainConfig, str(path))
    elif "task" in content:
        load_config(EvaluateConfig, str(path))
    else:
        load_config(ScoreConfig, str(path))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = LINK.findall(re.sub(r"`[^`]*`", "", text))
    # pages that Sphinx makes are checked when it runs
    made = ("api/generated", "notebooks/")
    missing = [
        target
        for target in targets
        if not any(part in target for part in made)
        and not any((page.parent / f"{target}{end}").exists() for end in ("", ".md", ".rst"))
    ]
    assert missing == []


def test_every_language_is_known() -> None:
    """A block whose language nobody checks would be one that nobody runs."""
    known = {"python", "text", "yaml", "json", "docker", "mermaid", "properties", "", *COMMANDS}
    assert {block.language for block in BLOCKS} <= known
    assert len(of("python")) > 10
    assert len(of(*COMMANDS)) > 5


def test_params_that_mllib_lacks_are_listed_with_their_defaults() -> None:
    pytest.importorskip("pyspark")
    from pyspark.ml import classification as mllib
    from pyspark.ml.regression import _LinearRegressionParams

    from sparkml_lsml.classification import LinearSVC, LogisticRegression
    from sparkml_lsml.neural import MLPClassifier
    from sparkml_lsml.regression import LinearRegression

    classes: list[tuple[Any, Any]] = [
        (LinearSVC(), mllib._LinearSVCParams()),
        (LogisticRegression(), mllib._LogisticRegressionParams()),
        (LinearRegression(), _LinearRegressionParams()),
    ]
    expected = {"solver": '"auto"'}  # MLlib's LinearRegression has it, with fewer values
    for ours, theirs in classes:
        known = {param.name for param in theirs.params}
        for param in ours.params:
            if param.name not in known:
                value = ours.getOrDefault(param) if ours.isDefined(param) else None
                shown = json.dumps(value) if isinstance(value, str) else repr(value)
                expected[param.name] = "" if value is None else shown
    linear, _, networks = PARAMS.read_text().partition("\n## Networks\n")
    listed = PARAM.findall(linear)
    assert len(listed) == len(dict(listed))
    assert dict(listed) == expected
    network, listed = MLPClassifier(), PARAM.findall(networks)
    known = {param.name for param in mllib._MultilayerPerceptronParams().params}
    own = {param.name for param in network.params} - known - set(expected)
    shared = {"aggregationDepth", "regParam", "standardization", "weightCol"}  # of MLlib's own
    assert {name for name, _ in listed} >= own - shared
    for name, default in listed:
        value = network.value(name)
        shown = json.dumps(value) if isinstance(value, str) else repr(value)
        assert default == ("" if value is None else shown), name
