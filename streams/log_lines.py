"""Log lines: one raw line of any origin -> priority, severity, time, host, app, pid, message and fields.

Knows which shapes a line may have by its first character, and reads on inside what a runtime, a journal or a syslog daemon wrapped; each
shape is another log_*.py. Leaves severity by words, templates and anomalies to models. Never raises: what has no known header is all
message. Next: streams/agents/logs.py, then models/log_model.py
"""

import re

from streams.log_consoles import console, from_digits, from_letters
from streams.log_containers import from_cri
from streams.log_json import from_json
from streams.log_line import A_RECORD, LogLine, around
from streams.log_logfmt import from_logfmt
from streams.log_loggers import after_time, from_bracket, from_level, from_month, from_other_date, ruby
from streams.log_syslog import counted, with_iso_time, with_priority, without_priority
from streams.log_times import DATE, of_date
from streams.log_web import access_log, apache_error, nginx_error

MAX_WRAPS = 4
"""A header within a header, so often: octet count and PRI, syslog, a runtime's, the program's own."""
_COLOURS = re.compile(r"\x1b\[[0-9;]{0,32}[A-Za-z]")


def parse(raw: str, received_us: int) -> LogLine:
    """One line of any origin; what cannot be read is kept as message. received_us gives year or day where the line has none."""
    text = raw.strip("\r\n\x00").lstrip("\ufeff")
    if "\x1b[" in text:
        text = _COLOURS.sub("", text)
    try:
        line = outermost(text, received_us)
        for _ in range(MAX_WRAPS):
            if not line.wraps:
                break
            message = line.message
            inner = a_record(message, received_us) if line.wraps == A_RECORD else anything(message, received_us)
            if inner is None:
                break
            line = around(line, inner)
        return line
    except (ValueError, OverflowError, RecursionError):
        return LogLine(text)


def outermost(text: str, received_us: int) -> LogLine:
    """The first header of a line; a line without one is all message, its indentation kept."""
    bare = counted(text.lstrip(" \t"))
    found = with_priority(bare) if bare.startswith("<") else None
    return found or anything(bare if bare[:1] == text[:1] else text, received_us) or LogLine(text)


def anything(text: str, received_us: int) -> LogLine | None:
    """A line without PRI, by its first character to the shapes it may have."""
    first = text[:1]
    if first in " \t":  # indented: a line of a trace, unless its header leaves no doubt
        return a_record(text.lstrip(" \t"), received_us)
    if first.isdigit():
        return from_digit(text, received_us)
    if first.isalpha():
        return (
            without_priority(text, received_us)
            or from_letters(text, received_us)
            or from_logfmt(text)
            or from_level(text)
            or ruby(text)
            or from_month(text)
            or access_log(text)
        )
    if first == "[":
        return apache_error(text) or from_bracket(text, received_us)
    if first == "{":
        return from_json(text)
    if first == "-":
        return console(text)
    return without_priority(text, received_us) if first in "*." else access_log(text) if first == ":" else None


def from_digit(text: str, received_us: int) -> LogLine | None:
    """Lines that open with a digit: mostly with a date."""
    if date := DATE.match(text):
        return from_cri(text, date) or with_iso_time(text, date) or nginx_error(text, date) or after_time(text, date.end(), of_date(date))
    return from_digits(text, received_us) or from_other_date(text, received_us) or without_priority(text, received_us) or access_log(text)


def a_record(text: str, received_us: int) -> LogLine | None:
    """The header a program gave its own line before a daemon took it: only shapes that no message has by chance."""
    first = text[:1]
    if first == "{":
        return from_json(text)
    if first.isdigit():
        if date := DATE.match(text):
            return nginx_error(text, date) or after_time(text, date.end(), of_date(date))
        return access_log(text)
    if first == "[":
        return apache_error(text) or (from_bracket(text, received_us) if text[1:2].isdigit() else None)
    if first.isalpha():
        return from_letters(text, received_us) or from_logfmt(text)
    return None
