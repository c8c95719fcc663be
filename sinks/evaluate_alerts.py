"""Crossed thresholds -> topic `alerts` and a webhook.

Knows the message; leaves what is crossed to evaluate_thresholds.py. An alert's id is computed from what it says, so that one that is sent again is known.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.errors import StrataError
from schemas.events import event_id
from schemas.topics import ALERTS
from sinks.evaluate_thresholds import Threshold
from sinks.questions import Row

WAIT_S = 10.0


class AlertError(StrataError):
    """An alert could not be told."""


@dataclass(frozen=True)
class Crossed:
    """One row that breaks a threshold."""

    threshold: Threshold
    row: Row

    def message(self, now: datetime) -> dict[str, Any]:
        """As it is sent."""
        kept = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in self.row.items()}
        return {
            "alert_id": event_id("alert", self.threshold.name, self.threshold.text, json.dumps(kept, sort_keys=True)),
            "timestamp": now.isoformat(),
            "threshold": self.threshold.name,
            "must_be": self.threshold.text,
            "value": kept[self.threshold.must.column],
            "question": self.threshold.asked.asks,
            "row": kept,
        }


async def publish(messages: Sequence[dict[str, Any]], kafka_bootstrap: str, prefix: str) -> None:
    """Each message as one JSON record, keyed by its threshold. Raises AlertError."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka_bootstrap, enable_idempotence=True, client_id="strata-evaluate", request_timeout_ms=int(WAIT_S * 1000)
    )
    try:
        await producer.start()
        for message in messages:
            headers = [("content-type", b"application/json"), ("event-id", message["alert_id"].encode())]
            await producer.send_and_wait(prefix + ALERTS.name, json.dumps(message).encode(), message["threshold"].encode(), headers=headers)
    except KafkaError as problem:
        raise AlertError(
            f"alerts could not be sent to topic {prefix}{ALERTS.name} at {kafka_bootstrap}: {problem or type(problem).__name__}"
        ) from problem
    finally:
        await producer.stop()


def post(messages: Sequence[dict[str, Any]], url: str) -> None:
    """All messages in one request. Raises AlertError."""
    try:
        httpx.post(url, json={"alerts": list(messages)}, timeout=WAIT_S, trust_env=False).raise_for_status()
    except httpx.HTTPError as problem:
        raise AlertError(f"alerts could not be posted to {url}: {problem}") from problem
