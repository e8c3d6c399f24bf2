"""What Python workers keep between tasks."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc
from sparkml_lsml.worker import keeping
keeping.settle()
frozen = gc.get_freeze_count()
assert frozen > 10_000 and len(gc.get_objects()) < 1_000, (frozen, len(gc.get_objects()))
kept = [[] for _ in range(5_000)]
keeping.settle()
assert gc.get_freeze_count() <= frozen  # nothing was imported: what a task made stays collectable
import wave
keeping.settle()
assert gc.get_freeze_count() >= frozen + 5_000
"""


def test_what_is_imported_is_collected_once() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=120)
