"""Lines of text -> records to send: what `strata produce` understands.

Knows the plain form of each topic (words, log lines, `speaker: text`, `name value [time]`) and JSON lines; leaves Kafka to
data_commands.py.
Next: schemas/codec.py
"""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from deploy.pieces import PieceCutter
from schemas.codec import Codec, encoder, micros
from schemas.errors import CodecError, StrataError
from schemas.events import RECORDS, ROLES, Micros

REQUIRED = {
    "tokens": {"text"},
    "logs": {"raw"},
    "chat": {"speaker", "text"},
    "metrics": {"name", "value"},
    "labels": {"task"},
    "requests": {"request_id"},
}
PLAIN_FORM = {
    "tokens": "a JSON object with `text` on each line, as the first line has it, or plain text alone",
    "chat": "`speaker: text`",
    "metrics": "`name value [timestamp]`",
    "labels": "a JSON object with `task`",
    "requests": "a JSON object with `request_id`",
}


class InputLineError(StrataError):
    """A line that cannot be a record of its topic."""


@dataclass(frozen=True)
class ToSend:
    """One record of the input, before it is bytes."""

    line: int
    """Where it was complete, from 1."""
    session_id: str
    record: Any
    """Record of schemas.events."""
    as_json: dict[str, Any] | None = None
    """Set when the line was JSON: these fields go out as they came."""


def lines_to_records(lines: Iterable[bytes], topic: str, session_id: str) -> Iterator[ToSend | InputLineError]:
    """Records in the order of the lines; a line that cannot be one gives its error, and reading goes on.

    The first line decides whether a `tokens` input is JSON lines or text; in the other topics each line decides for itself.
    """
    codec, cutter, number = Codec(), PieceCutter(), 1
    json_lines: bool | None = None if topic == "tokens" else True
    for number, raw in enumerate(lines, 1):
        try:
            text = raw.decode("utf-8", "backslashreplace" if topic == "logs" else "strict")  # a log's odd byte must not end its `tail -f`
        except UnicodeDecodeError as problem:
            yield InputLineError(
                f"line {number}: byte {raw[problem.start]:#04x} at column {problem.start + 1} is not UTF-8; convert the file to UTF-8"
            )
            continue
        fields = json_fields(text, topic) if json_lines is not False else None
        if json_lines is None and text.strip():
            json_lines = fields is not None
        if topic == "tokens" and not json_lines:
            for piece in cutter.feed(text):
                yield _plain(topic, number, session_id, text=piece)
        elif fields is not None:
            yield _from_json(codec, topic, number, session_id, fields)
        elif line := text.rstrip("\r\n"):
            yield _from_line(topic, number, session_id, line)
    for piece in cutter.finish():
        yield _plain(topic, number, session_id, text=piece)


def json_fields(text: str, topic: str) -> dict[str, Any] | None:
    """The object in a line, when it is one and has the record's fields; None is a plain line."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and value.keys() >= REQUIRED[topic] else None


def _from_json(codec: Codec, topic: str, line: int, session_id: str, fields: dict[str, Any]) -> ToSend | InputLineError:
    fields = {**fields, "session_id": fields.get("session_id") or session_id}
    try:
        record = codec.decode(topic, json.dumps(fields).encode())
    except CodecError as problem:
        return InputLineError(f"line {line}: {problem}")
    return ToSend(line, record.session_id, record, fields)


def _from_line(topic: str, line: int, session_id: str, text: str) -> ToSend | InputLineError:
    """A plain line of any topic but tokens."""
    if topic == "logs":
        return _plain(topic, line, session_id, raw=text, metadata=_here())
    if not text.strip():
        return InputLineError(f"line {line}: only white space, wanted {PLAIN_FORM[topic]}; take the line out")
    if topic == "chat":
        speaker, colon, said = text.partition(":")
        if not colon or not speaker.strip():
            return InputLineError(f"line {line}: got {text[:60]!r}, wanted {PLAIN_FORM[topic]}; put a speaker in front")
        role = speaker.strip().lower()
        return _plain(topic, line, session_id, speaker=speaker.strip(), text=said.strip(), role=role if role in ROLES else None)
    if topic == "metrics":
        return _metric(line, session_id, text)
    return InputLineError(f"line {line}: got {text[:60]!r}, wanted {PLAIN_FORM[topic]}")


def _here() -> dict[str, str]:
    """The zone of this machine's clock: the lines of its log seldom name theirs."""
    zone = time.strftime("%z")
    return {} if zone in ("", "+0000") else {"timezone": zone}


def _metric(line: int, session_id: str, text: str) -> ToSend | InputLineError:
    name, *rest = text.split()
    if len(rest) not in (1, 2):
        return InputLineError(f"line {line}: got {text[:60]!r}, wanted {PLAIN_FORM['metrics']} with white space between")
    try:
        value = float(rest[0])
    except ValueError:
        return InputLineError(f"line {line}: value {rest[0]!r} is not a number; wanted {PLAIN_FORM['metrics']}")
    try:
        moment = _moment(rest[1]) if len(rest) == 2 else None
    except ValueError:
        return InputLineError(f"line {line}: timestamp {rest[1]!r} is neither seconds since 1970 nor RFC 3339 like 2026-01-31T12:00:00Z")
    return _plain("metrics", line, session_id, name=name, value=value, timestamp=moment)


def _moment(text: str) -> Micros:
    try:
        return micros(float(text))
    except ValueError:
        return micros(text)


def _plain(topic: str, line: int, session_id: str, **fields: Any) -> ToSend:
    return ToSend(line, session_id, RECORDS[topic](session_id=session_id, **fields))


def bytes_of(item: ToSend, topic: str, encoding: str, ends: bool, now_us: int) -> bytes:
    """The record as bytes. JSON lines go out as they came, with their session; a plain line without a time gets `now_us`.

    A log line does not: it mostly names its own, which the worker reads, and gets Kafka's where it names none.
    """
    if item.as_json is not None:
        extra = {"end_of_session": True} if ends else {}
        return json.dumps({**item.as_json, **extra}, ensure_ascii=False).encode("utf-8", "backslashreplace")
    changes: dict[str, Any] = {"end_of_session": True} if ends else {}
    if item.record.timestamp is None and topic != "logs":
        changes["timestamp"] = now_us
    fields = {f: getattr(item.record, f) for f in item.record.__struct_fields__} | changes
    return encoder(topic, encoding)(fields)
