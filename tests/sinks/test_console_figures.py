"""Every question of the evaluation as the console's API serves it: its figure is that of an oracle on the raw rows, and no view is empty.

The rows are as a demo leaves them: texts, chats, logs and series over four days, two versions, labels that come late, twice or not at all, thumbs.
"""

import json
import random
from collections.abc import AsyncIterator, Iterator

import httpx
import numpy as np
import pytest

from sinks import questions, rollups
from sinks.clickhouse import ClickHouse
from sinks.console.app import build_app
from sinks.console.config import ConsoleConfig
from sinks.http_query import HttpConfig
from tests.console.test_access import client
from tests.sinks import figure_oracles
from tests.sinks.evaluation_rows import BEGIN_US, Row, common, empty, insert, label, prediction
from tests.sinks.figure_oracles import HOUR_US, ORACLES, Stored
from tests.sinks.test_http_interface import Served

TOPICS, LEVELS = ("Flights", "Hotels", "Music", "Weather", "other"), ("error", "warning", "informational")
SESSIONS, ITEMS, STEP_US = 12, 40, 20_000_000


class Sample:
    """Rows of all tables, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.draw, self.vectors = random.Random(seed), np.random.default_rng(seed)
        self.rows: dict[str, list[Row]] = {
            name: [] for name in ("predictions", "labels", "boundaries", "input_stream", "model_state", "performance", "failures")
        }
        for number in range(SESSIONS):
            for modality in ("tokens", "chat", "logs", "metrics"):
                self.session(modality, number)

    def session(self, modality: str, number: int) -> None:
        self.modality, self.name, self.number = modality, f"{modality}-{number}", number
        self.begin = BEGIN_US + number * 8 * HOUR_US
        self.version = "v1" if number < SESSIONS // 2 else "v2"
        for n in range(ITEMS):
            text = "x" * self.draw.randint(1, 40 + 30 * (number > 7))
            self.add("input_stream", n, token_id=self.draw.randint(0, 60), token_text=text, token_position=n, buffer_size=9, metadata={})
            stage = self.draw.choice(("latency", "step", "decode"))
            self.add("performance", n, metric_name=f"{stage}_ms", metric_value=self.draw.lognormvariate(2, 1), unit="ms", context="{}")
            if n % 7 == 3:
                vector = (self.vectors.normal(0.2 * (number > 5), 1, 8)).astype(np.float32).tolist()
                self.add(
                    "model_state",
                    n,
                    state_type="sentence",
                    span_start=n,
                    span_end=n + 1,
                    representation=vector,
                    attention_weights=[],
                    cache_size_mb=0.0,
                    metadata={},
                )
        for attempt in range(2 if number % 3 == 0 else 0):
            self.add(
                "failures", 5 + attempt, failure_id=f"{self.name}-f", failure_type="StepError", exception="", stack_trace="", context="{}",
                recovery_action="retry", recovery_success=bool(attempt),
            )  # fmt: skip
        {"tokens": self.text, "chat": self.text, "logs": self.lines, "metrics": self.points}[modality]()

    def add(self, table: str, n: int, **columns: object) -> Row:
        """A row of the session's item n."""
        place = {"kafka_topic": self.modality, "kafka_partition": self.number % 3, "kafka_offset": self.number * ITEMS + n}
        at = {"timestamp": self.begin + n * STEP_US, "modality": self.modality, "model_version": self.version}
        if table == "predictions":
            row = prediction(n, self.name, latency_ms=self.draw.lognormvariate(2.5, 1), **{**at, **place, **columns})
            row["event_id"] = common("p", n, f"{self.name} {row['prediction_id']} {row['revision']}")["event_id"]
        else:
            row = common(table, n, self.name) | at | place | columns
            row["event_id"] = common(table, len(self.rows[table]), self.name)["event_id"]
        self.rows[table].append(row)
        return row

    def truth(self, position: int | None, task: str, after_s: float | None = None, **columns: object) -> None:
        after = self.draw.uniform(60, 90_000) if after_s is None else after_s
        at = self.begin + (position or 0) * STEP_US + round(after * 1e6)
        columns = {"offset": len(self.rows["labels"]), "timestamp": at, **columns}
        self.rows["labels"].append(label(position, self.name, task=task, **columns))

    def sure(self) -> float:
        return self.draw.choice((0.5, 0.93, self.draw.uniform(0.3, 1.0)))

    def text(self) -> None:
        """Topics with partial answers, a label of the whole, sentences with their surprise."""
        starts = [0, *sorted(self.draw.sample(range(3, ITEMS - 2), 3))]
        for start, end in zip(starts, [*starts[1:], ITEMS], strict=True):
            true = self.draw.choice(TOPICS)
            span = {"task": "topic", "prediction_id": f"{self.name}-topic-{start}", "span_start": start}
            for revision, upto in enumerate((*range(start + 1, end, 2), end)):
                right = self.draw.random() < 0.35 + 0.5 * (upto - start) / (end - start)
                kind = "final" if upto == end else "partial"
                said = true if right else self.draw.choice(TOPICS)
                self.add(
                    "predictions",
                    upto - 1,
                    **span,
                    span_end=upto,
                    position=upto - 1,
                    revision=revision,
                    prediction_type=kind,
                    label=said,
                    confidence=self.sure(),
                )
            self.thumbs(span["prediction_id"], said, end - 1)
            if self.draw.random() < 0.8:
                for _ in range(self.draw.choice((1, 1, 2))):
                    self.truth(start, "topic", label=true if self.draw.random() < 0.9 else self.draw.choice(TOPICS), span_end=end)
            for kind in ("sentence", "topic") if start else ():
                at = start if self.draw.random() < 0.7 else start + 1
                late = min(ITEMS - 1, at + self.draw.choice((0, 0, 2)))
                self.add(
                    "boundaries",
                    late,
                    boundary_type=kind,
                    position=at,
                    text_offset=at,
                    confidence=0.8,
                    detected_by=self.draw.choice(("rule", "model")),
                    context_before="",
                    context_after="",
                )
        whole = {
            "task": "topic",
            "prediction_id": f"{self.name}-whole",
            "span_start": 0,
            "span_end": ITEMS,
            "position": ITEMS - 1,
            "output": json.dumps({"level": "document"}),
        }
        self.add("predictions", ITEMS - 1, **whole, label=self.draw.choice(TOPICS), confidence=self.sure())
        self.truth(None, "topic", label=self.draw.choice(TOPICS))
        if self.modality == "tokens":
            for n in range(0, ITEMS, 5):
                self.add(
                    "predictions",
                    n + 4,
                    task="surprise",
                    prediction_id=f"{self.name}-s{n}",
                    span_start=n,
                    span_end=n + 5,
                    position=n + 4,
                    label=None,
                    confidence=None,
                    value=self.draw.gauss(3 + (self.number > 7), 0.6),
                )

    def lines(self) -> None:
        for n in range(ITEMS):
            said = self.draw.choice(LEVELS)
            row = self.add("predictions", n, prediction_id=f"{self.name}-sev-{n}", task="severity", label=said, confidence=self.sure())
            if self.draw.random() < 0.5:
                self.truth(n, "severity", label=said if self.draw.random() < row["confidence"] else self.draw.choice(LEVELS))
            self.thumbs(row["prediction_id"], said, n)

    def points(self) -> None:
        for n in range(ITEMS):
            score = self.draw.random()
            odd = "anomaly" if score > 0.9 else "normal"
            row = self.add(
                "predictions",
                n,
                prediction_id=f"{self.name}-odd-{n}",
                task="anomaly",
                label=odd,
                confidence=max(score, 1 - score),
                value=score,
            )
            if self.draw.random() < 0.4:
                self.truth(None, "anomaly", label=self.draw.choice((odd, odd, "normal")), event_timestamp=row["timestamp"])
            self.add(
                "predictions",
                n,
                prediction_id=f"{self.name}-next-{n}",
                task="forecast",
                label=None,
                confidence=None,
                value=self.draw.gauss(0, 1),
            )
            if self.draw.random() < 0.6:
                self.truth(n, "forecast", label=None, value=self.draw.gauss(0, 1))

    def thumbs(self, prediction_id: str, said: str, position: int) -> None:
        for _ in range(self.draw.choice((0, 0, 1, 2))):
            self.truth(position, "feedback", label=said, value=float(self.draw.random() < 0.7), prediction_id=prediction_id)


