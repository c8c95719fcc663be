"""Board -> browsers: server-sent events, so many a second at most, the same for all; a slow browser loses frames, never memory.

Knows the beat and the shape of an event; leaves what is told to board.py. A `stage` frame holds whole sessions, so that a lost one is made
good by the next; `field` is one a second, `happening` what the budget leaves.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sinks.console.board import Board, as_dict

log = logging.getLogger(__name__)
BEATS = 4
"""Frames a second."""
QUEUE = 120
"""Events a browser may be behind before frames are left out for it."""
SILENCE_S = 15.0
"""A comment is sent after so long a silence, so that proxies keep the connection."""
encode = msgspec.json.Encoder(enc_hook=str).encode


def event(name: str, data: Any) -> bytes:
    """One server-sent event. JSON has no line breaks of its own, so it is one data line."""
    return b"event: " + name.encode() + b"\ndata: " + encode(data) + b"\n\n"


@dataclass(eq=False)
class Viewer:
    """One open live view."""

    session_id: str
    """Of the one session it looks at; empty for the stage."""
    queue: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    version: int = 0
    """Of the board, as last sent."""
    lost: int = 0
    sent: int = 0


class Broadcast:
    """Beats four times a second while anybody looks."""

    def __init__(self, board: Board, events_per_s: int, viewers: int):
        self._board, self._most_viewers = board, viewers
        self._per_beat = max((events_per_s - BEATS - 2) // BEATS, 1)
        self.viewers: set[Viewer] = set()

    def has_room(self) -> bool:
        return len(self.viewers) < self._most_viewers

    async def run(self) -> None:
        beat = 0
        due = time.monotonic()
        while True:
            due = max(due + 1 / BEATS, time.monotonic())
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            try:
                self.tick(beat, time.time())
            except Exception:
                log.exception("a frame could not be made")
            beat += 1

    def tick(self, beat: int, now_s: float) -> None:
        """One beat: what changed, to everybody."""
        board = self._board
        board.arrange(now_s)
        happenings, summed = board.take(self._per_beat)
        told = []
        for happening in happenings:
            board.recent.append(shown := as_dict(happening, now_s))
            told.append((happening.session_id, event("happening", shown)))
        gauges = event("field", self.field(now_s)) if beat % BEATS == 0 and self.viewers else b""
        for viewer in self.viewers:
            frame = self._frame(viewer, dict(summed))
            for session_id, one in told:
                if viewer.session_id in ("", session_id):
                    self._send(viewer, one)
            self._send(viewer, frame)
            if gauges:
                self._send(viewer, gauges)

    def _frame(self, viewer: Viewer, summed: dict[str, int]) -> bytes:
        board, after = self._board, viewer.version
        viewer.version = board.version
        if viewer.session_id:
            mine = [s for s in board.sessions.values() if s.session_id == viewer.session_id]
            drawn = board.snapshot_of(viewer.session_id) if any(s.version > after for s in mine) else []
            return event("stage", {"keys": [s.key for s in mine], "sessions": drawn, "summed": {}})
        return event("stage", {"keys": board.on_stage, "sessions": board.drawn_since(after), "summed": summed})

    def field(self, now_s: float) -> dict[str, Any]:
        """Everything a page knows beside the sessions on stage."""
        history = [column[-1] if column else None for column in self._board.history(now_s, 1)]
        return {"gauges": self._board.gauges(now_s), "second": history, "live": self._board.live(now_s)}

    def _send(self, viewer: Viewer, message: bytes) -> None:
        try:
            viewer.queue.put_nowait(message)
            viewer.sent += 1
        except asyncio.QueueFull:
            viewer.lost += 1
            viewer.version = 0  # the next frame that fits holds everything

    async def watch(self, session_id: str = "") -> AsyncIterator[bytes]:
        """The events of one view, until it is closed."""
        viewer = Viewer(session_id)
        self.viewers.add(viewer)
        try:
            yield b"retry: 2000\n\n"
            while True:
                try:
                    async with asyncio.timeout(SILENCE_S):
                        yield await viewer.queue.get()
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self.viewers.discard(viewer)
