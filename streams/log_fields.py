"""A record of named fields, as JSON loggers and logfmt write them -> a log line.

Knows the names that loggers, clouds and shippers give to message, level, time, host, program and process; leaves the text around the
fields to log_json.py and log_logfmt.py. Next: streams/log_json.py
"""

from collections.abc import Iterable
from typing import Any

from streams.log_line import LogLine, level_number
from streams.log_times import DATE, of_date, of_number

MESSAGE = ("message", "msg", "MESSAGE", "log", "text", "body", "@message", "event", "short_message", "textPayload")
SEVERITY = ("level", "severity", "log.level", "levelname", "lvl", "loglevel", "severity_text", "severityText", "Level", "LogLevel")
TIME = ("timestamp", "@timestamp", "time", "ts", "datetime", "asctime", "Timestamp")
HOST = ("host", "hostname", "host.name", "kubernetes.host")
APP = ("app", "service", "logger", "name", "service.name", "component", "kubernetes.container_name", "log.logger")
PID = ("pid", "process.pid", "process.id")
_NUMBERED = {10: 7, 20: 7, 30: 6, 40: 4, 50: 3, 60: 2}
"""pino's and bunyan's levels."""


def from_fields(fields: dict[str, Any], text: str) -> LogLine | None:
    """None where nothing is known by its name; without a message the whole text is the message."""
    used: set[str] = set()
    message, level, when = taken(fields, MESSAGE, used), taken(fields, SEVERITY, used), taken(fields, TIME, used)
    severity, at_us = severity_of(level), time_of(when)
    if message is None and severity is None and at_us is None:
        return None
    host, app, pid = (str(taken(fields, names, used) or "") for names in (HOST, APP, PID))
    rest = {key: value for key, value in fields.items() if key not in used}
    shown = text if message is None else str(message).rstrip("\n")
    return LogLine(shown, severity, "" if severity is None else "header", at_us, host, app, pid, rest, is_record=True)


def taken(fields: dict[str, Any], names: Iterable[str], used: set[str]) -> Any:
    """The first of these fields that has a value; a dotted name is also looked for one level down."""
    for name in names:
        value = fields.get(name)
        if value is None and "." in name:
            outer, _, inner = name.partition(".")
            inside = fields.get(outer)
            value = inside.get(inner) if isinstance(inside, dict) else None
        if value is not None and value != "" and not isinstance(value, dict | list | bool):
            used.add(name)
            return value
    return None


def severity_of(value: Any) -> int | None:
    """A level word, a syslog number 0..7, or a pino/bunyan number 10..60."""
    if value is None:
        return None
    text = str(value).strip()
    if text.isascii() and text.isdigit() and len(text) < 3:
        number = int(text)
        return number if number <= 7 else _NUMBERED.get(number)
    return level_number(text)


def time_of(value: Any) -> int | None:
    """RFC 3339 text, or a number since the epoch."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return of_number(float(value))
    except (TypeError, ValueError, OverflowError):
        at = DATE.match(value) if isinstance(value, str) else None
        return of_date(at) if at else None
