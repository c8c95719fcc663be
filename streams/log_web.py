"""Lines of web servers: access logs in the common and combined format, error logs of Apache and nginx.

Knows that a status tells how a request went: 5xx is the server's error, 4xx a warning, all else information. The request stays in the
message, so that templates see it. Next: streams/log_fields.py
"""

import re

from streams.log_line import HEADER_CHARS, LogLine, level_number, record
from streams.log_times import CLOCK, MONTH, MONTHS, moment, of_date

_ACCESS = re.compile(
    rf"(?:(\S{{1,255}}) )?(\S{{1,255}}) (\S{{1,255}}) (\S{{1,255}}) \[(\d\d)/({MONTH})/(\d{{4}}):(\d\d:\d\d:\d\d) ([+-]\d{{4}})\] "
)
_QUOTED = r'[^"\\]*+(?:\\.[^"\\]*+)*+'
_REQUEST = re.compile(
    rf'"(?:([A-Z]{{1,20}}) (\S{{1,4000}})(?: [^"]*)?|{_QUOTED})" (\d{{3}}) (\d+|-)(?: "({_QUOTED})" "({_QUOTED})")?', re.S
)
_APACHE_ERROR = re.compile(
    rf"\[(?:\w{{3}} )?({MONTH}) +(\d{{1,2}}) ({CLOCK}) (\d{{4}})\] \[(?:([\w.]+):)?([a-z]+)\d?\] (?:\[pid (\d+)(?::tid (\d+))?\] )?"
)
_NGINX_ERROR = re.compile(r" \[([a-z]+)\] (\d+)#(\d+): (?:\*(\d+) )?")


def access_log(text: str) -> LogLine | None:
    """`[virtual host] client identity user [time] "request" status bytes ["referrer" "agent"]`."""
    at = _ACCESS.match(text, 0, HEADER_CHARS)
    if at is None:
        return None
    when = moment(int(at[7]), MONTHS[at[6].lower()], int(at[5]), at[8], at[9])
    fields = {name: value for name, value in (("client", at[2]), ("user", at[4]), ("virtual_host", at[1])) if value and value != "-"}
    severity = None
    if asked := _REQUEST.match(text, at.end()):
        severity = severity_of_status(asked[3])
        named = zip(("method", "path", "status", "bytes", "referrer", "agent"), asked.groups(), strict=True)
        fields |= {name: value for name, value in named if value and value != "-"}
    return LogLine(text[at.end() :], severity, "" if severity is None else "status", when, fields=fields, is_record=True)


def severity_of_status(status: str) -> int:
    """An HTTP status as severity: the server failed, the request was refused, or it went well."""
    return 3 if status[0] == "5" else 4 if status[0] == "4" else 6


def apache_error(text: str) -> LogLine | None:
    """`[Sun Dec 04 04:47:44 2005] [module:level] [pid 1:tid 2] message`."""
    at = _APACHE_ERROR.match(text)
    if at is None:
        return None
    when = moment(int(at[4]), MONTHS[at[1].lower()], int(at[2]), at[3])
    fields = {name: value for name, value in (("module", at[5]), ("tid", at[8])) if value}
    return record(text[at.end() :], level_number(at[6]), when, "", at[7] or "", **fields)


def nginx_error(text: str, date: re.Match[str]) -> LogLine | None:
    """`2023/01/29 16:43:04 [error] pid#tid: *connection message`."""
    at = _NGINX_ERROR.match(text, date.end()) if text.startswith(" [", date.end()) else None
    if at is None:
        return None
    fields = {name: value for name, value in (("tid", at[3]), ("connection", at[4])) if value}
    return record(text[at.end() :], level_number(at[1]), of_date(date), "", at[2], **fields)
