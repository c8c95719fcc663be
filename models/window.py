"""The token window of a session: it grows to max_tokens, then is cut to the overlap and prefilled anew behind the sinks.

Knows ids, sentence starts and where a cut falls; leaves caches to kv_cache.py. A pure function of the session's tokens and times.
Next: models/transformer.py
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from models.config import BufferSettings


@dataclass(slots=True)
class Stretch:
    """Tokens of a session that go through the trunk in one run."""

    prefix: "array[int] | None"
    """Window to prefill first, after a cut; None to go on behind what the cache holds."""
    ids: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Window:
    """Ids in the window, sinks first, and the sentences that begin in it."""

    settings: BufferSettings
    n_sinks: int
    ids: "array[int]"
    """uint16"""
    starts: list[int]
    """Places in `ids` where a sentence begins, ascending."""
    since_us: int = -1
    """Event time of the first token after the last cut; -1 before there is one."""
    stretches: list[Stretch] = field(default_factory=list)
    """What was appended since this object was made, in runs."""

    def __post_init__(self) -> None:
        self.stretches.append(Stretch(None))

    def append(self, ids: Sequence[int]) -> list[int]:
        """Take tokens in, one by one; a full window is cut before the next token. Returns the places in `ids` where it was cut."""
        cuts = []
        for place, token_id in enumerate(ids):
            if len(self.ids) >= self.settings.max_tokens:
                self._cut()
                cuts.append(place)
            self.ids.append(token_id)
            self.stretches[-1].ids.append(token_id)
        return cuts

    def begin_sentence(self) -> None:
        """The next token begins a sentence."""
        if not self.starts or self.starts[-1] != len(self.ids):
            self.starts.append(len(self.ids))

    def tick(self, timestamp_us: int) -> bool:
        """An item of this event time comes next: time_based cuts a window that has grown for longer than flush_interval_s. True when it did."""
        s = self.settings
        if s.flush_strategy != "time_based":
            return False
        cuts = False
        if self.since_us < 0:
            self.since_us = timestamp_us
        elif timestamp_us - self.since_us > s.flush_interval_s * 1e6:
            cuts = len(self.ids) > self.n_sinks + s.overlap_tokens
            if cuts:
                self._cut()
            self.since_us = timestamp_us
        return cuts

    def _cut(self) -> None:
        """Keep the sinks and the overlap: exactly, or from the sentence start nearest to it that keeps at most half a window."""
        s, size = self.settings, len(self.ids)
        first = size - s.overlap_tokens
        if s.flush_strategy == "sentence_boundary":
            fitting = [at for at in self.starts if at > self.n_sinks and 0 < size - at <= s.max_tokens // 2]
            first = min(fitting, key=lambda at: (abs(at - first), at), default=first)
        first = max(first, self.n_sinks)
        self.starts = [at - first + self.n_sinks for at in self.starts if at >= first]
        self.ids = self.ids[: self.n_sinks] + self.ids[first:]
        self.since_us = -1
        self.stretches.append(Stretch(self.ids[:]))


def pack_starts(starts: Sequence[int]) -> bytes:
    """Places in a window as one bit each, without the zeros behind the last."""
    bits = bytearray(starts[-1] // 8 + 1 if starts else 0)
    for at in starts:
        bits[at // 8] |= 1 << at % 8
    return bytes(bits)


def unpack_starts(data: bytes) -> list[int]:
    found: list[int] = np.flatnonzero(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")).tolist()
    return found


def to_bytes(ids: Sequence[int]) -> bytes:
    return array("H", ids).tobytes()


def from_bytes(data: bytes) -> "array[int]":
    return array("H", data)
