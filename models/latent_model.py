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
from models.latent_probation import Probation
from models.latent_sessions import Sessions
from models.latent_views import LINE_VIEWS, MOST, OF_LINES, OF_SESSIONS, SESSION_VIEWS, SURE, Tails, chance_of, deviations_of, value_of
from models.learnable import Lesson

_TEMPLATE, _AFTER = np.uint64(0xA5A5_0001), np.uint64(0xA5A5_0002)
START, END = np.uint64(1), np.uint64(2)
"""Keys of what stands before a session's first line and after its last."""
SEVERITY_PRIOR = (0.02, 0.02, 0.2, 4.0, 20.0, 60.0, 400.0, 20.0)
"""Lines by severity that every model starts with: a fatal line is rare before the stream says otherwise."""

SUSPECT = SURE / MOST
"""Surprise of a lesson at which it goes on probation."""
LINE_WINDOW, SESSION_WINDOW = (2000, 0.005), (500, 0.02)
"""Lessons of a window of probation, and the share of suspects up to which it is quiet."""
YOUNG_LINES, YOUNG_SESSIONS = 20_000, 1000
"""A model taught by fewer takes what it meets as normal."""
GRAVE = 2
"""Severity, and worse, that even a young model puts on probation: critical."""
WHOLE = 64
"""Templates of a session that are kept, at most."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines to be judged together, as columns."""

    keys: Keys
    before: Keys
    """Key of the template of the line before in the session; START at a first line."""
    severities: NDArray[np.int64]

    @classmethod
    def from_columns(cls, texts: Sequence[str], before: Sequence[Sequence[str]], severities: Sequence[int]) -> "Lines":
        return cls(
            np.array([key_of(text) or END for text in texts], np.uint64),
            np.array([key_of(some[-1]) if some else START for some in before], np.uint64),
            np.array(severities, np.int64),
        )

    @classmethod
    def of(cls, lessons: Sequence[Lesson]) -> "Lines":
        return cls.from_columns([x.text for x in lessons], [x.before for x in lessons], [x.severity for x in lessons])


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
    pending: Tails
    """Scores of the windows that have not ended."""
    suspects: Probation
    """Of lines: key, key before, severity."""
    odd_ends: Probation
    """Of sessions: last key, keys and counts."""

    @classmethod
    def new(cls) -> "LatentModel":
        suspects = Probation.empty(3, *LINE_WINDOW)
        odd_ends = Probation.empty(1 + 2 * WHOLE, *SESSION_WINDOW)
        return cls("0", Counts.empty(), Sessions.empty(), np.array(SEVERITY_PRIOR), Tails.empty(), Tails.empty(), suspects, odd_ends)

    def judge(self, lines: Lines) -> list[Verdict]:
        """One verdict a line; what one line gets does not depend on the others."""
        if not len(lines.keys):
            return []
        chances = self.tails.chances(0, self._line_scores(lines))
        return [_verdict(LINE_VIEWS, row) for row in chances.T.tolist()]

    def judge_session(self, whole: Mapping[str, int], last: str, worst_line: float) -> Verdict:
        """A session as it would be were it to end now. `worst_line`: the most standard deviations of any of its lines."""
        scores = self._session_scores(whole, last, worst_line)
        return _verdict(SESSION_VIEWS, self.tails.chances(len(LINE_VIEWS), scores[:, None])[:, 0].tolist())

    def surprise(self, lessons: Sequence[Lesson]) -> list[float]:
        verdicts = self.judge(Lines.of(lessons))
        return [
            self.judge_session(dict(lesson.whole), _last(lesson), lesson.worst_line * MOST).value if lesson.whole else verdict.value
            for lesson, verdict in zip(lessons, verdicts, strict=True)
        ]

    def taught(self, lessons: Sequence[Lesson], seed: int) -> "LatentModel":
        fresh = [lesson for lesson in lessons if not lesson.is_replay]
        return self._taught_lines([lesson for lesson in fresh if not lesson.whole])._taught_ends(
            [lesson for lesson in fresh if lesson.whole]
        )

    def _taught_lines(self, lessons: Sequence[Lesson]) -> "LatentModel":
        if not lessons:
            return self
        lines = Lines.of(lessons)
        scores = self._line_scores(lines)
        rows = np.column_stack([lines.keys, lines.before, lines.severities.astype(np.uint64)])
        is_young = self.severities.sum() < YOUNG_LINES
        suspects, learned, is_quiet = self.suspects.after(
            rows, np.array([lesson.surprise >= SUSPECT and (lesson.severity <= GRAVE or not is_young) for lesson in lessons])
        )
        tails, pending = self._counted(OF_LINES, scores, is_quiet)
        keys, before = learned[:, 0], learned[:, 1]
        families = np.concatenate([np.full(len(keys), _TEMPLATE), mixed(before, _AFTER)])
        return replace(
            self,
            counts=self.counts.with_more(families, np.concatenate([keys, keys])),
            severities=self.severities + np.bincount(learned[:, 2].astype(np.int64), minlength=8),
            tails=tails,
            pending=pending,
            suspects=suspects,
        )

    def _taught_ends(self, lessons: Sequence[Lesson]) -> "LatentModel":
        if not lessons:
            return self
        scores = np.array([self._session_scores(dict(e.whole), _last(e), e.worst_line * MOST) for e in lessons])
        last = np.array([key_of(_last(e)) for e in lessons], np.uint64)
        wholes = np.stack([as_row(keyed(dict(e.whole))) for e in lessons])
        rows = np.column_stack([last, wholes])
        is_young = self.sessions.counted < YOUNG_SESSIONS
        odd_ends, learned, is_quiet = self.odd_ends.after(
            rows, np.array([lesson.surprise >= SUSPECT and not is_young for lesson in lessons])
        )
        tails, pending = self._counted(OF_SESSIONS, scores.T, is_quiet)
        return replace(
            self,
            counts=self.counts.with_more(mixed(learned[:, 0], _AFTER), np.full(len(learned), END)),
            sessions=self.sessions.with_more([from_row(row) for row in learned[:, 1:]]),
            tails=tails,
            pending=pending,
            odd_ends=odd_ends,
        )

    def _counted(self, views: slice, scores: Floats, is_quiet: bool | None) -> tuple[Tails, Tails]:
        """Tails and those pending after these scores: a window's scores count when it ended quietly, and never when it did not."""
        pending = self.pending.with_more(views.start, scores)
        if is_quiet is None:
            return self.tails, pending
        return self.tails.joined(views, pending) if is_quiet else self.tails, pending.without(views)

    def _line_scores(self, lines: Lines) -> Floats:
        """(line views, lines)"""
        template = self.counts.chance(np.full(len(lines.keys), _TEMPLATE), lines.keys)
        after = self.counts.chance(mixed(lines.before, _AFTER), lines.keys)
        severity = (np.cumsum(self.severities) / self.severities.sum())[lines.severities]
        return -np.log(np.stack([template, after, severity]))

    def _session_scores(self, whole: Mapping[str, int], last: str, worst_line: float) -> Floats:
        """(session views,)"""
        odd, _, _ = self.sessions.chance(keyed(whole))
        ending = self.counts.chance(mixed(np.array([key_of(last)], np.uint64), _AFTER), np.array([END]))[0]
        return -np.log(np.array([chance_of(worst_line), odd, ending]))

    def tensors(self) -> Mapping[str, Tensor]:
        return {
            "counts.cells": torch.from_numpy(self.counts.cells.copy()),
            "counts.counted": torch.tensor(self.counts.counted),
            "sessions.slots": torch.from_numpy(self.sessions.slots.view(np.int64).copy()),
            "sessions.uses": torch.from_numpy(self.sessions.uses.copy()),
            "sessions.pairs": torch.from_numpy(self.sessions.pairs.copy()),
            "sessions.counted": torch.tensor(self.sessions.counted),
            "severities": torch.from_numpy(self.severities.copy()),
            "tails.above": torch.from_numpy(self.tails.above.copy()),
            "pending.above": torch.from_numpy(self.pending.above.copy()),
            **{f"{name}.{part}": value for name in ("suspects", "odd_ends") for part, value in _probation_tensors(getattr(self, name))},
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
            Tails(arrays["tails.above"]),
            Tails(arrays["pending.above"]),
            *[
                replace(fresh, rows=arrays[f"{name}.rows"].view(np.uint64), suspects=int(told[0]), seen=int(told[1]))
                for name, fresh in (("suspects", self.suspects), ("odd_ends", self.odd_ends))
                for told in (arrays[f"{name}.told"],)
            ],
        )


