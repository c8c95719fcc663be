"""What a run was made from: the data folder and its layout, the settings, and whether a resumed run has the same ones.

Knows files and hashes; leaves their contents to data.py. Next: models/training/data.py
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models import sealed
from models.config import ModelConfigError
from models.training import rolling
from models.training.data import CHAT_SETS, PLAIN_SETS

FILES = (
    *(f"plain/{name}.jsonl.gz" for name in PLAIN_SETS),
    "plain/wikitext2_valid.txt.gz",
    *(f"text/{name}.jsonl.gz" for name in ("wiki300", "qmsum_meetings", "mts_dialog", "aci_bench")),
    *(f"chat/{name}.jsonl.gz" for name in CHAT_SETS),
)
"""All that training reads."""


def data_hashes(data: Path) -> dict[str, str]:
    """sha256 of every file that training reads. Raises ModelConfigError where the folder is another than wanted."""
    if not data.is_dir():
        raise ModelConfigError(
            f"--data {data}: {'is a file' if data.exists() else 'is not there'}; wanted a folder with plain/, text/, chat/"
        )
    missing = [f for f in FILES if not (data / f).is_file()]
    if missing:
        seen = ", ".join(sorted(p.name + "/" * p.is_dir() for p in data.iterdir())[:12]) or "nothing"
        raise ModelConfigError(
            f"--data {data}: holds {seen}; lacks {len(missing)} of {len(FILES)} files: {', '.join(missing[:6])}"
            f"{', ...' if len(missing) > 6 else ''}; name the folder that has plain/, text/ and chat/ in it"
        )
    return {f: hashlib.sha256((data / f).read_bytes()).hexdigest()[:16] for f in FILES}


def content_of(path: Path | None) -> str:
    """Name and hash of a file, or of a sealed folder's manifest; the path alone where there is none (`new`)."""
    if path is None:
        return ""
    file = path / sealed.MANIFEST if path.is_dir() else path
    return f"{path.name} {hashlib.sha256(file.read_bytes()).hexdigest()[:16]}" if file.is_file() else str(path)


def begin(run: Path, settings: Mapping[str, Any], resume: bool) -> None:
    """Start a run folder, or go on with one that has the same settings. Raises ModelConfigError where that cannot be."""
    path = run / "settings.json"
    if not resume:
        if rolling.holds_a_run(run):
            raise ModelConfigError(f"--run-folder {run} holds a run already; go on with it (--resume), or name another folder")
        run.mkdir(parents=True, exist_ok=True)
        sealed.write_file(path, sealed.as_json(settings))
        return
    try:
        before = dict(json.loads(path.read_bytes()))
    except OSError as problem:
        raise ModelConfigError(
            f"--resume: {path} is not there ({problem.strerror}); name the run's folder with --run-folder, or start without"
        ) from problem
    except (ValueError, TypeError) as problem:
        raise ModelConfigError(f"--resume: {path} is not readable ({problem}); restore it, or start anew") from problem
    now = json.loads(sealed.as_json(settings))
    changed = [f"{k} was {before.get(k)!r}, now {now.get(k)!r}" for k in sorted(before | now) if before.get(k) != now.get(k)]
    if changed:
        raise ModelConfigError(f"--resume: {run} was started with other settings: {'; '.join(changed)}; give the same ones, or start anew")
