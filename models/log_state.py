"""State of one log session, and its bytes: small, because what is normal is shared by all sessions and kept elsewhere.

Knows fields and layouts; leaves how a line changes them to models/log_model.py.
Next: models/log_model.py
"""

from dataclasses import dataclass, field, replace

import msgspec

from models.latent_lines import WHOLE
from models.latent_views import deviations_of
from models.learnable import CONTEXT
from models.log_traces import NONE, Traces
from models.templates import Miner, Row

LESSON_CHARS = 256
"""Of a template, as the shared model knows it: what differs only after them is one kind of line."""
STRETCH = 5
"""Lines of a stretch."""


@dataclass(slots=True)
class LogState:
    """What the lines of a session have shown so far."""

    miner: Miner = field(default_factory=Miner)
    end: int = 0
    """Position after the last line: the session's number of items."""
    lines: int = 0
    before: tuple[str, ...] = ()
    """Templates of the last lines, oldest first, at most CONTEXT."""
    counts: dict[str, int] = field(default_factory=dict)
    """Lines of each template, of the first WHOLE templates."""
    last_us: int = 0
    """Event time of the last line."""
    recent: tuple[float, ...] = ()
    """Standard deviations of the last lines of a stretch."""
    worst_line: float = 0.0
    worst_stretch: float = 0.0
    worst_end: int = 0
    """Position after the worst stretch."""
    anomalies: int = 0
    is_closed: bool = False
    traces: Traces = NONE
    """Records that a line may go on with."""
    pace_s: float = 0.0
    usual_s: float = 0.0
    """Mean time between the last CONTEXT lines and between the last latent_pace.USUAL, seconds."""
    system: int = 0
    """Number of the system that its last line was of, see models/latent_systems.py; 0 before it has any."""

    def copy(self) -> "LogState":
        return replace(self, miner=self.miner.copy(), counts=self.counts.copy())

    def note_line(self, text: str, timestamp_us: int) -> None:
        """Remember one line by its template; for what follows it."""
        self.before = (*self.before, text)[-CONTEXT:]
        if text in self.counts or len(self.counts) < WHOLE:
            self.counts[text] = self.counts.get(text, 0) + 1
        self.last_us = timestamp_us

    def note_score(self, deviations: float, end: int, is_anomaly: bool) -> None:
        """Keep the worst line and the worst stretch."""
        self.recent = (*self.recent, deviations)[-STRETCH:]
        stretch = sum(self.recent) / STRETCH
        self.anomalies += is_anomaly
        self.worst_line = max(self.worst_line, deviations)
        if stretch > self.worst_stretch:
            self.worst_stretch, self.worst_end = stretch, end

    def emptied(self) -> "LogState":
        """Without what the session has shown; its counters and its worst stay."""
        return LogState(
            end=self.end, lines=self.lines, last_us=self.last_us, worst_line=self.worst_line, worst_stretch=self.worst_stretch,
            worst_end=self.worst_end, anomalies=self.anomalies, is_closed=self.is_closed,
        )  # fmt: skip


class LogRow(msgspec.Struct, array_like=True, frozen=True):
    """LogState as bytes."""

    layout: int
    groups: list[Row]
    end: int
    lines: int
    before: tuple[str, ...]
    counts: dict[str, int]
    last_us: int
    recent: tuple[float, ...]
    worst_line: float
    worst_stretch: float
    worst_end: int
    anomalies: int
    is_closed: bool
    traces: Traces = NONE
    pace_s: float = 0.0
    usual_s: float = 0.0
    system: int = 0


class FirstRow(msgspec.Struct, array_like=True, frozen=True):
    """A session of the first layout, which judged itself by its own lines alone."""

    layout: int
    groups: list[Row]
    end: int
    lines: int
    previous: str
    transitions: list[int]
    weight: float
    new_groups: float
    new_transitions: float
    severities: tuple[float, ...]
    recent: tuple[float, ...]
    worst_line: float
    worst_stretch: float
    worst_end: int
    anomalies: int
    is_closed: bool


class _Layout(msgspec.Struct, array_like=True, frozen=True):
    layout: int


_encode = msgspec.msgpack.Encoder().encode
_layout_of = msgspec.msgpack.Decoder(_Layout).decode
_decode = msgspec.msgpack.Decoder(LogRow).decode
_decode_first = msgspec.msgpack.Decoder(FirstRow).decode
_SAME = tuple(name for name in LogRow.__struct_fields__ if name not in ("layout", "groups"))


def pack(state: LogState) -> bytes:
    return _encode(LogRow(2, state.miner.rows(), *[getattr(state, name) for name in _SAME]))


def unpack(data: bytes) -> LogState:
    layout = _layout_of(data).layout
    if layout == 1:
        return _from_first(_decode_first(data))
    if layout != 2:
        raise ValueError(f"log state of layout {layout}, this version reads 1 and 2; run the version that wrote it or reset the session")
    row = _decode(data)
    return LogState(Miner.restored(row.groups), **{name: getattr(row, name) for name in _SAME})


def _from_first(row: FirstRow) -> LogState:
    """Goes on where it was: its values were one minus a chance."""
    miner = Miner.restored(row.groups)
    shown = {group_id: group.shown[:LESSON_CHARS] for group_id, group in miner.groups.items()}
    counts = {shown[group_id]: group.count for group_id, group in list(miner.groups.items())[-WHOLE:]}
    before = (shown[row.previous],) if row.previous in shown else ()
    recent = tuple([deviations_of(1.0 - value) for value in row.recent])
    return LogState(
        miner, row.end, row.lines, before, counts, 0, recent, deviations_of(1.0 - row.worst_line), deviations_of(1.0 - row.worst_stretch),
        row.worst_end, row.anomalies, row.is_closed,
    )  # fmt: skip
