"""A sealed folder: files and a manifest of their hashes, written atomically, read with suspicion.

Knows files and hashes; leaves what is in them to models/checkpoint.py (what is shipped) and models/training (what a run keeps).
Next: models/checkpoint.py
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from models.config import ModelConfigError

MANIFEST = "manifest.json"


class CheckpointError(ModelConfigError):
    """A checkpoint that is missing, cut short or changed; nothing of it is used."""

    retriable = False


def write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write all files beside the folder, then move it into place: a reader sees the old folder or the new one (between two renames
    none), never a half."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        fresh = Path(temporary) / folder.name
        fresh.mkdir()
        for name, content in contents.items():
            _write(fresh / name, content)
        _write(fresh / MANIFEST, as_json({name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}))
        _sync(fresh)
        if folder.exists():
            os.rename(folder, Path(temporary) / "replaced")
        try:
            os.rename(fresh, folder)
        except OSError:
            if (Path(temporary) / "replaced").exists():
                os.rename(Path(temporary) / "replaced", folder)
            raise
        _sync(folder.parent)
        shutil.rmtree(Path(temporary) / "replaced", ignore_errors=True)


def read(folder: Path, names: Iterable[str]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files and the manifest. Raises CheckpointError naming the file and what is wrong with it."""
    names = tuple(names)
    wanted = ", ".join((*names, MANIFEST))
    try:
        manifest = dict(json.loads(_read(folder / MANIFEST, wanted)))
    except (ValueError, TypeError) as problem:
        raise CheckpointError(
            f"checkpoint file {folder / MANIFEST} is not a list of hashes ({problem}): cut short or changed; restore the folder"
        ) from problem
    contents = {}
    for name in names:
        content = _read(folder / name, wanted)
        said, seen = manifest.get(name), hashlib.sha256(content).hexdigest()
        if seen != said:
            raise CheckpointError(
                f"checkpoint file {folder / name} has sha256 {seen[:12]}..., its manifest says {str(said)[:12]}...: cut short or changed; restore the folder"
            )
        contents[name] = content
    return contents, manifest


def as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def write_file(path: Path, content: bytes) -> None:
    """One file, atomically."""
    beside = path.with_name(f".{path.name}.new")
    _write(beside, content)
    os.replace(beside, path)
    _sync(path.parent)


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make names and renames in a folder outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path, wanted: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise CheckpointError(f"checkpoint {path.parent} lacks {path.name} ({problem.strerror}); wanted {wanted}") from problem
