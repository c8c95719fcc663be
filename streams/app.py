"""The whole worker on one screen: topics, tables, agents and what they share.

Knows what is wired to what; leaves everything else to the files it names. Starts nothing.
Next: streams/agents/tokens.py
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from faust.types import TP
from opentelemetry.sdk.trace import ReadableSpan

from models.steps import SessionModel
from schemas.codec import Codec
from schemas.events import MODALITIES
from schemas.registry import Registry
from schemas.topics import LEARNING_TABLE, SESSION_TABLES, app_id, changelog_of
from schemas.topics import lessons as lessons_topic
from streams.agents import chat, labels, lessons, logs, metrics, requests, tokens
from streams.batching import BatchConsumer
from streams.config import StreamConfig
from streams.deliveries import Deliveries
from streams.delivery import App, add_table, make_app, on_assigned, on_revoked, on_stop
from streams.emit import Emitter
from streams.inference import Inference
from streams.judging import Judging
from streams.lane import Lane, Services
from streams.learned import Learned, read
from streams.reading import Reader
from streams.sessions import Sessions
from streams.side import Side
from streams.teaching import Teaching
from streams.tracing import Sampler, Tracer
from streams.versions import Versions

LEARNS = "logs"
"""The modality whose model learns from the stream."""
AGENTS: dict[str, Any] = {"tokens": tokens, "chat": chat, "logs": logs, "metrics": metrics}


def build_app(
    config: StreamConfig,
    models: Mapping[str, SessionModel],
    sampler: Sampler | None = None,
    export_spans: Callable[[Sequence[ReadableSpan]], None] = lambda spans: None,
) -> App:
    """One Faust app with an agent for each input topic. Registers the output schemas when a registry is set."""
    group, prefix = app_id(config.topic_prefix), config.topic_prefix
    app = make_app(
        group,
        config.kafka_bootstrap,
        config.data_dir / f"worker-{config.worker_index}",
        instance=f"{group}-worker-{config.worker_index}",
        partitions=config.partitions,
        watchdog_s=config.watchdog_s,
        ready_file=config.ready_file,
    )
    registry = Registry(config.schema_registry_url) if config.schema_registry_url else None
    codec = Codec(registry)
    services = Services(
        config,
        Inference(models, ThreadPoolExecutor(1, thread_name_prefix="model")),
        Emitter(prefix, config.output_encoding, registry),
        app.publisher,
        Tracer(sampler or Sampler(), group, config.latency.max_per_token_ms),
        export_spans,
    )

    app.watchdog.step_goes_on = services.inference.goes_on

    def reader(name: str, module: Any) -> Reader:
        return Reader(name, codec, module.contents, config.partitions, config.max_record_bytes)

    # topics of sessions: an agent, a table and a lane each
    lanes: dict[str, Lane] = {}
    versions = _learn(app, config, services) if config.learning.enabled else None
    for modality in MODALITIES:
        table = add_table(app, SESSION_TABLES[modality])
        sessions = Sessions(modality, table, services.inference)
        deliveries = Deliveries(lambda: cast(BatchConsumer, app.consumer))
        unread = _unread(app, prefix + modality)
        learns = versions if modality == LEARNS else None
        judging = Judging(modality, services.inference, learns)
        taught = lessons_topic(prefix).name if learns else None
        lanes[modality] = Lane(modality, reader(modality, AGENTS[modality]), sessions, deliveries, services, unread, judging, taught)
        AGENTS[modality].register(app, prefix + modality, lanes[modality])
        _follow_assignment(app, prefix + modality, sessions)
    # topics beside them
    labels.register(app, prefix + "labels", Side("labels", reader("labels", labels), services.emitter, app.publisher))
    requests.register(app, prefix + "requests", Side("requests", reader("requests", requests), services.emitter, app.publisher), lanes)
    return app


def _learn(app: App, config: StreamConfig, services: Services) -> Versions | None:
    """The learners of the log model, beside its lane; None for a model that learns nothing."""
    base, prefix = services.inference.learnable(LEARNS), config.topic_prefix
    if base is None:
        return None
    table, topic = add_table(app, LEARNING_TABLE), lessons_topic(prefix).name
    learned = Learned(config.kafka_bootstrap, changelog_of(LEARNING_TABLE, prefix), base)
    lines = prefix + LEARNS
    versions = Versions(table, learned, lambda partition: cast(BatchConsumer, app.consumer).log_end(TP(lines, partition)))
    teaching = Teaching(
        config.learning,
        learned,
        table,
        lambda partition, begin, end: read(config.kafka_bootstrap, topic, partition, begin, end),
        services.publisher.publish,
        lambda happened, partition: services.emitter.records(lessons.events_of(happened), partition),
        ThreadPoolExecutor(1, thread_name_prefix="learner"),
        lambda: cast(BatchConsumer, app.consumer).streaming,
    )
    lessons.register(app, topic, teaching)
    on_stop(app, learned.stop)
    for follow in (on_assigned, on_revoked):
        follow(app, lambda places: versions.moved([p for t, p in places if t == lines]))
        follow(app, lambda places: teaching.moved([p for t, p in places if t == topic]))
    return versions


def _unread(app: App, topic: str) -> Callable[[int, int], bool]:
    """Whether a topic's partition has records from an offset on that no step has taken."""
    return lambda partition, reached: cast(BatchConsumer, app.consumer).unread(TP(topic, partition), reached)


def _follow_assignment(app: App, topic: str, sessions: Sessions) -> None:
    """Sessions come and go with the partitions of their topic."""
    on_assigned(app, lambda places: sessions.assigned(p for t, p in places if t == topic))
    on_revoked(app, lambda places: sessions.revoked(p for t, p in places if t == topic))
