"""`python -m tests.models.bench_log_memory [--lines 10000000]`: whether the log model's memory stays flat, however long and strange the stream.

Lines of sessions that come and go, one in a hundred of a template never met before, judged and learned as a worker does, with updates of
2,000 lines. Resident memory is shown beside what the process had before it made a model: torch, numpy and the severity weights are not counted.
Exit status 1 where the model's part is above 100 MB or grew by more than a tenth over the second half.
"""

import argparse
import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from models.learner import Heard, Learner, LearningSettings
from models.log_model import LogModel
from models.steps import Item, Work

MOST_MB = 100.0
OPEN, STEP, UPDATE, LENGTH = 50, 200, 2000, 400
"""Sessions open at a time; lines of a step; lines of an update; lines of a session, about."""
PARTS = [
    f"{verb} {noun}"
    for verb in ("opened", "closed", "read", "wrote", "sent", "took", "kept", "lost")
    for noun in ("file", "block", "page", "lock")
]


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def lines(seed: int) -> Iterator[str]:
    """Without end; no two new templates share a word."""
    chance, n = random.Random(seed), 0
    while True:
        n += 1
        part = PARTS[int(len(PARTS) * chance.random() ** 2)]
        if n % 100:
            yield f"{part} {n} in {n % 977} ms"
        else:
            word = "".join(chr(97 + (n // 26**k) % 26) for k in range(6))
            yield f"{word} never met by {part} zone{word[::-1]}"


def main() -> int:
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("--lines", type=int, default=10_000_000)
    p.add_argument("--seconds", type=float, default=1e9, help="stop after so many")
    a = p.parse_args()
    torch.set_num_threads(1)
    model, learner, text = LogModel(), Learner[object]("t", LearningSettings()), lines(1)
    warm = model.step([Work("logs/w", None, [Item(n, next(text), n) for n in range(100)])])[0].lessons
    model.normal.taught(warm, 0)  # what is loaded when first used is no part of what a stream adds
    began, base, done, opened, shown = time.monotonic(), resident_mb(), 0, 0, 0
    chance, knowledge, previous = random.Random(2), model.learnable, None
    sessions: list[tuple[str, int, object]] = []
    history: list[float] = []
    print(f"before: {base:.0f} MB\n{'lines':>10} {'sessions':>9} {'resident MB':>11} {'model MB':>9} {'us a line':>9}")
    while done < a.lines and time.monotonic() - began < a.seconds:
        while len(sessions) < OPEN:
            opened += 1
            sessions.append((f"logs/{opened}", 0, None))
        works, ends = [], []
        for place in chance.sample(range(OPEN), 4):
            name, at, state = sessions[place]
            ends.append(chance.random() < STEP / 4 / LENGTH)
            now = (done + len(works)) * 1000
            works.append(Work(name, state, [Item(at + n, next(text), now + n, ends_session=ends[-1] and n == STEP // 4 - 1) for n in range(STEP // 4)], knowledge))  # fmt: skip
            sessions[place] = (name, at + STEP // 4, None)
        for work, is_over, result in zip(works, ends, model.step(works), strict=True):
            assert result.error is None, result.error
            place = next(n for n, session in enumerate(sessions) if session[0] == work.session)
            sessions[place] = (work.session, sessions[place][1], result.state)
            if is_over:
                del sessions[place]
            for lesson in result.lessons:
                learner.hear(Heard(lesson, done * 1000))
        done += STEP
        if learner.waiting >= UPDATE:
            made = learner.update(knowledge, previous)
            if made.action == "taught":
                previous, knowledge = knowledge, made.model
            elif made.action == "rolled_back":
                previous, knowledge = None, made.model
        if done // 100_000 > shown:
            shown = done // 100_000
            history.append(resident_mb() - base)
            if shown % 2 == 0 or done >= a.lines:
                print(
                    f"{done:>10} {opened:>9} {resident_mb():>11.0f} {history[-1]:>9.1f} {1e6 * time.process_time() / done:>9.1f}",
                    flush=True,
                )
    half = history[len(history) // 2 :] or [resident_mb() - base]
    grew = max(half) / max(half[0], 1.0) - 1.0
    print(
        f"{done} lines, {opened} sessions, {len(model_systems := knowledge.models)} systems ({sum(m.lines for m in model_systems.values()):.0f} lines learned), "
        f"learner {len(learner.pack()) / 2**20:.1f} MB packed: the model's part is {max(history or half):.1f} MB at most, grew by {100 * grew:.0f} % over the second half"
    )
    return int(max(history or half) > MOST_MB or grew > 0.1)


if __name__ == "__main__":
    raise SystemExit(main())
