"""Lines that are JSON objects: of loggers, of journald's export, of container runtimes.

Knows which object is whose, and journald's; leaves the names that loggers use to log_fields.py and containers to log_containers.py. What a
journal wraps is read on inside by log_lines.py. Next: streams/log_logfmt.py
"""

from collections.abc import Callable
from typing import Any

import msgspec

from streams.log_containers import from_docker
from streams.log_fields import from_fields, time_of
from streams.log_line import A_RECORD, LogLine

_OF_JOURNAL = ("MESSAGE", "PRIORITY", "SYSLOG_FACILITY", "_HOSTNAME", "SYSLOG_IDENTIFIER", "_COMM", "_PID", "SYSLOG_PID")
_json: Callable[[str], Any] = msgspec.json.Decoder().decode


def from_json(text: str) -> LogLine | None:
    try:
        fields = _json(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    if "__REALTIME_TIMESTAMP" in fields or "_HOSTNAME" in fields or "SYSLOG_IDENTIFIER" in fields:
        return from_journal(fields)
    if isinstance(fields.get("log"), str) and ("stream" in fields or "kubernetes" in fields):
        return from_docker(fields)
    if isinstance(fields.get("t"), dict) and "$date" in fields["t"]:  # MongoDB's short names
        names = {"t": "time", "s": "severity", "c": "component"}
        fields = {names.get(name, name): value["$date"] if name == "t" else value for name, value in fields.items()}
    return from_fields(fields, text)


def from_journal(fields: dict[str, Any]) -> LogLine:
    """One entry of `journalctl -o json`: numbers are text, a message that is no UTF-8 is an array of bytes, a huge one is null."""
    value = {name: field_text(fields.get(name)) for name in _OF_JOURNAL}
    level, kind = value["PRIORITY"], value["SYSLOG_FACILITY"]
    severity = int(level) if level in tuple("01234567") else None
    facility = int(kind) if kind.isascii() and kind.isdigit() and len(kind) <= 2 and int(kind) <= 23 else None
    when = fields.get("__REALTIME_TIMESTAMP") or fields.get("_SOURCE_REALTIME_TIMESTAMP")
    rest = {name: given for name, given in fields.items() if name not in _OF_JOURNAL and name != "__REALTIME_TIMESTAMP"}
    host, app, pid = value["_HOSTNAME"], value["SYSLOG_IDENTIFIER"] or value["_COMM"], value["_PID"] or value["SYSLOG_PID"]
    return LogLine(
        value["MESSAGE"].rstrip("\n"),
        severity,
        "" if severity is None else "pri",
        time_of(field_text(when)),
        host,
        app,
        pid,
        rest,
        None if severity is None or facility is None else facility * 8 + severity,
        writer=f"{host} {app}[{pid}]",
        wraps=A_RECORD,
    )


def field_text(value: Any) -> str:
    """A journal field as text: an array is bytes, or the values of a field given several times, of which the first counts."""
    if isinstance(value, list):
        if all(isinstance(one, int) and 0 <= one < 256 for one in value):
            return bytes(value).decode("utf-8", "backslashreplace")
        value = value[0] if value else ""
    return "" if value is None else str(value)
