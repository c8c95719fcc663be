"""How one record changes its session: numbering, event time, what is due, replays."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.origin import Origin
from streams.config import PredictionConfig, StreamConfig
from streams.session import (
    Contents,
    ControlCharacterError,
    EmptyTextError,
    Place,
    PositionError,
    Read,
    SessionState,
    SkippedPositionError,
    TimestampError,
    accept,
    is_idle,
    is_replay,
)

CONFIG = StreamConfig()
NOW_MS = 1_767_000_000_000


def read(
    offset: int, text: str = "word ", at_us: int | None = None, position: int | None = None, end: bool = False, origin: Origin | None = None
) -> Read:
    """A record of session `s` at `offset`."""
    place = Place("tokens", 3, offset, NOW_MS + offset)
    return Read("s", place, offset, Contents(text, text, at_us, {}, position=position, ends_session=end), origin)


def accept_all(reads: list[Read], state: SessionState | None = None, config: StreamConfig = CONFIG):
    """The state after all, and what was accepted of each that is no replay."""
    state, accepted = state or SessionState(), []
    for one in reads:
        if not is_replay(state, one):
            state, done = accept(state, one, config)
            accepted.append(done)
    return state, accepted


def test_records_without_position_are_numbered_from_0() -> None:
    state, accepted = accept_all([read(n * 7) for n in range(5)])
    assert [a.item.position for a in accepted] == [0, 1, 2, 3, 4]
    assert (state.next_position, state.applied) == (5, 28)


def test_a_replayed_record_changes_nothing() -> None:
    reads = [read(n) for n in range(10)]
    once, _ = accept_all(reads)
    twice, again = accept_all(reads[4:], once)
    assert twice == once
    assert again == []


def test_a_forwarded_record_sent_twice_is_applied_once() -> None:
    source = Origin(partition=6, offset=40, timestamp_ms=NOW_MS)
    state, accepted = accept_all([read(10, origin=source), read(11, origin=source), read(12)])
    assert len(accepted) == 2
    assert state.applied == 12
    assert is_replay(state, read(13, origin=Origin(6, 39, NOW_MS)))
    assert not is_replay(state, read(13, origin=Origin(6, 40, NOW_MS, index=1)))
    assert not is_replay(state, read(13, origin=Origin(7, 1, NOW_MS)))


def test_a_gap_is_told_and_gone_over() -> None:
    _, accepted = accept_all([read(0, position=0), read(1, position=5), read(2)])
    assert [a.item.position for a in accepted] == [0, 5, 6]
    assert [type(n) for n in accepted[1].notices] == [SkippedPositionError]
    assert "items 1 to 4 are missing" in str(accepted[1].notices[0])


def test_a_repeated_or_late_position_is_refused_with_what_was_expected() -> None:
    state, _ = accept_all([read(0, position=0), read(1, position=2)])
    for position in (0, 1, 2):
        with pytest.raises(PositionError, match=f"position {position} was read before, expected 3"):
            accept(state, read(2, position=position), CONFIG)


def test_times_that_cannot_be_meant_become_kafkas() -> None:
    for at_us in (-1, -5_000_000, (NOW_MS + 100 * 86_400_000) * 1000):
        _, (one,) = accept_all([read(0, at_us=at_us)])
        assert one.item.timestamp_us == NOW_MS * 1000
        assert [type(n) for n in one.notices] == [TimestampError]
    _, (one,) = accept_all([read(0, at_us=0)])
    assert one.item.timestamp_us == 0
    assert one.notices == ()


def test_odd_texts_are_accepted_and_told() -> None:
    _, (empty, nul) = accept_all([read(0, ""), read(1, "a\0b")])
    assert [type(n) for n in empty.notices] == [EmptyTextError]
    assert [type(n) for n in nul.notices] == [ControlCharacterError]
    assert nul.text == "a\0b"


def test_labels_are_due_every_half_second_of_event_time_whatever_the_wall_clock() -> None:
    times = [0, 100, 499, 500, 900, 1000, 1700, 1701]
    _, accepted = accept_all([read(n, at_us=t * 1000 + 1_000_000) for n, t in enumerate(times)])
    assert [a.item.wants_label for a in accepted] == [True, False, False, True, False, True, True, False]


def test_a_record_from_the_future_does_not_silence_those_after_it() -> None:
    ahead, begin = 3600 * 10**6, NOW_MS * 1000
    times = [begin, begin + ahead, begin + 10**6, begin + 10**6 + 1, begin + 2 * 10**6]
    _, accepted = accept_all([read(n, at_us=t) for n, t in enumerate(times)])
    assert [a.item.wants_label for a in accepted] == [True, True, True, False, True]


def test_on_demand_mode_has_no_partial_answers_due() -> None:
    config = StreamConfig(prediction=PredictionConfig(mode="on_demand"))
    _, accepted = accept_all([read(n, at_us=n * 10**6) for n in range(5)], config=config)
    assert not any(a.item.wants_label for a in accepted)


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_any_split_of_a_stream_gives_the_same_state_and_items(seed: int, n: int) -> None:
    rng = random.Random(seed)
    reads = [read(i, at_us=rng.randrange(10**7), end=rng.random() < 0.05) for i in range(n)]
    whole, accepted = accept_all(reads)
    state, pieces, start = SessionState(), [], 0
    while start < n:
        stop = rng.randint(start + 1, n)
        state, some = accept_all(reads[max(0, start - rng.randrange(3)) : stop], state)  # with some replayed
        pieces += some
        start = stop
    assert state == whole
    assert pieces == accepted


def test_a_session_is_idle_only_while_open_and_silent() -> None:
    state, _ = accept_all([read(0)])
    assert not is_idle(state, NOW_MS + 1000, 10)
    assert is_idle(state, NOW_MS + 10_001, 10)
    ended, _ = accept_all([read(1, end=True)], state)
    assert not is_idle(ended, NOW_MS + 10**9, 10)
