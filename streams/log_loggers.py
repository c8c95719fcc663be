"""Lines of application loggers: a date or clock, then process, level, thread and logger in their usual orders; or a level alone.

Knows the layouts of the common frameworks (log4j, logback, Python, Go, Rust, Ruby, .NET, PostgreSQL and MySQL); leaves syslog to
log_syslog.py and single-vendor shapes to log_consoles.py. Next: streams/log_consoles.py
"""

import re
from typing import Any

from streams.log_line import HEADER_CHARS, LogLine, level_number, record
from streams.log_times import CLOCK, DATE, MONTH, MONTHS, ZONE, dateless, moment, of_date

LEVEL = (
    r"(?:EMERG(?:ENCY)?|ALERT|CRIT(?:ICAL)?|FATAL|SEVERE|PANIC|ERR(?:OR)?|WARN(?:ING)?|NOTICE|INFO(?:RMATION(?:AL)?)?|INF|WRN|DBG|CONFIG|DEBUG|TRACE"
    r"|VERBOSE|FINE(?:R|ST)?|(?-i:LOG|STATEMENT)(?=:))"
)
# After a date or a clock: pid, level, thread and logger in their usual orders.
_REST = re.compile(
    r"[\s,|]*(?:- )?(?:(?P<pid>\d{1,10})\s+)?(?:(?P<name>[\w.$-]{1,80}) - )?(?:\[(?P<early>[^\[\]]{1,80})\]\s+)?(?:[\w.-]{1,64}@[\w.-]{1,64} )?"
    r"[\[<(|]?(?P<level>(?i:" + LEVEL + r"))[\])>|]?(?=[\s:,\]]|$)[\s:,|-]*"
)
_LOGGER = re.compile(
    r"(?:(?P<pid>\d{1,10})\s+---\s+)?(?:\[(?P<thread>[^\[\]]{1,400})\]\s*)?"
    r"(?:(?P<logger>[A-Za-z_][\w$]*+(?:[.$/#-][\w$<>-]++)++)(?:\s*:\s+|\s+-\s+|(?=\s\[)|(?<=\d)\s)"  # dotted name
    r"|(?P<camel>[A-Z][\w$]{0,60}[a-z][A-Z][\w$]{0,60})\s?:\s+"  # CamelCase:
    r"|(?P<column>[A-Z]{2,12})\s{2,})?\s*"  # a column of its own
    r"(?P<request>\[(?:req-[^\]]*|-)\]\s+)?"
)
_SHORT_DATE = re.compile(rf"(\d\d)/(\d\d)/(\d\d) ({CLOCK})(?=\s)")
_COMPACT_DATE = re.compile(r"(\d\d)(\d\d)(\d\d) (\d\d)(\d\d)(\d\d) ")
_DAY_FIRST = re.compile(rf"(\d{{1,2}})[-/ ]({MONTH})[-/ ](\d{{4}})[ :T]({CLOCK})\s?({ZONE})?(?=[\s,\]|]|$)")
_SLASH_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}),? (\d{1,2})(:\d\d:\d\d(?:[.,]\d{1,9})?)(?: ([AP])M)?(?=[\s,\]|]|$)")
_EPOCH = re.compile(r"(\d{10})\.(\d{1,9})(?=[\s:\]]|$)")
_CLOCK_ONLY = re.compile(rf"({CLOCK})(?=\s|$)")
_MONTH_FIRST = re.compile(rf"({MONTH}) (\d{{1,2}}), (\d{{4}}) (\d{{1,2}})(:\d\d:\d\d) ([AP])M(?= )")
_BRACKET_LEVEL = re.compile(r" +((?i:" + LEVEL + r")) +([\w.:-]{1,128})?\] ?")
_RUBY = re.compile(r"[DIWEFA], \[(\S{10,40}) #(\d+)\] +([A-Z]+) -- (\S*): ?")
_CHANNEL = re.compile(r"\s*([\w-]{1,64})\.((?-i:" + LEVEL + r")): ")
_LEVEL_THEN = re.compile(r"\[?((?i:" + LEVEL + r"))\]?[\s:|,-]{1,8}\[?(?=\d{4}[-/.]\d\d[-/.]\d\d[T _]\d\d:)")
_LEVEL_FIRST = re.compile(
    r"\[?((?i:" + LEVEL + r"))\]?(?::\s+|\s+-\s+|(?<=\])\s+|\s+(?=\[))|((?:DEBUG|INFO|WARNING|ERROR|CRITICAL)):([\w.]{1,128}):"
)
_DOTNET = re.compile(r"(trce|dbug|info|warn|fail|crit): ([\w.`+<>-]+)\[\d+\]\s*")


