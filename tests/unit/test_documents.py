"""What the pages of the documentation show besides Python: shell commands, YAML, links."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sparkml_lsml.jobs import EvaluateConfig, ScoreConfig, TrainConfig, TuneConfig, load_config
from tests.documents import ROOT, Block, blocks, pages

BLOCKS = [block for page in pages() for block in blocks(page)]
OURS = re.compile(r"(?<![\w/.~-])(?:\./)?((?:dev|jobs|conf|tests|notebooks|docs)/[\w./-]*\w)")
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")
COMMANDS = {"bash", "console", "sh"}


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def name(block: Block) -> str:
    return block.place


@pytest.mark.parametrize("block", of(*COMMANDS), ids=name)
def test_commands_are_well_formed_and_name_files_that_exist(block: Block) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "-n"], input=block.text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    missing = [path for path in OURS.findall(block.text) if not (ROOT / path).exists()]
    assert missing == []


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
    known = {"python", "text", "yaml", "docker", "mermaid", "properties", "", *COMMANDS}
    assert {block.language for block in BLOCKS} <= known
    assert len(of("python")) > 10
    assert len(of(*COMMANDS)) > 5
