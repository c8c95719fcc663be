"""The same predictions as one writes them first, on Quix Streams: every record, the whole window through the model again.

Knows both sides and their records; leaves the peer's program to peers/quix_naive.py and ours to backlog.py.
Next: deploy/benchmarks/peers/quix_naive.py
"""

import asyncio
import statistics
from collections.abc import Iterable

from deploy.benchmarks import backlog, plumbing
from deploy.benchmarks.backlog import Drained
from deploy.benchmarks.contest import Contender, Run, quix, quix_places
from deploy.benchmarks.ground import Ground
from deploy.benchmarks.load import EVERY, PARTITIONS
from deploy.benchmarks.results import Goal, Result, Table, figure

SESSIONS = 128
LENGTH, QUICK_LENGTH = 150, 40
NAIVE_SESSIONS = 2
"""As many are enough of a program that does one record after the other."""
NAIVE = Contender(
    "naive",
    "Quix Streams, whole window for each record",
    quix_places,
    quix("quix_naive"),
    {"OMP_WAIT_POLICY": "PASSIVE"},  # two threads that spin for each other lose much on a busy machine
    least=1,
    outputs=lambda records: records + PARTITIONS * (EVERY - 1),  # one for each record, those of the warm-up too
)


def measure(ground: Ground) -> Result:
    """Both in turn, sessions of the same length."""
    length = QUICK_LENGTH if ground.quick else LENGTH
    bootstrap, peers = ground.bootstrap(), ground.peers()

    def rows(count: int) -> Iterable[backlog.Row]:
        return backlog.records("tokens", "naive", NAIVE_SESSIONS, count // NAIVE_SESSIONS)

    naive, ours = list[Run](), list[Drained]()
    for number in range(ground.rounds):
        said = f"round {number + 1} of {ground.rounds}"
        naive.append(asyncio.run(plumbing.one(ground, bootstrap, peers, NAIVE, NAIVE_SESSIONS * length, said, rows=rows)))
        with ground.stack() as stack:
            pids = ground.pids(stack)
            backlog.drain(stack, pids, "tokens", 16, QUICK_LENGTH)
            ground.progress.doing(f"{said}: {SESSIONS * length:,} tokens end to end")
            ours.append(backlog.drain(stack, pids, "tokens", SESSIONS, length))
            ground.progress.line(f"end to end: {ours[-1].per_s:,.0f} tokens/s")
    ratio = statistics.median(o.per_s / n.records_per_s for o, n in zip(ours, naive))
    rows_ = [
        [
            NAIVE.title,
            figure(statistics.median(n.records_per_s for n in naive)),
            figure(statistics.median(n.cpu_s_per_100k for n in naive) / 100),
        ],
        [
            "Strata, Kafka to ClickHouse, everything on",
            figure(statistics.median(o.per_s for o in ours)),
            figure(statistics.median(o.cpu_us("worker") for o in ours) / 1000),
        ],
    ]
    goal = Goal("end to end, tokens/s", "a naive Quix Streams and transformer loop, same predictions", ratio, 50.0)
    note = f"""Sessions of {length} pieces each on both sides, so that windows grow alike ({NAIVE_SESSIONS} sessions of the naive loop, {SESSIONS} of ours). The naive loop is timed from Kafka to Kafka,
ours to ClickHouse; its model is as large as our trunk, has no levels above, and torch has all cores."""
    data = {"naive_per_s": [n.records_per_s for n in naive], "ours_per_s": [o.per_s for o in ours], "length": length}
    return Result(
        "naive",
        "a loop as one writes it first",
        [goal],
        [Table("The same predictions", ["", "tokens/s", "core ms a token"], rows_)],
        notes=[note],
        data=data,
    )
