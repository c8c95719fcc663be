"""Rows of a session table that cannot be read: what is told of them, and where their bytes go.

A bad row stops nobody: its session goes on with what could be read, or anew, and the bytes go to the dead letters as the record of the changelog
that they are. Knows failures and dead letters; leaves reading rows, and what takes their place, to sessions.py.
Next: streams/emit.py
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from schemas.errors import StrataError
from schemas.topics import SESSION_TABLES, changelog_of
from streams.emit import Emitter
from streams.failures import Failure
from streams.publisher import Outgoing
from streams.session import Place

UNKNOWN_OFFSET = -1
"""A table does not say where in its changelog a row lies."""


class UnreadableRowError(StrataError):
    """A session's row is no row, or one of a version this worker does not know: positions and offsets are lost."""


class UnreadableStateError(StrataError):
    """A session's row is good, but not what its model wrote into it: windows and levels are lost."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """What could not be read of one session."""

    session_id: str
    partition: int
    error: UnreadableRowError | UnreadableStateError
    rows: Mapping[bytes, bytes]
    """All that the table has of the session, as it is there."""


def told(bad: BadRow, emitter: Emitter, prefix: str, modality: str, version: str, now_us: int) -> list[Outgoing]:
    """The failure of a session's rows, and each of them as a dead letter. The same bytes give the same ids, whenever they are met."""
    action = "dead_letter" if isinstance(bad.error, UnreadableRowError) else "reset_window"
    place, outgoing = Place(changelog_of(SESSION_TABLES[modality], prefix), bad.partition, UNKNOWN_OFFSET, now_us // 1000), list[Outgoing]()
    for number, (key, value) in enumerate(bad.rows.items()):
        failure = Failure(
            bad.error, place, bad.session_id, modality, now_us, action, True, "load", key=key, value=value, index=_number(key + value)
        )
        if number == 0:
            outgoing += emitter.refused(failure, bad.partition, (), version)
        else:
            outgoing.append(emitter.letter(failure, bad.partition, ()))
    return outgoing


def _number(row: bytes) -> int:
    """A number for a row, below 2^56."""
    return int.from_bytes(blake2b(row, digest_size=7).digest(), "big")
