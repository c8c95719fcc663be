"""What the live view shows follows from the records alone: once each, in any order of topics, within the budget of events."""

import random
from typing import Any

import pytest

from sinks.console import layers
from sinks.console.board import MOST_HAPPENINGS, QUIET_AFTER_S, Board
from sinks.console.broadcast import BEATS, Broadcast, Viewer
from tests.console.events import answer, boundary, failure, item

WHOLE = '{"level":"document"}'


def shown(board: Board, session: str = "s") -> dict[str, Any]:
    (one,) = board.snapshot_of(session)
    return one


def text_session(session: str = "s") -> list[Any]:
    """Twelve pieces in two topics, the second boundary found four items late, a label that changes its mind, the end."""
    records: list[Any] = [item(n, session=session) for n in range(12)]
    records += [boundary("sentence", 3, session=session), boundary("topic", 6, decided=10, session=session)]
    records += [answer("topic", 0, 3, "Hotels", 0, False, session), answer("topic", 0, 6, "Flights", 1, False, session)]
    records += [answer("topic", 0, 6, "Flights", 2, True, session), answer("topic", 6, 12, "Music", 0, True, session)]
    return [*records, answer("topic", 0, 12, "Flights", 0, True, session, output=WHOLE)]


def told(records: list[Any]) -> Board:
    board = Board()
    for record in records:
        board.apply(record, 100.0)
    return board


def test_a_session_is_drawn_as_its_layers() -> None:
    one = shown(told(text_session()))
    assert (one["items"], one["sentence"], one["topic"], one["ended"]) == (12, [3], [6], True)
    assert [label[:3] for label in one["labels"]] == [[0, 6, "Flights"], [6, 12, "Music"]]
    assert one["document"][2] == "Flights"
    assert one["late"] == [(6, 4)]


def test_a_label_that_becomes_another_is_told_as_a_correction_and_counted() -> None:
    board = told(text_session())
    assert [h.text for h in board.waiting if h.kind == "correction"] == ["Hotels → Flights 80 %"]
    assert shown(board)["labels"][0][5] == 1


def test_records_that_come_twice_change_nothing() -> None:
    once, records = told(text_session()), text_session()
    twice = told([*records, *records])
    assert shown(twice) == shown(once)
    assert twice.items == once.items
    assert [h.kind for h in twice.waiting] == [h.kind for h in once.waiting]


@pytest.mark.parametrize("seed", range(5))
def test_topics_read_side_by_side_give_the_same_drawing_in_whatever_order_they_come(seed: int) -> None:
    """Within a topic of Kafka the order is kept; between topics it is not."""
    lines = [item(n, f"line {n}", modality="logs") for n in range(8)]
    said = [answer(t, n, n + 1, v, modality="logs") for n in range(8) for t, v in (("severity", "error"), ("template", f"t{n % 2}"))]
    said += [answer("anomaly", n, n + 1, "anomaly" if n == 5 else "normal", modality="logs", value=n / 10) for n in range(8)]
    draw, mixed = random.Random(seed), []
    queues: list[list[Any]] = [list(lines), list(said)]
    while any(queues):
        queue = draw.choice([q for q in queues if q])
        mixed.append(queue.pop(0))
    one = shown(told(mixed))
    assert one["lines"] == shown(told([*lines, *said]))["lines"]
    assert [line[3] for line in one["lines"]] == [n == 5 for n in range(8)]


def test_points_keep_their_value_forecast_and_score() -> None:
    records: list[Any] = [item(n, str(40 + n), modality="metrics", name="cpu", unit="%") for n in range(4)]
    records += [
        answer("forecast", n, n + 1, modality="metrics", value=40.0, output='{"low":39,"high":41,"series":"cpu"}') for n in range(4)
    ]
    records += [answer("anomaly", 3, 4, "anomaly", modality="metrics", value=0.9, output='{"series":"cpu"}')]
    board = told(records)
    (series,) = shown(board)["series"]
    assert series["points"][3] == [3, 43.0, 39.0, 41.0, 0.9, True]
    assert [h.text for h in board.waiting] == ["cpu, value 43 %, score 0.90"]


def test_a_long_session_keeps_a_drawing_of_bounded_size() -> None:
    records: list[Any] = []
    for n in range(5000):
        records.append(item(n))
        if n % 3 == 0 and n:
            records.append(boundary("sentence", n))
    one = shown(told(records))
    assert one["items"] == 5000
    assert len(one["sentence"]) == layers.KEPT["sentence"]
    assert one["counts"]["sentence"] == 1666
    assert len(one["tail"]) == layers.KEPT["tail"]


