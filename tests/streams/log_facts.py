"""What the tests of log lines share: a moment, and the parts of a line in the order a table names them."""

from datetime import UTC, datetime
from typing import Any

from models.severity import SEVERITIES
from streams.log_line import LogLine
from streams.log_lines import parse


def us(*parts: int, micro: int = 0) -> int:
    """Year, month, day, hour, minute, second as micros."""
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000 + micro  # type: ignore[arg-type,misc]


NOW = us(2023, 3, 1)
"""When the lines of the tables are received."""
AT = us(2023, 1, 29, 16, 43, 4)
"""The time most lines of the tables name."""


def level(line: LogLine) -> str:
    return "" if line.severity is None else SEVERITIES[line.severity]


def facts(raw: str, now: int = NOW) -> tuple[Any, ...]:
    """Level, time, host, app, pid, message."""
    line = parse(raw, now)
    return level(line), line.timestamp_us, line.host, line.app, line.pid, line.message
