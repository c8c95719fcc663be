"""`strata evaluate --watch`: hold the thresholds again and again, and tell of each crossing once, when it begins and when it ends.

Knows the rhythm, what is said on the way and how an outage is waited out; leaves questions to asking.py, what is news to alerts.py, keeping and telling
to alert_log.py. ClickHouse, Kafka or the webhook may be away for as long as they like: what is due is done when they are back.
"""

import argparse
import asyncio
import logging
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from schemas import ready
from schemas.errors import SettingError, StrataError
from schemas.topics import ALERTS
from sinks import alerts, asking, evaluate_thresholds
from sinks.alert_log import AlertLog
from sinks.alerts import Message, Patience, Since, Verdict
from sinks.config import EvaluateConfig, EvaluationConfig

log = logging.getLogger("sinks.alerts")
TIME = re.compile(r"^(\d+)(s|m|h)$")
UNITS = {"s": 1, "m": 60, "h": 3600}
FIRST_RETRY_S, LONGEST_RETRY_S = 2.0, 60.0
Look = Callable[[datetime], list[Verdict]]
"""Asks the questions, at a moment; what each threshold says of each row. Raises StrataError."""


def seconds(text: str, name: str = "every", least: int = 1) -> float:
    """`30s`, `5m`, `1h`. Raises SettingError, which tells the setting's name."""
    found = TIME.match(text)
    if not found or int(found[1]) < least:
        raise SettingError(f"{name} {text!r}: wanted such as 30s, 5m or 1h")
    return float(int(found[1]) * UNITS[found[2]])


def patience_of(config: EvaluationConfig) -> Patience:
    """How long a crossing, or its end, must last. Raises SettingError."""
    pending, keep = (seconds(getattr(config, name), f"[evaluation] {name}", 0) for name in ("pending_for", "keep_firing_for"))
    return Patience(timedelta(seconds=pending), timedelta(seconds=keep))


@dataclass
class Watch:
    """One watcher and what it has still to do."""

    look: Look
    asked: Mapping[str, str]
    """The filters as they were given; part of what an alert is about."""
    kept: AlertLog
    webhook: str = ""
    patience: Patience = alerts.AT_ONCE
    is_started: bool = False
    due: list[Message] = field(default_factory=list)
    """News that the topic has not taken yet: it is not found anew, so that it keeps its id."""
    since: Since = field(default_factory=dict)
    """What is otherwise than was told. Not kept over a restart: what is open then stays open for as long anew."""

    async def once(self, now: datetime) -> str:
        """One look, and all that follows from it. Returns what to say. Raises StrataError; what was found until then is kept for the next call."""
        if not self.is_started:
            await self.kept.start()
            self.is_started = True
        try:
            said = await self._look(now)
        finally:  # what the webhook missed is told whether or not ClickHouse answers
            told = await self._tell()
        return said + (f"; the webhook took {told}" if told else "")

    async def _look(self, now: datetime) -> str:
        """Ask, find what is news, keep it in the topic."""
        await self._keep()
        begun = time.monotonic()
        found = await asyncio.to_thread(self.look, now)
        took = time.monotonic() - begun
        self.since = alerts.differing(self.kept.open, found, self.asked, now, self.since)
        self.due = alerts.follow(self.kept.open, found, self.asked, now, self.patience, self.since)
        for message in self.due:
            log.warning("%s: %s", {"open": "opened"}.get(message["state"], "closed"), alerts.sentence(message))
        opened, closed = (sum(m["state"] == state for m in self.due) for state in ("open", "closed"))
        waiting = len(self.since) - len(self.due)
        await self._keep()
        mine = sum(m["asked"] == dict(self.asked) for m in self.kept.open.values())
        return f"{len(found)} values held to their thresholds in {took:.1f} s: {mine} open, {opened} opened, {closed} closed" + (
            f", {waiting} waited for" if waiting else ""
        )

    async def _keep(self) -> None:
        while self.due:
            await self.kept.append(self.due[:1])
            self.due = self.due[1:]

    async def _tell(self) -> int:
        if not self.webhook:
            return 0
        async with httpx.AsyncClient(trust_env=False) as client:
            return await self.kept.post(self.webhook, client)


