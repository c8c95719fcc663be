"""What findings become: ids, revisions, thresholds, sampling."""

import uuid

import pytest

from models.steps import Answer, Boundary, Item, ItemResult, LevelState, Notice, StepResult
from schemas.events import BoundaryFound, InputRead, PerformanceMeasured, PredictionMade, StateSampled, StepFailed
from streams.config import PredictionConfig, SamplingConfig, StreamConfig
from streams.pipeline import Cause, Timing, answer_request, conclude, conclude_idle, latency_ms
from streams.session import Accepted, Place, SessionState

NOW_MS = 1_767_000_000_000.0


def cause(offset: int, now_ms: float = NOW_MS) -> Cause:
    return Cause("s", "tokens", "v1", Place("tokens", 3, offset, int(now_ms) - 20), int(now_ms * 1000), "t" * 32, now_ms - 5)


def accepted(position: int, performance: bool = False) -> Accepted:
    return Accepted(Item(position, "word ", 0), "word ", {"source": "mic"}, wants_performance=performance)


def concluded(
    findings: list[tuple], state: SessionState | None = None, config: StreamConfig | None = None, first: int = 0, now_ms: float = NOW_MS
):
    """State and events of items with the given findings."""
    items = tuple(ItemResult(first + n, 7, tuple(f), 9) for n, f in enumerate(findings))
    positions = [first + n for n in range(len(findings))]
    state, events = conclude(
        state or SessionState(),
        lambda number: cause(100 + positions[number]),
        [accepted(p) for p in positions],
        StepResult(None, items),
        Timing(now_ms),
        config or StreamConfig(),
    )
    return state, [e for its in events for e in its]


def topic(start: int, end: int, final: bool, confidence: float = 0.9, label: str = "hotel", **output) -> Answer:
    return Answer("topic", start, end, final, label, confidence, output=output)


def test_each_record_is_one_row_of_input_stream() -> None:
    _, events = concluded([(), (), ()])
    assert [(e.token_position, e.token_text, e.kafka_offset, e.buffer_size) for e in events] == [(n, "word ", 100 + n, 9) for n in range(3)]
    assert len({e.event_id for e in events}) == 3
    assert all(uuid.UUID(e.event_id).version == 8 for e in events)


def test_revisions_of_one_span_share_an_id_and_count_from_0() -> None:
    state, events = concluded([(topic(0, 1, False),), (topic(0, 2, False),), (topic(0, 3, True),), (topic(3, 4, False),)])
    made = [e for e in events if isinstance(e, PredictionMade)]
    assert [(p.revision, p.prediction_type) for p in made] == [(0, "partial"), (1, "partial"), (2, "final"), (0, "partial")]
    assert len({p.prediction_id for p in made[:3]}) == 1
    assert made[3].prediction_id != made[0].prediction_id
    assert list(state.answers) == ["topic"]


def test_revisions_go_on_over_steps() -> None:
    state, _ = concluded([(topic(0, 1, False),)])
    _, events = concluded([(topic(0, 2, True),)], state, first=1)
    assert [e.revision for e in events if isinstance(e, PredictionMade)] == [1]


def test_partial_answers_below_the_threshold_are_held_back_and_final_ones_never() -> None:
    _, events = concluded([(topic(0, 1, False, 0.69),), (topic(0, 2, False, 0.7),), (topic(0, 3, True, 0.1),)])
    assert [(e.revision, e.confidence) for e in events if isinstance(e, PredictionMade)] == [(0, 0.7), (1, 0.1)]


def test_answers_of_items_of_a_segment_and_of_the_session_do_not_meet() -> None:
    findings = (
        Answer("anomaly", 0, 1, True, "normal", value=0.1),
        Answer("anomaly", 0, 1, True, "normal", value=0.2, output={"level": "session"}),
    )
    _, events = concluded([findings])
    made = [e for e in events if isinstance(e, PredictionMade)]
    assert len({p.prediction_id for p in made}) == len({p.event_id for p in made}) == 2


def test_the_same_records_give_the_same_ids_whatever_the_clock() -> None:
    found = [(topic(0, 1, False), Boundary("sentence", 0, 0, 1.0, "rule"), LevelState("token", 0, 1, (1.0,)))]
    _, once = concluded(found)
    _, again = concluded(found, now_ms=NOW_MS + 12345)
    assert [e.event_id for e in once] == [e.event_id for e in again]
    assert {type(e) for e in once} == {InputRead, PredictionMade, BoundaryFound, StateSampled}


def test_two_states_of_one_span_are_two_events() -> None:
    _, events = concluded([(LevelState("sentence", 0, 1, (1.0,)), LevelState("sentence", 0, 1, (2.0,)))])
    states = [e for e in events if isinstance(e, StateSampled)]
    assert len({e.event_id for e in states}) == len(states) == 2


