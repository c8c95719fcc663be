"""W3C trace context in Kafka headers, both ways.

Knows `traceparent` and `tracestate`; leaves spans to streams/tracing.py. Source: W3C Trace Context, level 1.
"""

import re
from collections.abc import Iterable

import msgspec

TRACEPARENT = re.compile(rb"^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")
FLAGS_AT = len("00-") + 32 + len("-") + 16 + len("-0")
"""Place of the flags' last digit."""
ODD_DIGITS = frozenset(b"%x" % digit for digit in range(1, 16, 2))
Header = tuple[str, bytes]


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """Where a record stands in its trace."""

    trace_id: str
    """32 hex digits."""
    span_id: str
    """16 hex digits."""
    sampled: bool
    state: str = ""
    """tracestate, handed on unchanged."""


def read(headers: Iterable[Header] | None) -> TraceContext | None:
    """The producer's context; None when there is none or it is malformed (the specification says: start anew)."""
    found, state = None, b""
    for name, value in headers or ():
        if name == "traceparent":
            found = TRACEPARENT.match(value or b"")
        elif name == "tracestate":
            state = value or b""
    if not found or found[1] == b"ff" or found[2] == b"0" * 32 or found[3] == b"0" * 16 or (found[1] == b"00" and found[5]):
        return None
    sampled = bool(int(found[4], 16) & 1)
    return TraceContext(found[2].decode(), found[3].decode(), sampled, state.decode("latin-1"))


def may_be_sampled(headers: Iterable[Header] | None) -> bool:
    """False where read() would find no context or one that is not sampled; looks at the last digit of the flags alone, for most records are not."""
    return any(
        name == "traceparent" and value is not None and value[FLAGS_AT : FLAGS_AT + 1] in ODD_DIGITS for name, value in headers or ()
    )


def write(context: TraceContext) -> list[Header]:
    """Headers to put on a record."""
    parent = f"00-{context.trace_id}-{context.span_id}-{'01' if context.sampled else '00'}"
    return [("traceparent", parent.encode()), *([("tracestate", context.state.encode("latin-1"))] if context.state else [])]
