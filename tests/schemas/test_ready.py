"""The ready file names its process, and nobody ever sees half of it."""

import json
import os
from pathlib import Path

import pytest

from deploy.local.probe import ready_file_speaks_for
from schemas import ready


def test_the_file_names_the_process_that_works_and_goes_with_it(tmp_path: Path) -> None:
    file = tmp_path / "run" / "ready"
    ready.tell(file, "http://127.0.0.1:8123")
    assert json.loads(file.read_text()) == {"pid": os.getpid(), "address": "http://127.0.0.1:8123"}
    assert ready_file_speaks_for(file, os.getpid())
    ready.forget(file)
    ready.forget(file)
    assert list(file.parent.iterdir()) == []


def test_a_process_without_a_file_tells_nobody() -> None:
    ready.tell(None)
    ready.forget(None)


def test_the_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full while it is written: whoever looks sees none, or the one before."""
    file = tmp_path / "ready"

    def half(path: Path, text: str, **_: object) -> None:
        path.write_bytes(text.encode()[: len(text) // 2])
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "write_text", half)
        with pytest.raises(OSError, match="no space"):
            ready.tell(file)
    assert not file.exists()
