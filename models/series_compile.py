"""How the detector's functions are compiled, and where the machine code is kept between starts.

Knows numba; leaves what is computed to the files that use `compiled`. The numbers are those of plain Python to the bit
(no fast-math): with NUMBA_DISABLE_JIT=1 the same functions run uncompiled, which is the oracle of tests/models/test_series.py.
Next: models/series_state.py
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba


def _code_folder() -> Path | None:
    """A folder for machine code of exactly these sources, or None where nothing can be written.

    numba looks at the file of the outermost function only: code of an older helper in another file would be run again.
    """
    here = Path(__file__).parent
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(here.glob("series*.py")):
        digest.update(source.read_bytes())
    name = f"series-{digest.hexdigest()[:16]}"
    for parent in _places(here):
        try:
            (parent / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(parent / name, os.W_OK):
            return parent / name
    return None


def _places(here: Path) -> Iterator[Path]:
    yield here / "__pycache__"
    try:
        yield Path.home() / ".cache" / "strata"
    except RuntimeError:  # a user without a home
        return


_FOLDER = _code_folder()
_CONFIG: Any = numba.config


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code, compiled at its first call and kept; division by zero gives inf, as in numpy."""
    if _FOLDER is None:
        return numba.njit(error_model="numpy")(function)
    before, _CONFIG.CACHE_DIR = _CONFIG.CACHE_DIR, str(_FOLDER)
    try:
        return numba.njit(cache=True, error_model="numpy")(function)
    finally:
        _CONFIG.CACHE_DIR = before
