"""What goes into a model step and what comes out: the vocabulary between streams and models.

Knows items, works and findings as plain values; leaves tensors to transformer.py and what a finding means for users to
streams/pipeline.py. A model holds no session: state goes in and comes out.
Next: models/transformer.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import msgspec

from models.learnable import Lesson


class Accumulated(msgspec.Struct, frozen=True, gc=False):
    """metrics: what a point's value was counted over, where it was; a gauge has none."""

    temporality: str
    """delta: of this point alone; cumulative: of all points since `start_us`."""
    start_us: int = 0
    """When counting began, microseconds; 0 where nobody says."""
    quantile: float | None = None
    """The value is this quantile of the buckets."""
    edges: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()
    """Of the buckets between edges; with no edges the number of observations, and the value is their mean."""


class Item(msgspec.Struct, frozen=True, gc=False):
    """One input record of a session, as a model sees it."""

    position: int
    """Records of the session before this one."""
    text: str
    timestamp_us: int
    """Event time, microseconds since the epoch."""
    speaker: str = ""
    """chat: who speaks; logs: who wrote the line, and whether it has a header (log_traces.py); else empty."""
    name: str = ""
    """metrics: the series (name and sorted attributes); logs: `source:severity` of the header; else empty."""
    value: float = 0.0
    """metrics: the point; else 0."""
    accumulated: Accumulated | None = None
    wants_label: bool = False
    """The event-time tick: a partial label of the segment being read is due after this item."""
    wants_state: bool = False
    """Sampled: report representation and attention after this item."""
    wants_document: bool = False
    """The document state is due (periodic, in event time)."""
    ends_session: bool = False
    """Nothing follows: settle what is held back, close every span."""


@dataclass(frozen=True, slots=True)
class Work:
    """All pending items of one session, in order, and the state they meet."""

    session: str
    """Names the session's cache, `modality/session_id`."""
    state: Any
    """What the model returned last time; None for a new session."""
    items: Sequence[Item]
    knowledge: Any = None
    """What the session's tenant has taught so far (models/learnable.py); None: what was shipped."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """A new segment begins at `position`."""

    kind: str
    """sentence, paragraph or topic."""
    position: int
    text_offset: int
    """Characters of the session's text before the new segment."""
    confidence: float
    detected_by: str
    """rule or model."""
    context_before: str = ""
    context_after: str = ""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A label or a value for a span of items; of a segment still open (`is_final` False) or closed."""

    task: str
    span_start: int
    span_end: int
    is_final: bool
    label: str | None = None
    confidence: float | None = None
    """Calibrated probability that the label is right."""
    value: float | None = None
    output: dict[str, Any] = {}
    """Task-specific, JSON: all class probabilities, nats and tokens, the template's text. An answer about a whole session has
    `level`: document for topic, session for anomaly; no other has it."""


@dataclass(frozen=True, slots=True)
class LevelState:
    """The representation of one span of one level."""

    level: str
    """token, sentence, paragraph, topic or document."""
    span_start: int
    span_end: int
    representation: tuple[float, ...]
    attention_weights: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a user should know of, though all goes on: a row of failures, recovery action accept."""

    kind: str
    """Named as a class of error would be."""
    text: str
    """What was seen, what is wanted, what to do."""


class ItemResult(msgspec.Struct, frozen=True, gc=False):
    """What one item decided, in the order it was decided."""

    position: int
    first_token_id: int = -1
    """Id of the item's first model token, -1 where it has none."""
    findings: tuple[Boundary | Answer | LevelState | Notice, ...] = ()
    buffer_tokens: int = 0
    """Tokens in the window after the item."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """The session's new state and one ItemResult per item; or the error that only this session met."""

    state: Any
    items: tuple[ItemResult, ...] = ()
    error: Exception | None = None
    """Set when this session's own data failed: its state is unchanged then, and other sessions of the step are not touched."""
    cache_hit: bool = True
    """False when the cache had to be rebuilt by prefill."""
    encode_ms: float = 0.0
    """Time of the trunk for the whole step this session shared."""
    update_ms: float = 0.0
    """Time of the hierarchy and heads for this session."""
    lessons: tuple[Lesson, ...] = ()
    """What a model that learns while it streams may learn from these items; in order, for its learner."""


class SessionModel(Protocol):
    """What streams/inference.py needs of a model of any modality."""

    @property
    def version(self) -> str: ...

    def step(self, works: Sequence[Work]) -> list[StepResult]:
        """One StepResult per Work, in order. Never raises for one session's data: see StepResult.error."""
        ...

    def close(self, work: Work) -> StepResult:
        """Close an idle session with no new item: findings in a single ItemResult at its last position (work.items is empty)."""
        ...

    def answer(self, work: Work) -> tuple[Answer, ...]:
        """What could be said of the session as it is (topic of the open segment, last anomaly, forecast), is_final False; changes nothing."""
        ...

    def pack(self, state: Any) -> bytes:
        """State to bytes (below 16 KB for text), stable: the same state gives the same bytes."""
        ...

    def unpack(self, data: bytes) -> Any: ...

    def drop(self, session: str) -> None:
        """Forget what can be recomputed of a session (its cache)."""
        ...

    def rebuild(self, session: str, state: Any) -> None:
        """Recompute the session's cache from its state now (recovery action)."""
        ...

    def reset(self, state: Any) -> Any:
        """The state with an empty window, its counters kept (recovery action when the window itself is bad)."""
        ...

    def cache_bytes(self) -> int: ...


@runtime_checkable
class RowModel(Protocol):
    """A SessionModel whose state is too large to be written whole at every step: a head, and rows of which those that changed are."""

    def pack_head(self, state: Any) -> bytes:
        """What is written at every store."""
        ...

    def pack_rows(self, state: Any, stored: Any) -> Mapping[bytes, bytes]:
        """Rows that are not as they are in `stored`, the state that was written last; None before there is one."""
        ...

    def unpack_rows(self, head: bytes, rows: Mapping[bytes, bytes]) -> Any:
        """The state whose head and rows these are."""
        ...

    def weight(self, state: Any) -> int:
        """Parts that the state holds in memory: so many count as so many sessions."""
        ...
