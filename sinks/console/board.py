"""All live sessions: which are on stage, what just happened, rates, latencies; in, one record at a time, out, what a page is told next.

Knows sessions and sums; leaves Kafka to feed.py and the browser to broadcast.py. Pure but for its own state: time comes as an argument.
Next: sinks/console/broadcast.py
"""

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

from schemas.events import BoundaryFound, InputRead, PerformanceMeasured, PredictionMade, StepFailed
from sinks.console import layers
from sinks.console.layers import Happening, Layers

LEFT_AFTER_S, QUIET_AFTER_S, FORGOTTEN_AFTER_S = 8.0, 20.0, 900.0
"""A session leaves the stage so long after its end, or its last record when others wait; it is forgotten after so long a silence."""
MOST_SESSIONS = 2000
"""Kept; each takes up to 60 KB."""
MOST_HAPPENINGS, RECENT = 4000, 40
"""Waiting to be told; beyond it they are only counted."""
SECONDS = 180
"""Of rates and latencies kept for the charts."""
SHOWN_ANOMALIES = 600
MOST_LATENCIES = 500
"""Kept of one second."""


@dataclass
class Second:
    """What was read in one second."""

    at_s: int
    items: int = 0
    outputs: int = 0
    anomalies: int = 0
    latencies: list[float] = field(default_factory=list)
    measured: int = 0


