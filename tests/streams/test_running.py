"""What a worker says while a broker is away: one line of a kind now and then."""

import logging

from streams.running import SometimesFilter


def test_logs_of_one_kind_are_let_through_now_and_then() -> None:
    sometimes = SometimesFilter()

    def record(text: str) -> logging.LogRecord:
        return logging.LogRecord("aiokafka.conn", logging.ERROR, "", 0, text, None, None)

    assert sometimes.filter(record("away"))
    assert not any(sometimes.filter(record("away")) for _ in range(1000))
    assert sometimes.filter(record("other"))
