"""Every Python block of the README and of the documentation, run as it stands."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.documents import ROOT, Block, blocks, pages, run
from tests.spark.helpers import mlflow_store

FRAMES = ROOT / "docs" / "guide" / "index.md"


def python_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


OF_TORCH = {ROOT / "docs" / "guide" / "torch.md"}

PAGES = [page for page in pages() if python_blocks(page) and page != FRAMES]


@pytest.fixture(autouse=True)
def as_before(spark: SparkSession) -> Iterator[None]:
    """A page may turn logging and display to its liking; the next one finds them as they were."""
    log = logging.getLogger("sparkml_lsml")
    level, handlers = log.level, list(log.handlers)
    yield
    log.setLevel(level)
    log.handlers[:] = handlers
    spark.conf.unset("spark.sparkml_lsml.progress")


@pytest.fixture(scope="module")
def frames(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What the first page of the guide defines, its frames in memory."""
    names: dict[str, Any] = {"__name__": "__main__", "spark": spark}
    for block in python_blocks(FRAMES):
        run(block, names, tmp_path_factory.mktemp("guide"))
    yield names
    spark.catalog.clearCache()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(
    page: Path, frames: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page in OF_TORCH:
        pytest.importorskip("torch", reason="torch is not installed: ./dev/test --torch")
    # what a page writes with relative or temporary paths stays in the folder of the test
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = dict(frames)
    with mlflow_store(tmp_path, monkeypatch):
        for block in python_blocks(page):
            run(block, names, tmp_path)


def test_a_wrong_output_fails(tmp_path: Path) -> None:
    """Guards the runner: neither another output nor another error is passed over."""
    page = ROOT / "README.md"
    run(Block(page, 1, "python", "print(1.25)\n", "1.2...\n"), {}, tmp_path)
    run(Block(page, 1, "python", "int('a')\n", "ValueError: invalid ...\n"), {}, tmp_path)
    run(Block(page, 1, "python", "print('1,024 x', 1e-7)\n", "9 x 0.5\n", about=True), {}, tmp_path)
    for text, output in [("print(1)\n", "2\n"), ("int('a')\n", "KeyError: 1\n"), ("1/0\n", None)]:
        with pytest.raises(AssertionError, match=r"README\.md:1"):
            run(Block(page, 1, "python", text, output), {}, tmp_path)