class Board:
    """What the output topics have said, ready to be shown."""

    def __init__(self, budget_ms: float = 50.0, stage: int = 18):
        self.budget_ms, self.stage_size = budget_ms, stage
        self.sessions: dict[str, Layers] = {}
        self.on_stage: list[str] = []
        self.version = 0
        self.seconds: deque[Second] = deque(maxlen=SECONDS)
        self.anomalies: deque[tuple[float, str, str, str, float, str]] = deque(maxlen=SHOWN_ANOMALIES)
        """(when, key, session, modality, score, text)"""
        self.anomalies_told = 0
        self.waiting: list[Happening] = []
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT)
        """What was told last, for a page that opens now."""
        self.summed: Counter[str] = Counter()
        """Kind -> happenings that were not told one by one."""
        self.items = self.failures = self.predictions = 0
        self.by_modality: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.lag: dict[str, int | None] = {"worker": None, "writer": None}
        self.skipped = 0
        """Records jumped over because the console could not keep up."""

    # 1. in

    def apply(self, record: Any, now_s: float) -> None:
        """Add one record of an output topic."""
        second = self._second(int(now_s))
        second.outputs += 1
        if isinstance(record, PerformanceMeasured):
            return
        key = f"{record.modality}/{record.session_id}"
        one = self.sessions.get(key)
        if one is None:
            one = self.sessions[key] = Layers(record.session_id, record.modality, now_s)
        one.changed_s = max(one.changed_s, now_s)
        self.version += 1
        one.version = self.version
        told: list[Happening] = []
        if isinstance(record, InputRead):
            if layers.read(one, record):
                self.items += 1
                second.items += 1
                self.by_modality[record.modality] += 1
                if one.ended_s is not None and one.document and record.token_position >= one.document.end:
                    one.ended_s = None  # it goes on after its end
        elif isinstance(record, BoundaryFound):
            told = layers.found(one, record)
        elif isinstance(record, PredictionMade):
            self.predictions += 1
            self.versions[record.model_version] += 1
            second.measured += 1
            if len(second.latencies) < MOST_LATENCIES:
                second.latencies.append(record.latency_ms)
            else:
                second.latencies[second.measured % MOST_LATENCIES] = record.latency_ms
            told = layers.answered(one, record)
        elif isinstance(record, StepFailed):
            self.failures += 1
            one.failures += 1
            outcome = "worked" if record.recovery_success else "did not help"
            text = f"{record.failure_type}: {record.recovery_action} {outcome}"
            told = [Happening("failure", key, one.session_id, one.modality, text, one.reached, None, "", record.trace_id)]
        for happening in told:
            self._note(happening, second, now_s)

    def _note(self, happening: Happening, second: Second, now_s: float) -> None:
        if happening.kind == "anomaly":
            second.anomalies += 1
            self.anomalies_told += 1
            self.anomalies.append(
                (round(now_s, 2), happening.key, happening.session_id, happening.modality, happening.score or 0.0, happening.text)
            )
        if len(self.waiting) < MOST_HAPPENINGS:
            self.waiting.append(happening)
        else:
            self.summed[happening.kind] += 1

    def _second(self, at_s: int) -> Second:
        """The second of a record: partitions that are caught up with come one after another, so it may be an earlier one."""
        seconds, place = self.seconds, len(self.seconds)
        while place and seconds[place - 1].at_s > at_s:
            place -= 1
        if place and seconds[place - 1].at_s == at_s:
            return seconds[place - 1]
        found = Second(at_s)
        if len(seconds) == seconds.maxlen:
            if not place:
                return found  # too long ago for the charts
            seconds.popleft()
            place -= 1
        seconds.insert(place, found)
        return found

    # 2. out

    def take(self, most: int) -> tuple[list[Happening], Counter[str]]:
        """The weightiest of what happened since the last call, `most` of them, and the others by kind."""
        ranked = layers.ordered(self.waiting)
        for left in ranked[most:]:
            self.summed[left.kind] += 1
        summed, self.summed, self.waiting = self.summed, Counter(), []
        return ranked[:most], summed

    def arrange(self, now_s: float) -> list[str]:
        """Who is on stage now: those that are there stay while they speak, then the newest speakers. Forgets the long silent."""
        for key in [k for k, s in self.sessions.items() if now_s - s.changed_s > FORGOTTEN_AFTER_S]:
            del self.sessions[key]
        if len(self.sessions) > MOST_SESSIONS:
            for key in sorted(self.sessions, key=lambda k: self.sessions[k].changed_s)[: len(self.sessions) - MOST_SESSIONS]:
                del self.sessions[key]
        here = [k for k in self.on_stage if k in self.sessions]
        waiting = [k for k, s in self.sessions.items() if k not in set(here) and self._speaks(s, now_s)]
        free = self.stage_size - len(here)
        if len(waiting) > free:  # those who have said all make room, the longest silent first
            leaving = sorted((k for k in here if not self._speaks(self.sessions[k], now_s)), key=lambda k: self.sessions[k].changed_s)
            gone = set(leaving[: len(waiting) - free])
            here = [k for k in here if k not in gone]
            free = self.stage_size - len(here)
        waiting.sort(key=lambda k: -self.sessions[k].changed_s)
        self.on_stage = here + waiting[: max(free, 0)]
        return self.on_stage

    def _speaks(self, one: Layers, now_s: float) -> bool:
        if one.ended_s is not None:
            return now_s - one.ended_s < LEFT_AFTER_S
        return now_s - one.changed_s < QUIET_AFTER_S

    def drawn_since(self, version: int) -> list[dict[str, Any]]:
        """Snapshots of the sessions on stage that changed after `version`."""
        return [layers.snapshot(self.sessions[k]) for k in self.on_stage if k in self.sessions and self.sessions[k].version > version]

    def snapshot_of(self, session_id: str) -> list[dict[str, Any]]:
        """Of one session in all its modalities, whether it is on stage or not."""
        return [layers.snapshot(s) for s in self.sessions.values() if s.session_id == session_id]

    def live(self, now_s: float) -> list[list[Any]]:
        """[key, items, state, anomalies, label] of every session that speaks or just ended."""
        shown = []
        for key, one in self.sessions.items():
            if self._speaks(one, now_s):
                state = "ended" if one.ended_s is not None else "failed" if one.failures else "anomaly" if one.anomalies else "live"
                label = one.topics[max(one.topics)].label if one.topics else ""
                shown.append([key, one.reached, state, one.anomalies, label])
        return shown

    def gauges(self, now_s: float) -> dict[str, Any]:
        """Numbers of the head of the page, over the last full seconds."""
        last = int(now_s)
        recent = [s for s in self.seconds if last - 5 <= s.at_s < last]
        minute = sorted(v for s in self.seconds if s.at_s >= last - 60 for v in s.latencies)
        return {
            "now": round(now_s, 2),
            "items_per_s": round(sum(s.items for s in recent) / 5, 1),
            "outputs_per_s": round(sum(s.outputs for s in recent) / 5, 1),
            "items": self.items,
            "predictions": self.predictions,
            "failures": self.failures,
            "latency_ms": {name: quantile(minute, q) for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
            "within_budget": round(1 - sum(v > self.budget_ms for v in minute) / len(minute), 4) if minute else None,
            "budget_ms": self.budget_ms,
            "lag": self.lag,
            "skipped": self.skipped,
            "by_modality": dict(self.by_modality),
            "model_versions": [name for name, _ in self.versions.most_common(4)],
        }

    def history(self, now_s: float, seconds: int = SECONDS) -> list[list[float | None]]:
        """Columns of the charts: second, items, p50, p95, anomalies; seconds in which nothing came are zero."""
        known = {s.at_s: s for s in self.seconds}
        last = int(now_s)
        rows = []
        for at in range(last - seconds, last):
            second = known.get(at)
            values = sorted(second.latencies) if second else []
            rows.append(
                [at, second.items if second else 0, quantile(values, 0.5), quantile(values, 0.95), second.anomalies if second else 0]
            )
        return [list(column) for column in zip(*rows, strict=True)]


def quantile(ordered: list[float], q: float) -> float | None:
    """Of sorted values; None of none."""
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * q))], 1) if ordered else None


def as_dict(happening: Happening, now_s: float) -> dict[str, Any]:
    return {**asdict(happening), "at": round(now_s, 2)}
