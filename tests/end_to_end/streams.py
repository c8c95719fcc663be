"""Real text as live sessions: the sample transcripts and notes of deploy/samples, cut into words.

Knows samples and records; leaves sending to system.py.
"""

import json
from datetime import UTC, datetime, timedelta
from functools import cache

from deploy.pieces import cut_text
from deploy.replay import SAMPLES
from tests.end_to_end.system import Sent

BEGIN = datetime(2026, 1, 5, 9, tzinfo=UTC)


@cache
def sample_texts() -> tuple[str, ...]:
    lines = (SAMPLES / "tokens.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line)["text"] for line in lines)


def documents(n_sessions: int, n_pieces: int) -> dict[str, list[str]]:
    """Session id -> its pieces; each session begins elsewhere in the texts, all together have exactly n_pieces."""
    words = [piece for text in sample_texts() for piece in cut_text(text)]
    made, left = {}, n_pieces
    for n in range(n_sessions):
        size = left // (n_sessions - n)
        start = (n * 257) % len(words)
        made[f"session-{n:02}"] = [words[(start + i) % len(words)] for i in range(size)]
        left -= size
    return made


def interleaved(sessions: dict[str, list[str]], step_ms: int = 250) -> list[Sent]:
    """One record per piece, sessions taking turns; event time goes on by step_ms a piece."""
    records, longest = [], max(map(len, sessions.values()))
    for n in range(longest):
        moment = (BEGIN + timedelta(milliseconds=n * step_ms)).isoformat()
        for session_id, pieces in sessions.items():
            if n < len(pieces):
                record = {"session_id": session_id, "text": pieces[n], "timestamp": moment, "end_of_session": n + 1 == len(pieces)}
                records.append(Sent("tokens", json.dumps(record).encode(), session_id.encode()))
    return records
