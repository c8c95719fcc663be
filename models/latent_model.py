"""LatentModel: what normal lines and sessions are, shared by all sessions of a tenant; judges lines and is taught by them.

Knows templates, their order, severities and finished sessions as chances; leaves a session's own state to models/log_state.py and
when to learn to the learner. Values do not change once made.
Next: models/log_model.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.latent_counts import Counts, Floats, Keys, key_of, mixed
from models.latent_sessions import Sessions
from models.latent_views import LINE_VIEWS, SESSION_VIEWS, Tails, chance_of, deviations_of, value_of
from models.learnable import Lesson

_TEMPLATE, _AFTER = np.uint64(0xA5A5_0001), np.uint64(0xA5A5_0002)
START, END = np.uint64(1), np.uint64(2)
"""Keys of what stands before a session's first line and after its last."""
SEVERITY_PRIOR = (0.02, 0.02, 0.2, 4.0, 20.0, 60.0, 400.0, 20.0)
"""Lines by severity that every model starts with: a fatal line is rare before the stream says otherwise."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines to be judged together, as columns."""

    keys: Keys
    before: Keys
    """Key of the template of the line before in the session; START at a first line."""
    severities: NDArray[np.int64]

    @classmethod
    def of(cls, lessons: Sequence[Lesson]) -> "Lines":
        return cls(
            np.array([key_of(lesson.text) or END for lesson in lessons], np.uint64),
            np.array([key_of(lesson.before[-1]) if lesson.before else START for lesson in lessons], np.uint64),
            np.array([lesson.severity for lesson in lessons], np.int64),
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """How unusual a line or a session is, in standard deviations, and which views say so, the loudest first."""

    deviations: float
    reasons: tuple[str, ...]

    @property
    def value(self) -> float:
        return value_of(self.deviations)


NAMED = 2.0
"""Standard deviations at which a view is named as a reason."""


@dataclass(frozen=True, slots=True)
class LatentModel:
    """Learnable of log lines."""

    version: str
    counts: Counts
    sessions: Sessions
    severities: Floats
    """(8,) lines by severity."""
    tails: Tails

    @classmethod
    def new(cls) -> "LatentModel":
        return cls("0", Counts.empty(), Sessions.empty(), np.array(SEVERITY_PRIOR), Tails.empty())

    def judge(self, lines: Lines) -> list[Verdict]:
        """One verdict a line; what one line gets does not depend on the others."""
        if not len(lines.keys):
            return []
        chances = self._line_chances(lines) * self.tails.excess()[: len(LINE_VIEWS), None]
        return [_verdict(LINE_VIEWS, row) for row in chances.T.tolist()]

    def judge_session(self, whole: Mapping[str, int], last: str, worst_line: float) -> Verdict:
        """A session as it would be were it to end now. `worst_line`: the most standard deviations of any of its lines."""
        chances = self._session_chances(whole, last, worst_line) * self.tails.excess()[len(LINE_VIEWS) :]
        return _verdict(SESSION_VIEWS, chances.tolist())

    def surprise(self, lessons: Sequence[Lesson]) -> list[float]:
        verdicts = self.judge(Lines.of(lessons))
        return [
            self.judge_session(dict(lesson.whole), _last(lesson), lesson.worst_line * 6.0).value if lesson.whole else verdict.value
            for lesson, verdict in zip(lessons, verdicts, strict=True)
        ]

    def taught(self, lessons: Sequence[Lesson], seed: int) -> "LatentModel":
        fresh = [lesson for lesson in lessons if not lesson.is_replay]
        lines = Lines.of([lesson for lesson in fresh if not lesson.whole])
        ends = [lesson for lesson in fresh if lesson.whole]
        counts, severities, sessions, tails = self.counts, self.severities, self.sessions, self.tails
        if len(lines.keys):
            tails = tails.with_more(0, self._line_chances(lines))
            families = np.concatenate([np.full(len(lines.keys), _TEMPLATE), mixed(lines.before, _AFTER)])
            counts = counts.with_more(families, np.concatenate([lines.keys, lines.keys]))
            severities = severities + np.bincount(lines.severities, minlength=8)
        if ends:
            chances = np.array([self._session_chances(dict(e.whole), _last(e), e.worst_line * 6.0) for e in ends])
            tails = tails.with_more(len(LINE_VIEWS), chances.T)
            last = np.array([key_of(_last(e)) for e in ends], np.uint64)
            counts = counts.with_more(mixed(last, _AFTER), np.full(len(ends), END))
            sessions = sessions.with_more([keyed(dict(e.whole)) for e in ends])
        return replace(self, counts=counts, severities=severities, sessions=sessions, tails=tails)

    def _line_chances(self, lines: Lines) -> Floats:
        """(line views, lines)"""
        template = self.counts.chance(np.full(len(lines.keys), _TEMPLATE), lines.keys)
        after = self.counts.chance(mixed(lines.before, _AFTER), lines.keys)
        severity = (np.cumsum(self.severities) / self.severities.sum())[lines.severities]
        return np.stack([template, after, severity])

    def _session_chances(self, whole: Mapping[str, int], last: str, worst_line: float) -> Floats:
        """(session views,)"""
        odd, _, _ = self.sessions.chance(keyed(whole))
        ending = self.counts.chance(mixed(np.array([key_of(last)], np.uint64), _AFTER), np.array([END]))[0]
        return np.array([chance_of(worst_line), odd, ending])

    def tensors(self) -> Mapping[str, Tensor]:
        return {
            "counts.cells": torch.from_numpy(self.counts.cells.copy()),
            "counts.counted": torch.tensor(self.counts.counted),
            "sessions.slots": torch.from_numpy(self.sessions.slots.view(np.int64).copy()),
            "sessions.uses": torch.from_numpy(self.sessions.uses.copy()),
            "sessions.pairs": torch.from_numpy(self.sessions.pairs.copy()),
            "sessions.counted": torch.tensor(self.sessions.counted),
            "severities": torch.from_numpy(self.severities.copy()),
            "tails.rare": torch.from_numpy(self.tails.rare.copy()),
            "tails.counted": torch.from_numpy(self.tails.counted.copy()),
        }

    def with_tensors(self, tensors: Mapping[str, Tensor], version: str) -> "LatentModel":
        arrays = {name: tensor.numpy().copy() for name, tensor in tensors.items()}
        return LatentModel(
            version,
            Counts(arrays["counts.cells"], int(arrays["counts.counted"])),
            Sessions(
                arrays["sessions.slots"].view(np.uint64), arrays["sessions.uses"], arrays["sessions.pairs"], int(arrays["sessions.counted"])
            ),
            arrays["severities"],
            Tails(arrays["tails.rare"], arrays["tails.counted"]),
        )


def keyed(whole: Mapping[str, int]) -> dict[int, int]:
    return {key_of(text): count for text, count in whole.items() if text}


def _last(lesson: Lesson) -> str:
    return lesson.before[-1] if lesson.before else ""


def _verdict(views: Sequence[str], chances: Sequence[float]) -> Verdict:
    found = sorted(((deviations_of(chance), view) for chance, view in zip(chances, views, strict=True)), key=lambda pair: -pair[0])
    return Verdict(found[0][0], tuple([view for deviations, view in found if deviations >= NAMED]))