def after_time(text: str, start: int, at_us: int | None) -> LogLine:
    """What follows a timestamp: [pid] LEVEL [thread] logger: message, in the usual orders."""
    rest = _REST.match(text, start, start + HEADER_CHARS)
    if rest is None:
        if channel := _CHANNEL.match(text, start):  # monolog's
            return record(text[channel.end() :], level_number(channel[2]), at_us, channel[1])
        return record(text[start:].lstrip(" ,|\t"), None, at_us)
    pid, name, early, level = rest.groups()
    more = _LOGGER.match(text, rest.end(), rest.end() + HEADER_CHARS)
    if more is None:
        return record(text[rest.end() :], level_number(level), at_us, name or "", pid or "")
    pid2, thread, logger, camel, column, request = more.groups()
    end = more.end()
    fields: dict[str, Any] = {}
    if early and early.isdecimal() and not pid:
        pid, early = early, None
    if thread and not (logger or camel or early):
        if " " not in thread.strip() and not text.startswith("[", end):  # INFO [main] text
            fields["thread"] = thread
        else:  # the bracket belongs to the message
            end = more.start("thread") - 1
    elif thread or early:
        fields["thread"] = thread or early
    if request:
        fields["request"] = request.strip()[1:-1]
    return record(text[end:], level_number(level), at_us, name or logger or camel or column or "", pid or pid2 or "", **fields)


def from_other_date(text: str, received_us: int) -> LogLine | None:
    """Dates in another order, epochs and clocks alone."""
    if at := _SHORT_DATE.match(text):
        return after_time(text, at.end(), moment(2000 + int(at[1]), int(at[2]), int(at[3]), at[4]))
    if at := _COMPACT_DATE.match(text):
        when = moment(2000 + int(at[1]), int(at[2]), int(at[3]), f"{at[4]}:{at[5]}:{at[6]}")
        return None if when is None else after_time(text, at.end() - 1, when)
    if at := _CLOCK_ONLY.match(text):
        return after_time(text, at.end(), dateless(at[1], received_us))
    if at := _DAY_FIRST.match(text):
        return after_time(text, at.end(), moment(int(at[3]), MONTHS[at[2].lower()], int(at[1]), at[4], at[5]))
    if at := _SLASH_DATE.match(text):
        return after_time(text, at.end(), _slash_moment(at))
    if at := _EPOCH.match(text):
        return after_time(text, at.end(), int(at[1]) * 1_000_000 + int(at[2][:6].ljust(6, "0")))
    return None


def from_month(text: str) -> LogLine | None:
    """`Jan 29, 2023 4:43:04 PM class method`, as java.util.logging heads its pairs of lines."""
    at = _MONTH_FIRST.match(text)
    if at is None:
        return None
    when = moment(int(at[3]), MONTHS[at[1].lower()], int(at[2]), _of_day(at[4], at[5], at[6]))
    return record(text[at.end() :].lstrip(" "), None, when)


def _slash_moment(at: re.Match[str]) -> int | None:
    """Month first, as in the United States, unless the first number can be no month."""
    month, day = int(at[1]), int(at[2])
    if month > 12:
        month, day = day, month
    return moment(int(at[3]), month, day, _of_day(at[4], at[5], at[6]))


def _of_day(hour: str, rest: str, half: str | None) -> str:
    """A clock of 24 hours, from one of twelve where AM or PM is written."""
    number = int(hour)
    if half:
        number = number % 12 + (12 if half == "P" else 0)
    return f"{number:02}{rest}"


def from_bracket(text: str, received_us: int) -> LogLine | None:
    """A date, a clock or a level in brackets."""
    inside, close, _ = text[1:128].partition("]")
    if close:
        if inside[:1].isdigit():
            at = DATE.match(text, 1)
            if at is None:
                found = from_other_date(text[1 : len(inside) + 1], received_us)
                return None if found is None or found.message else after_time(text, len(inside) + 2, found.timestamp_us)
            if text.startswith("]", at.end()):
                return after_time(text, at.end() + 1, of_date(at))
            if level := _BRACKET_LEVEL.match(text, at.end(), HEADER_CHARS):  # [time LEVEL target]
                return record(text[level.end() :], level_number(level[1]), of_date(at), level[2] or "")
            return None
        return from_level(text)
    return None


def from_level(text: str) -> LogLine | None:
    """A level word in front, and nothing else. Go's `panic:` is the first line of a trace, and no level."""
    if text.startswith("panic: "):
        return None
    if (at := _DOTNET.match(text)) and text[0].islower():
        return record(text[at.end() :], level_number(at[1]), None, at[2])
    if (at := _LEVEL_THEN.match(text)) and (date := DATE.match(text, at.end())):
        return record(text[date.end() :].lstrip("] ,|\t"), level_number(at[1]), of_date(date))
    if at := _LEVEL_FIRST.match(text):
        return record(text[at.end() :], level_number(at[1] or at[2]), None, at[3] or "")
    return None


def ruby(text: str) -> LogLine | None:
    """`I, [2023-01-29T16:43:04.123456 #12]  INFO -- app: message`."""
    at = _RUBY.match(text)
    if at is None:
        return None
    when = DATE.match(at[1])
    return record(text[at.end() :], level_number(at[3]), of_date(when) if when else None, at[4], at[2])