def keyed(whole: Mapping[str, int]) -> dict[int, int]:
    return {key_of(text): count for text, count in whole.items() if text}


def as_row(session: Mapping[int, int]) -> NDArray[np.uint64]:
    """Keys, then counts, of the WHOLE templates with the most lines."""
    row = np.zeros(2 * WHOLE, np.uint64)
    for n, (key, count) in enumerate(sorted(session.items(), key=lambda pair: (-pair[1], pair[0]))[:WHOLE]):
        row[n], row[WHOLE + n] = key, count
    return row


def from_row(row: NDArray[np.uint64]) -> dict[int, int]:
    return {int(key): int(count) for key, count in zip(row[:WHOLE], row[WHOLE:], strict=True) if count}


def _probation_tensors(probation: Probation) -> list[tuple[str, Tensor]]:
    rows = torch.from_numpy(probation.rows.view(np.int64).copy())
    return [("rows", rows), ("told", torch.tensor([probation.suspects, probation.seen]))]


def _last(lesson: Lesson) -> str:
    return lesson.before[-1] if lesson.before else ""


def _verdict(views: Sequence[str], chances: Sequence[float]) -> Verdict:
    found = sorted(((deviations_of(chance), view) for chance, view in zip(chances, views, strict=True)), key=lambda pair: -pair[0])
    return Verdict(found[0][0], tuple([view for deviations, view in found if deviations >= NAMED]))
