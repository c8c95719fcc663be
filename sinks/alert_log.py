"""Topic `alerts`: where alerts are kept, and what is read again to know which are open; and the webhook, told all that is in it.

Knows Kafka's records and the webhook's answers; leaves what opens and closes to alerts.py. The topic is the only memory: an alert is kept there before
it counts as open. What the webhook took is a committed offset of the group, so that after a kill it is told what it missed.
Next: sinks/evaluate_watch.py
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import StrataError
from schemas.events import event_id
from schemas.topics import ALERTS
from sinks import alerts
from sinks.alerts import Message, Open

WAIT_S = 10.0
GROUP = "strata-alerts"
MOST_AT_ONCE = 100
"""Alerts in one post."""


class AlertError(StrataError):
    """An alert could not be kept or told."""

    retriable = True


@dataclass(frozen=True)
class Kept:
    """A message and where it lies."""

    place: TopicPartition
    offset: int
    message: Message


class AlertLog:
    """The topic, read to its end. `start`, then `append` and `post`, then `stop`."""

    def __init__(self, kafka_bootstrap: str, prefix: str):
        self.open: Open = {}
        self.untold: list[Kept] = []
        """What the webhook has not taken yet, in order."""
        self._bootstrap, self._prefix, self._topic = kafka_bootstrap, prefix, prefix + ALERTS.name
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._ends: dict[TopicPartition, int] = {}
        self._is_remembered = False
        """Something of what the webhook took is committed."""

    async def start(self) -> None:
        """Connect and read what is open. Raises AlertError."""
        common = {"bootstrap_servers": self._bootstrap, "client_id": "strata-evaluate", "request_timeout_ms": int(WAIT_S * 1000)}
        try:
            self._producer = AIOKafkaProducer(enable_idempotence=True, **common)
            await self._producer.start()
            self._consumer = AIOKafkaConsumer(group_id=self._prefix + GROUP, enable_auto_commit=False, **common)
            await self._consumer.start()
            await self._recall(sorted(await self._producer.partitions_for(self._topic)))
        except (KafkaError, OSError, TimeoutError) as problem:
            await self.stop()
            raise AlertError(f"topic {self._topic} at {self._bootstrap} cannot be read: {problem or type(problem).__name__}") from problem

    async def _recall(self, partitions: Sequence[int]) -> None:
        """Fold the topic: what is open, and what the webhook missed. To one that was never told anything only what is open is news."""
        assert self._consumer
        places = [TopicPartition(self._topic, p) for p in partitions]
        self._consumer.assign(places)
        begins, ends = await self._consumer.beginning_offsets(places), await self._consumer.end_offsets(places)
        told = {place: await self._consumer.committed(place) for place in places}
        self._ends, self._is_remembered = dict(ends), any(at is not None for at in told.values())
        for place, begin in begins.items():
            self._consumer.seek(place, begin)
        found: list[Kept] = []
        left = {p for p in places if ends[p] > begins[p]}
        while left:
            for place, records in (await self._consumer.getmany(*left, timeout_ms=500)).items():
                found += [Kept(place, r.offset, message) for r in records if (message := message_of(r.value)) is not None]
            left = {p for p in left if await self._consumer.position(p) < ends[p]}
        self.open = alerts.apply({}, (kept.message for kept in found))
        if self._is_remembered:
            self.untold = [kept for kept in found if kept.offset >= (told[kept.place] or 0)]
        else:
            self.untold = [kept for kept in found if self.open.get(alerts.key_of(kept.message)) == kept.message]

    async def append(self, messages: Sequence[Message]) -> None:
        """Keep them in the topic, keyed by their threshold so that opening and closing lie in order; then they count. Raises AlertError."""
        assert self._producer
        for message in messages:
            named = event_id("alert", message["alert_id"], message["state"])
            headers = [("content-type", b"application/json"), ("event-id", named.encode())]
            try:
                sent = await self._producer.send_and_wait(
                    self._topic, json.dumps(message).encode(), message["threshold"].encode(), headers=headers
                )
            except (KafkaError, OSError, TimeoutError) as problem:
                raise AlertError(
                    f"topic {self._topic} at {self._bootstrap} did not take an alert: {problem or type(problem).__name__}"
                ) from problem
            self.open = alerts.apply(self.open, [message])
            kept = Kept(TopicPartition(sent.topic, sent.partition), sent.offset, message)
            self._ends[kept.place] = kept.offset + 1
            self.untold.append(kept)

    async def post(self, url: str, client: httpx.AsyncClient) -> int:
        """Tell the webhook all it has not taken, and remember that it has; returns how many. Raises AlertError: then call it again."""
        told = 0
        while (some := self.untold[:MOST_AT_ONCE]) or not self._is_remembered:
            try:
                if some:
                    answer = await client.post(url, json={"alerts": [kept.message for kept in some]}, timeout=WAIT_S)
                    answer.raise_for_status()
                await self._remember(self.untold[len(some) :])
            except httpx.HTTPStatusError as problem:
                raise AlertError(f"the webhook at {httpx.URL(url).host} answered {problem.response.status_code}") from problem
            except httpx.HTTPError as problem:
                raise AlertError(f"the webhook at {httpx.URL(url).host} does not answer ({type(problem).__name__})") from problem
            except KafkaError as problem:
                raise AlertError(f"what the webhook took could not be remembered: {problem or type(problem).__name__}") from problem
            self.untold, told = self.untold[len(some) :], told + len(some)
        return told

    async def _remember(self, untold: Sequence[Kept]) -> None:
        """Commit, of every partition, where what is still to be told begins."""
        assert self._consumer
        first = {kept.place: kept.offset for kept in reversed(untold)}
        await self._consumer.commit({place: first.get(place, end) for place, end in self._ends.items()})
        self._is_remembered = True

    async def stop(self) -> None:
        for client in (self._producer, self._consumer):
            if client is not None:
                await client.stop()
        self._producer = self._consumer = None


def message_of(value: bytes | None) -> Message | None:
    """A record; None for one that an older version wrote, which says nothing of opening and closing."""
    try:
        message = json.loads(value or b"")
    except ValueError:
        return None
    wanted = {"alert_id", "state", "threshold", "asked", "about"}
    return message if isinstance(message, dict) and wanted <= message.keys() else None
