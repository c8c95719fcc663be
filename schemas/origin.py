"""Where a forwarded record came from, in a header of the copy.

A record whose key is not its session id is sent on to the session's partition. The copy tells its source, so that a copy sent twice (a crash
before the commit) is applied once, and events name the place the producer knows.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.trace import Header

NAME = "strata-origin"
LATEST_MS = 2**63 // 1000
"""Its microseconds still fit into 64 bits."""
STEP = 1 << 20
"""Items one record may be split into: an OTLP request is limited by the size of a message."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Place of the record as it was produced, in the same topic."""

    partition: int
    offset: int
    timestamp_ms: int
    index: int = 0
    """Number of the item within the record, for a request that held several."""

    @property
    def sequence(self) -> int:
        """Grows with the place in the source partition."""
        return self.offset * STEP + self.index


def write(origin: Origin) -> Header:
    """The header of the copy."""
    return NAME, f"{origin.partition}/{origin.offset}/{origin.timestamp_ms}/{origin.index}".encode()


def read(headers: Iterable[Header] | None) -> Origin | None:
    """The source of a forwarded record; None when it was not forwarded, or the header cannot be ours."""
    for name, value in headers or ():
        if name == NAME:
            try:
                partition, offset, timestamp_ms, index = map(int, (value or b"").split(b"/"))
            except ValueError:
                return None
            within = 0 <= partition < 2**31 and 0 <= offset < 2**63 // STEP and -1 <= timestamp_ms < LATEST_MS and 0 <= index < STEP
            return Origin(partition, offset, timestamp_ms, index) if within else None
    return None
