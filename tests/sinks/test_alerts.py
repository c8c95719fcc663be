"""Alerts: one for each crossing, open until it holds again, through outages and restarts; in the topic and at the webhook."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer
from hypothesis import given
from hypothesis import strategies as st

from deploy.local import topics
from schemas.errors import SettingError
from sinks import alerts, evaluate_thresholds, evaluate_watch
from sinks.alert_log import AlertError, AlertLog
from sinks.alerts import AT_ONCE, Message, Patience, Verdict
from sinks.config import EvaluationConfig
from sinks.console.alert_feed import AlertFeed
from sinks.errors import UnavailableError
from sinks.evaluate_watch import Watch

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
DAY = {"since": "24h"}
(SLOW,) = evaluate_thresholds.read({"latency.p99_ms": "<= 200"})


def at(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


def rows(**p99_of_task: float) -> list[Verdict]:
    """What the threshold says of a row for each task."""
    empty = dict.fromkeys((c.name for c in SLOW.asked.columns), None)
    told = [{**empty, "model_version": "v1", "modality": "chat", "task": task, "p99_ms": ms} for task, ms in p99_of_task.items()]
    return alerts.verdicts([SLOW], {"latency": told})


def test_a_crossing_opens_once_and_closes_when_it_holds_again() -> None:
    (opened,) = alerts.follow({}, rows(topic=300.0, other=10.0), DAY, at(0))
    assert (opened["state"], opened["value"], opened["about"]["task"], opened["must_be"]) == ("open", 300.0, "topic", "<= 200")
    open_ = alerts.apply({}, [opened])
    assert alerts.follow(open_, rows(topic=900.0), DAY, at(5)) == []
    (closed,) = alerts.follow(open_, rows(topic=150.0), DAY, at(10))
    assert (closed["state"], closed["value"], closed["why"]) == ("closed", 150.0, alerts.HOLDS)
    assert (closed["alert_id"], closed["opened_at"], closed["timestamp"]) == (opened["alert_id"], at(0).isoformat(), at(10).isoformat())
    assert alerts.apply(open_, [closed]) == {}
    (again,) = alerts.follow({}, rows(topic=300.0), DAY, at(15))
    assert again["alert_id"] != opened["alert_id"]


def test_what_nobody_tells_of_any_more_closes_and_other_filters_are_left_alone() -> None:
    open_ = alerts.apply({}, alerts.follow({}, rows(topic=300.0), DAY, at(0)))
    assert [(m["state"], m["why"]) for m in alerts.follow(open_, rows(other=10.0), DAY, at(5))] == [("closed", alerts.UNTOLD)]
    assert alerts.follow(open_, [], {"since": "24h", "task": "other"}, at(5)) == []


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from([100.0, 300.0])), max_size=12))
def test_after_any_looks_what_is_open_is_what_is_broken_and_states_alternate(looks: list[dict[str, float]]) -> None:
    open_: alerts.Open = {}
    told: list[Message] = []
    for minute, look in enumerate(looks):
        found = alerts.follow(open_, rows(**look), DAY, at(minute))
        open_, told = alerts.apply(open_, found), told + found
        assert {m["about"]["task"] for m in open_.values()} == {task for task, ms in look.items() if ms > 200}
    for task in "abc":
        states = [m["state"] for m in told if m["about"]["task"] == task]
        assert states == [("open", "closed")[n % 2] for n in range(len(states))]
    assert alerts.apply({}, told) == open_


def looked(values: Sequence[float | None], patience: Patience) -> list[tuple[int, str]]:
    """(minute, state) of what is told when a look a minute sees these; None where the row is not there."""
    open_, since, told = alerts.Open(), alerts.Since(), list[tuple[int, str]]()
    for minute, value in enumerate(values):
        found = [] if value is None else rows(topic=value)
        since = alerts.differing(open_, found, DAY, at(minute), since)
        news = alerts.follow(open_, found, DAY, at(minute), patience, since)
        open_ = alerts.apply(open_, news)
        told += [(minute, message["state"]) for message in news]
    return told


def patience(pending: int, keep_firing: int) -> Patience:
    return Patience(timedelta(minutes=pending), timedelta(minutes=keep_firing))


def test_a_value_that_hovers_at_its_bound_opens_one_alert() -> None:
    hovering = [210.0, 190.0] * 20
    assert len(looked(hovering, AT_ONCE)) == 40
    assert looked(hovering, patience(0, 15)) == [(0, "open")]
    assert looked([*hovering, *[190.0] * 30], patience(0, 15)) == [(0, "open"), (39 + 15, "closed")]
    assert looked([210.0, None, 210.0, None, None, None, None], patience(0, 3)) == [(0, "open"), (6, "closed")]


def test_a_crossing_that_does_not_last_opens_nothing() -> None:
    assert looked([210.0, 210.0, 190.0] * 10, patience(3, 0)) == []
    assert looked([190.0, 210.0, 210.0, 210.0, 210.0, 190.0], patience(3, 0)) == [(4, "open"), (5, "closed")]


@given(st.lists(st.sampled_from([100.0, 300.0, None]), max_size=40), st.integers(0, 4), st.integers(0, 4))
def test_what_is_told_is_what_has_lasted(values: list[float | None], pending: int, keep_firing: int) -> None:
    """The plain version: count the looks in a row that say otherwise than was told."""
    expected, is_open, n = [], False, 0
    for minute, value in enumerate(values):
        n = n + 1 if (value == 300.0) != is_open else 0
        if n > (keep_firing if is_open else pending):
            is_open, n = not is_open, 0
            expected.append((minute, "open" if is_open else "closed"))
    assert looked(values, patience(pending, keep_firing)) == expected


async def test_a_watcher_is_as_patient_as_its_settings_say() -> None:
    looks = iter([rows(topic=300.0), rows(topic=150.0), rows(topic=300.0), rows(topic=150.0), rows(topic=150.0), rows(topic=150.0)])
    topic = Topic()
    patient = evaluate_watch.patience_of(EvaluationConfig(pending_for="0s", keep_firing_for="2m"))
    watch = Watch(lambda _: next(looks), DAY, topic, patience=patient, is_started=True)  # type: ignore[arg-type]
    said = [await watch.once(at(minute)) for minute in range(6)]
    assert [(m["state"], m["timestamp"]) for m in topic.messages] == [("open", at(0).isoformat()), ("closed", at(5).isoformat())]
    assert said[3].endswith("1 open, 0 opened, 0 closed, 1 waited for")
    assert said[5].endswith("0 open, 0 opened, 1 closed")
    with pytest.raises(SettingError, match=r"\[evaluation\] keep_firing_for 'soon': wanted such as 30s"):
        evaluate_watch.patience_of(EvaluationConfig(keep_firing_for="soon"))


@dataclass
class Topic:
    """A topic that may be away."""

    open: alerts.Open = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    posted: int = 0
    is_away: bool = False

    async def start(self) -> None:
        if self.is_away:
            raise AlertError("no broker")

    async def append(self, messages: Sequence[Message]) -> None:
        if self.is_away:
            raise AlertError("no broker")
        self.messages += messages
        self.open = alerts.apply(self.open, messages)

    async def post(self, url: str, client: httpx.AsyncClient) -> int:
        fresh, self.posted = len(self.messages) - self.posted, len(self.messages)
        return fresh


async def test_an_outage_is_waited_out_and_the_crossing_found_before_it_keeps_its_id() -> None:
    """Looks: broken with Kafka gone, ClickHouse gone, broken and all well, broken, holds."""
    topic = Topic(is_away=True)
    looks: list[Any] = [rows(topic=300.0), UnavailableError("no engine"), rows(topic=400.0), rows(topic=350.0), rows(topic=100.0)]
    asked: list[datetime] = []

    def look(now: datetime) -> list[Verdict]:
        asked.append(now)
        found = looks[len(asked) - 1]
        if isinstance(found, Exception):
            raise found
        return list(found)

    watch = Watch(look, DAY, topic, "http://hook", is_started=True)  # type: ignore[arg-type]
    with pytest.raises(AlertError):
        await watch.once(at(0))
    with pytest.raises(AlertError):
        await watch.once(at(1))
    assert len(asked) == 1  # what is due comes before what is new
    topic.is_away = False
    with pytest.raises(UnavailableError):
        await watch.once(at(2))
    assert [m["opened_at"] for m in topic.messages] == [at(0).isoformat()]
    assert topic.posted == 1  # though ClickHouse is away
    assert "1 open, 0 opened, 0 closed" in await watch.once(at(3))
    await watch.once(at(4))
    assert "0 open, 0 opened, 1 closed; the webhook took 1" in await watch.once(at(5))
    assert [m["state"] for m in topic.messages] == ["open", "closed"]


async def test_the_watch_goes_on_through_failures_says_each_once_and_is_ready_after_the_first_look(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stop, turns, ready = asyncio.Event(), [], []

    def look(now: datetime) -> list[Verdict]:
        turns.append(now)
        if len(turns) in (2, 3):
            raise UnavailableError("ClickHouse is away")
        if len(turns) == 5:
            stop.set()
        return rows(topic=300.0)

    watch, before = Watch(look, DAY, Topic()), evaluate_watch.FIRST_RETRY_S  # type: ignore[arg-type]
    evaluate_watch.FIRST_RETRY_S = 0.01
    try:
        with caplog.at_level("INFO", "sinks.alerts"):
            await asyncio.wait_for(evaluate_watch.keep_watch(watch, 0.05, stop, lambda: ready.append(len(turns))), 10)
    finally:
        evaluate_watch.FIRST_RETRY_S = before
    said = [record.message for record in caplog.records]
    assert [line.split(";")[0] for line in said if "away" in line] == ["ClickHouse is away"]
    assert len([line for line in said if line.startswith("opened: latency.p99_ms of v1 chat topic is 300, must be <= 200")]) == 1
    assert "well again after 2 tries" in said
    assert ready == [1]


def test_the_console_shows_what_the_topic_says_is_open_and_passes_over_what_is_no_alert() -> None:
    feed = AlertFeed("nowhere:1", "")
    (opened,) = alerts.follow({}, rows(topic=300.0), DAY, at(0))
    for value in (b"no json", b"{}", None, json.dumps(opened).encode()):
        feed.take(value)
    assert [alerts.sentence(m) for m in feed.open.values()] == ["latency.p99_ms of v1 chat topic is 300, must be <= 200"]
    for closed in alerts.follow(feed.open, rows(topic=30.0), DAY, at(5)):
        feed.take(json.dumps(closed).encode())
    assert feed.open == {}
    assert [alerts.sentence(m) for m in feed.recent][1:] == ["latency.p99_ms of v1 chat topic, it holds again (30)"]


def test_how_often_is_read_as_people_write_it() -> None:
    assert [evaluate_watch.seconds(text) for text in ("30s", "5m", "1h")] == [30.0, 300.0, 3600.0]
    for text in ("5", "0m", "often"):
        with pytest.raises(SettingError, match="wanted such as 30s"):
            evaluate_watch.seconds(text)


class Hook:
    """A webhook that fails as often as it is told to."""

    def __init__(self) -> None:
        self.failing, self.took, self.url = 0, [], ""

    async def take(self, request: web.Request) -> web.Response:
        if self.failing:
            self.failing -= 1
            return web.Response(status=500)
        self.took.append([(m["about"]["task"], m["state"]) for m in (await request.json())["alerts"]])
        return web.Response()


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    made = Hook()
    app = web.Application()
    app.router.add_post("/", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/"  # type: ignore[union-attr]
    yield made
    await runner.cleanup()


@pytest.mark.broker
async def test_a_watcher_that_starts_anew_knows_what_is_open_and_tells_the_webhook_what_it_missed(
    broker: str, topic_prefix: str, hook: Hook
) -> None:
    await asyncio.to_thread(topics.create_missing, broker, topic_prefix, 3)

    async def look(minute: int, url: str = hook.url, **p99: float) -> str:
        """By a process of its own."""
        watch = Watch(lambda _: rows(**p99), DAY, AlertLog(broker, topic_prefix), url)
        return await evaluate_watch.one_look(watch, at(minute))

    assert "1 open, 1 opened" in await look(0, url="", topic=300.0, other=50.0)
    assert "0 open, 0 opened, 1 closed" in await look(1, url="", topic=30.0)
    assert "1 open, 1 opened" in await look(2, url="", topic=300.0)
    await look(3, topic=310.0)
    assert hook.took == [[("topic", "open")]]  # new to it: the past is no news, what is open is
    await look(4, topic=320.0)
    assert len(hook.took) == 1
    hook.failing = 2
    with pytest.raises(AlertError, match=r"the webhook at 127\.0\.0\.1 answered 500"):
        await look(5, topic=30.0)
    with pytest.raises(AlertError):
        await look(6, topic=30.0)
    assert "0 open, 0 opened, 0 closed; the webhook took 1" in await look(7, topic=30.0)
    assert hook.took[1:] == [[("topic", "closed")]]
    await look(8, topic=30.0)
    assert len(hook.took) == 2


@pytest.mark.broker
async def test_alerts_are_json_records_keyed_by_their_threshold(broker: str, topic_prefix: str) -> None:
    await asyncio.to_thread(topics.create_missing, broker, topic_prefix, 1)
    watch = Watch(lambda _: rows(topic=300.0), DAY, AlertLog(broker, topic_prefix))
    await evaluate_watch.one_look(watch, NOW)
    consumer = AIOKafkaConsumer(topic_prefix + "alerts", bootstrap_servers=broker, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    record = await asyncio.wait_for(consumer.getone(), 20)
    await consumer.stop()
    message = json.loads(record.value)
    assert record.key == b"latency.p99_ms"
    assert {name for name, _ in record.headers} == {"content-type", "event-id"}
    assert (message["state"], message["value"], message["about"]) == (
        "open",
        300.0,
        {"model_version": "v1", "modality": "chat", "task": "topic"},
    )
