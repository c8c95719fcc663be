"""When a partition counts as waiting: only where a record really is not committed."""

from types import SimpleNamespace

import pytest
from faust.types import TP

from streams.inference import LONG_STEP_S, STILL_S, Inference
from streams.watchdog import Watchdog, _waits

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


def a_watchdog_since(then: float) -> Watchdog:
    watchdog = Watchdog(SimpleNamespace(consumer=SimpleNamespace(streaming=True)), stop_after_s=60)
    watchdog._progress = {PLACE: (7, then)}
    return watchdog


def test_a_long_step_that_goes_on_is_no_reason_to_stop_and_one_that_stands_still_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[Exception] = []
    monkeypatch.setattr(Watchdog, "_stop_worker", lambda self, problem: stopped.append(problem))
    for goes_on in (True, False):
        watchdog = a_watchdog_since(0.0)
        watchdog.step_goes_on = lambda now, goes_on=goes_on: goes_on  # type: ignore[misc]
        watchdog._judge(100.0)
        assert bool(stopped) is not goes_on
    watchdog = a_watchdog_since(0.0)
    watchdog.step_goes_on = lambda now: now < 101
    watchdog._judge(100.0)
    watchdog._judge(159.0)
    assert len(stopped) == 1, "counted from when it last went on"
    watchdog._judge(160.0)
    assert len(stopped) == 2


def test_a_step_goes_on_while_its_model_advances() -> None:
    model = SimpleNamespace(advanced_at=0.0)
    seen: list[bool] = []
    inference = Inference({"tokens": model}, None)  # type: ignore[dict-item, arg-type]

    def call() -> None:
        began = inference._began
        assert began is not None
        model.advanced_at = began + 50
        seen.extend(inference.goes_on(began + t) for t in (LONG_STEP_S - 1, 51, 50 + STILL_S - 1, 50 + STILL_S + 1))

    assert not inference.goes_on(1000.0), "no step"
    inference._timed_call(call)
    assert seen == [False, True, True, False]
    assert not inference.goes_on(model.advanced_at + 1), "the step is over"