@pytest.fixture(scope="module")
def stored(clickhouse: ClickHouse) -> Iterator[Stored]:
    empty(clickhouse)
    made = Sample(11)
    for table, rows in made.rows.items():
        insert(clickhouse, table, rows)
    rollups.refresh(clickhouse)
    hashes = dict(clickhouse.rows("SELECT DISTINCT token_id, toString(sipHash64(token_id) % 64) FROM input_stream"))
    yield Stored(**made.rows, hash_of_token=hashes)
    empty(clickhouse)


@pytest.fixture(scope="module")
def port(stored: Stored) -> Iterator[int]:
    served = Served(HttpConfig(port=0, timeout_s=20))
    yield served.port
    served.stop()


@pytest.fixture
async def asked(port: int) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(ConsoleConfig(clickhouse_http_port=port), with_kafka=False)
    async with client(app) as opened:
        yield opened
    await app.state.parts.tables.close()


def test_every_question_has_an_oracle() -> None:
    assert set(ORACLES) == {q.name for q in questions.questions()}


@pytest.mark.parametrize("name", sorted(ORACLES))
async def test_the_figure_the_console_serves_is_that_of_the_oracle_for_every_row_and_there_are_rows(
    asked: httpx.AsyncClient, stored: Stored, name: str
) -> None:
    told = (await asked.get(f"/api/v1/evaluation/questions/{name}")).json()
    assert figure_oracles.disagreements(name, told["chart"], told["rows"], stored, questions.about) == []


def test_an_oracle_that_differs_is_seen(stored: Stored) -> None:
    """The comparison itself: a figure that is off, a row too many and one too few are told."""
    rows = [{**dict(k), "accuracy": v} for k, v in figure_oracles.quality(stored).items()]
    chart = {"figure": "accuracy"}
    assert figure_oracles.disagreements("quality", chart, rows, stored, questions.about) == []
    off = [{**rows[0], "accuracy": rows[0]["accuracy"] + 0.01}, *rows[2:], {**rows[1], "task": "nothing"}]
    assert len(figure_oracles.disagreements("quality", chart, off, stored, questions.about)) == 3
    assert figure_oracles.disagreements("quality", chart, [], stored, questions.about) == ["quality: nothing is shown"]
