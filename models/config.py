"""Configuration of the text model: its shape, and how it streams.

Knows sizes, settings and their limits; leaves where settings come from to streams and deploy.
Next: models/tokenizer.py
"""

from dataclasses import dataclass, field
from typing import Literal

MARKS = 2
"""Of the sinks, those that are marks: beginning and mode. The others carry the memory of the levels above."""


class ModelConfigError(ValueError):
    """A setting or a shape that cannot work; names the value seen, the value wanted and what to change."""


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the trunk and of the levels above it. Stored with the weights; the weights fit only this shape."""

    vocab_size: int = 4096
    """Hard cap of the tokenizer, marks included."""
    width: int = 256
    n_layers: int = 4
    n_heads: int = 8
    n_kv_heads: int = 2
    """Grouped-query attention: each key head serves n_heads / n_kv_heads query heads."""
    feed_forward: int = 640
    max_positions: int = 512
    """Window the trunk was trained on, sinks included."""
    n_sinks: int = 5
    """Marks in front of every window, never cut: two say what follows, the others carry what the levels remember."""
    rope_base: float = 10000.0
    sentence_width: int = 160
    """Width of sentence, paragraph, topic and document vectors."""
    sentence_reach: int = 10
    """Sentences before it that a sentence sees."""
    paragraph_reach: int = 3
    topic_reach: int = 3
    word_width: int = 128
    """Width of word vectors and of what sentences mean, in the teacher's space."""
    n_speakers: int = 4
    """Speakers told apart by order of appearance, beside user and agent."""
    labels: tuple[str, ...] = ()
    """Topic classes, in the order of the label head's rows."""

    @property
    def head_size(self) -> int:
        return self.width // self.n_heads

    @property
    def group(self) -> int:
        """Query heads per key head."""
        return self.n_heads // self.n_kv_heads


@dataclass(frozen=True)
class BufferSettings:
    """`[buffer]`: the token window of a session."""

    max_tokens: int = 512
    """Tokens in the window, sinks included; when full it is cut."""
    overlap_tokens: int = 128
    """Tokens kept by a cut, and prefilled anew behind the sinks."""
    flush_strategy: Literal["sentence_boundary", "fixed_size", "time_based"] = "sentence_boundary"
    """Where a cut falls: the sentence start nearest to the overlap; exactly the overlap; the same and also when flush_interval_s passed."""
    flush_interval_s: float = 30.0
    """time_based: event time after which a window longer than the overlap is cut, seconds."""
    retention_policy: Literal["sliding_window"] = "sliding_window"


@dataclass(frozen=True)
class UpdateSettings:
    """`[hierarchical_update]`: when each level is brought up to date."""

    token_level: Literal["incremental", "recompute"] = "incremental"
    """recompute: every step prefills the whole window, the slow oracle of incremental."""
    sentence_level: Literal["on_boundary", "off"] = "on_boundary"
    """off: no sentence is pooled before the session ends, so no topic shift is looked for."""
    paragraph_level: Literal["on_boundary", "off"] = "on_boundary"
    """off: no paragraph vector; topics are pooled from sentences alone."""
    document_level: Literal["periodic", "on_boundary"] = "periodic"
    """periodic: every document_period_s of event time; on_boundary: when a topic closes. Both also at the end."""
    document_period_s: float = 10.0
    """Event time between document states, seconds; streams turns it into Item.wants_document."""


@dataclass(frozen=True)
class CacheSettings:
    """`[state]`: the budget of hot caches."""

    max_cache_size_mb: float = 512
    """All hot caches together; the least recently used are dropped and rebuilt by prefill when needed."""
    eviction_policy: Literal["lru"] = "lru"


MAX_LABELS = 256
MAX_LABEL_TEXT = 2000
"""Characters of a label, a description or an example: far more than an embedding takes in."""


@dataclass(frozen=True)
class TopicSettings:
    """`[topics]`: what segments and sessions are called."""

    labels: tuple[str, ...] = ()
    """2 to 256 labels of your own, `other` among them for what fits none; without any, those the model was trained on. Commas between."""
    descriptions: dict[str, str] = field(default_factory=dict)
    """Label -> what it means, in a few words. In the environment a JSON object."""
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Label -> a list of texts that it is right for. In the environment a JSON object."""


@dataclass(frozen=True)
class TextSettings:
    """All settings of the text model, by section."""

    buffer: BufferSettings = field(default_factory=BufferSettings)
    hierarchical_update: UpdateSettings = field(default_factory=UpdateSettings)
    state: CacheSettings = field(default_factory=CacheSettings)
    topics: TopicSettings = field(default_factory=TopicSettings)
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where the trunk runs (devices.py); no section, `model_device` of the worker."""


def check(settings: TextSettings, config: ModelConfig) -> None:
    """Raise ModelConfigError for settings that this model cannot serve."""
    buffer = settings.buffer
    if not 32 <= buffer.max_tokens <= config.max_positions:
        raise ModelConfigError(
            f"[buffer] max_tokens is {buffer.max_tokens}; this model takes 32 to {config.max_positions}: set it in that range"
        )
    if not 1 <= buffer.overlap_tokens <= buffer.max_tokens // 2:
        raise ModelConfigError(
            f"[buffer] overlap_tokens is {buffer.overlap_tokens}; wanted 1 to half of max_tokens ({buffer.max_tokens // 2}): lower it or raise max_tokens"
        )
    if buffer.flush_interval_s <= 0:
        raise ModelConfigError(f"[buffer] flush_interval_s is {buffer.flush_interval_s}; wanted seconds above 0")
    if settings.state.max_cache_size_mb <= 0:
        raise ModelConfigError(f"[state] max_cache_size_mb is {settings.state.max_cache_size_mb}; wanted megabytes above 0")
    check_topics(settings.topics, config.labels)


def check_topics(topics: TopicSettings, trained: tuple[str, ...]) -> None:
    """Raise ModelConfigError for labels that cannot be told apart or kept. trained: the labels that stand where none are named."""
    labels = topics.labels or trained
    if len(topics.labels) == 1 or len(topics.labels) > MAX_LABELS:
        raise ModelConfigError(
            f"[topics] labels has {len(topics.labels)}; wanted 2 to {MAX_LABELS}: "
            + ("one alone would be right of everything, add `other`" if len(topics.labels) == 1 else "leave out the rarest")
        )
    for place, label in enumerate(topics.labels):
        if not label.strip():
            raise ModelConfigError(f"[topics] labels has an empty one at place {place + 1}; wanted a name: write it or leave it out")
        if label in topics.labels[:place]:
            raise ModelConfigError(f"[topics] labels has {label!r} twice; wanted each once: leave one out or rename it")
    for name, table in (("descriptions", topics.descriptions), ("examples", topics.examples)):
        for label in table:
            if label not in labels:
                raise ModelConfigError(
                    f"[topics.{name}] speaks of {label!r}, which is not among the labels ({_some(labels)}): add it to labels or leave it out"
                )
    texts = [("labels", label, label) for label in topics.labels]
    texts += [("descriptions", label, text) for label, text in topics.descriptions.items()]
    texts += [("examples", label, text) for label, several in topics.examples.items() for text in several]
    for name, label, text in texts:
        if len(text) > MAX_LABEL_TEXT:
            raise ModelConfigError(
                f"[topics] {name} of {label[:40]!r} has a text of {len(text)} characters; wanted at most {MAX_LABEL_TEXT}: shorten it"
            )
        if name == "examples" and not text.strip():
            raise ModelConfigError(f"[topics.examples] of {label!r} has an empty text; wanted words: write it or leave it out")


def _some(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
