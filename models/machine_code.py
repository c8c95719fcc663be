"""How functions are compiled to machine code, and where it is kept between starts.

Knows numba; leaves what is computed to the files that use a `compiler`. No fast-math: sums keep their order. With NUMBA_DISABLE_JIT=1
those of models/series*.py run uncompiled and give the same bits, which is the oracle of tests/models/test_series.py.
Next: models/vectors.py, models/series_state.py
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba

_CONFIG: Any = numba.config
Function = Callable[..., Any]


def compiler(prefix: str, nogil: bool = False) -> Callable[[Function], Function]:
    """A decorator for the files of this folder whose names begin with `prefix`.

    A function becomes machine code at its first call, which is kept; division by zero gives inf, as in numpy.
    nogil: other threads of Python run meanwhile, so its arguments must be the caller's own.
    """
    folder = _code_folder(prefix)

    def compiled(function: Function) -> Function:
        if folder is None:
            return numba.njit(error_model="numpy", nogil=nogil)(function)
        before, _CONFIG.CACHE_DIR = _CONFIG.CACHE_DIR, str(folder)
        try:
            return numba.njit(cache=True, error_model="numpy", nogil=nogil)(function)
        finally:
            _CONFIG.CACHE_DIR = before

    return compiled


def _code_folder(prefix: str) -> Path | None:
    """A folder for machine code of exactly these sources, or None where nothing can be written.

    numba looks at the file of the outermost function only: code of an older helper in another file would be run again. vectors.py may be such a helper's.
    """
    here = Path(__file__).parent
    digest = hashlib.sha256(numba.__version__.encode())
    for source in (Path(__file__), here / "vectors.py", *sorted(here.glob(f"{prefix}*.py"))):
        digest.update(source.read_bytes())
    name = f"{prefix}-{digest.hexdigest()[:16]}"
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
