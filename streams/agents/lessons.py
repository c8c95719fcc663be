"""Topic lessons -> versions in the learning table, performance, failures.

The data path of what is learned from log lines: a tenant's learner hears them, and every so often makes a version that the lanes take up.
Next: streams/teaching.py
"""

from typing import Any

from models.learner import Drift
from schemas.events import Event, Micros, PerformanceMeasured, StepFailed, event_id, trace_id_of
from streams.delivery import App, batch_agent, gather
from streams.pipeline import encode_json
from streams.teaching import Happened, Teaching

TICK_S = 0.5
"""With nothing to hear, how often to look for an update that is due."""


def events_of(happened: Happened) -> list[Event]:
    """What the tables show of an update or a drift; the lesson heard last is its cause."""
    what, tenant = happened.what, happened.tenant
    assert happened.cause is not None
    place = happened.cause.place
    common: dict[str, Any] = {
        "timestamp": Micros(happened.event_us),
        "session_id": f"learner/{tenant}",
        "modality": "logs",
        "model_version": happened.version,
        "trace_id": trace_id_of(place.topic, place.partition, place.offset),
        "kafka_topic": place.topic,
        "kafka_partition": place.partition,
        "kafka_offset": place.offset,
    }
    if isinstance(what, Drift):
        context = {"tenant": tenant, "detector": what.detector, "line": what.line, "mean_before": what.mean_before, "recent": what.recent}
        return [_measured("log.drift", what.recent - what.mean_before, "surprise", context, (what.detector, what.line), common)]
    context = {
        "tenant": tenant,
        "action": what.action,
        "version": what.subject,
        "judges_now": happened.version,
        "cpu_ms": happened.cpu_ms,
        **what.figures,
    }
    events: list[Event] = [_measured("log.update", happened.took_ms, "ms", context, (what.action, what.subject), common)]
    if what.action != "taught":
        identity = ("logs", tenant, what.action, what.subject)
        failed = StepFailed(
            event_id=event_id("failures", *identity),
            failure_id=event_id("failure", *identity),
            failure_type="BadUpdate",
            exception=f"version {what.subject}: {what.reason}",
            context=encode_json(context).decode(),
            recovery_action="refuse_update" if what.action == "refused" else "roll_back",
            recovery_success=True,
            **common,
        )
        events += [_measured("log.rollback", what.figures.get("surprise_after", 0.0), "surprise", context, identity[2:], common), failed]
    return events


def _measured(name: str, value: float, unit: str, context: dict[str, Any], identity: tuple[object, ...], common: dict[str, Any]) -> Event:
    own = event_id("performance", "logs", context["tenant"], name, *identity)
    return PerformanceMeasured(
        event_id=own, metric_name=name, metric_value=value, unit=unit, context=encode_json(context).decode(), **common
    )


def register(app: App, topic: str, teaching: Teaching) -> None:
    """Let `app` run the agent."""

    @batch_agent(app, topic)
    async def lessons(stream: Any) -> None:
        """Lessons of all partitions -> learners -> published, stored, acked."""
        async for step in gather(stream, idle_s=TICK_S):
            await teaching.advance(step)
