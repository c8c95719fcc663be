"""The ready file: how a process tells the supervisor, Compose and the tests that it works.

Knows the file; leaves when to write it to each process. Read by deploy/local/probe.py.
"""

import json
import os
from pathlib import Path


def tell(file: Path | None, address: str = "") -> None:
    """Write what is waited for, whole or not at all. address: where the process answers, where it does."""
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        written = file.with_name(file.name + ".new")
        written.write_text(json.dumps({"pid": os.getpid(), "address": address}), encoding="utf-8")
        written.replace(file)


def forget(file: Path | None) -> None:
    """Say no more that the process works."""
    if file:
        file.unlink(missing_ok=True)
