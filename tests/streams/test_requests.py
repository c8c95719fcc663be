"""An answer belongs to its request: a repeated one is the same row, whatever the session has read since."""

import asyncio
from typing import Any

import pytest

from models.steps import Answer
from schemas.codec import Codec
from streams.agents import requests
from streams.emit import Emitter
from streams.pipeline import Cause, Timing, answer_request
from streams.publisher import PublishError
from streams.reading import Reader
from streams.session import Contents, Place, Read
from streams.side import Side


class FakeLane:
    """A session that was read up to some offset; or a model that fails."""

    def __init__(self, offset: int = 0, problem: Exception | None = None):
        self.offset, self.problem = offset, problem

    async def answer(self, session_id: str, partition: int, request_id: str, task: str | None) -> list:
        if self.problem:
            raise self.problem
        cause = Cause(session_id, "tokens", "v1", Place("tokens", 0, self.offset, 1), 1000)
        return answer_request(cause, request_id, [Answer("topic", 0, self.offset, False, "hotel", 0.5)], Timing(2.0))


def answered(lane: FakeLane, offset: int = 7) -> list[dict[str, Any]]:
    """What the agent sends for one request: its records' values."""
    side = Side("requests", Reader("requests", Codec(), requests.contents, 1, 10_000), Emitter("", "avro"), None)  # type: ignore[arg-type]
    read = Read("s", Place("requests", 0, offset, 1), offset, Contents("r", "", None, {}, name="r"))
    sent = asyncio.run(requests.answer_all(side, {"tokens": lane}, read))  # type: ignore[dict-item]
    return [Codec().decode_dict(record.topic, record.value) for record in sent if record.topic != "dead-letter"]


def test_a_repeated_answer_is_the_same_row_though_the_session_has_gone_on() -> None:
    (once,), (again,), (other,) = answered(FakeLane(5)), answered(FakeLane(9)), answered(FakeLane(9), offset=8)
    place = ("event_id", "prediction_id", "trace_id", "kafka_topic", "kafka_partition", "kafka_offset")
    assert [once[name] for name in place] == [again[name] for name in place]
    assert (once["kafka_topic"], once["kafka_offset"], once["span_end"]) == ("requests", 7, 5)
    assert other["event_id"] != once["event_id"]


def test_a_session_that_makes_the_model_fail_has_a_failure_for_an_answer() -> None:
    (failure,) = answered(FakeLane(problem=ValueError("not finite")))
    assert (failure["failure_type"], failure["exception"]) == ("ValueError", "not finite")


def test_what_is_no_fault_of_the_session_stops_the_worker() -> None:
    with pytest.raises(PublishError):
        answered(FakeLane(problem=PublishError("away")))
