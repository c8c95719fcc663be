"""The sessions of one modality on this worker: rows of its table, and the hot ones unpacked.

Knows which sessions are here, hot or stored, and when each was last heard; leaves the table's bytes on disk to changelog.py and what a
record changes to session.py. A row holds what cannot be computed again; what can is dropped with its partition. A session whose model keeps
rows (models.steps.RowModel) has further ones under its id and a NUL, written when they changed.
"""

import asyncio
import itertools
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import faust
import msgspec

from streams import changelog
from streams.inference import Inference
from streams.session import SessionState, is_idle

ROW_VERSION = 1
SUB_KEY = b"\0"
"""Between a session's id, which has none, and the names of further rows of it."""
MOST_IDLE = 500
"""Sessions closed at once: more would hold up a step, and a rebalance."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """What a session table keeps under a session id."""

    version: int
    state: SessionState
    model: bytes


@dataclass(slots=True)
class Session:
    """A hot session."""

    id: str
    partition: int
    state: SessionState
    model_state: Any


class UnknownRowError(Exception):
    """A row of a version this worker does not know: written by a newer one."""


_encode_row, _decode_row = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Row).decode


class Sessions:
    """Sessions of one modality. Its lock is held from load to keep: nobody else changes a session meanwhile."""

    def __init__(self, modality: str, table: faust.Table, inference: Inference, max_hot: int = 20_000, max_weight: int = 100_000):
        """`max_weight`: of hot sessions together; each weighs one, or as its model says."""
        self.lock = asyncio.Lock()
        self._modality = modality
        self._table = table
        self._inference = inference
        self._max_hot = max_hot
        self._max_weight = max_weight
        self._hot: OrderedDict[str, Session] = OrderedDict()
        self._stored: dict[str, Any] = {}
        """Of hot sessions whose model keeps rows: the model's state as it is in the table."""
        self._weights: dict[str, int] = {}
        self._weight = 0
        self._on_their_way: Counter[str] = Counter()
        """Hot sessions that were changed and are not stored yet: their rows are old."""
        self._open: defaultdict[int, dict[str, float]] = defaultdict(dict)  # partition -> open session -> when it was last heard, ms
        self._unknown: set[int] = set()

    def load(self, partition: int, ids: Iterable[str]) -> dict[str, Session]:
        """Sessions by id, new ones included."""
        ids = list(ids)
        cold = [i for i in ids if i not in self._hot]
        rows = changelog.load(self._table, partition, [i.encode() for i in cold]) if cold else {}
        found = {}
        for session_id in ids:
            session = self._hot.get(session_id)
            if session is None:
                data = rows.get(session_id.encode())
                state, model_state = self._unpack(session_id, partition, data) if data else (SessionState(), None)
                session = Session(session_id, partition, state, model_state)
                if model_state is not None and self._inference.keeps_rows(self._modality):
                    self._stored[session_id] = model_state
            else:
                self._hot.move_to_end(session_id)
            found[session_id] = session
        return found

    def keep(self, changed: Iterable[Session], now_ms: float) -> None:
        """Let later steps meet these, before they are stored: a failure to store them stops the worker."""
        for session in changed:
            self._hot[session.id] = session
            self._hot.move_to_end(session.id)
            self._on_their_way[session.id] += 1
            self._note(session.id, session.partition, session.state, now_ms)

    async def store(self, changed: Iterable[Session]) -> None:
        """Write sessions that are kept to changelog and table. When it returns they survive a crash."""
        by_partition: defaultdict[int, dict[bytes, bytes]] = defaultdict(dict)
        changed = list(changed)
        for session in changed:
            model, rows = self._inference.pack(self._modality, session.model_state, self._stored.get(session.id))
            key, mine = session.id.encode(), by_partition[session.partition]
            for name, data in rows.items():
                mine[key + SUB_KEY + name] = data
            mine[key] = _encode_row(Row(ROW_VERSION, session.state, model))
        try:
            await asyncio.gather(*(changelog.store(self._table, partition, rows) for partition, rows in by_partition.items()))
        finally:
            self._on_their_way -= Counter(session.id for session in changed)  # drops what comes to nothing
        for session in changed:
            if session.id in self._hot:
                self._weigh(session.id, self._inference.weight(self._modality, session.model_state))
                if self._inference.keeps_rows(self._modality):
                    self._stored[session.id] = session.model_state
        self._let_go()

    def assigned(self, partitions: Iterable[int]) -> None:
        """Partitions came: which of their sessions are open is learnt once their rows are recovered."""
        self._unknown |= set(partitions)

    def revoked(self, partitions: Iterable[int]) -> None:
        """Forget the sessions of partitions that left this worker, their caches too."""
        gone = set(partitions)
        names = [i for i, s in self._hot.items() if s.partition in gone]
        for session_id in names:
            self._forget(session_id)
        for partition in gone:
            self._open.pop(partition, None)
        self._unknown -= gone
        self._inference.drop(self._modality, [cache_name(self._modality, i) for i in names])

    def idle(self, now_ms: float, idle_s: float, unread: Callable[[int], bool], most: int = MOST_IDLE) -> list[Session]:
        """Up to `most` open sessions that were silent for `idle_s`.

        None of a partition of which records are `unread`: after a stop, or far behind, the next record of a session may be among them.
        """
        for partition in self._unknown:
            for key, data in changelog.rows(self._table, partition):
                if SUB_KEY in key:
                    continue
                if (session_id := key.decode()) not in self._hot:  # a hot session's row may still be on its way
                    self._note(session_id, partition, _decode_row(data).state)
        self._unknown.clear()
        found: list[Session] = []
        for partition, sessions in self._open.items():
            if unread(partition):
                continue
            late = [i for i, arrived_ms in list(sessions.items()) if now_ms - arrived_ms > idle_s * 1000][: most - len(found)]
            found += [s for s in self.load(partition, late).values() if is_idle(s.state, now_ms, idle_s)]
        return found

    def _note(self, session_id: str, partition: int, state: SessionState, now_ms: float = 0.0) -> None:
        """A session was heard now, whatever old time its producer gave the record; of a row only Kafka's time is known."""
        if state.is_open:
            self._open[partition][session_id] = max(state.arrived_ms, now_ms)
        else:
            self._open[partition].pop(session_id, None)

    def _let_go(self) -> None:
        """Forget the hot sessions that were met longest ago, where there are too many; those on their way to the table are needed."""
        for session_id in list(itertools.islice(self._hot, MOST_IDLE)):
            if len(self._hot) <= self._max_hot and self._weight <= self._max_weight:
                break
            if session_id not in self._on_their_way:
                self._forget(session_id)
        if len(self._stored) > len(self._hot) + MOST_IDLE:  # loaded for an answer, and never changed
            self._stored = {i: state for i, state in self._stored.items() if i in self._hot}

    def _forget(self, session_id: str) -> None:
        del self._hot[session_id]
        self._stored.pop(session_id, None)
        self._weight -= self._weights.pop(session_id, 0)

    def _weigh(self, session_id: str, weight: int) -> None:
        self._weight += weight - self._weights.get(session_id, 0)
        self._weights[session_id] = weight

    def _unpack(self, session_id: str, partition: int, data: bytes) -> tuple[SessionState, Any]:
        row = _decode_row(data)
        if row.version != ROW_VERSION:
            raise UnknownRowError(f"session {session_id}: row version {row.version}, this worker knows {ROW_VERSION}; run the newer worker")
        has_rows = row.model and self._inference.keeps_rows(self._modality)
        parts = changelog.rows_under(self._table, partition, session_id.encode() + SUB_KEY) if has_rows else {}
        return row.state, self._inference.unpack(self._modality, row.model, parts)


def cache_name(modality: str, session_id: str) -> str:
    """What a model calls a session (models.steps.Work.session)."""
    return f"{modality}/{session_id}"
