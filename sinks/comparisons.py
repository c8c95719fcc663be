"""Comparisons of two versions, kept: a file each under the data folder, written at the end of `strata replay` and shown by the console.

Knows the file: a line about it, by which many are listed quickly, and a line with all of it, both JSON. Leaves pairs to compare_pairs.py and looks
to the console. A file may be copied to the data folder of another machine's console.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from sinks.compare_pairs import Changed, Difference

FOLDER = "comparisons"
MOST_CHANGED, MOST_TEXT = 5000, 400
NAME = re.compile(r"^[\w+-][\w.+-]{0,199}$")
Texts = Mapping[tuple[str, str, int], str]
"""Modality, session, position -> the item's text."""
Comparison = dict[str, Any]


def made(
    versions: tuple[str, str],
    folders: tuple[str, str],
    found: Sequence[Difference],
    changes: Sequence[Changed],
    texts: Texts,
    now: datetime,
) -> Comparison:
    """All of a comparison as JSON has it; of the examples that changed the first MOST_CHANGED."""
    return _plain(
        {
            "made_at": now.isoformat(timespec="seconds"),
            "a": versions[0],
            "b": versions[1],
            "model_a": folders[0],
            "model_b": folders[1],
            "sessions": max((d.sessions for d in found), default=0),
            "n_changed": len(changes),
            "differences": [asdict(d) for d in found],
            "changed": [_example(c, texts) for c in changes[:MOST_CHANGED]],
        }
    )


def _example(c: Changed, texts: Texts) -> Comparison:
    modality, session_id, task, level, item = c.key
    first = max(item, 0)
    between = "" if modality == "tokens" else " "  # pieces of a text bring their own white space
    text = between.join(texts.get((modality, session_id, i), "") for i in range(first, first + c.items))
    about = {"modality": modality, "session_id": session_id, "task": task, "level": level, "item": item, "items": c.items}
    return {
        **about,
        "a": asdict(c.a),
        "b": asdict(c.b),
        "truth": c.truth,
        "verdict": _verdict(c),
        "text": text.strip()[:MOST_TEXT] if item >= 0 else "",
    }


def _verdict(c: Changed) -> str:
    """Who was right, where it is known: won (B is), lost (A was), both wrong, unknown."""
    if c.truth is None:
        return "unknown"
    return "won" if c.b.label == c.truth else "lost" if c.a.label == c.truth else "wrong"


def _plain(value: Any) -> Any:
    """Without what JSON does not have: a number that is none is empty."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def keep(data_dir: Path, comparison: Comparison) -> Path:
    """Write it, whole or not at all; where it lies."""
    folder = data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    at = datetime.fromisoformat(comparison["made_at"])
    words = "-vs-".join(re.sub(r"[^\w.+-]+", "-", comparison[side]).strip(".-")[:60] or side for side in ("a", "b"))
    path = folder / f"{at:%Y%m%d-%H%M%S}-{words}.json"
    about = {name: value for name, value in comparison.items() if name not in ("differences", "changed")}
    written = path.with_suffix(".new")
    written.write_text(json.dumps(about) + "\n" + json.dumps(comparison, ensure_ascii=False) + "\n", encoding="utf-8")
    written.replace(path)
    return path


def listed(data_dir: Path, most: int = 100) -> list[Comparison]:
    """What there is, the newest first: each file's first line and its `name`. A file that is none of ours is left out."""
    found = []
    for path in sorted((data_dir / FOLDER).glob("*.json"), reverse=True)[:most]:
        try:
            with path.open(encoding="utf-8") as lines:
                found.append({**json.loads(lines.readline()), "name": path.stem})
        except (OSError, ValueError, TypeError):
            continue
    return found


def read(data_dir: Path, name: str) -> Comparison | None:
    """One of them by its name; None when there is none."""
    if not NAME.match(name):
        return None
    try:
        _, whole = (data_dir / FOLDER / f"{name}.json").read_text(encoding="utf-8").splitlines()
        return {**json.loads(whole), "name": name}
    except (OSError, ValueError, TypeError):
        return None
