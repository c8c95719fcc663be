"""Spans of one record's way: poll, decode, wait, encode, hierarchical update, publish; under the producer's trace.

Knows span names, attributes and which records are traced; leaves topics to emit.py. Ids are computed from the record's place, so a replay
repeats the same spans. Names: OpenTelemetry semantic conventions 1.44, messaging.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from schemas.errors import SettingError
from schemas.events import trace_id_of
from schemas.trace import TraceContext
from streams.session import Read

SCOPE = InstrumentationScope("strata.streams", "1")
DEFAULT_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Sampler:
    """Which records are traced when nothing was slow."""

    share: float = DEFAULT_SHARE
    follows_parent: bool = True

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Sampler":
        """`OTEL_TRACES_SAMPLER` and its argument, as the SDK names them; the default is parent-based, 1 %."""
        name = environ.get("OTEL_TRACES_SAMPLER", "parentbased_traceidratio" if "OTEL_TRACES_SAMPLER_ARG" in environ else "")
        if not name:
            return cls()
        kind = name.removeprefix("parentbased_")
        try:
            share = (
                {"always_on": 1.0, "always_off": 0.0}[kind]
                if kind != "traceidratio"
                else float(environ.get("OTEL_TRACES_SAMPLER_ARG", "1.0"))
            )
        except (KeyError, ValueError) as problem:
            wanted = "always_on, always_off, traceidratio with a number from 0 to 1, or parentbased_ and one of these"
            raise SettingError(f"OTEL_TRACES_SAMPLER: got {name!r}, wanted {wanted}") from problem
        return cls(share, name.startswith("parentbased_"))

    def picks(self, trace_id: str, parent: TraceContext | None) -> bool:
        """Whether a record of this trace is traced."""
        if self.follows_parent and parent is not None:
            return parent.sampled
        return int(trace_id[16:], 16) < self.share * 2**64


@dataclass(frozen=True, slots=True)
class Times:
    """When each stage of a step began and ended, nanoseconds of the wall clock."""

    polled_ns: int
    decoded_ns: int
    step_ns: int
    """The model step began: what came before is waiting for a batch."""
    encoded_ns: int
    updated_ns: int
    publish_ns: int
    published_ns: int


class Tracer:
    """Makes trace contexts and spans for one worker."""

    def __init__(self, sampler: Sampler, group: str, budget_ms: float, resource: Resource | None = None):
        self._sampler = sampler
        self._group = group
        self._budget_ms = budget_ms
        self._resource = resource or Resource.create({"service.name": "strata-worker"})

    def picks(self, read: Read) -> bool:
        """Whether the record's spans are kept. Most records make none, and so need no ids."""
        sampler, parent = self._sampler, read.trace
        if sampler.share <= 0.0 and (parent is None or not sampler.follows_parent):
            return False
        return sampler.picks(_trace_id(read), parent)

    def context(self, read: Read, sampled: bool) -> TraceContext:
        """The context of the record's `process` span, for the headers of its outputs."""
        return TraceContext(_trace_id(read), span_id(read, "process"), sampled, read.trace.state if read.trace else "")

    def spans(self, read: Read, context: TraceContext, times: Times) -> list[ReadableSpan]:
        """The record's spans, all ended."""
        topic, start_ns = read.place.topic, min(read.place.timestamp_ms * 1_000_000, times.polled_ns)
        over = (times.published_ns - start_ns) / 1e6 > self._budget_ms
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.destination.partition.id": str(read.place.partition),
            "messaging.consumer.group.name": self._group,
            "messaging.kafka.offset": read.place.offset,
            "messaging.kafka.message.key": read.session_id,
            "session.id": read.session_id,
            "strata.budget_ms": self._budget_ms,
            "strata.over_budget": over,
        }
        parent = _span_context(read.trace.trace_id, read.trace.span_id, True) if read.trace else None
        own = _span_context(context.trace_id, context.span_id, True)
        status = Status(StatusCode.ERROR, f"over the budget of {self._budget_ms:g} ms") if over else Status(StatusCode.UNSET)
        stages: tuple[tuple[str, SpanKind, int, int, dict[str, str]], ...] = (
            (
                f"poll {topic}",
                SpanKind.CLIENT,
                start_ns,
                times.polled_ns,
                {"messaging.operation.name": "poll", "messaging.operation.type": "receive"},
            ),
            ("decode", SpanKind.INTERNAL, times.polled_ns, times.decoded_ns, {}),
            ("wait", SpanKind.INTERNAL, times.decoded_ns, times.step_ns, {}),
            ("encode", SpanKind.INTERNAL, times.step_ns, times.encoded_ns, {}),
            ("hierarchical_update", SpanKind.INTERNAL, times.encoded_ns, times.updated_ns, {}),
            (
                "publish",
                SpanKind.PRODUCER,
                times.publish_ns,
                times.published_ns,
                {"messaging.operation.name": "send", "messaging.operation.type": "send"},
            ),
        )
        spans = [self._span(f"process {topic}", own, parent, SpanKind.CONSUMER, start_ns, times.published_ns, attributes, status)]
        for name, kind, begin, end, extra in stages:
            child = _span_context(context.trace_id, span_id(read, name.split(" ")[0]), True)
            own_attributes = {
                "session.id": read.session_id,
                **({"messaging.system": "kafka", "messaging.destination.name": topic} if extra else {}),
                **extra,
            }
            spans.append(self._span(name, child, own, kind, begin, max(begin, end), own_attributes, Status(StatusCode.UNSET)))
        return spans

    def _span(self, name, context, parent, kind, start_ns, end_ns, attributes, status) -> ReadableSpan:  # type: ignore[no-untyped-def]
        return ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,
            kind=kind,
            status=status,
            start_time=start_ns,
            end_time=end_ns,
            instrumentation_scope=SCOPE,
        )


def _trace_id(read: Read) -> str:
    place = read.place
    return read.trace.trace_id if read.trace else trace_id_of(place.topic, place.partition, place.offset)


def span_id(read: Read, stage: str) -> str:
    """16 hex digits computed from the record's place and the stage."""
    place, index = read.place, read.origin.index if read.origin else 0
    return blake2b(f"{place.topic}\x1f{place.partition}\x1f{place.offset}\x1f{index}\x1f{stage}".encode(), digest_size=8).hexdigest()


def to_otlp(spans: Sequence[ReadableSpan]) -> bytes:
    """One ExportTraceServiceRequest, as the Collector's Kafka receiver reads it."""
    return encode_spans(spans).SerializeToString()


def _span_context(trace_id: str, own_id: str, sampled: bool) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(own_id, 16), is_remote=False, trace_flags=TraceFlags(int(sampled)))
