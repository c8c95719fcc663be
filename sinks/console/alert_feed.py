"""Topic `alerts` -> which alerts are open, for the Evaluation page and the API: read from its beginning, without a group.

Knows Kafka; leaves what opens and closes to sinks/alerts.py. It is read whole at every start: what is open is what the topic says.
Next: sinks/alerts.py
"""

import asyncio
import logging
from collections import deque

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from schemas.topics import ALERTS
from sinks import alerts
from sinks.alert_log import message_of
from sinks.alerts import Message, Open

log = logging.getLogger(__name__)
KEPT, RETRY_S, POLL_MS = 100, 5.0, 1000


class AlertFeed:
    """Follows the topic until it is cancelled; a broker that is away is waited for."""

    def __init__(self, bootstrap: str, prefix: str):
        self.open: Open = {}
        self.recent: deque[Message] = deque(maxlen=KEPT)
        """The last openings and closings, the newest last."""
        self._bootstrap, self._topic = bootstrap, prefix + ALERTS.name

    def take(self, value: bytes | None) -> None:
        """One record."""
        if (message := message_of(value)) is not None:
            self.open = alerts.apply(self.open, [message])
            self.recent.append(message)

    async def run(self) -> None:
        while True:
            try:
                await self._read()
            except (KafkaError, OSError, TimeoutError) as problem:
                log.debug("%s: %s; again in %g s", self._topic, problem or type(problem).__name__, RETRY_S)
            await asyncio.sleep(RETRY_S)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            self._topic,
            bootstrap_servers=self._bootstrap,
            group_id=None,
            client_id="strata-console",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        try:
            await asyncio.wait_for(consumer.start(), 15)
            self.open = {}
            self.recent.clear()
            while True:
                for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                    for record in records:
                        self.take(record.value)
        finally:
            await asyncio.wait_for(consumer.stop(), 5)
