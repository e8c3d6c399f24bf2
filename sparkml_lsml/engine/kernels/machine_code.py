"""How loops are compiled by Numba, and where their machine code is kept."""

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

# sums may be reordered, which is what lets them use vector instructions; NaN and infinity stay
REORDER = {"reassoc", "contract", "nsz", "arcp"}


# sums over the non-zeros of a row may not: operands gathered into a vector take twice as long
IN_ORDER = REORDER - {"reassoc"}


def compile_loop(function: Callable[..., Any], flags: set[str] = REORDER) -> Any:
    """Compile at the first call, and keep the machine code on disk where Numba can."""
    compiler = numba.njit(cache=True, nogil=True, fastmath=flags)
    try:
        return compiler(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        config: Any = numba.config
        before = config.CACHE_DIR
        config.CACHE_DIR = str(_private_folder())
        try:
            return compiler(function)
        except RuntimeError:  # older versions keep nothing of a package in a zip
            return numba.njit(nogil=True, fastmath=flags)(function)
        finally:
            config.CACHE_DIR = before


def _private_folder() -> Path:
    """A folder for machine code that nobody else can write: loading code from it runs it."""
    folder = Path(tempfile.gettempdir()) / f"sparkml_lsml-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix="sparkml_lsml-kernels-"))
