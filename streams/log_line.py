"""A log line as its parts: what every reader of a shape gives back, and how a line within a line is put together.

Knows nothing of any shape. A runtime, a journal or a syslog daemon puts its own header before what a program wrote, which may have
a header as well: such a line `wraps` its message, and log_lines.py reads on inside.
Next: streams/log_lines.py
"""

from typing import Any

import msgspec

from models.severity import LEVELS, SEVERITIES

HEADER_CHARS = 4096
"""A header ends within this many characters; the rest of a long line is not searched."""
ANYTHING, A_RECORD = "anything", "a record"
"""What a message that is wrapped may be: a line of any shape, or only one whose shape leaves no doubt."""


class LogLine(msgspec.Struct, frozen=True, gc=False):
    """What one line says of itself; None or empty where it does not."""

    message: str
    """What is left without the header; its indentation is kept, for lines of a trace have no other mark."""
    severity: int | None = None
    """RFC 5424 number."""
    severity_source: str = ""
    """pri, header (a level word), status (of a web server's answer) or empty."""
    timestamp_us: int | None = None
    """Micros since the epoch; log_times.Local where the line names no zone. One without a year takes that of its reception."""
    host: str = ""
    app: str = ""
    pid: str = ""
    fields: dict[str, Any] = {}
    """Structured data, thread, logger, request: whatever else the header holds."""
    priority: int | None = None
    """PRI, 0..191."""
    is_record: bool = False
    """The program that wrote the message gave it a header: it begins a record, and is no line of a trace."""
    is_partial: bool = False
    """A container's runtime cut the line here; the next of its stream goes on with it."""
    writer: str = ""
    """Of a line that was wrapped: which program, process or stream it came from, so that lines in turns can be told apart."""
    wraps: str = ""
    """ANYTHING or A_RECORD where the message may have a header of its own; else empty."""

    @property
    def facility(self) -> int | None:
        return None if self.priority is None else self.priority >> 3

    @property
    def level_name(self) -> str:
        """For Item.name: source and severity, as `pri:error`; empty without one."""
        return "" if self.severity is None else f"{self.severity_source}:{SEVERITIES[self.severity]}"


def record(message: str, severity: int | None = None, at_us: int | None = None, app: str = "", pid: str = "", **fields: Any) -> LogLine:
    """A line with a header that its program wrote."""
    return LogLine(message, severity, "" if severity is None else "header", at_us, "", app, pid, fields, is_record=True)


def around(outer: LogLine, inner: LogLine) -> LogLine:
    """The line whose header is `outer` and whose message is `inner`: the outer knows place and time better, the inner the message."""
    own = outer.severity is not None
    fields = outer.fields | inner.fields if outer.fields and inner.fields else outer.fields or inner.fields
    if inner.app and outer.app and inner.app != outer.app:
        fields = {"logger": inner.app, **fields}
    return LogLine(
        inner.message,
        outer.severity if own else inner.severity,
        outer.severity_source if own else inner.severity_source,
        inner.timestamp_us if outer.timestamp_us is None else outer.timestamp_us,
        outer.host or inner.host,
        outer.app or inner.app,
        outer.pid or inner.pid,
        fields,
        inner.priority if outer.priority is None else outer.priority,
        outer.is_record or inner.is_record,
        outer.is_partial or inner.is_partial,
        outer.writer or inner.writer,
        inner.wraps,
    )


_MORE_LEVELS = {"fail": 3, "dbug": 7, "trce": 7, "eror": 3, "warng": 4}
"""As .NET's console and fixed-width loggers cut them."""


def level_number(word: str | None) -> int | None:
    if not word:
        return None
    found = LEVELS.get(lower := word.lower())
    return _MORE_LEVELS.get(lower) if found is None else found
