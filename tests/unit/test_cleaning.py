"""What is removed at the end of a fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparkml_lsml.engine.blocks.disks import fit_folder
from sparkml_lsml.worker.cleaning import remover


def test_folders_of_executors_that_are_gone_are_removed_with_the_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As YARN has them: an external shuffle service keeps the folders of dead executors."""
    disks = [tmp_path / disk / "appcache/application_1" for disk in ("disk0", "disk1")]
    other_application = tmp_path / "disk0/appcache/application_2/blockmgr-c"
    made = []
    for root in [disk / f"blockmgr-{name}" for disk in disks for name in "ab"] + [
        other_application,
        disks[0] / "kept-by-others",
    ]:
        for fit in ("over", "alive"):
            block = fit_folder(root, fit) / "block"
            block.mkdir(parents=True)
            (block / "data").write_bytes(b"rows")
            made.append(block)
    own = ",".join(str(disk / "blockmgr-a") for disk in disks)
    monkeypatch.setenv("SPARK_LOCAL_DIRS", own)
    assert list(remover("over", 0.0)(iter(range(3)))) == [own]
    gone = {block for block in made if not block.exists()}
    expected = {
        fit_folder(disk / f"blockmgr-{name}", "over") / "block" for disk in disks for name in "ab"
    }
    assert gone == expected
    assert not any(block.parent.exists() for block in gone)


def test_folders_that_are_gone_already_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for roots in ("", str(tmp_path / "absent" / "blockmgr-a")):
        monkeypatch.setenv("SPARK_LOCAL_DIRS", roots)
        assert list(remover("over", 0.0)(iter(()))) == [roots]
