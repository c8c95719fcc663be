"""Topic logs -> input-stream, predictions, performance, failures.

The data path of log lines. The header is read by log_lines.py; the model sees the message and the severity the header names.
Next: streams/reading.py (bytes -> records), then streams/lane.py
"""

from typing import Any

from models.severity import LEVELS, SEVERITIES
from schemas.events import LogEvent
from streams.delivery import App, batch_agent, decode_ahead, gather
from streams.lane import IDLE_TICK_S, Lane
from streams.log_lines import parse
from streams.session import Contents, named


def contents(event: LogEvent, received_us: int) -> Contents:
    """A line: its own time where the record has none, its header's fields as metadata."""
    line = parse(event.raw, received_us)
    level = line.level_name
    if not level and (given := LEVELS.get(event.metadata.get("severity", "").lower())) is not None:
        level = f"header:{SEVERITIES[given]}"
    fields = named({}, source=event.source, host=line.host or None, app=line.app or None, pid=line.pid or None)
    return Contents(
        shown=event.raw,
        text=line.message,
        timestamp_us=line.timestamp_us if event.timestamp is None else event.timestamp,
        metadata={**fields, **{k: str(v) for k, v in line.fields.items()}, **event.metadata},
        name=level,
        ends_session=event.end_of_session,
    )


def register(app: App, topic: str, lane: Lane) -> None:
    """Let `app` run the agent."""

    @batch_agent(app, topic)
    async def logs(stream: Any) -> None:
        """All new records of all partitions -> one model step -> published, stored, acked."""
        async for step in decode_ahead(gather(stream, idle_s=IDLE_TICK_S), lane.decode):
            await lane.advance(step)
