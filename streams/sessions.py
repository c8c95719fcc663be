"""The sessions of one modality on this worker: rows of its table, and the hot ones unpacked.

Knows which sessions are here, hot or stored, and when each was last heard; leaves the table's bytes on disk to changelog.py and what a
record changes to session.py. A row holds what cannot be computed again; what can is dropped with its partition. A session whose model keeps
rows (models.steps.RowModel) has further ones under its id and a NUL, written when they changed. What of a row cannot be read begins anew, and is
told once (bad_rows.py).
"""

import asyncio
import itertools
import logging
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import faust
import msgspec

from streams import changelog
from streams.bad_rows import BadRow, UnreadableRowError, UnreadableStateError
from streams.inference import Inference
from streams.session import UNNUMBERED, SessionState, is_idle

log = logging.getLogger(__name__)

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
        self._found_bad: list[BadRow] = []
        """What could not be read and is still to be told."""
        self._bad: dict[str, tuple[int, tuple[bytes, ...]]] = {}
        """Session whose rows are bad, until others are stored in their place -> partition and keys of its rows: each is found once."""

    def load(self, partition: int, ids: Iterable[str]) -> dict[str, Session]:
        """Sessions by id, new ones included. What of a row cannot be read begins anew; `found_bad` tells it."""
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
        by_partition: defaultdict[int, dict[bytes, bytes | None]] = defaultdict(dict)
        changed = list(changed)
        for session in changed:
            model, rows = self._inference.pack(self._modality, session.model_state, self._stored.get(session.id))
            key, mine = session.id.encode(), by_partition[session.partition]
            if session.id in self._bad:  # its further rows too: they would be read as the new session's
                mine |= dict.fromkeys(self._bad[session.id][1])
            for name, data in rows.items():
                mine[key + SUB_KEY + name] = data
            mine[key] = _encode_row(Row(ROW_VERSION, session.state, model))
        try:
            await asyncio.gather(*(changelog.store(self._table, partition, rows) for partition, rows in by_partition.items()))
        finally:
            self._on_their_way -= Counter(session.id for session in changed)  # drops what comes to nothing
        for session in changed:
            self._bad.pop(session.id, None)
            if session.id in self._hot:
                self._weigh(session.id, self._inference.weight(self._modality, session.model_state))
                if self._inference.keeps_rows(self._modality):
                    self._stored[session.id] = session.model_state
        self._let_go()

    def found_bad(self) -> list[BadRow]:
        """What could not be read since this was last asked; to be published before the sessions are stored."""
        found, self._found_bad = self._found_bad, []
        return found

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
        self._bad = {i: bad for i, bad in self._bad.items() if bad[0] not in gone}
        self._found_bad = [bad for bad in self._found_bad if bad.partition not in gone]
        self._inference.drop(self._modality, [cache_name(self._modality, i) for i in names])

    def idle(self, now_ms: float, idle_s: float, unread: Callable[[int], bool], most: int = MOST_IDLE) -> list[Session]:
        """Up to `most` open sessions that were silent for `idle_s`.

        None of a partition of which records are `unread`: after a stop, or far behind, the next record of a session may be among them.
        """
        n_untold = 0
        for partition in self._unknown:
            for key, data in changelog.rows(self._table, partition):
                if SUB_KEY in key:
                    continue
                if (session_id := key.decode()) not in self._hot:  # a hot session's row may still be on its way
                    try:
                        self._note(session_id, partition, _read_row(data).state)
                    except UnreadableRowError as problem:  # nobody knows whether it is open
                        if len(self._found_bad) < MOST_IDLE:
                            self._note_bad(session_id, partition, data, problem)
                        else:
                            n_untold += 1
        self._unknown.clear()
        if n_untold:
            log.error("%s: %d more rows cannot be read; each is told with its session's next record", self._modality, n_untold)
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
        """State and the model's state, as far as they can be read."""
        try:
            row = _read_row(data)
        except UnreadableRowError as problem:
            self._note_bad(session_id, partition, data, problem)
            return SessionState(next_position=UNNUMBERED), None
        has_rows = row.model and self._inference.keeps_rows(self._modality)
        parts = self._further(session_id, partition) if has_rows else {}
        try:
            return row.state, self._inference.unpack(self._modality, row.model, parts)
        except MemoryError:
            raise
        except Exception as problem:  # whatever the bytes make a model run into
            seen = f"state of {len(row.model)} bytes cannot be read by model {self._inference.version(self._modality)} ({problem})"
            goes_on = f"the session goes on at position {row.state.next_position} with an empty window, its rows are in dead-letter"
            self._note_bad(session_id, partition, data, UnreadableStateError(f"{seen}; {goes_on}"))
            return row.state, None

    def _further(self, session_id: str, partition: int) -> dict[bytes, bytes]:
        """Rows under a session's id, by their names."""
        return changelog.rows_under(self._table, partition, session_id.encode() + SUB_KEY)

    def _note_bad(self, session_id: str, partition: int, data: bytes, error: UnreadableRowError | UnreadableStateError) -> None:
        if session_id in self._bad:
            return
        log.error("%s, partition %d, session %s: %s", self._modality, partition, session_id, error)
        key, further = session_id.encode(), {}
        if self._inference.keeps_rows(self._modality):
            further = {key + SUB_KEY + name: part for name, part in self._further(session_id, partition).items()}
        bad = BadRow(session_id, partition, error, {key: data, **further})
        self._bad[session_id] = partition, tuple(bad.rows)
        self._found_bad.append(bad)


def _read_row(data: bytes) -> Row:
    """Raises UnreadableRowError."""
    anew = "the session begins anew with its next record, its rows are in dead-letter"
    try:
        row = _decode_row(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise UnreadableRowError(
            f"row of {len(data)} bytes cannot be read ({problem}), wanted one of version {ROW_VERSION}; {anew}"
        ) from problem
    if row.version != ROW_VERSION:
        raise UnreadableRowError(f"row of version {row.version}, wanted {ROW_VERSION}; {anew}")
    return row


def cache_name(modality: str, session_id: str) -> str:
    """What a model calls a session (models.steps.Work.session)."""
    return f"{modality}/{session_id}"
