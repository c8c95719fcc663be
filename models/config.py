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
    """In front of every window, never cut: two marks, then places for a memory."""
    rope_base: float = 10000.0
    sentence_width: int = 192
    """Width of sentence, paragraph, topic and document vectors."""
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


@dataclass(frozen=True)
class TextSettings:
    """All settings of the text model, by section."""

    buffer: BufferSettings = field(default_factory=BufferSettings)
    hierarchical_update: UpdateSettings = field(default_factory=UpdateSettings)
    state: CacheSettings = field(default_factory=CacheSettings)


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
