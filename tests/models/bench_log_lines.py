"""What a log line costs on one core: its header read, template, severity and anomaly, and the session's bytes, by lines in a step.

    python -m tests.models.bench_log_lines --data DIR [--steps 1 16 64 256 1024] [--sessions 1] [--rounds 3] [--profile 256]

The lines are loghub's samples as their systems wrote them, each system a session, judged by a model that those lines taught before; no
Kafka, nothing is learned meanwhile. Caches of texts start empty in each round. Rounds are interleaved; figures are processor time, the
least of the rounds, so that a busy machine shows less in them. What travels through Kafka costs more: `strata bench --latency --topic logs`.
"""

import argparse
import cProfile
import gc
import gzip
import pstats
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import torch

from models import masking
from models.learnable import Lesson
from models.log_model import LogModel
from models.severity_model import shipped
from models.steps import Item, Work
from models.training.log_figures import SYSTEMS
from schemas.events import LogEvent
from streams.agents.logs import contents

RECEIVED_US = 1_764_064_800_000_000
TAUGHT_AT_ONCE = 1000
"""Lessons of an update before the timing."""
PACKED = 8
"""Every so many steps the sessions are packed."""

Step = list[tuple[int, int, Sequence[str]]]
"""Session, position of its first line here, lines."""


class Cost(NamedTuple):
    """Microseconds of processor time a line."""

    parse: float
    step: float
    pack: float

    @property
    def whole(self) -> float:
        return self.parse + self.step


def lines_of(data: Path, system: str) -> list[str]:
    with gzip.open(data / "logs" / "loghub_2k" / f"{system}_2k.log.gz", "rt", encoding="utf-8", errors="replace") as lines:
        return lines.read().splitlines()


def item_of(raw: str, position: int) -> Item:
    """What a worker makes of a record: its header read."""
    found = contents(LogEvent(raw=raw), RECEIVED_US)
    at = found.timestamp_us if found.timestamp_us is not None else RECEIVED_US + position
    return Item(position, found.text, at, speaker=found.speaker, name=found.name)


def taught(model: LogModel, raws: Sequence[Sequence[str]]) -> None:
    """Let the lines teach what is normal, as a tenant's learner would have."""
    lessons: list[Lesson] = []
    for system, lines in enumerate(raws):
        work = Work(str(system), None, [item_of(raw, n) for n, raw in enumerate(lines)])
        lessons += model.step([work])[0].lessons
    for at in range(0, len(lessons), TAUGHT_AT_ONCE):
        model.normal = model.normal.taught(lessons[at : at + TAUGHT_AT_ONCE], at)


def turns(raws: Sequence[Sequence[str]], size: int, sessions: int, limit: int) -> list[Step]:
    """Steps of `size` lines of `sessions` sessions each; at most `limit` lines together."""
    found, at, left, turn = list[Step](), [0] * len(raws), limit, 0
    each = max(1, size // sessions)
    while left > 0 and any(place < len(lines) for place, lines in zip(at, raws)):
        step: Step = []
        for _ in range(min(sessions, len(raws))):
            which, turn = turn % len(raws), turn + 1
            some = raws[which][at[which] : at[which] + each]
            if some:
                step.append((which, at[which], some))
                at[which] += len(some)
                left -= len(some)
        if step:
            found.append(step)
    return found


def play(model: LogModel, steps: Sequence[Step]) -> Cost:
    """Read all lines, then judge step by step, then pack some of the sessions: the clock is asked thrice, for asking it costs too."""
    masking.forget()
    shipped().known.clear()
    states: dict[int, Any] = {}
    some_states = list[Any]()
    began = process_time()
    read = [[(which, [item_of(raw, first + n) for n, raw in enumerate(some)]) for which, first, some in step] for step in steps]
    parsed = process_time()
    for n, step in enumerate(read):
        results = model.step([Work(str(which), states.get(which), items) for which, items in step])
        for (which, _), result in zip(step, results):
            assert result.error is None, result.error
            states[which] = result.state
        if n % PACKED == 0:
            some_states += [(states[which], len(items)) for which, items in step]
    judged = process_time()
    for state, _ in some_states:
        model.pack(state)
    packed = process_time()
    lines = sum(len(some) for step in steps for _, _, some in step)
    return Cost(
        1e6 * (parsed - began) / lines, 1e6 * (judged - parsed) / lines, 1e6 * (packed - judged) / sum(size for _, size in some_states)
    )


def main() -> None:
    p = argparse.ArgumentParser(
        prog="python -m tests.models.bench_log_lines", description=(__doc__ or "").splitlines()[0], allow_abbrev=False
    )
    p.add_argument("--data", type=Path, required=True, help="folder with logs/loghub_2k")
    p.add_argument("--steps", type=int, nargs="+", default=[1, 16, 64, 256, 1024], help="lines of a step")
    p.add_argument("--sessions", type=int, default=1, help="sessions that share a step, at most ten")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--lines", type=int, default=20_000, help="of all systems together, a round; a fifth of it for steps of one line")
    p.add_argument("--profile", type=int, help="lines of a step: show where the time goes, and nothing else")
    a = p.parse_args()
    torch.set_num_threads(1)
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)  # as a worker does (streams/running.py)
    raws, model = [lines_of(a.data, system) for system in SYSTEMS], LogModel()
    taught(model, raws)
    if a.profile:
        steps, watch = turns(raws, a.profile, a.sessions, a.lines), cProfile.Profile()
        watch.runcall(play, model, steps)
        pstats.Stats(watch).sort_stats("tottime").print_stats(45)
        return
    sizes = {size: turns(raws, size, min(a.sessions, size), a.lines if size > 1 else a.lines // 5) for size in a.steps}
    found: dict[int, list[Cost]] = defaultdict(list)
    for _ in range(a.rounds):
        for size, steps in sizes.items():
            found[size].append(play(model, steps))
    print("us a line     parse   step  parse and step   lines/s   packing a session beside it")
    for size, costs in found.items():
        best = Cost(*[min(part) for part in zip(*costs)])
        print(f"step of {size:<5} {best.parse:5.1f} {best.step:6.1f} {best.whole:15.1f} {1e6 / best.whole:9,.0f} {best.pack:10.1f}")


if __name__ == "__main__":
    main()
