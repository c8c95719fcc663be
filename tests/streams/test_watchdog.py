"""When a partition counts as waiting: only where a record really is not committed."""

from types import SimpleNamespace

import pytest
from faust.types import TP

from streams.watchdog import _waits

PLACE = TP("labels", 2)


def consumer(position: int | None, committable: dict, committed: int | None, in_flight: dict | None = None) -> SimpleNamespace:
    """What the watchdog asks of a consumer; Faust calls an offset worth committing when none is committed at all."""
    assignment = SimpleNamespace(tps={PLACE}, state_value=lambda tp: SimpleNamespace(_position=position))
    real = SimpleNamespace(_subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment)))
    return SimpleNamespace(
        _thread=SimpleNamespace(_ensure_consumer=lambda: real),
        in_flight=in_flight or {},
        committable=committable,
        _should_commit=lambda tp, offset: committed is None or offset > committed,
    )


@pytest.mark.parametrize(
    ("one", "end", "expected"),
    [
        (consumer(0, {}, None), 0, False),  # never a record
        (consumer(None, {}, None), 0, False),
        (consumer(0, {}, None), 3, True),  # unread
        (consumer(3, {}, None, {PLACE: ["batch"]}), 3, True),  # at work
        (consumer(3, {PLACE: 3}, None), 3, True),  # acked, not committed
        (consumer(3, {PLACE: 3}, 3), 3, False),
    ],
)
def test_only_uncommitted_records_wait(one: SimpleNamespace, end: int, expected: bool) -> None:
    assert _waits(one, PLACE, {PLACE: end}) is expected  # type: ignore[arg-type]
