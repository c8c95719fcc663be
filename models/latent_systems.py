"""What a tenant's log sessions taught, one LatentModel for each system that writes them: what others wrote changes nothing that is odd here.

A session is of the system that knows most of its first lines; what none knows is of the newest system, which is young and takes what it
meets as normal, until it has met enough and another takes its place. A session stays with its system, so that a flood of unseen lines in
one that is known stays unseen. That a system is new is itself rare, and said for as long as it is.
Knows which system; leaves what is normal in one to models/latent_model.py and sessions to models/log_model.py.
Next: models/latent_model.py
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from models import latent_teaching
from models.latent_counts import Counts, key_of
from models.latent_lines import Lines
from models.latent_model import DENSITY, DYNAMICS, NAMED, LatentModel, Verdict
from models.latent_views import MOST, deviations_of
from models.learnable import CONTEXT, Lesson

MOST_SYSTEMS = 8
"""Of a tenant, the young one among them: some 0.7 MB each. Beyond it the one that wrote nothing for longest is forgotten."""
REMEMBERED = 16_384
"""Templates whose system is kept at hand."""
LEAST = 100
"""Lessons learned at a time, or as many as were learned before: how loud lines usually are cannot be told by a model that knows none."""
FULL = 1 << 20
"""Lines of all systems, at most, beside which one is rare."""
UNSEEN, RATE = "unseen system", "unusual rate"


class Shares(NamedTuple):
    """How unusual it is, in standard deviations, that a line or a session is of a system that is young."""

    line: float
    session: float


@dataclass(frozen=True, slots=True)
class Systems:
    """Learnable of log lines; `taught` makes a new one."""

    version: str
    models: Mapping[int, LatentModel]
    """By number, oldest first; the last is young. All share one table of counts."""
    last: Mapping[int, int]
    """Lines the tenant had taught when it was taught last, by number."""
    lines: int
    """That were taught."""
    owners: dict[str, int] = field(init=False, repr=False, compare=False)
    """Template -> the oldest system that knows it, 0 where none does; what was asked so far."""
    shares: dict[int, Shares] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "owners", {})
        object.__setattr__(self, "shares", _shares(self.models))

    @classmethod
    def new(cls, kind: str = DYNAMICS, density: str = DENSITY) -> Self:
        """Knows what the shipped encoder knows, and no line. Weights of one kind are no other's, so the version names what is not usual."""
        unusual = "" if (kind, density) == (DYNAMICS, DENSITY) else f"-{kind}-{density}"
        return cls(f"0{unusual}", {1: LatentModel.new(kind, density)}, {1: 0}, 0)

    @property
    def youngest(self) -> int:
        return max(self.models)

    @property
    def counts(self) -> Counts:
        return self.models[self.youngest].counts

    def assigned(self, system: int, before: Sequence[str], texts: Sequence[str]) -> list[int]:
        """The system of each next line of a session, whose line before was of `system`. before: templates before them, at most CONTEXT.

        The first CONTEXT lines decide, each for itself and those after it.
        """
        undecided = max(CONTEXT - len(before), 0 if system in self.models else 1)
        if not undecided:
            return [system] * len(texts)
        self._look_up({*before, *texts[:undecided]})
        known, found = [self.owners[text] for text in before], list[int]()
        for text in texts[:undecided]:
            known.append(self.owners[text])
            found.append(self._of(known[-CONTEXT:]))
        return [*found, *found[-1:] * (len(texts) - len(found))]

    def _of(self, owners: Sequence[int]) -> int:
        """That of at least half of the lines, the older where two have as many; else the youngest."""
        votes = Counter(owner for owner in owners if owner)
        best = min(votes, key=lambda system: (-votes[system], system), default=0)
        return best if 2 * votes[best] >= len(owners) and best else self.youngest

    def _look_up(self, texts: Collection[str]) -> None:
        new = [text for text in texts if text not in self.owners]
        if not new:
            return
        if len(self.owners) + len(new) > REMEMBERED:
            self.owners.clear()
            new = list(texts)
        keys, found = np.array([key_of(text) for text in new], np.uint64), np.zeros(len(new), np.int64)
        for number in sorted(self.models, reverse=True):
            found[self.models[number].knows(keys)] = number
        self.owners.update(zip(new, found.tolist(), strict=True))

    def judge(self, lines: Lines, systems: Sequence[int]) -> list[Verdict]:
        """One verdict a line, by its own system; what one line gets does not depend on the others."""
        present = set(systems)
        if len(present) <= 1:
            return self._model(systems[0]).judge(lines) if systems else []
        found: list[Verdict | None] = [None] * len(systems)
        for number in present:
            places = [n for n, system in enumerate(systems) if system == number]
            for place, verdict in zip(places, self._model(number).judge(lines.at(places)), strict=True):
                found[place] = verdict
        return [verdict for verdict in found if verdict is not None]

    def judge_session(self, whole: Mapping[str, int], worst_line: float, system: int) -> Verdict:
        """A session as it would be were it to end now. `worst_line`: the most standard deviations of its lines and of its end."""
        return self._model(system).judge_session(whole, worst_line)

    def told(self, verdict: Verdict, system: int, is_session: bool = False) -> Verdict:
        """A verdict of a line or session as it is told: with how rare its system is in this tenant, and how unusual the rate of its lines.
        Neither is learned from."""
        share = self.shares.get(system) or self.shares[self.youngest]
        unseen = share.session if is_session else share.line
        loudest = max(unseen, verdict.rate)
        if loudest < NAMED:
            return verdict
        more = [name for rare, name in sorted([(unseen, UNSEEN), (verdict.rate, RATE)], reverse=True) if rare >= NAMED]
        if loudest <= verdict.deviations:
            return verdict._replace(reasons=(*verdict.reasons, *more))
        return Verdict(loudest, (*more, *verdict.reasons), verdict.rate)

    def surprise(self, lessons: Sequence[Lesson]) -> list[float]:
        systems = [lesson.system for lesson in lessons]
        verdicts = self.judge(Lines.of(lessons), systems)
        return [
            self.judge_session(dict(lesson.whole), lesson.worst_line * MOST, lesson.system).value if lesson.whole else verdict.value
            for lesson, verdict in zip(lessons, verdicts, strict=True)
        ]

    def taught(self, lessons: Sequence[Lesson], seed: int) -> Self:
        """Each system learns its own, in order. `seed` is not wanted: what is drawn depends on what a system learned before."""
        mine: dict[int, list[Lesson]] = {}
        self._look_up({text for lesson in lessons if lesson.system not in self.models for text in (*lesson.before, lesson.text)})
        for lesson in lessons:
            number = lesson.system
            if number not in self.models:
                if lesson.is_replay:  # of a system that was forgotten
                    continue
                number = self._of([self.owners[text] for text in (*lesson.before[-CONTEXT:], lesson.text)])
            mine.setdefault(number, []).append(lesson)
        models, last, counts = dict(self.models), dict(self.last), self.counts
        lines = self.lines + sum(not lesson.is_replay for lesson in lessons)
        for number, some in sorted(mine.items()):
            model = replace(models[number], counts=counts)
            while some:
                n = max(int(model.lines), LEAST)
                model, some = latent_teaching.taught(model, some[:n], model.steps), some[n:]
            models[number], counts, last[number] = model, model.counts, lines
        if not models[youngest := max(models)].is_young:
            number = youngest + 1
            models[number], last[number] = LatentModel.new(models[youngest].kind, models[youngest].density_kind, number=number), lines
            if len(models) > MOST_SYSTEMS:
                gone = min((n for n in models if n != number), key=lambda n: (last[n], n))
                del models[gone], last[gone]
        return replace(self, models={n: replace(model, counts=counts) for n, model in models.items()}, last=last, lines=lines)

    def _model(self, system: int) -> LatentModel:
        found = self.models.get(system)
        return found if found is not None else self.models[self.youngest]

    def tensors(self) -> Mapping[str, Tensor]:
        numbers = sorted(self.models)
        found = {
            "counts.cells": torch.from_numpy(self.counts.cells.copy()),
            "counted": torch.tensor([self.counts.counted, self.lines]),
            "systems": torch.tensor([[n, self.last[n]] for n in numbers]),
        }
        for n in numbers:
            found |= {f"{n}.{name}": tensor for name, tensor in self.models[n].tensors().items()}
        return found

    def with_tensors(self, tensors: Mapping[str, Tensor], version: str) -> Self:
        counted, lines = tensors["counted"].tolist()
        counts = Counts(tensors["counts.cells"].numpy().copy(), counted)
        base, last = next(iter(self.models.values())), dict[int, int](tensors["systems"].tolist())
        models = {}
        for n in last:
            own = {name.removeprefix(f"{n}."): tensor for name, tensor in tensors.items() if name.startswith(f"{n}.")}
            models[n] = replace(base, number=n, counts=counts).with_tensors(own)
        return replace(self, version=version, models=models, last=last, lines=lines)


def _shares(models: Mapping[int, LatentModel]) -> dict[int, Shares]:
    """Of the youngest beside all; the others are known, however seldom they write. A tenant's only system is not rare."""
    lines, sessions = [sum(some) for some in zip(*[(m.lines, m.sessions.counted) for m in models.values()], strict=True)]
    young = models[max(models)]
    rare = Shares(_rare(young.lines, lines), _rare(young.sessions.counted, sessions))
    return {n: rare if model is young else Shares(0.0, 0.0) for n, model in models.items()}


def _rare(own: float, of_all: float) -> float:
    return deviations_of(min((own + 1.0) / (min(of_all, FULL) + 1.0), 1.0))