def test_what_fails_is_counted_and_told_first() -> None:
    board = told([*text_session(), failure()])
    happened = len(board.waiting)
    happenings, summed = board.take(1)
    assert [h.kind for h in happenings] == ["failure"]
    assert sum(summed.values()) == happened - 1
    assert board.failures == 1


def test_the_stage_keeps_who_speaks_and_gives_the_places_of_the_silent_to_others() -> None:
    board = Board(stage=2)
    for name in ("a", "b", "c"):
        board.apply(item(0, session=name), 100.0)
    first = list(board.arrange(101.0))
    assert len(first) == 2
    waiting = ({"tokens/a", "tokens/b", "tokens/c"} - set(first)).pop()
    for n in range(1, 30):
        board.apply(item(n, session=waiting.partition("/")[2]), 100.0 + n)
        board.apply(item(n, session=first[0].partition("/")[2]), 100.0 + n)
    assert set(board.arrange(101.0 + QUIET_AFTER_S)) == {first[0], waiting}


@pytest.mark.parametrize("events_per_s", [6, 50])
def test_a_viewer_gets_no_more_events_a_second_than_the_budget_and_the_rest_as_sums(events_per_s: int) -> None:
    board = Board(stage=18)
    broadcast, viewer = Broadcast(board, events_per_s, 4), Viewer("")
    viewer.queue = type(viewer.queue)(10_000)
    broadcast.viewers.add(viewer)
    for session in range(500):
        for record in text_session(f"s{session}"):
            board.apply(record, 100.0)
    happened = len(board.waiting) + sum(board.summed.values())
    for beat in range(BEATS):
        broadcast.tick(beat, 100.0 + beat / BEATS)
    assert viewer.sent <= events_per_s
    messages = [viewer.queue.get_nowait() for _ in range(viewer.sent)]
    single = sum(m.startswith(b"event: happening") for m in messages)
    frames = [layers.msgspec.json.decode(m.partition(b"data: ")[2]) for m in messages if m.startswith(b"event: stage")]
    assert single + sum(sum(f["summed"].values()) for f in frames) == happened


def test_a_browser_that_does_not_read_costs_no_memory_and_then_gets_everything() -> None:
    board = Board()
    broadcast, viewer = Broadcast(board, 50, 4), Viewer("")
    broadcast.viewers.add(viewer)
    for beat in range(400):
        board.apply(item(beat), 100.0 + beat / BEATS)
        broadcast.tick(beat, 100.0 + beat / BEATS)
    assert viewer.queue.qsize() <= viewer.queue.maxsize
    assert viewer.lost > 0
    while not viewer.queue.empty():
        viewer.queue.get_nowait()
    broadcast.tick(1, 300.0)
    frame = layers.msgspec.json.decode(viewer.queue.get_nowait().partition(b"data: ")[2])
    assert frame["keys"] == ["tokens/s"]


def test_what_waits_to_be_told_is_bounded() -> None:
    board = Board()
    for n in range(MOST_HAPPENINGS + 500):
        board.apply(boundary("sentence", n), 100.0)
    assert len(board.waiting) == MOST_HAPPENINGS
    assert board.summed["sentence"] == 500


def test_numbers_of_the_head_are_those_of_the_last_seconds() -> None:
    board = Board(budget_ms=50.0)
    for second in range(5):
        for n in range(10):
            board.apply(item(second * 10 + n), 100.0 + second)
        board.apply(answer("topic", second, second + 1, "x", latency_ms=20.0 if second < 4 else 80.0), 100.0 + second)
    gauges = board.gauges(105.0)
    assert gauges["items_per_s"] == 10.0
    assert gauges["latency_ms"] == {"p50": 20.0, "p95": 80.0, "p99": 80.0}
    assert gauges["within_budget"] == 0.8
    assert [column[-5:] for column in board.history(105.0)[:2]] == [[100, 101, 102, 103, 104], [10] * 5]


def test_partitions_that_are_caught_up_with_one_after_another_count_in_their_own_seconds() -> None:
    board = Board()
    for partition in range(2):
        for second in range(3):
            for n in range(4):
                board.apply(item(n + 4 * second, session=f"s-{partition}"), 100.0 + second)
    board.apply(item(0, session="now"), 160.0)
    board.apply(item(1, session="now"), 101.5)
    at, items, *_ = board.history(161.0, 62)
    assert {a: n for a, n in zip(at, items, strict=True) if n} == {100: 8, 101: 9, 102: 8, 160: 1}
    assert board.sessions["tokens/now"].changed_s == 160.0
    for second in range(200, 200 + 400):
        board.apply(item(0, session=f"late-{second}"), float(second))
    board.apply(item(2, session="now"), 100.0)  # too long ago for the charts
    assert board.seconds[0].at_s == 600 - 180
    assert board.items == 25 + 1 + 400 + 1
