"""`python -m models.training.latent_figures LOGS_FOLDER [--only hdfs|bgl] [--dynamics rectified sde flow none] [--density normal flow]`: what the log model is worth, beside baselines.

Plays sessions strictly online, as a stream would: HDFS normal sessions first, then its development sessions, each judged before
it is learned, a hundred lines or so at a time; F1 at the full log's ratio. BGL 2k as one stream, alert lines against labels `anomaly`.
Thresholds are the model's own: no label is used. Next: docs/LOG.md
"""

import argparse
import csv
import gzip
import json
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from models.latent_systems import Systems
from models.latent_teaching import SUSPECT
from models.learnable import Lesson
from models.log_model import LogModel
from models.steps import Answer, Item, Work

ANOMALOUS, NORMAL = 16838, 553366
"""Sessions of the full HDFS log."""
AT_ONCE = 5
"""Sessions of a step; about a hundred lines."""


def hdfs_f1(labels: Sequence[int], flagged: Sequence[bool]) -> str:
    """Recall, false alarms among normal sessions, and F1 at the full log's class ratio."""
    hits = Counter(label for label, flag in zip(labels, flagged, strict=True) if flag)
    counts = Counter(labels)
    recall, alarms = hits[1] / counts[1], hits[0] / counts[0]
    precision = ANOMALOUS * recall / (ANOMALOUS * recall + NORMAL * alarms) if recall else 0.0
    f1 = 2 * precision * recall / (precision + recall) if recall else 0.0
    return f"F1 {f1:.4f} recall {recall:.4f} false alarms {hits[0]} of {counts[0]}"


def line_f1(labels: Sequence[bool], flagged: Sequence[bool]) -> str:
    hits = sum(a and b for a, b in zip(labels, flagged, strict=True))
    return f"F1 {2 * hits / (sum(labels) + sum(flagged)):.4f} hits {hits} of {sum(labels)}, flagged {sum(flagged)}"


