"""Topic logs -> input-stream, predictions, performance, failures.

The data path of log lines. The header is read by log_lines.py; the model sees the message, the severity that line or record name, and
who wrote the line.
Next: streams/reading.py (bytes -> records), then streams/lane.py
"""

from typing import Any

import msgspec

from models.log_traces import speaker
from models.severity import LEVELS, SEVERITIES
from schemas.events import LogEvent
from schemas.otlp_logs import level_of
from streams.delivery import App, batch_agent, decode_ahead, gather
from streams.idle import IDLE_TICK_S
from streams.lane import Lane
from streams.log_line import LogLine
from streams.log_lines import parse
from streams.log_syslog import FACILITIES
from streams.log_times import Local
from streams.session import Contents

MAX_FIELDS = 64
"""Of a line's header in its metadata; the line itself is kept whole."""
MAX_FIELD_CHARS = 1024
_json = msgspec.json.Encoder(order="deterministic").encode


def contents(event: LogEvent, received_us: int) -> Contents:
    """A line: its own time where the record has none, its header's fields as metadata."""
    line = parse(event.raw, received_us)
    given = given_level(event.metadata) if event.metadata else ""
    return Contents(
        shown=event.raw,
        text=line.message,
        timestamp_us=moment_of(event, line),
        metadata=metadata_of(event, line),
        speaker=speaker(line.writer, line.is_record or bool(given), line.is_partial),  # a record with a severity is no line of a trace
        name=given or line.level_name,
        ends_session=event.end_of_session,
    )


def moment_of(event: LogEvent, line: LogLine) -> int | None:
    """The record's own time, else the line's; where that names no zone, in the one the record names as `timezone`, else UTC."""
    if event.timestamp is not None:
        return event.timestamp
    moment = line.timestamp_us
    if not isinstance(moment, Local):
        return moment
    return moment.in_zone(event.metadata["timezone"]) if "timezone" in event.metadata else int(moment)


def given_level(metadata: dict[str, str]) -> str:
    """What the record says of its severity beside the line: its word where it is a known one, else the number OTLP gives it."""
    number = LEVELS.get(metadata.get("severity", "").lower())
    if number is None:
        return level_of(metadata.get("severity_number", ""))
    return f"header:{SEVERITIES[number]}"


def metadata_of(event: LogEvent, line: LogLine) -> dict[str, str]:
    """The header's parts by name, then its further fields, then what the record says, which knows better."""
    found: dict[str, str] = {}
    if event.source is not None:
        found["source"] = event.source
    if line.host:
        found["host"] = line.host
    if line.app:
        found["app"] = line.app
    if line.pid:
        found["pid"] = line.pid
    if line.priority is not None:
        found["priority"], found["facility"] = str(line.priority), FACILITIES[line.priority >> 3]
    for name, value in line.fields.items():
        if len(found) == MAX_FIELDS:
            break
        found[name[:MAX_FIELD_CHARS]] = shown(value)
    return found | event.metadata if event.metadata else found


def shown(value: Any) -> str:
    """A field as text: what is no text as JSON."""
    if not isinstance(value, str):
        value = _json(value).decode()
    return value if len(value) <= MAX_FIELD_CHARS else value[:MAX_FIELD_CHARS] + "..."


def register(app: App, topic: str, lane: Lane) -> None:
    """Let `app` run the agent."""

    @batch_agent(app, topic)
    async def logs(stream: Any) -> None:
        """All new records of all partitions -> one model step -> published, stored, acked."""
        async for step in decode_ahead(gather(stream, idle_s=IDLE_TICK_S, waited_s=lane.waited_s), lane.decode):
            await lane.advance(step)
