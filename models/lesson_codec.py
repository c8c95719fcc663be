"""Lessons as bytes: each text once, however many lessons have it. For the topic they travel on and for what a learner keeps.

Knows msgpack; leaves what a lesson means to models/learnable.py. decode(encode(x)) == x.
Next: models/replay_buffer.py
"""

from collections.abc import Sequence

import msgspec

from models.learnable import Lesson

MAX_CHARS = 1024
"""Of a text: as many as a template has."""


class _Row(msgspec.Struct, array_like=True, frozen=True):
    """A lesson with its texts as numbers."""

    text: int
    before: tuple[int, ...]
    severity: int
    gap_s: float
    surprise: float
    ends_session: bool
    whole: tuple[tuple[int, int], ...]
    worst_line: float
    is_replay: bool
    is_held: bool = False
    rate: float = 0.0
    system: int = 0


class _Rows(msgspec.Struct, array_like=True, frozen=True):
    texts: list[str]
    rows: list[_Row]


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(_Rows).decode


def encode(lessons: Sequence[Lesson]) -> bytes:
    """All of them, in order; a text longer than MAX_CHARS is cut."""
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        return texts.setdefault(text[:MAX_CHARS], len(texts))

    rows = [
        _Row(
            number(x.text), tuple([number(t) for t in x.before]), x.severity, x.gap_s, x.surprise, x.ends_session,
            tuple([(number(t), n) for t, n in x.whole]), x.worst_line, x.is_replay, x.is_held, x.rate, x.system,
        )
        for x in lessons
    ]  # fmt: skip
    return _encode(_Rows(list(texts), rows))


def decode(data: bytes) -> list[Lesson]:
    """Raises msgspec.MsgspecError or IndexError on bytes that `encode` did not write."""
    found = _decode(data)
    texts = found.texts
    return [
        Lesson(
            texts[r.text], tuple([texts[t] for t in r.before]), r.severity, r.gap_s, r.surprise, r.ends_session,
            tuple([(texts[t], n) for t, n in r.whole]), r.worst_line, r.is_replay, r.is_held, rate=r.rate, system=r.system,
        )
        for r in found.rows
    ]  # fmt: skip
