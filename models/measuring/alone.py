"""What a piece of text costs in the whole text model, with nothing around it: tokenizer, trunk, levels, answers.

Knows works and rates; leaves where texts come from to who calls it. Sessions take turns through the texts, each from another place, with
the ticks that a live stream of ten pieces a second has.
Next: models/transformer.py
"""

import statistics
from collections.abc import Sequence
from time import perf_counter, process_time
from typing import Any

from models.config import TextSettings
from models.kv_cache import BYTES_PER_ID
from models.steps import Item, Work
from models.transformer import StreamingHierarchicalTransformer

STEP_US = 100_000
"""Event time between two pieces of a session."""
LABEL_EVERY, DOCUMENT_EVERY = 5, 100
"""Pieces from one partial label to the next, and from one document state to the next: half a second and ten seconds."""
STATE_EVERY = 10
JOINED = 16
"""Pieces read as one item on the way to where something is measured: what is held there is the same."""


class Sessions:
    """Sessions of one model and what each has read."""

    def __init__(self, model: StreamingHierarchicalTransformer, texts: Sequence[str], n: int, name: str = "s"):
        self.model, self.texts = model, texts
        self.names = [f"tokens/{name}-{i}" for i in range(n)]
        self.states: list[Any] = [None] * n
        self.done = 0

    def read(self, n_items: int, joined: int = 1) -> None:
        """One step: the next n_items items of every session, each of so many pieces."""
        works = [Work(name, state, self._items(i, n_items, joined)) for i, (name, state) in enumerate(zip(self.names, self.states))]
        results = self.model.step(works)
        if problem := next((r.error for r in results if r.error is not None), None):
            raise problem
        self.states = [r.state for r in results]
        self.done += n_items

    def _items(self, session: int, n_items: int, joined: int) -> list[Item]:
        places = range(self.done, self.done + n_items)
        return [
            Item(
                at,
                "".join(self.texts[(session * 37 + at * joined + n) % len(self.texts)] for n in range(joined)),
                at * STEP_US,
                wants_label=at % LABEL_EVERY == LABEL_EVERY - 1,
                wants_state=(at + session) % STATE_EVERY == 0,
                wants_document=at % DOCUMENT_EVERY == DOCUMENT_EVERY - 1,
            )
            for at in places
        ]


def measure(texts: Sequence[str], n_sessions: int, seconds: float, chunk: int, warm: int = 0) -> dict[str, float]:
    """Pieces and tokens a second of so many sessions, `chunk` pieces of each in a step, for about so long; after `warm` pieces that do not count."""
    model = StreamingHierarchicalTransformer.load()
    sessions = Sessions(model, texts, n_sessions)
    for _ in range(0, warm, chunk):
        sessions.read(chunk)
    began, core, steps = perf_counter(), process_time(), list[float]()
    while perf_counter() - began < seconds:
        at = perf_counter()
        sessions.read(chunk)
        steps.append(perf_counter() - at)
    wall, core = perf_counter() - began, process_time() - core
    pieces = n_sessions * len(steps) * chunk
    sample = texts[:2000]
    per_piece = len(model.tokenizer.encode("".join(sample))) / len(sample)
    return {
        "pieces": pieces,
        "pieces_per_s": pieces / wall,
        "tokens_per_piece": per_piece,
        "core_us_per_piece": core / pieces * 1e6,
        "step_ms": statistics.median(steps) * 1000,
        "threads": model.encoder.n_threads,
    }


def by_sessions(texts: Sequence[str], counts: Sequence[int], pieces: int, rounds: int) -> list[dict[str, float]]:
    """Core time of a piece against how many sessions take turns, one piece each in a step; medians of interleaved rounds."""
    model = StreamingHierarchicalTransformer.load(settings=TextSettings())
    groups = [Sessions(model, texts, n, f"of-{n}") for n in counts]
    for group in groups:
        group.read(8, JOINED)  # windows with something in them
    took = {n: list[tuple[float, float]]() for n in counts}
    for _ in range(rounds):
        for n, group in zip(counts, groups):
            n_steps = max(2, pieces // n)
            wall, core = perf_counter(), process_time()
            for _ in range(n_steps):
                group.read(1)
            took[n].append(((perf_counter() - wall) / n_steps / n * 1e6, (process_time() - core) / n_steps / n * 1e6))
    return [
        {"sessions": n, "wall_us": statistics.median(w for w, _ in took[n]), "core_us": statistics.median(c for _, c in took[n])}
        for n in counts
    ]


def by_length(texts: Sequence[str], lengths: Sequence[int], n_sessions: int, pieces: int, rounds: int) -> list[dict[str, float]]:
    """Core time of a piece in sessions that have read so many tokens, all of them: on the way there JOINED pieces are an item, then one.

    Every length has sessions of its own, and rounds are interleaved; medians.
    """
    model = StreamingHierarchicalTransformer.load()
    per_piece = len(model.tokenizer.encode("".join(texts))) / len(texts)
    groups = [Sessions(model, texts, n_sessions, f"of-{length}") for length in lengths]
    for length, group in zip(lengths, groups):
        for _ in range(round(length / per_piece / JOINED / 4)):
            group.read(4, JOINED)
    took: dict[int, list[float]] = {length: [] for length in lengths}
    for _ in range(rounds):
        for length, group in zip(lengths, groups):
            core = process_time()
            for _ in range(0, pieces, 16):
                group.read(16)
            took[length].append((process_time() - core) / n_sessions / (-(-pieces // 16) * 16) * 1e6)
    return [
        {"tokens": length, "core_us": statistics.median(cores), "times": _ratio(cores, took[lengths[0]])} for length, cores in took.items()
    ]


def _ratio(late: Sequence[float], early: Sequence[float]) -> float:
    return statistics.median(b / a for a, b in zip(early, late))


def tokens_in(state: Any) -> int:
    """Tokens of a session's window."""
    return len(state.window) // BYTES_PER_ID
