"""Numbers that other libraries found, kept beside the script that finds them again."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@cache
def stored(name: str) -> dict[str, Any]:
    """The content of ``NAME.json``, which `tests.references.make` has written."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found
