"""A worker as a queue, event by event: what arrives while a step runs waits for the next one.

A step takes all that waits, in a time with a fixed part and a part for each token; a session whose window is full has it cut and prefilled
anew, and that step is longer for all in it. Knows numbers only; leaves measuring to loaded.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SESSIONS = 50
CUT_EVERY, PREFILLED = 190, 128
"""Pieces of a session from one cut of its window to the next (384 tokens less the sinks, two a piece), and tokens prefilled anew."""
PREFILL_SHARE = 0.15
"""Of a piece's cost, one prefilled token."""


@dataclass(frozen=True)
class Queue:
    """One worker."""

    transit_ms: float
    """On the way in and out, whatever the load: producer, broker, polls."""
    step_ms: float
    """Of every step, whatever is in it."""
    token_ms: float
    """Of every token in it."""


def latencies(queue: Queue, rate: float, seconds: float) -> dict[str, float]:
    """p50, p99 and largest latency of tokens that arrive evenly, `rate` a second."""
    n, gap = round(rate * seconds), 1000.0 / rate
    delays, now, at, steps = list[float](), 0.0, 0, 0
    while at < n:
        now = max(now, at * gap)
        waiting = min(n, int(now / gap) + 1) - at
        waiting = max(1, waiting)
        service = queue.step_ms + sum(_token_ms(queue, number) for number in range(at, at + waiting))
        now += service
        delays += [now - number * gap + queue.transit_ms for number in range(at, at + waiting)]
        at, steps = at + waiting, steps + 1
    ordered = sorted(delays)

    def ranked(share: float) -> float:
        return ordered[max(0, math.ceil(len(ordered) * share) - 1)]

    return {"rate": rate, "p50_ms": ranked(0.5), "p99_ms": ranked(0.99), "max_ms": ordered[-1], "tokens_per_step": n / steps}


def _token_ms(queue: Queue, number: int) -> float:
    """One token's time in a step; windows of sessions are cut at different times."""
    seat, turn = number % SESSIONS, number // SESSIONS
    cut = (turn + seat * CUT_EVERY // SESSIONS) % CUT_EVERY == CUT_EVERY - 1
    return queue.token_ms * (1 + PREFILLED * PREFILL_SHARE if cut else 1)


def fit(saturation: float, points: Sequence[tuple[float, float]]) -> Queue:
    """The queue whose p50 is nearest to that of the lowest and of the middle rate, and which saturates where the worker does. points: rate, p50 ms."""
    mean = 1000.0 / saturation
    token_ms = mean / (1 + PREFILLED * PREFILL_SHARE / CUT_EVERY)
    (low, low_p50), (middle, middle_p50) = points[0], points[len(points) // 2]
    best, best_error = Queue(0.0, 0.0, token_ms), math.inf
    for tenth in range(0, round(10 * middle_p50), max(1, round(middle_p50 / 20))):
        bare = Queue(0.0, tenth / 10, token_ms)
        transit_ms = max(0.0, low_p50 - latencies(bare, low, 5.0)["p50_ms"])
        candidate = Queue(transit_ms, tenth / 10, token_ms)
        error = sum(
            math.log(latencies(candidate, rate, 5.0)["p50_ms"] / seen) ** 2 for rate, seen in ((low, low_p50), (middle, middle_p50))
        )
        if error < best_error:
            best, best_error = candidate, error
    return best
