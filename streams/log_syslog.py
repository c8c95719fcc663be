"""Syslog lines: RFC 5424, RFC 3164 as it is really written, and the same without PRI, with their transport's octet count.

Knows PRI, header and structured data; leaves what a program wrote after its tag to log_lines.py, which reads on inside.
Source: RFC 5424 (6.2 to 6.4), RFC 3164 (4.1, 5.4), RFC 6587 (3.4.1). Next: streams/log_loggers.py
"""

import re
from typing import Any

from streams.log_line import A_RECORD, ANYTHING, HEADER_CHARS, LogLine
from streams.log_times import CLOCK, MONTH, MONTHS, ZONE_NAME, moment, of_date, yearless

STRUCTURED_CHARS = 16 * HEADER_CHARS
"""Structured data that goes on beyond this many characters is message."""
_COUNT = re.compile(r"\d{1,9} (?=<\d{1,3}>)")
_PRI = re.compile(r"<(\d{1,3})>")
_RFC5424 = re.compile(
    rf"1 (?:-|(\d{{4}})-(\d\d)-(\d\d)[Tt]({CLOCK})([Zz]|[+-]\d\d:\d\d)) (\S{{1,255}}) (\S{{1,255}}) (\S{{1,128}}) (\S{{1,255}})(?: |$)"
)
_VALUE = r'[^"\\]*+(?:\\[\s\S][^"\\]*+)*+'
_NAME = r'[^ =\]"]{1,255}'
_STRUCTURED = re.compile(rf'(?:\[{_NAME}(?: +{_NAME}="{_VALUE}")*+ *\])++(?: |$)')
_ELEMENT = re.compile(rf'\[({_NAME})((?: +{_NAME}="{_VALUE}")*+) *\]')
_PARAM = re.compile(rf' +({_NAME})="({_VALUE})"')
_ESCAPED = re.compile(r'\\(["\\\]])')
_BSD = re.compile(  # sequence number, clock not set, year, date, year again, zone: as Cisco and relays add them
    rf"(?:\d{{1,10}}: )?[*.]?(?:(\d{{4}}) )?({MONTH}) {{1,2}}(\d{{1,2}})(?: (\d{{4}}))? ({CLOCK})(?: (\d{{4}})(?= \S))?(?: ({ZONE_NAME}|TZ[+-]\d{{1,2}}))?(?: (\d{{4}})(?= \S))?(:?) +"
)
_TAG = re.compile(r"(?:-- )?([^\s:\[\](){}\"'=,]{1,64}(?:\([^)\s]*\))?(?: [\d.]+(?=:))?)(?:\[(\d+)\])?: ?")
_TAG_PID = re.compile(r"([^\s:\[\]]{1,64})\[(\d+)\]:? ?")
_HOST = re.compile(r"(\S{1,255}) +(?=[^\s:\[\](){}\"'=,]{1,64}(?:\[\d+\])?:(?:\s|$))")
_CISCO = re.compile(r"%(\w+)-(?:\w+-)?([0-7])-(\w+): ?")
FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
"""RFC 5424 numbers 0..23, by the names of syslog(3)."""
_LEVEL_WORDS = frozenset(
    [
        "TRACE",
        "DEBUG",
        "INFO",
        "INFORMATION",
        "NOTICE",
        "WARN",
        "WARNING",
        "ERR",
        "ERROR",
        "CRIT",
        "CRITICAL",
        "FATAL",
        "SEVERE",
        "VERBOSE",
        "LOG",
    ]
)


def counted(text: str) -> str:
    """The message without the octet count of RFC 6587 in front of its PRI; a record is one line, so the count tells nothing more."""
    found = _COUNT.match(text)
    return text[found.end() :] if found else text