def read_sessions(path: Path, texts: dict[str, str], limit: int) -> list[tuple[int, list[str]]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [(record["label"], [texts[event] for event in record["events"]]) for record in records[:limit]]


class Player:
    """A log model and a learner without threads: it teaches after each step. Seconds are of the process."""

    def __init__(self, dynamics: str, density: str, held_after: int):
        """held_after: lessons after which suspects wait for an hour of event time, which no set here lasts."""
        self.model = LogModel(Systems.new(dynamics, density))
        self.judging_s = self.teaching_s = 0.0
        self.lines = self.updates = self.heard = 0
        self.held_after = held_after

    def play(self, works: Sequence[Work]) -> list[list[Answer]]:
        """Findings of each work's items, flat; then the model has learned them."""
        start = time.process_time()
        results = self.model.step(works)
        self.judging_s += time.process_time() - start
        lessons: list[Lesson] = [lesson for result in results for lesson in result.lessons]
        self.heard += len(lessons)
        if self.heard > self.held_after:
            lessons = [lesson for lesson in lessons if lesson.surprise < SUSPECT]
        start = time.process_time()
        self.model.normal = self.model.normal.taught(lessons, self.updates)
        self.teaching_s += time.process_time() - start
        self.lines, self.updates = self.lines + sum(len(work.items) for work in works), self.updates + 1
        self.state = results[-1].state
        return [[f for item in result.items for f in item.findings if isinstance(f, Answer)] for result in results]

    def cost(self) -> str:
        return (
            f"{1e6 * self.judging_s / self.lines:.1f} us a line, {1e3 * self.teaching_s / self.updates:.1f} ms an update, "
            f"{self.updates} updates, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB resident at most"
        )


def play_sessions(player: Player, sessions: Sequence[tuple[int, list[str]]], name: str) -> list[tuple[bool, float, str]]:
    """Of each session: whether it was flagged, its standard deviations, why."""
    found = []
    for at in range(0, len(sessions), AT_ONCE):
        works = [Work(f"logs/{name}{at + n}", None, list(items_of(texts))) for n, (_, texts) in enumerate(sessions[at : at + AT_ONCE])]
        for findings in player.play(works):
            whole = findings[-1]
            found.append((whole.label == "anomaly", whole.output["deviations"], whole.output["reason"].split(", worst 5 ")[0]))
    return found


def items_of(texts: Sequence[str]) -> Iterator[Item]:
    for n, text in enumerate(texts):
        yield Item(n, text, n * 1_000_000, ends_session=n == len(texts) - 1)


def hdfs(folder: Path, ways: Sequence[tuple[str, str]], limit: int, held_after: int) -> None:
    with open(folder / "event_templates.csv", encoding="utf-8", newline="") as rows:
        texts = {row["EventId"]: row["EventTemplate"] for row in csv.DictReader(rows)}
    normal = read_sessions(folder / "hdfs_train_normal.jsonl.gz", texts, 1_000_000)
    dev = read_sessions(folder / "hdfs_dev.jsonl.gz", texts, limit)
    labels = [label for label, _ in dev]

    pairs = {pair for _, lines in normal for pair in pairwise(lines)}
    print(f"hdfs dev, 2-gram not among the normal: {hdfs_f1(labels, [any(p not in pairs for p in pairwise(lines)) for _, lines in dev])}")
    ends = {pair for _, lines in normal for pair in pairwise(["", *lines, ""])}
    flags = [any(p not in ends for p in pairwise(["", *lines, ""])) for _, lines in dev]
    print(f"hdfs dev, 2-gram with start and end not among the normal: {hdfs_f1(labels, flags)}")
    known = {text for _, lines in normal for text in lines}
    print(f"hdfs dev, template not among the normal: {hdfs_f1(labels, [not known.issuperset(lines) for _, lines in dev])}")
    vectors = {frozenset(Counter(lines).items()) for _, lines in normal}
    print(
        f"hdfs dev, count vector not among the normal: {hdfs_f1(labels, [frozenset(Counter(lines).items()) not in vectors for _, lines in dev])}"
    )

    for kind, density in ways:
        player, kind = Player(kind, density, held_after), f"{kind} {density}"
        warm = play_sessions(player, normal, "w")
        print(
            f"hdfs normal sessions, {kind}: {sum(flag for flag, _, _ in warm)} of {len(warm)} flagged while learning; {player.cost()}",
            flush=True,
        )
        found = play_sessions(player, dev, "d")
        print(f"hdfs dev, {kind}: {hdfs_f1(labels, [flag for flag, _, _ in found])}; {player.cost()}")
        for threshold in (2.5, 2.75, 3.25, 3.5):
            print(f"    at {threshold} standard deviations: {hdfs_f1(labels, [d >= threshold for _, d, _ in found])}")
        alarms = Counter(why for (flag, _, why), label in zip(found, labels, strict=True) if flag and not label)
        print(f"    false alarms by reason: {dict(alarms.most_common(6))}", flush=True)


BGL_LEVELS = {"INFO": "informational", "FATAL": "critical", "SEVERE": "critical", "ERROR": "error", "WARNING": "warning"}


def bgl(folder: Path, ways: Sequence[tuple[str, str]], held_after: int) -> None:
    with gzip.open(folder / "BGL_2k.structured.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    labels = [row["Label"] != "-" for row in rows]
    for most in (1, 3, 10, 30):
        seen: Counter[str] = Counter()
        flags = []
        for row in rows:
            flags.append(seen[row["EventId"]] < most)
            seen[row["EventId"]] += 1
        print(f"bgl lines, template seen fewer than {most} times: {line_f1(labels, flags)}")
    print(f"bgl lines, level FATAL: {line_f1(labels, [row['Level'] == 'FATAL' for row in rows])}")
    items = [
        Item(n, row["Content"], int(row["Timestamp"]) * 1_000_000, name=f"header:{BGL_LEVELS[row['Level']]}") for n, row in enumerate(rows)
    ]
    for kind, density in ways:
        player, kind = Player(kind, density, held_after), f"{kind} {density}"
        state, found = None, []
        for at in range(0, len(items), 100):
            found += [answer for answer in player.play([Work("logs/bgl", state, items[at : at + 100])])[0] if answer.task == "anomaly"]
            state = player.state
        reasons = Counter(answer.output["reason"] for answer in found if answer.label == "anomaly")
        print(f"    by reason: {dict(reasons.most_common(8))}")
        print(f"bgl lines, {kind}: {line_f1(labels, [answer.label == 'anomaly' for answer in found])}; {player.cost()}")
        for threshold in (2.5, 3.5):
            print(
                f"    at {threshold} standard deviations: {line_f1(labels, [a.output['deviations'] >= threshold for a in found])}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Figures of the log model beside baselines.")
    parser.add_argument("folder", type=Path, help="the data's logs folder")
    parser.add_argument("--only", choices=["hdfs", "bgl"])
    parser.add_argument("--dynamics", nargs="+", default=["rectified", "sde", "flow", "none"])
    parser.add_argument("--density", nargs="+", default=["normal"], help="each with each dynamics: normal, flow")
    parser.add_argument("--limit", type=int, default=1_000_000, help="development sessions of HDFS")
    parser.add_argument("--held-after", type=int, default=100_000, help="lessons after which a learner holds suspects back")
    args = parser.parse_args()
    ways = [(kind, density) for density in args.density for kind in args.dynamics]
    if args.only != "hdfs":
        bgl(args.folder / "loghub_2k", ways, args.held_after)
    if args.only != "bgl":
        hdfs(args.folder / "hdfs", ways, args.limit, args.held_after)


if __name__ == "__main__":
    main()
