"""A tenant's learner: takes lines as they were judged, and says when and from what the next version of its model is made.

Knows the replay buffer, the quarantine, the detectors and the guard; a version is made of the one before, the lines since, a share of
old ones and what the quarantine lets go. A version that makes held-out lines more surprising, or whose weights are not finite, is
refused; one that proves worse than its predecessor on the lines that came after it is rolled back. Holds one tenant's state,
touches no clock, no thread, no file; the same lines in the same calls give the same versions.
Next: streams/teaching.py
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import msgspec

from models import lesson_codec
from models.drift import Adwin, Detector, PageHinkley
from models.learnable import Learnable, Lesson
from models.quarantine import Quarantine
from models.replay_buffer import ReplayBuffer
from models.update_guard import diverged, mean_surprise

M = TypeVar("M", bound=Learnable)


@dataclass(frozen=True)
class LearningSettings:
    """[learning]: how the log model learns from the stream. Without effect on other modalities."""

    enabled: bool = True
    """False: lines are judged by the model as it was shipped."""
    update_every: int = 100
    """New lines of a tenant from one version of its model to the next."""
    most_lines: int = 4096
    """Of one update; while more lines wait, the next update follows at once."""
    cpu_share: float = 0.1
    """Of a core, at most, for updates while fewer than most_lines wait: one that takes t seconds is followed by the next t / cpu_share after it began."""
    buffer_lines: int = 1000
    """Lines a tenant's replay buffer keeps."""
    replay_share: float = 0.5
    """Old lines learned again for each new one."""
    warm_up_lines: int = 100_000
    """The first lines of each system of a tenant are its normal: all are learned. After them anomalous ones are held."""
    hold_above: float = 0.5
    """A line at or above this surprise is held, 0 to 1; 0.5 is three standard deviations."""
    hold_s: float = 3600.0
    """Event time a held line waits before it may be learned, seconds."""
    held_lines: int = 1000
    """Lines a tenant's quarantine keeps; more are never learned."""
    released_share: float = 0.1
    """Most that lines out of quarantine may be of an update."""
    template_share: float = 0.5
    """Most that one template may be of the new lines of an update; the quarantine gives a tenth of it."""
    worse_by: float = 0.05
    """How much the mean surprise of held-out lines may rise by an update, 0 to 1; more and it is refused or rolled back."""
    max_tenants: int = 64
    """Tenants with models of their own, per partition; the lines of others are judged by the shipped model."""
    drift_threshold: float = 40.0
    """Page-Hinkley's: surprise above its mean, summed over lines."""
    drift_delta: float = 0.002
    """ADWIN's chance of a false alarm at a cut."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A lesson and when it was."""

    lesson: Lesson
    event_us: int
    """Event time, microseconds, and never later than when Kafka got the line: a clock that a line's writer cannot put forward."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A detector saw what is usual change."""

    detector: str
    """adwin or page_hinkley."""
    line: int
    """Number of the tenant's line at which it was seen."""
    mean_before: float
    """Surprise before it, as the detector remembered it."""
    recent: float
    """Mean surprise of the last lines."""


@dataclass(frozen=True, slots=True)
class Update(Generic[M]):
    """What an update came to."""

    model: M
    """What judges from now on; the one before where the update was refused."""
    action: str
    """taught, refused or rolled_back."""
    subject: str
    """The version this is about: the new one, or the one refused or rolled back."""
    reason: str = ""
    figures: dict[str, float] = field(default_factory=dict)


class _Row(msgspec.Struct, array_like=True, frozen=True):
    lines: int
    updates: int
    refused: int
    taught: int
    clock_us: int
    recent: float
    buffer: bytes
    quarantine: bytes
    pending: bytes
    carried: int
    detectors: list[bytes]
    systems: list[tuple[int, int, int, int]] = []


LATEST = 100
"""Newest lines that an update leaves to the next one: they judge it first."""
PROBED = 256
"""Lines on which a version and its predecessor are compared."""
LEAST_PROBED = 20
LEAST_TAUGHT = 1000
"""Lines of a system learned before surprise is compared: a model that knows nothing is surprised by nothing, and every line it learns makes it less calm."""


COUNTED = 64
"""Systems whose lines are counted, the newest."""