def test_sampling_picks_the_same_share_in_every_run() -> None:
    config = StreamConfig(sampling=SamplingConfig(input_stream=0.3))
    _, once = concluded([()] * 2000, config=config)
    _, again = concluded([()] * 2000, config=config)
    assert [e.token_position for e in once] == [e.token_position for e in again]
    assert 500 < len(once) < 700


def test_performance_rows_come_only_where_they_are_due() -> None:
    result = StepResult(None, (ItemResult(0), ItemResult(1)))
    _, events = conclude(SessionState(), cause, [accepted(0), accepted(1, True)], result, Timing(NOW_MS), StreamConfig())
    rows = [e for e in events[1] if isinstance(e, PerformanceMeasured)]
    assert {e.metric_name: e.unit for e in rows}["latency_ms"] == "ms"
    assert not any(isinstance(e, PerformanceMeasured) for e in events[0])


def test_a_cause_is_asked_for_only_where_there_is_something_to_tell() -> None:
    asked: list[int] = []

    def cause_of(number: int) -> Cause:
        asked.append(number)
        return cause(number)

    silent = StreamConfig(sampling=SamplingConfig(input_stream=0.0))
    result = StepResult(None, (ItemResult(0), ItemResult(1, 7, (Answer("topic", 0, 2, True, "a", 0.9),)), ItemResult(2)))
    _, events = conclude(SessionState(), cause_of, [accepted(n) for n in range(3)], result, Timing(NOW_MS), silent)
    assert [len(its) for its in events] == [0, 1, 0]
    assert set(asked) == {0, 1}  # the first names the session
    assert events[1][0].kafka_offset == 1


def test_an_idle_session_closes_under_the_ids_of_its_state() -> None:
    state, events = conclude_idle(
        SessionState(is_open=True), cause(9), StepResult(None, (ItemResult(4, -1, (topic(0, 5, True),)),)), Timing(NOW_MS), StreamConfig()
    )
    assert not state.is_open
    assert [(e.span_start, e.span_end, e.kafka_offset) for e in events] == [(0, 5, 9)]


def test_an_answer_to_a_request_names_it() -> None:
    (event,) = answer_request(cause(9), "r-1", [topic(0, 5, False, 0.2)], Timing(NOW_MS))
    assert isinstance(event, PredictionMade)
    assert (event.prediction_type, event.metadata) == ("partial", {"request_id": "r-1"})


@pytest.mark.parametrize(("appended_ms", "expected"), [(NOW_MS - 20, 20.0), (NOW_MS + 999, 5.0), (0, 5.0)])
def test_latency_counts_from_kafkas_append_unless_that_clock_is_off(appended_ms: float, expected: float) -> None:
    one = Cause("s", "tokens", "v1", Place("tokens", 0, 0, int(appended_ms)), 0, "", NOW_MS - 5)
    assert latency_ms(one, NOW_MS) == expected


def whole(end: int, final: bool, value: float = 0.9) -> Answer:
    return Answer("anomaly", 0, end, final, "anomaly", value=value, output={"level": "session"})


def test_a_sessions_answer_keeps_its_id_while_it_grows_and_gets_another_after_its_end() -> None:
    point = Answer("anomaly", 0, 1, True, "normal", value=0.0)
    state, events = concluded([(point, whole(1, False)), (whole(2, False),), (whole(3, True),), (whole(4, False),), (whole(5, True),)])
    made = [e for e in events if isinstance(e, PredictionMade)]
    kinds = [(p.prediction_type, p.revision) for p in made]
    assert kinds == [("final", 0), ("partial", 0), ("partial", 1), ("final", 2), ("partial", 0), ("final", 1)]
    assert len({p.prediction_id for p in made[1:4]}) == 1
    assert len({p.prediction_id for p in made}) == 3
    assert len({p.event_id for p in made}) == 6
    assert not state.answers


def test_partial_answers_are_not_published_where_they_are_not_wanted() -> None:
    for prediction in (PredictionConfig(emit_partial=False), PredictionConfig(mode="on_demand")):
        _, events = concluded([(whole(1, False), whole(1, True))], config=StreamConfig(prediction=prediction))
        assert [(e.prediction_type, e.revision) for e in events if isinstance(e, PredictionMade)] == [("final", 0)]


def test_a_notice_is_a_row_of_failures_with_one_id_however_often_it_is_told() -> None:
    found = [concluded([(Notice("SeriesLetGo", "4 series were let go"),)])[1][-1] for _ in range(2)]
    assert isinstance(found[0], StepFailed)
    assert found[0].event_id == found[1].event_id
    assert (found[0].failure_type, found[0].recovery_action, found[0].recovery_success) == ("SeriesLetGo", "accept", True)