async def keep_watch(
    watch: Watch, every_s: float, stop: asyncio.Event, ready: Callable[[], None], now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> None:
    """Look every so often until `stop`; what fails is told once, tried again soon, and told when it is well again."""
    failures, told, begun, is_ready = 0, "", time.monotonic(), False
    while not stop.is_set():
        try:
            said = await watch.once(now())
            if failures:
                log.info("well again after %d tries", failures)
            failures, told, wait_s = 0, "", max(0.0, every_s - (time.monotonic() - begun) % every_s)
            log.info("%s; again at %s", said, f"{now() + timedelta(seconds=wait_s):%H:%M:%S}")
        except SettingError:
            raise
        except StrataError as problem:
            wait_s = min(FIRST_RETRY_S * 2.0**failures, LONGEST_RETRY_S, every_s)
            failures += 1
            log.log(logging.DEBUG if str(problem) == told else logging.WARNING, "%s; tried again until it is well", problem)
            told = str(problem)
        if not is_ready:
            ready()
            is_ready = True
        try:
            async with asyncio.timeout(wait_s):
                await stop.wait()
        except TimeoutError:
            pass


def told_to(topic: str, webhook: str) -> Sequence[str]:
    """Where alerts go, without what is secret in an address."""
    return [f"topic {topic}", *([f"the webhook at {httpx.URL(webhook).host}"] if webhook else [])]


def watch_of(look: Look, flags: argparse.Namespace, config: EvaluateConfig, patience: Patience = alerts.AT_ONCE) -> Watch:
    """A watcher with the filters that were given and the places of the settings. One that looks once has nothing to be patient with."""
    kept = AlertLog(config.kafka_bootstrap, config.topic_prefix)
    return Watch(look, asking.filters(flags), kept, config.evaluation.webhook, patience)


async def one_look(one: Watch, now: datetime) -> str:
    """One look that ends. Raises StrataError."""
    try:
        return await one.once(now)
    finally:
        await one.kept.stop()


def run(flags: argparse.Namespace, config: EvaluateConfig, ready_file: str | None) -> None:
    """Look again and again, until a signal. Raises SettingError."""
    thresholds = evaluate_thresholds.read(config.evaluation.thresholds)
    if not thresholds:
        raise SettingError("no threshold is set, so there is nothing to watch: name some in [evaluation.thresholds] (docs/settings.md)")
    flags.since = flags.since or config.evaluation.since
    every_s, patience = seconds(flags.every or config.evaluation.every), patience_of(config.evaluation)
    asking.values(flags, datetime.now(UTC))  # a wrong time is refused before anything is begun
    names = list(dict.fromkeys(t.asked.name for t in thresholds))

    def look(now: datetime) -> list[Verdict]:
        client = asking.reader(config)  # anew each time: the server may have been another one meanwhile
        try:
            answers = asking.ask_all(client, names, asking.values(flags, now))
        finally:
            client.close()
        return alerts.verdicts(thresholds, {a.asked.name: a.rows for a in answers})

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        file = Path(ready_file) if ready_file else None

        def looking() -> None:
            ready.tell(file)
            log.info("ready")

        one = watch_of(look, flags, config, patience)
        to = " and ".join(told_to(config.topic_prefix + ALERTS.name, config.evaluation.webhook))
        log.info(
            "watching %d thresholds of %d questions since %s, every %g s; alerts go to %s",
            len(thresholds),
            len(names),
            flags.since,
            every_s,
            to,
        )
        try:
            await keep_watch(one, every_s, stop, looking)
        finally:
            ready.forget(file)
            await one.kept.stop()

    logging.getLogger("sinks").setLevel("INFO")
    asyncio.run(serve())
