"""Every event once: what is there already is looked up, the rest inserted, and what the table refuses told row by row.

Knows ids, places and what may be stored; leaves the connection to clickhouse.py and columns to rows.py.

Why a duplicate is never visible. Every event has an id that is a function of its input, and one writer owns a partition at a time.
- An insert is preceded by a look-up of the ids that may be there already; those are dropped. One insert of one partition is atomic.
- Crash between insert and commit: Kafka sends the records again, the look-up finds their ids. Of an insert over several months a part may
  have landed: the look-up goes by id, so the rest is added.
- The worker replays: the same ids come at new offsets of the output topic; the look-up goes by id and by the *input's* place, which is the same.
- An insert fails without an answer: what is known of its sessions is forgotten, the look-up before the next try sees what landed. Should
  the first try land after that look-up (a server that was slow), the block has the same insert_deduplication_token and is dropped.
- Last net: the tables are ReplacingMergeTree, ordered by a key that ends in the id.

Why the look-up is cheap. Events of a session come with growing input offsets. The highest one stored is remembered per session
(`Seen`), and a row beyond it is new without asking. Asked is for sessions not seen since the start, and for replays; by
session and range of offsets, which is the sorting key. Measured in docs/LOG.md.
Next: sinks/consumer.py commits
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Any
from uuid import uuid4

from schemas.codec import Stored
from sinks.clickhouse import ClickHouse, first_line, listed, quoted
from sinks.errors import RowsRefusedError
from sinks.rows import Values, to_block

Stream = tuple[str, int, str]
"""Input topic, partition and session: within it, offsets order the events."""

SEEN_SESSIONS = 50_000
"""Per table; one takes about 200 bytes. A session that fell out is looked up again."""


@dataclass
class Seen:
    """The highest input offset stored, per session and input partition (a forwarded record comes from another): a row beyond it is new."""

    highest: dict[Stream, int] = field(default_factory=dict)

    def remember(self, session: Stream, offset: int) -> None:
        top = self.highest.pop(session, offset)  # put back at the end: the dict is in order of use
        self.highest[session] = max(top, offset)

    def trim(self) -> None:
        if (beyond := len(self.highest) - SEEN_SESSIONS) > 0:
            for session in list(islice(self.highest, beyond + SEEN_SESSIONS // 10)):
                del self.highest[session]


@dataclass
class Written:
    """What became of a batch."""

    inserted: int = 0
    duplicates: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Index into the batch, and why."""


class Table:
    """One table's writer; used by one thread at a time."""

    def __init__(self, clickhouse: ClickHouse, name: str):
        self._clickhouse, self.name = clickhouse, name
        self._seen = Seen()
        self._spans = name == "otel_traces"
        self._salt = uuid4().bytes
        """A token is for this writer's own retries; rows that a user deleted and reads in anew must not be dropped by an old one."""

    def forget(self) -> None:
        """Ask again about every session: another writer may have written, or an insert's end is unknown."""
        self._seen = Seen()

    def write(self, rows: Sequence[Any]) -> Written:
        """Insert the rows that are not there yet; those the table refuses are told. Raises UnavailableError: then call it again."""
        try:
            # 1. once in the batch
            keys = self._keys(rows)
            unique: dict[str, int] = {}
            for index, key in enumerate(keys):
                unique.setdefault(key, index)
            # 2. not in the table
            streams = [] if self._spans else [(row.kafka_topic, row.kafka_partition, row.session_id) for row in rows]
            stored = self._stored_spans(rows) if self._spans else self._stored(rows, streams)
            new = [index for key, index in unique.items() if key not in stored]
            # 3. insert
            done = Written(duplicates=len(rows) - len(new))
            if new:
                self._insert(rows, new, done)
            # 4. remember; repeated and refused rows too: to remember too much only asks more often
            highest: dict[Stream, int] = {}
            for stream, row in zip(streams, rows):
                if row.kafka_offset >= highest.get(stream, row.kafka_offset):
                    highest[stream] = row.kafka_offset
            for stream, offset in highest.items():
                self._seen.remember(stream, offset)
            self._seen.trim()
            return done
        except BaseException:
            self.forget()
            raise

    def _keys(self, rows: Sequence[Any]) -> list[str]:
        return [row["TraceId"] + row["SpanId"] for row in rows] if self._spans else [row.event_id for row in rows]

    def _stored(self, rows: Sequence[Stored], streams: Sequence[Stream]) -> set[str]:
        """Ids of those rows that are in the table, of those that may be; `streams` are theirs."""
        known = self._seen.highest
        unknown = [row for row, stream in zip(rows, streams) if stream not in known]
        if unknown:  # of a session that is new, this is the only question
            top = f"SELECT kafka_topic, kafka_partition, session_id, max(kafka_offset) FROM {self.name} WHERE {ranges(unknown, '>= {lo}')} GROUP BY 1, 2, 3"
            for topic, partition, session, highest in self._clickhouse.rows(top):
                self._seen.remember((topic, partition, session), highest)
        doubtful = [row for row, stream in zip(rows, streams) if row.kafka_offset <= known.get(stream, -1)]
        if not doubtful:
            return set()
        ids = f"SELECT toString(event_id) FROM {self.name} WHERE {ranges(doubtful, '>= {lo} AND kafka_offset <= {hi}')}"
        return {found for (found,) in self._clickhouse.rows(ids)}

    def _stored_spans(self, rows: Sequence[Values]) -> set[str]:
        traces = listed({row["TraceId"] for row in rows})  # answered by the table's projection by_trace; a copy may have another time
        asked = f"SELECT TraceId || SpanId FROM {self.name} WHERE TraceId IN ({traces})"
        return {found for (found,) in self._clickhouse.rows(asked)}

    def _insert(self, rows: Sequence[Any], indexes: Sequence[int], done: Written) -> None:
        """Insert; what is refused is halved until the rows that cannot be stored are alone."""
        try:
            form, block = to_block(self.name, [rows[i] for i in indexes])
            token = blake2b(
                "".join(self._keys([rows[i] for i in indexes])).encode("utf-8", "replace"), digest_size=16, salt=self._salt
            ).hexdigest()
            self._clickhouse.insert(self.name, block, token, form)
            done.inserted += len(indexes)
        except (RowsRefusedError, TypeError, ValueError, OverflowError) as problem:
            if len(indexes) == 1:
                done.refused.append((indexes[0], first_line(problem)))
                return
            middle = len(indexes) // 2
            self._insert(rows, indexes[:middle], done)
            self._insert(rows, indexes[middle:], done)


def ranges(rows: Iterable[Stored], offsets: str) -> str:
    """A condition on sessions and offsets, one alternative per input partition; `offsets` has {lo} and {hi}."""
    places: dict[tuple[str, int], list[Stored]] = {}
    for row in rows:
        places.setdefault((row.kafka_topic, row.kafka_partition), []).append(row)
    parts = []
    for (topic, partition), group in places.items():
        numbers = [row.kafka_offset for row in group]
        bounds = offsets.format(lo=min(numbers), hi=max(numbers))
        sessions = listed({row.session_id for row in group})
        parts.append(
            f"(session_id IN ({sessions}) AND kafka_topic = {quoted(topic)} AND kafka_partition = {partition} AND kafka_offset {bounds})"
        )
    return " OR ".join(parts)