def with_priority(text: str) -> LogLine | None:
    """`<PRI>` in front: RFC 5424, or any line with a priority. None where the number is none: it is text then."""
    found = _PRI.match(text)
    if found is None or int(found[1]) > 191:
        return None
    priority, start = int(found[1]), found.end()
    head = _RFC5424.match(text, start, start + HEADER_CHARS) if text.startswith("1 ", start) else None
    if head is None:
        return LogLine(text[start:].lstrip(" "), priority & 7, "pri", priority=priority, wraps=ANYTHING)
    when = moment(int(head[1]), int(head[2]), int(head[3]), head[4], head[5].upper()) if head[1] else None
    host, app, pid, kind = ("" if value == "-" else value for value in head.group(6, 7, 8, 9))
    fields, end = structured_data(text, head.end())
    if kind:
        fields["msgid"] = kind
    message = text[end:].removeprefix("\ufeff").removeprefix("ï»¿")  # the mark as it is, and read as Latin-1 on its way
    return LogLine(message, priority & 7, "pri", when, host, app, pid, fields, priority, writer=f"{host} {app}[{pid}]", wraps=A_RECORD)


def structured_data(text: str, start: int) -> tuple[dict[str, Any], int]:
    """`[id a="1"][id2 b="2"]` -> {id.a: 1, id2.b: 2} with escapes undone, and where the message begins. What is malformed is message."""
    if text.startswith("-", start) and text[start + 1 : start + 2] in ("", " "):
        return {}, start + 2
    found = _STRUCTURED.match(text, start, start + STRUCTURED_CHARS)
    if found is None:
        return {}, start
    fields: dict[str, Any] = {}
    for name, params in _ELEMENT.findall(found[0]):
        pairs = _PARAM.findall(params)
        fields |= {f"{name}.{key}": _ESCAPED.sub(r"\1", value) if "\\" in value else value for key, value in pairs} or {name: ""}
    return fields, found.end()


def without_priority(text: str, received_us: int) -> LogLine | None:
    """RFC 3164 from its date on: time, host, tag[pid]: message."""
    at = _BSD.match(text, 0, HEADER_CHARS)
    if at is None:
        return None
    early, month, day, middle, clock, late, zone, last, colon = at.groups()
    number, year = MONTHS[month.lower()], early or middle or late or last
    if zone and zone.startswith("TZ"):
        zone = f"{zone[2]}{zone[3:]:0>2}"
    when = moment(int(year), number, int(day), clock, zone) if year else yearless(number, int(day), clock, received_us, zone)
    if colon or text.startswith("%", at.end()):  # a device's own console: no host
        return _message(text, at.end(), when, "")
    host, _, _ = text[at.end() : at.end() + 256].partition(" ")
    end = at.end() + len(host) + 1
    if host.endswith(":") and len(host) > 1:  # no host: the tag follows the time
        app, _, pid = host[:-1].partition("[")
        return LogLine(text[end:], None, "", when, "", app, pid.rstrip("]"), writer=host, wraps=A_RECORD)
    if text.startswith(" ", end):
        end = len(text) - len(text[end:].lstrip(" "))
    return _message(text, end, when, host)


def with_iso_time(text: str, date: re.Match[str]) -> LogLine | None:
    """The same with the time as RFC 3339, as rsyslog and syslog-ng write files: a host and a tag must follow, else it is an application's."""
    if date[5] is None or text[10] != "T" or not text.startswith(" ", date.end()):
        return None
    host = _HOST.match(text, date.end() + 1, date.end() + HEADER_CHARS)
    if host is None or host[1].strip("[]():").upper() in _LEVEL_WORDS or host[1][-1] in ":=]":
        return None
    return _message(text, host.end(), of_date(date), host[1])


def _message(text: str, start: int, when: int | None, host: str) -> LogLine:
    """What follows the host: tag[pid]: message, or a device's %FACILITY-SEVERITY-MNEMONIC."""
    if text.startswith("%", start) and (device := _CISCO.match(text, start)):
        return LogLine(text[start:], int(device[2]), "header", when, host, device[1], "", {"msgid": device[3]})
    tag = _TAG.match(text, start) or _TAG_PID.match(text, start)
    if tag is None:
        return LogLine(text[start:], None, "", when, host, writer=host)
    return LogLine(text[tag.end() :], None, "", when, host, tag[1], tag[2] or "", writer=f"{host} {tag[0]}", wraps=A_RECORD)
