"""The ready file: how a process tells the supervisor, Compose and the tests that it works.

Knows the file; leaves when to write it to each process.
"""

import json
import logging
import os
from pathlib import Path

log = logging.getLogger("sinks")


def tell(file: Path | None, address: str) -> None:
    """What is waited for; written whole or not at all."""
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        written = file.with_name(file.name + ".new")
        written.write_text(json.dumps({"pid": os.getpid(), "address": address}), encoding="utf-8")
        written.replace(file)
    log.info("ready")


def forget(file: Path | None) -> None:
    if file:
        file.unlink(missing_ok=True)
