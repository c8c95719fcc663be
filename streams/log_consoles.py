"""Lines of single systems with a layout of their own: Android, Kubernetes' klog, Redis, supercomputers' consoles and event tables.

Each is one regular expression. Next: streams/log_web.py
"""

import re

from models.severity import LEVELS
from streams.log_line import HEADER_CHARS, LogLine, level_number, record
from streams.log_loggers import LEVEL, after_time
from streams.log_times import CLOCK, DATE, MONTH, MONTHS, moment, of_date, yearless

_LOGCAT = re.compile(rf"(\d\d)-(\d\d) ({CLOCK})\s+(\d+)\s+(\d+) ([VDIWEFA]) ([^:]{{0,80}}?) {{0,40}}: ?")
_LOGCAT_TIME = re.compile(rf"(\d\d)-(\d\d) ({CLOCK}) ([VDIWEFA])/([^(]{{0,80}}?) {{0,40}}\( {{0,10}}(\d+)\): ?")
_GLOG = re.compile(rf"([IWEF])(\d\d)(\d\d) ({CLOCK})\s+(\d+) ([\w./-]+:\d+)\] ?")
_REDIS = re.compile(rf"(\d+):[XCSM] (\d\d) ({MONTH}) (\d{{4}}) ({CLOCK}) ([.\-*#]) ")
_REDIS_LEVEL = {".": 7, "-": 6, "*": 5, "#": 4}
_CONSOLE = re.compile(  # alert flag, epoch, date, node, time, node, type, component, level
    rf"(\S+) (\d{{10}}) \d{{4}}\.\d\d\.\d\d (\S+) (\d{{4}})-(\d\d)-(\d\d)-(\d\d)\.(\d\d)\.(\d\d)\.(\d{{6}}) \S+ (\S+) (\S+) ({LEVEL}) "
)
_EVENT_TABLE = re.compile(r"\d+ (\S+) (\S+) (\S+) (\d{9,10}) -?\d+ ")  # id, node, component, state, epoch, flag
_FILE_PREFIX = re.compile(r"(\S*\.log\S*) (?=\d{4}-\d\d-\d\d )")


def from_digits(text: str, received_us: int) -> LogLine | None:
    """Consoles that open with a digit."""
    if at := _LOGCAT.match(text):
        when = yearless(int(at[1]), int(at[2]), at[3], received_us)
        return record(text[at.end() :], LEVELS.get(at[6].lower(), 2), when, at[7], at[4], tid=at[5])
    if at := _LOGCAT_TIME.match(text):
        when = yearless(int(at[1]), int(at[2]), at[3], received_us)
        return record(text[at.end() :], LEVELS.get(at[4].lower(), 2), when, at[5], at[6])
    if at := _EVENT_TABLE.match(text, 0, HEADER_CHARS):
        return record(text[at.end() :], None, int(at[4]) * 1_000_000, at[2], "", node=at[1], state=at[3])
    if at := _REDIS.match(text):
        when = moment(int(at[4]), MONTHS[at[3].lower()], int(at[2]), at[5])
        return record(text[at.end() :], _REDIS_LEVEL[at[6]], when, "", at[1])
    return None


def from_letters(text: str, received_us: int) -> LogLine | None:
    """klog, a file's name before each line, a supercomputer's console."""
    if at := _GLOG.match(text):
        when = yearless(int(at[2]), int(at[3]), at[4], received_us)
        return record(text[at.end() :], LEVELS[at[1].lower()], when, "", at[5], source=at[6])
    if (at := _FILE_PREFIX.match(text, 0, HEADER_CHARS)) and (date := DATE.match(text, at.end())):
        line = after_time(text, date.end(), of_date(date))
        return record(line.message, line.severity, line.timestamp_us, line.app, line.pid, **line.fields, file=at[1])
    return console(text)


def console(text: str) -> LogLine | None:
    at = _CONSOLE.match(text, 0, HEADER_CHARS)
    if at is None:
        return None
    when = int(at[2]) * 1_000_000 + int(at[10])
    return record(text[at.end() :], level_number(at[13]), when, at[12], "", node=at[3], flag=at[1], type=at[11])