class Learner(Generic[M]):
    """One tenant's."""

    def __init__(self, tenant: str, settings: LearningSettings):
        self.tenant = tenant
        self._settings = settings
        self.lines = self.updates = self.refused = 0
        self.taught = 0
        """Lines that versions were made of."""
        self._heard, self._known = Counter[int](), Counter[int]()  # lines by system: heard, and of which versions were made
        self._added = Counter[int]()  # of them, by the last version
        self.clock_us = 0
        """The tenant's event time: the latest of its lines."""
        self.recent = 0.0
        """Mean surprise, fading over some 200 lines."""
        self.buffer = ReplayBuffer(settings.buffer_lines)
        self.quarantine = Quarantine(int(settings.hold_s * 1e6), settings.held_lines)
        self._pending: list[Lesson] = []  # held ones too, which are told and not taught
        self._waiting = 0  # of them are not held
        self._carried = 0  # of these were there at the last update, and left to the next
        self._detectors: dict[str, Detector] = {"adwin": Adwin(settings.drift_delta), "page_hinkley": PageHinkley(settings.drift_threshold)}

    @property
    def waiting(self) -> int:
        """New lines that no version has learned."""
        return self._waiting

    @property
    def is_due(self) -> bool:
        return self._waiting - self._carried >= self._settings.update_every or self.is_full

    @property
    def is_full(self) -> bool:
        """So many lines wait that an update may not wait."""
        return len(self._pending) >= self._settings.most_lines

    def hear(self, heard: Heard) -> list[Drift]:
        """Take the next line of the tenant."""
        lesson, settings = heard.lesson, self._settings
        self.clock_us = max(self.clock_us, heard.event_us)
        self.lines += 1
        self._heard[lesson.system] += 1
        found = []
        for name, detector in self._detectors.items():
            before = detector.mean
            if detector.update(lesson.surprise):
                found.append(Drift(name, self.lines, before, self.recent))
        self.recent += (lesson.surprise - self.recent) / min(self.lines, 200)
        is_odd = lesson.surprise >= settings.hold_above
        if self._heard[lesson.system] > settings.warm_up_lines and (is_odd or self.quarantine.is_suspect(lesson, self.clock_us)):
            self.quarantine.hold(lesson, self.clock_us)
            self._pending.append(replace(lesson, is_held=True))
            return found
        self._pending.append(lesson)
        self._waiting += 1
        self.buffer.add(lesson)
        return found

    def update(self, current: M, previous: M | None, seed: int = 0) -> Update[M]:
        """Make the next version. `previous` is what judged before `current`; None where nothing did, or it was refused."""
        # 1. did the last version keep its promise on the lines that came after it?
        if previous is not None and (verdict := self._worse(current, previous)) is not None:
            return verdict
        # 2. from what: new lines but the latest, what the quarantine lets go, and old lines
        settings = self._settings
        left = min(LATEST, len(self._pending) // 5)
        fresh, latest = self._pending[: len(self._pending) - left], self._pending[len(self._pending) - left :]
        new = len(_taught(fresh))
        fresh = _capped(fresh, max(int(settings.template_share * new), 1))
        new = len(_taught(fresh))
        most = int(settings.released_share * new)
        released = self.quarantine.release(self.clock_us, most, max(most // 10, 1)) if most else []
        replayed = self.buffer.replayed(int(settings.replay_share * new), self.updates + seed)
        # what waited its hour is no suspect any more: a model that learns no suspects would never learn it
        lessons = [
            *fresh,
            *[replace(lesson, is_released=True) for lesson in released],
            *[replace(lesson, is_replay=True) for lesson in replayed],
        ]
        self._pending, self._waiting = latest, len(_taught(latest))
        self._carried = self._waiting
        self.updates += 1
        for lesson in released:
            self.buffer.add(lesson)
        # 3. is it fit to judge?
        figures = {
            "fresh": float(new),
            "released": float(len(released)),
            "replayed": float(len(replayed)),
            "held": float(len(self.quarantine)),
        }
        subject = f"{self.tenant}.{self.updates}"
        try:
            made = current.taught(lessons, self.updates + seed)
            if problem := diverged(current, made):
                raise ArithmeticError(problem)
            judges = _grown([*self.buffer.held_out(), *_taught(latest)], self._known)
            before, after = mean_surprise(current, judges), mean_surprise(made, judges)
        except Exception as problem:  # whatever these lines make the model run into: the version before goes on judging
            self.refused += 1
            return Update(current, "refused", subject, f"{type(problem).__name__}: {problem}"[:500], figures)
        figures |= {"judges": float(len(judges)), "surprise_before": before, "surprise_after": after}
        is_grown = self.taught > LEAST_TAUGHT
        self.taught += new
        self._added = Counter(lesson.system for lesson in _taught(fresh))
        self._known.update(self._added)
        for old in sorted(self._heard)[:-COUNTED]:
            del self._heard[old], self._known[old]
        if is_grown and not after <= before + settings.worse_by:
            self.refused += 1
            return Update(
                current,
                "refused",
                subject,
                f"held-out lines would surprise by {after:.4f}, now {before:.4f}, at most {settings.worse_by} more",
                figures,
            )
        return Update(made, "taught", subject, "", figures)

    def _worse(self, current: M, previous: M) -> Update[M] | None:
        """A roll-back, where the lines since the last version surprise it clearly more than they would have its predecessor."""
        probes = _grown(_taught(self._pending)[-PROBED:], self._known - self._added)  # that the predecessor knew
        if len(probes) < LEAST_PROBED:
            return None
        now, then = mean_surprise(current, probes), mean_surprise(previous, probes)
        if now <= then + self._settings.worse_by:
            return None
        self.updates, self._carried = self.updates + 1, self._waiting
        self._known -= self._added
        figures = {"judges": float(len(probes)), "surprise_before": then, "surprise_after": now}
        return Update(
            previous, "rolled_back", current.version, f"lines since surprise it by {now:.4f}, its predecessor by {then:.4f}", figures
        )

    def begin_again(self) -> None:
        """The weights are gone, with the release that made them: what the buffer holds is new to the next ones."""
        self.taught = 0
        self._known, self._added = Counter(), Counter()
        self._pending, self._carried = [*[lesson for _, lesson in self.buffer.numbered()], *_taught(self._pending)], 0
        self._waiting = len(self._pending)

    def pack(self) -> bytes:
        """All of it, for the learner's row."""
        row = _Row(
            self.lines, self.updates, self.refused, self.taught, self.clock_us, self.recent, self.buffer.pack(), self.quarantine.pack(),
            lesson_codec.encode(self._pending), self._carried, [d.pack() for d in self._detectors.values()],
            [(n, heard, self._known[n], self._added[n]) for n, heard in self._heard.items()],
        )  # fmt: skip
        return msgspec.msgpack.encode(row)

    @classmethod
    def unpack(cls, tenant: str, settings: LearningSettings, data: bytes) -> "Learner[M]":
        row = msgspec.msgpack.decode(data, type=_Row)
        learner = cls(tenant, settings)
        learner.lines, learner.updates, learner.refused, learner.taught = row.lines, row.updates, row.refused, row.taught
        learner.clock_us, learner.recent = row.clock_us, row.recent
        learner.buffer = ReplayBuffer.unpack(row.buffer)
        learner.quarantine.restore(row.quarantine)
        learner._pending, learner._carried = lesson_codec.decode(row.pending), row.carried
        learner._waiting = len(_taught(learner._pending))
        for n, heard, known, added in row.systems:
            learner._heard[n], learner._known[n], learner._added[n] = heard, known, added
        for detector, state in zip(learner._detectors.values(), row.detectors, strict=True):
            detector.restore(state)
        return learner


def _taught(lessons: Sequence[Lesson]) -> list[Lesson]:
    """Without those that are only told."""
    return [lesson for lesson in lessons if not lesson.is_held]


def _grown(lessons: Sequence[Lesson], known: Counter[int]) -> list[Lesson]:
    """Lessons of systems of which enough was learned."""
    return [lesson for lesson in lessons if known[lesson.system] > LEAST_TAUGHT]


def _capped(lessons: Sequence[Lesson], of_a_kind: int) -> list[Lesson]:
    """Without what one template has beyond `of_a_kind`, in order."""
    counts: Counter[str] = Counter()
    kept = []
    for lesson in lessons:
        counts[lesson.text] += not lesson.is_held
        if not lesson.text or lesson.is_held or counts[lesson.text] <= of_a_kind:
            kept.append(lesson)
    return kept
