"""The open loop counts what waits, and the simulated queue behaves as queues do."""

from collections import defaultdict

import pytest

from deploy.benchmarks import open_loop, simulation
from deploy.benchmarks.open_loop import LIFE, SESSIONS, Arrival, Played
from deploy.benchmarks.simulation import Queue


def test_percentiles_are_delays_that_occurred() -> None:
    found = open_loop.spread([float(n) for n in range(1, 1001)])
    assert (found.p50_ms, found.p95_ms, found.p99_ms, found.p999_ms, found.max_ms) == (500.0, 950.0, 990.0, 999.0, 1000.0)
    assert open_loop.spread([7.0]).p999_ms == 7.0


def test_a_stall_is_charged_to_every_record_that_was_due_meanwhile() -> None:
    # one record a millisecond; the program stalls for a second and then shows all of them at once
    due = [n / 1000 for n in range(1000)]
    played = Played(order={b"s": due}, arrivals=[Arrival(1.0, b"s", b"") for _ in due])
    found = open_loop.spread(open_loop.delays_by_order(played))
    assert found.p50_ms == pytest.approx(500.0, abs=1.5)
    assert found.max_ms == pytest.approx(1000.0, abs=1.5)


def test_arrivals_are_joined_to_the_record_that_decided_them() -> None:
    played = Played(due={(3, 7): 10.0}, arrivals=[Arrival(10.05, b"s", b"3,7"), Arrival(10.06, b"s", b"3,8")])
    assert open_loop.delays_by_place(played, lambda value: tuple(map(int, value.split(b",")))) == [pytest.approx(50.0)]  # type: ignore[arg-type]


def test_seats_hold_one_session_after_the_other_and_lives_end_at_different_times() -> None:
    seen, ends = defaultdict(list), list[int]()
    for number in range(SESSIONS * LIFE * 2):
        key, index, last = open_loop.session_of(number, "r")
        seen[key].append((index, last))
        if last:
            ends.append(number // SESSIONS)
    for records in seen.values():
        assert [index for index, _ in records] == list(range(len(records)))
        assert not any(last for _, last in records[:-1])
    assert max(len(records) for records in seen.values()) == LIFE
    assert len(set(ends)) > SESSIONS / 2


def test_a_lone_token_waits_for_nobody() -> None:
    found = simulation.latencies(Queue(transit_ms=5.0, step_ms=2.0, token_ms=0.5), rate=10.0, seconds=10.0)
    assert found["p50_ms"] == pytest.approx(7.5)
    assert found["tokens_per_step"] == 1.0


def test_batches_carry_what_single_steps_could_not_and_saturate_at_the_cost_of_a_token() -> None:
    queue = Queue(transit_ms=5.0, step_ms=10.0, token_ms=0.3)
    busy = simulation.latencies(queue, rate=2000.0, seconds=10.0)  # 10.3 ms a token one by one: 97 a second
    assert busy["p99_ms"] < 100.0
    assert busy["tokens_per_step"] > 5
    assert simulation.latencies(queue, rate=4000.0, seconds=10.0)["max_ms"] > 1000.0  # 0.3 ms a token: 3,333 a second at most


def test_latency_grows_with_load() -> None:
    queue = Queue(transit_ms=5.0, step_ms=3.0, token_ms=0.3)
    found = [simulation.latencies(queue, rate, 5.0)["p50_ms"] for rate in (50.0, 500.0, 1500.0, 2500.0)]
    assert found == sorted(found)


def test_a_queue_is_found_again_from_its_own_latencies() -> None:
    queue = Queue(transit_ms=4.0, step_ms=6.0, token_ms=0.25)
    saturation = 1000.0 / (queue.token_ms * (1 + simulation.PREFILLED * simulation.PREFILL_SHARE / simulation.CUT_EVERY))
    points = [(rate, simulation.latencies(queue, rate, 5.0)["p50_ms"]) for rate in (0.1 * saturation, 0.5 * saturation, 0.8 * saturation)]
    found = simulation.fit(saturation, points)
    assert simulation.latencies(found, 0.8 * saturation, 5.0)["p50_ms"] == pytest.approx(points[2][1], rel=0.15)
