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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.learnable import CONTEXT, Learnable, Lesson
from models.learner import Drift, Heard, Learner, LearningSettings
from models.severity import by_keywords
from models.templates import Miner

CONCURRENT = 50
"""Sessions that are open at a time."""
SYSTEMS = ("Android", "Apache", "BGL", "HDFS", "HPC", "Hadoop", "Linux", "OpenStack", "Spark", "Windows")


@dataclass(frozen=True)
class LogSession:
    """Lines of one session: their templates and severities."""

    templates: Sequence[str]
    severities: Sequence[int]
    label: int = 0


def hdfs(folder: Path, name: str, most: int) -> list[LogSession]:
    """Block sessions of logs/hdfs, the first `most`."""
    with open(folder / "event_templates.csv", encoding="utf-8", newline="") as rows:
        text = {row["EventId"]: row["EventTemplate"] for row in csv.DictReader(rows)}
    severity = {event: by_keywords(template)[0] for event, template in text.items()}
    sessions = []
    with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            sessions.append(
                LogSession([text[e] for e in record["events"]], [severity[e] for e in record["events"]], record.get("label", 0))
            )
            if len(sessions) == most:
                break
    return sessions


def loghub(folder: Path, system: str) -> LogSession:
    """The 2,000 messages of one system of logs/loghub_2k, mined."""
    miner = Miner()
    with gzip.open(folder / f"{system}_2k.structured.csv.gz") as packed:
        contents = [row["Content"] for row in csv.DictReader(io.TextIOWrapper(packed, "utf-8", newline=""))]
    mined = [miner.learn(content) for content in contents]
    return LogSession([m.group.shown for m in mined], [by_keywords(content)[0] for content in contents])


def longer(session: LogSession, n: int, seed: int, piece: int = 50) -> LogSession:
    """n lines made of neighbouring lines of a session, drawn by seed."""
    rng, templates, severities = random.Random(seed), list[str](), list[int]()
    while len(templates) < n:
        at = rng.randrange(len(session.templates) - piece)
        templates += session.templates[at : at + piece]
        severities += session.severities[at : at + piece]
    return LogSession(templates[:n], severities[:n])


def in_turns(sessions: Sequence[LogSession]) -> Iterator[tuple[int, int, bool]]:
    """(session, line, whether its last), at most CONCURRENT sessions open, taking turns."""
    waiting, turns = deque(range(len(sessions))), deque[tuple[int, int]]()
    while waiting or turns:
        while waiting and len(turns) < CONCURRENT:
            turns.append((waiting.popleft(), 0))
        session, line = turns.popleft()
        is_last = line + 1 == len(sessions[session].templates)
        yield session, line, is_last
        if not is_last:
            turns.append((session, line + 1))


@dataclass
class Play:
    """A tenant that is played lines, a step at a time, as the worker does."""

    model: Any
    settings: LearningSettings = field(default_factory=LearningSettings)
    learns: bool = True
    step: int = 100
    """Lines that are judged together; an update falls between two steps."""
    line_us: int = 1_000_000
    """Event time from line to line, microseconds."""

    def __post_init__(self) -> None:
        self.learner: Learner[Any] = Learner("play", self.settings)
        self.previous: Learnable | None = None
        self.now_us = 1_700_000_000_000_000
        self.actions = Counter[str]()

    def lines(self, sessions: Sequence[LogSession]) -> Iterator[tuple[int, Lesson, list[Drift]]]:
        """Play sessions to their ends: session, lesson as judged, drifts seen at it; ends of sessions are lessons too."""
        worst: dict[int, float] = {}
        turns = in_turns(sessions)
        while taken := [turn for _, turn in zip(range(self.step), turns, strict=False)]:
            plain = [_lesson(sessions[s], n, last) for s, n, last in taken]
            judged: list[tuple[int, Lesson]] = []
            for (session, _, last), lesson, value in zip(taken, plain, self.model.surprise(plain), strict=True):
                worst[session] = max(worst.get(session, 0.0), value)
                judged.append((session, replace(lesson, surprise=value)))
                if last:
                    end = _end(sessions[session], worst.pop(session))
                    judged.append((session, replace(end, surprise=self.model.surprise([end])[0])))
            for session, lesson in judged:
                self.now_us += self.line_us
                drifts = self.learner.hear(Heard(lesson, self.now_us)) if self.learns else []
                yield session, lesson, drifts
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

    def update(self) -> None:
        made = self.learner.update(self.model, self.previous)
        self.actions[made.action] += 1
        if made.action == "taught":
            self.previous, self.model = self.model, made.model
        elif made.action == "rolled_back":
            self.previous, self.model = None, made.model


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


def _lesson(session: LogSession, n: int, is_last: bool) -> Lesson:
    before = tuple(session.templates[max(0, n - CONTEXT) : n])
    return Lesson(session.templates[n], before, session.severities[n], 1.0 if n else 0.0, 0.0, is_last)


def _end(session: LogSession, worst: float) -> Lesson:
    whole = tuple(Counter(session.templates).items())
    return Lesson("", tuple(session.templates[-CONTEXT:]), 6, 0.0, 0.0, True, whole, worst)
