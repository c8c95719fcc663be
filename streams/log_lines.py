"""Log lines: one raw line of any origin -> priority, severity, time, host, app, pid and message.

Knows RFC 5424, RFC 3164 and the header shapes of common loggers (each a regular expression below); leaves severity by
words, templates and anomalies to models. Never raises: what has no known header is all message.
Next: streams/agents/logs.py, then models/log_model.py
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from typing import Any

import msgspec

from models.severity import LEVELS, SEVERITIES

HEADER_CHARS = 4096
"""A header ends within this many characters; the rest of a long line is not searched."""
DAY_US = 86_400_000_000
MONTHS = {name: n for n, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)}


@dataclass(frozen=True, slots=True)
class LogLine:
    """What one line says of itself; None or empty where it does not."""

    priority: int | None
    """PRI, 0..191."""
    facility: int | None
    severity: int | None
    """RFC 5424 number, from PRI or from a level word of the header."""
    severity_source: str
    """pri, header or empty."""
    timestamp_us: int | None
    """Micros since the epoch; a line without a zone is read as UTC, one without a year takes that of its reception."""
    host: str
    app: str
    pid: str
    message: str
    fields: dict[str, Any] = field(default_factory=dict)
    """Structured data, thread, logger, request: whatever else the header holds."""

    @property
    def level_name(self) -> str:
        """For Item.name: source and severity, as `pri:error`; empty without one."""
        return "" if self.severity is None else f"{self.severity_source}:{SEVERITIES[self.severity]}"


# 1. times


@lru_cache(maxsize=512)
def day_us(year: int, month: int, day: int) -> int | None:
    try:
        return (date(year, month, day).toordinal() - 719_163) * DAY_US
    except ValueError:
        return None


def clock_us(text: str) -> int | None:
    """hh:mm:ss with or without a fraction after `.` or `,`, in micros of the day."""
    hour, minute, second = int(text[0:2]), int(text[3:5]), int(text[6:8])
    if hour > 23 or minute > 59 or second > 60:
        return None
    return (hour * 3600 + minute * 60 + second) * 1_000_000 + int(text[9:15].ljust(6, "0") or 0)


def zone_us(text: str | None) -> int:
    """Offset from UTC in micros; `Z` and none are 0."""
    if not text or text in "Zz":
        return 0
    return (-1 if text[0] == "-" else 1) * (int(text[1:3]) * 60 + int(text[-2:])) * 60_000_000


def moment(year: int, month: int, day: int, clock: str, zone: str | None = None) -> int | None:
    start, rest = day_us(year, month, day), clock_us(clock)
    return None if start is None or rest is None else start + rest - zone_us(zone)


def yearless(month: int, day: int, clock: str, received_us: int) -> int | None:
    """The latest such moment not more than a day after the line was received: December read in January is last year's."""
    year = _year(received_us // DAY_US)
    for candidate in (year + 1, year, year - 1, year - 2, year - 3, year - 4):
        found = moment(candidate, month, day, clock)
        if found is not None and found <= received_us + DAY_US:
            return found
    return None


@lru_cache(maxsize=64)
def _year(day_number: int) -> int:
    return date.fromordinal(min(max(day_number + 719_163, 1), 3_652_059)).year


# 2. headers, by shape

_LEVEL = (
    r"(?:EMERG(?:ENCY)?|ALERT|CRIT(?:ICAL)?|FATAL|SEVERE|PANIC|ERR(?:OR)?|WARN(?:ING)?|NOTICE|INFO(?:RMATION(?:AL)?)?|INF|WRN|DBG|CONFIG|DEBUG|TRACE"
    r"|VERBOSE|FINE(?:R|ST)?)"
)
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_ZONE = r"(?:Z|[+-]\d\d:?\d\d)"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"

_PRI = re.compile(r"<(\d{1,3})>")
_RFC5424 = re.compile(
    r"1 (?:-|(\d{4})-(\d\d)-(\d\d)T(" + _CLOCK + r")(" + _ZONE + r"))? (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) "
    r'(?:-|((?:\[[^ =\]"]{1,32}(?: [^ =\]"]{1,32}="(?:[^"\\\]]|\\.)*")*\])+))(?: |$)'
)
_SD_ELEMENT = re.compile(r'\[([^ =\]"]+)((?: [^ =\]"]+="(?:[^"\\\]]|\\.)*")*)\]')
_SD_PARAM = re.compile(r' ([^ =\]"]+)="((?:[^"\\\]]|\\.)*)"')
_RFC3164 = re.compile(r"(" + _MONTH + r")\s+(\d{1,2})(?: (\d{4}))? (" + _CLOCK + r")\s+(\S+)\s+")
_TAG = re.compile(r"(?:-- )?([^\s:\[\](){}\"'=,]{1,64}(?:\([^)\s]*\))?(?: [\d.]+(?=:))?)(?:\[(\d+)\])?:\s*")
_TAG_PID = re.compile(r"([^\s:\[\]]{1,64})\[(\d+)\]:?\s*")

# After a date or a clock: pid, level, thread and logger in their usual orders.
_REST = re.compile(
    r"[\s,|]*(?:- )?(?:(?P<pid>\d{1,10})\s+)?(?:(?P<name>[\w.$-]{1,80}) - )?(?:\[(?P<early>[^\[\]]{1,80})\]\s+)?"
    r"[\[<(|]?(?P<level>(?i:" + _LEVEL + r"))[\])>|]?(?=[\s:,\]]|$)[\s:,|-]*"
)
_LOGGER = re.compile(
    r"(?:(?P<pid>\d{1,10})\s+---\s+)?(?:\[(?P<thread>[^\[\]]{1,400})\]\s*)?"
    r"(?:(?P<logger>[A-Za-z_][\w$]*+(?:[.$/#-][\w$<>-]++)++)(?:\s*:\s+|\s+-\s+|(?=\s\[)|(?<=\d)\s)"  # dotted name
    r"|(?P<camel>[A-Z][\w$]{0,60}[a-z][A-Z][\w$]{0,60})\s?:\s+"  # CamelCase:
    r"|(?P<column>[A-Z]{2,12})\s{2,})?\s*"  # a column of its own
    r"(?P<request>\[(?:req-[^\]]*|-)\]\s+)?"
)
_DATE = re.compile(r"(\d{4})[-/.](\d\d)[-/.](\d\d)[T _](" + _CLOCK + r")\s?(" + _ZONE + r")?(?=[\s,\]|]|$)")
_SHORT_DATE = re.compile(r"(\d\d)/(\d\d)/(\d\d) (" + _CLOCK + r")(?=\s)")
_COMPACT_DATE = re.compile(r"(\d\d)(\d\d)(\d\d) (\d\d)(\d\d)(\d\d) ")
_CLOCK_ONLY = re.compile(r"(" + _CLOCK + r")(?=\s)")
_LOGCAT = re.compile(r"(\d\d)-(\d\d) (" + _CLOCK + r")\s+(\d+)\s+(\d+) ([VDIWEFA]) ([^:]{0,80}?) {0,40}: ")
_CRI = re.compile(r"(stdout|stderr) ([FP]) ")
_FILE_PREFIX = re.compile(r"(\S*\.log\S*) (?=\d{4}-\d\d-\d\d )")
_BRACKET_DATE = re.compile(
    r"\[(?:\w{3} )?(" + _MONTH + r") +(\d{1,2}) (" + _CLOCK + r") (\d{4})\] \[(?:[\w.]+:)?([a-z]+)\d?\] (?:\[pid (\d+)[^\]]*\] )?"
)
_BRACKET_ISO = re.compile(r"\[(\d{4})-(\d\d)-(\d\d)[T ](" + _CLOCK + r")\s?(" + _ZONE + r")?\]")
_ACCESS = re.compile(r'(\S+) \S+ (\S+) \[(\d\d)/(' + _MONTH + r")/(\d{4}):(\d\d:\d\d:\d\d) ([+-]\d{4})\] ")  # fmt: skip
_GLOG = re.compile(r"([IWEF])(\d\d)(\d\d) (" + _CLOCK + r")\s+(\d+) ([\w./-]+:\d+)\] ")
_CONSOLE = re.compile(  # supercomputer consoles: alert flag, epoch, date, node, time, node, type, component, level
    r"(\S+) (\d{10}) \d{4}\.\d\d\.\d\d (\S+) (\d{4})-(\d\d)-(\d\d)-(\d\d)\.(\d\d)\.(\d\d)\.(\d{6}) \S+ (\S+) (\S+) (" + _LEVEL + r") "
)
_EVENT_TABLE = re.compile(r"\d+ (\S+) (\S+) (\S+) (\d{9,10}) -?\d+ ")  # id, node, component, state, epoch, flag
_LEVEL_FIRST = re.compile(r"\[?((?i:" + _LEVEL + r"))\]?(?::\s+|\s+-\s+|(?<=\])\s+|\s+(?=\[))")
_LOGFMT = re.compile(r'(?:^|\s)([A-Za-z_][\w.-]{0,40})=("(?:[^"\\]|\\.)*"|\S*)')


def plain(message: str, severity: int | None = None, at_us: int | None = None, app: str = "", pid: str = "", **fields: Any) -> LogLine:
    return LogLine(None, None, severity, "" if severity is None else "header", at_us, "", app, pid, message, fields)


def level_number(word: str | None) -> int | None:
    return LEVELS.get(word.lower()) if word else None


def after_time(text: str, start: int, at_us: int | None) -> LogLine:
    """What follows a timestamp: [pid] LEVEL [thread] logger: message, in the usual orders."""
    cri = _CRI.match(text, start + 1)
    if cri:
        inner = parse(text[cri.end() :], at_us or 0)
        return LogLine(
            inner.priority, inner.facility, inner.severity, inner.severity_source, at_us, inner.host, inner.app, inner.pid, inner.message,
            inner.fields | {"stream": cri[1]},
        )  # fmt: skip
    rest = _REST.match(text, start, start + HEADER_CHARS)
    if rest is None:
        return plain(text[start:].lstrip(" ,|\t"), None, at_us)
    pid, name, early, level = rest.groups()
    more = _LOGGER.match(text, rest.end(), rest.end() + HEADER_CHARS)
    if more is None:
        return plain(text[rest.end() :], level_number(level), at_us, name or "", pid or "")
    pid2, thread, logger, camel, column, request = more.groups()
    end = more.end()
    fields: dict[str, Any] = {}
    if thread and not (logger or camel or early):
        if " " not in thread.strip() and not text.startswith("[", end):  # INFO [main] text
            fields["thread"] = thread
        else:  # the bracket belongs to the message
            end = more.start("thread") - 1
    elif thread or early:
        fields["thread"] = thread or early
    if request:
        fields["request"] = request.strip()[1:-1]
    return plain(text[end:], level_number(level), at_us, name or logger or camel or column or "", pid or pid2 or "", **fields)


def from_digits(text: str, received_us: int) -> LogLine | None:
    """Lines that open with a digit: dates, clocks, addresses."""
    at = _DATE.match(text)
    if at:
        return after_time(text, at.end(), moment(int(at[1]), int(at[2]), int(at[3]), at[4], at[5]))
    at = _LOGCAT.match(text)
    if at:
        when = yearless(int(at[1]), int(at[2]), at[3], received_us)
        return plain(text[at.end() :], LEVELS.get(at[6].lower(), 2), when, at[7], at[4], tid=at[5])
    at = _SHORT_DATE.match(text)
    if at:
        return after_time(text, at.end(), moment(2000 + int(at[1]), int(at[2]), int(at[3]), at[4]))
    at = _COMPACT_DATE.match(text)
    if at:
        when = moment(2000 + int(at[1]), int(at[2]), int(at[3]), f"{at[4]}:{at[5]}:{at[6]}")
        return None if when is None else after_time(text, at.end() - 1, when)
    at = _CLOCK_ONLY.match(text)
    if at:
        of_day = clock_us(at[1])
        when = None if of_day is None else received_us - received_us % DAY_US + of_day
        return after_time(text, at.end(), when if when is None or when <= received_us + DAY_US // 2 else when - DAY_US)
    at = _EVENT_TABLE.match(text)
    if at:
        return plain(text[at.end() :], None, int(at[4]) * 1_000_000, at[2], "", node=at[1], state=at[3])
    return access_log(text)


def access_log(text: str) -> LogLine | None:
    """Common and combined log format of web servers; the request stays in the message."""
    at = _ACCESS.match(text)
    if at is None:
        return None
    when = moment(int(at[5]), MONTHS[at[4].lower()], int(at[3]), at[6], at[7])
    return plain(text[at.end() :], None, when, client=at[1], user=at[2])


def from_bracket(text: str, received_us: int) -> LogLine | None:
    """Apache's error log, and dates or levels in brackets."""
    at = _BRACKET_DATE.match(text)
    if at:
        when = moment(int(at[4]), MONTHS[at[1].lower()], int(at[2]), at[3])
        return plain(text[at.end() :], level_number(at[5]), when, "", at[6] or "")
    at = _BRACKET_ISO.match(text)
    if at:
        return after_time(text, at.end(), moment(int(at[1]), int(at[2]), int(at[3]), at[4], at[5]))
    return from_level(text)


def from_level(text: str) -> LogLine | None:
    at = _LEVEL_FIRST.match(text)
    return plain(text[at.end() :], level_number(at[1])) if at else None


def from_letters(text: str, received_us: int) -> LogLine | None:
    """BSD syslog without PRI, klog, file prefixes, consoles, logfmt, access logs by host name."""
    at = _RFC3164.match(text)
    if at:
        return bsd(text, at, received_us)
    at = _GLOG.match(text)
    if at:
        return plain(text[at.end() :], LEVELS[at[1].lower()], yearless(int(at[2]), int(at[3]), at[4], received_us), "", at[5], source=at[6])
    at = _FILE_PREFIX.match(text)
    if at:
        inner = from_digits(text[at.end() :], received_us)
        if inner is not None:
            inner.fields["file"] = at[1]
            return inner
    return console(text) or logfmt(text) or from_level(text) or access_log(text)


def console(text: str) -> LogLine | None:
    at = _CONSOLE.match(text)
    if at is None:
        return None
    return plain(
        text[at.end() :], level_number(at[13]), int(at[2]) * 1_000_000 + int(at[10]), at[12], "", node=at[3], flag=at[1], type=at[11]
    )


def logfmt(text: str) -> LogLine | None:
    """`level=info msg="..." key=value`: only where both a level or time and a message are named."""
    if "msg=" not in text[:HEADER_CHARS] and "message=" not in text[:HEADER_CHARS]:
        return None
    pairs = {key: value[1:-1] if value.startswith('"') else value for key, value in _LOGFMT.findall(text[:HEADER_CHARS])}
    return from_fields(pairs) if {"level", "lvl", "time", "ts", "severity"} & pairs.keys() else None


# 3. syslog


def bsd(text: str, at: re.Match[str], received_us: int) -> LogLine:
    """RFC 3164: time, host, tag[pid]: message."""
    month, day, host = MONTHS[at[1].lower()], int(at[2]), at[5]
    when = moment(int(at[3]), month, day, at[4]) if at[3] else yearless(month, day, at[4], received_us)
    if host.endswith(":") and len(host) > 1:  # no host: the tag follows the time
        return LogLine(None, None, None, "", when, "", host[:-1].split("[")[0], "", text[at.end() :])
    tag = _TAG.match(text, at.end()) or _TAG_PID.match(text, at.end())
    if tag is None:
        return LogLine(None, None, None, "", when, host, "", "", text[at.end() :])
    return LogLine(None, None, None, "", when, host, tag[1], tag[2] or "", text[tag.end() :])


def with_priority(text: str, received_us: int) -> LogLine | None:
    """`<PRI>` in front: RFC 5424, RFC 3164, or any line."""
    found = _PRI.match(text)
    if found is None or int(found[1]) > 191:
        return None
    priority, start = int(found[1]), found.end()
    head = _RFC5424.match(text, start, start + 4 * HEADER_CHARS) if text.startswith("1 ", start) else None
    if head:
        when = moment(int(head[1]), int(head[2]), int(head[3]), head[4], head[5]) if head[1] else None
        host, app, pid, kind = ("" if v == "-" else v for v in head.group(6, 7, 8, 9))
        fields: dict[str, Any] = structured_data(head[10]) if head[10] else {}
        if kind:
            fields["msgid"] = kind
        message = text[head.end() :].removeprefix("\ufeff").removeprefix("ï»¿")
        return LogLine(priority, priority >> 3, priority & 7, "pri", when, host, app, pid, message, fields)
    inner = parse_text(text[start:].lstrip(), received_us)
    return LogLine(
        priority, priority >> 3, priority & 7, "pri", inner.timestamp_us, inner.host, inner.app, inner.pid, inner.message, inner.fields
    )


def structured_data(text: str) -> dict[str, Any]:
    """`[id a="1"][id2 b="2"]` -> {id: {a: 1}, id2: {b: 2}}, escapes undone."""
    return {
        name: {key: re.sub(r'\\(["\\\]])', r"\1", value) for key, value in _SD_PARAM.findall(params)}
        for name, params in _SD_ELEMENT.findall(text)
    }


# 4. JSON

_MESSAGE = ("message", "msg", "MESSAGE", "log", "text", "body", "@message", "event", "short_message")
_SEVERITY = ("level", "severity", "log.level", "levelname", "PRIORITY", "lvl", "loglevel", "severity_text", "severityText")
_TIME = ("timestamp", "@timestamp", "time", "ts", "__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP", "datetime", "asctime")
_HOST = ("host", "hostname", "_HOSTNAME", "host.name")
_APP = ("app", "service", "SYSLOG_IDENTIFIER", "_COMM", "logger", "name", "service.name", "component")
_PID = ("pid", "_PID", "SYSLOG_PID", "process.pid")
_json: Callable[[str], Any] = msgspec.json.Decoder().decode


def from_json(text: str, received_us: int) -> LogLine | None:
    try:
        record = _json(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    found = from_fields(record)
    if found is None or found.severity is not None or not isinstance(record.get("log"), str):
        return found
    inner = (
        parse_text(found.message.lstrip(), found.timestamp_us or received_us) if not found.message.startswith("{") else found
    )  # a container's line
    return replace(inner, timestamp_us=found.timestamp_us or inner.timestamp_us, fields=found.fields | inner.fields)


def from_fields(record: dict[str, Any]) -> LogLine | None:
    """A record of named fields, as JSON loggers, journald and logfmt write them; None without a message."""
    used: set[str] = set()

    def take(keys: tuple[str, ...]) -> Any:
        for key in keys:
            value = record.get(key)
            if value is not None and value != "" and not isinstance(value, dict | list):
                used.add(key)
                return value
        return None

    message = take(_MESSAGE)
    if message is None:
        return None
    severity, when = field_severity(take(_SEVERITY)), field_time(take(_TIME))
    host, app, pid = (str(take(keys) or "") for keys in (_HOST, _APP, _PID))
    rest = {key: value for key, value in record.items() if key not in used}
    source = "" if severity is None else "header"
    return LogLine(None, None, severity, source, when, host, app, pid, str(message).rstrip("\n"), rest)


def field_severity(value: Any) -> int | None:
    """A level word, a syslog number 0..7, or a pino/bunyan number 10..60."""
    text = str(value).strip().lower()
    if text.isascii() and text.isdigit() and len(text) < 3:
        number = int(text)
        return number if number <= 7 else {10: 7, 20: 7, 30: 6, 40: 4, 50: 3, 60: 2}.get(number)
    return LEVELS.get(text)


def field_time(value: Any) -> int | None:
    """RFC 3339 text, or seconds, millis, micros or nanos since the epoch told apart by size."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        at = _DATE.match(value) if isinstance(value, str) else None
        return moment(int(at[1]), int(at[2]), int(at[3]), at[4], at[5]) if at else None
    for limit, factor in ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (1e20, 1e-3)):
        if 0 < number < limit:
            return int(number * factor)
    return None


# 5. the way in


def parse_text(text: str, received_us: int) -> LogLine:
    """A line without PRI: by its first character to the shapes it may have."""
    first = text[:1]
    found: LogLine | None = None
    if first.isdigit():
        found = from_digits(text, received_us)
    elif first == "[":
        found = from_bracket(text, received_us)
    elif first == "{":
        found = from_json(text, received_us)
    elif first == "-":
        found = console(text)
    elif first.isalpha():
        found = from_letters(text, received_us)
    return found or plain(text)


def parse(raw: str, received_us: int) -> LogLine:
    """One line of any origin; what cannot be read is kept as message. received_us gives year or day where the line has none."""
    text = raw.strip("\r\n\x00").lstrip("\ufeff \t")
    try:
        found = with_priority(text, received_us) if text.startswith("<") else None
        return found or parse_text(text, received_us)
    except (ValueError, OverflowError, RecursionError):
        return plain(text)
