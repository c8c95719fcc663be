"""Log data as lessons, and a learner that is played them: what the commands about learning share.

Knows the files of logs/hdfs and logs/loghub_2k and the order of prequential learning (judge, then hear, then perhaps update); leaves
figures to log_forgetting.py and log_drift.py. No broker: the same learner, model and order as the worker's.
"""

import csv
import gzip
import io
import json
import random
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.latent_systems import Systems
from models.learnable import Lesson
from models.learner import Drift, Heard, Learner, LearningSettings
from models.log_model import LogModel
from models.steps import Item, Work

CONCURRENT = 50
"""Sessions that are open at a time."""
SYSTEMS = ("Android", "Apache", "BGL", "HDFS", "HPC", "Hadoop", "Linux", "OpenStack", "Spark", "Windows")


@dataclass(frozen=True)
class LogSession:
    """Lines of one session."""

    lines: Sequence[str]
    label: int = 0


def hdfs(folder: Path, name: str, most: int) -> list[LogSession]:
    """Block sessions of logs/hdfs, the first `most`; a line is its template, as the source gives it."""
    with open(folder / "event_templates.csv", encoding="utf-8", newline="") as rows:
        text = {row["EventId"]: row["EventTemplate"] for row in csv.DictReader(rows)}
    with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for _, line in zip(range(most), lines, strict=False)]
    return [LogSession([text[event] for event in record["events"]], record.get("label", 0)) for record in records]


def loghub(folder: Path, system: str) -> LogSession:
    """The 2,000 messages of one system of logs/loghub_2k."""
    with gzip.open(folder / f"{system}_2k.structured.csv.gz") as packed:
        return LogSession([row["Content"] for row in csv.DictReader(io.TextIOWrapper(packed, "utf-8", newline=""))])


def longer(session: LogSession, n: int, seed: int, piece: int = 50) -> LogSession:
    """n lines made of neighbouring lines of a session, drawn by seed."""
    rng, lines = random.Random(seed), list[str]()
    while len(lines) < n:
        at = rng.randrange(len(session.lines) - piece)
        lines += session.lines[at : at + piece]
    return LogSession(lines[:n])


def in_turns(sessions: Sequence[LogSession]) -> Iterator[tuple[int, int, bool]]:
    """(session, line, whether its last), at most CONCURRENT sessions open, taking turns."""
    waiting, turns = deque(range(len(sessions))), deque[tuple[int, int]]()
    while waiting or turns:
        while waiting and len(turns) < CONCURRENT:
            turns.append((waiting.popleft(), 0))
        session, line = turns.popleft()
        is_last = line + 1 == len(sessions[session].lines)
        yield session, line, is_last
        if not is_last:
            turns.append((session, line + 1))


@dataclass
class Play:
    """A tenant that is played lines, a step at a time, as the worker does."""

    settings: LearningSettings = field(default_factory=LearningSettings)
    learns: bool = True
    step: int = 100
    """Lines that are judged together; an update falls between two steps."""
    line_us: int = 1_000_000
    """Event time from line to line, microseconds."""

    def __post_init__(self) -> None:
        self.log_model = LogModel()
        self.learner: Learner[Systems] = Learner("play", self.settings)
        self.knowledge: Systems = self.log_model.learnable
        self.previous: Systems | None = None
        self.now_us = 1_700_000_000_000_000
        self.actions = Counter[str]()

    def lines(self, sessions: Sequence[LogSession]) -> Iterator[tuple[int, Lesson, list[Drift]]]:
        """Play sessions to their ends: session, lesson as judged, drifts seen at it; ends of sessions are lessons too."""
        states: dict[int, Any] = {}
        turns = in_turns(sessions)
        while taken := [turn for _, turn in zip(range(self.step), turns, strict=False)]:
            items: dict[int, list[Item]] = {}
            for session, n, is_last in taken:
                self.now_us += self.line_us
                items.setdefault(session, []).append(Item(n, sessions[session].lines[n], self.now_us, ends_session=is_last))
            works = [Work(f"logs/{session}", states.get(session), some, self.knowledge) for session, some in items.items()]
            for session, result in zip(items, self.log_model.step(works), strict=True):
                if result.error is not None:
                    raise result.error
                states[session] = result.state
                for lesson in result.lessons:
                    yield session, lesson, self.learner.hear(Heard(lesson, self.now_us)) if self.learns else []
                if items[session][-1].ends_session:
                    del states[session]
            while self.learns and self.learner.is_due:
                self.update()

    def play(self, sessions: Sequence[LogSession]) -> dict[int, float]:
        """Play to the end: how unusual each session was as a whole."""
        return {session: lesson.surprise for session, lesson, _ in self.lines(sessions) if lesson.whole}

    def judge(self, sessions: Sequence[LogSession]) -> dict[int, float]:
        """The same without learning from them."""
        learns, self.learns = self.learns, False
        try:
            return self.play(sessions)
        finally:
            self.learns = learns

    def copy(self) -> "Play":
        """One that goes on from here by itself."""
        other = Play(self.settings, self.learns, self.step, self.line_us)
        other.learner = Learner.unpack("play", self.settings, self.learner.pack())
        other.knowledge, other.previous, other.now_us = self.knowledge, self.previous, self.now_us
        return other

    def update(self) -> None:
        made = self.learner.update(self.knowledge, self.previous)
        self.actions[made.action] += 1
        if made.action == "taught":
            self.previous, self.knowledge = self.knowledge, made.model
        elif made.action == "rolled_back":
            self.previous, self.knowledge = None, made.model


def area(values: Iterable[float], labels: Iterable[int]) -> float:
    """Area under the ROC curve: how often an anomalous one lies above a normal one, ties counted half."""
    pairs = sorted(zip(values, labels, strict=True))
    below, total, at = 0.0, 0, 0
    while at < len(pairs):
        to = at
        while to < len(pairs) and pairs[to][0] == pairs[at][0]:
            to += 1
        positive = sum(label for _, label in pairs[at:to])
        negative = to - at - positive
        below += positive * (total + negative / 2)
        total += negative
        at = to
    positives = sum(label for _, label in pairs)
    return below / (positives * total) if positives and total else 0.5


def f1(values: Iterable[float], labels: Iterable[int], threshold: float) -> float:
    pairs = [(value >= threshold, bool(label)) for value, label in zip(values, labels, strict=True)]
    hits, flagged, wanted = sum(f and w for f, w in pairs), sum(f for f, _ in pairs), sum(w for _, w in pairs)
    return 2 * hits / (flagged + wanted) if flagged + wanted else 0.0
