"""What a log model must offer so that it can be taught while lines stream in: the vocabulary between models and their learner.

Knows lessons and one protocol; leaves what is learned to latent_teaching.py and when to learner.py.
Next: models/log_model.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Lesson:
    """One line as a replay buffer keeps it: enough to learn from it again without its session."""

    text: str
    """The line's template, values masked; empty where the lesson is the end of a session, which is an event like a line."""
    before: tuple[str, ...]
    """Templates of the lines before it in its session, oldest first, at most CONTEXT; empty at a session's first line."""
    severity: int
    """RFC 5424 number."""
    gap_s: float
    """Seconds of event time since the line before; 0 at the first."""
    surprise: float
    """How unusual the line was when it came, 0 to 1."""
    ends_session: bool = False
    whole: tuple[tuple[str, int], ...] = ()
    """The session's templates and how many lines of each. Such a lesson is about a whole session and comes after that of its end, which
    has none, as no line has; `surprise` is then the session's."""
    worst_line: float = 0.0
    """Of a whole session: the largest surprise among its lines."""
    is_replay: bool = False
    """Taught before: nets learn from it again so that they do not forget, counts would count it twice. Set by who replays."""
    is_held: bool = False
    """Not to be learned: only told, so that a model knows how much it is not taught. Set by who holds it."""
    is_released: bool = False
    """Held for as long as is wanted: to be learned, however unusual. Set by who let it go."""
    rate: float = 0.0
    """How many times as fast as usual in its session the last lines came; 0 among its first CONTEXT."""
    system: int = 0
    """Number of the system that its session was of to the version that judged it; 0 where a model knows none."""


CONTEXT = 10
"""Lines of a session that a lesson remembers."""


class Learnable(Protocol):
    """A model of normal lines. Values do not change once made: learning makes a new one."""

    @property
    def version(self) -> str: ...

    def taught(self, lessons: Sequence[Lesson], seed: int) -> Self:
        """A model that has learned these lessons too; runs on another thread than the hot path. The same input gives the same weights.

        Every line is to be taught once with `is_replay` False, in order, at best all of them: counts learn from those alone.
        """
        ...

    def surprise(self, lessons: Sequence[Lesson]) -> list[float]:
        """How unusual each is to this model, 0 to 1: what a guard compares before and after an update."""
        ...

    def tensors(self) -> Mapping[str, Tensor]:
        """All that was learned, for a safetensors file."""
        ...

    def with_tensors(self, tensors: Mapping[str, Tensor], version: str) -> Self: ...
