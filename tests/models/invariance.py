"""100,000 real items of many sessions, played twice: in large batches, and in random splits with evictions. Every finding and every
byte of state must be equal.

    python -m tests.models.invariance --data DIR [--items 100000] [--seed 0]

Exit status 0 when they are. Takes some minutes of one core; the same law on few items is in test_transformer.py.
"""

import argparse
import gzip
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.steps import Item, Work
from models.transformer import StreamingHierarchicalTransformer

PIECE = re.compile(r"\s*\S+\s*")
OPEN = 50
"""Sessions open at a time."""


def records(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def texts(data: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Sessions as (speaker, text) items: dialogues, articles, meetings in turn."""
    chats = (("chat", [(t["role"], t["text"]) for t in r["turns"]]) for r in records(data / "chat/sgd_multi.jsonl.gz"))
    articles = (("tokens", [("", p) for p in PIECE.findall(" ".join(r["sentences"]))]) for r in records(data / "text/wiki300.jsonl.gz"))
    meetings = (("chat", [(t["speaker"], t["text"]) for t in r["turns"]]) for r in records(data / "text/qmsum_meetings.jsonl.gz"))
    for chat, article, meeting in zip(chats, articles, meetings):
        yield from (chat, article, meeting)


def load_sessions(data: Path, limit: int) -> dict[str, list[Item]]:
    sessions, count = {}, 0
    for number, (modality, turns) in enumerate(texts(data)):
        turns = turns[: min(2000, limit - count)]
        sessions[f"{modality}/{number}"] = [
            Item(
                n, text, n * 250_000, speaker, wants_label=n % 11 == 5, wants_state=n % 10 == 3, wants_document=n % 40 == 0,
                ends_session=n == len(turns) - 1,
            )
            for n, (speaker, text) in enumerate(turns)
        ]  # fmt: skip
        count += len(turns)
        if count >= limit:
            break
    return sessions


def play(
    model: StreamingHierarchicalTransformer, sessions: dict[str, list[Item]], seed: int | None
) -> tuple[dict[str, list], dict[str, bytes], float]:
    """Findings and final states; without a seed 400 items of 4 sessions a step, with one random splits, neighbours and evictions."""
    chance = random.Random(seed)
    results: dict[str, list] = {s: [] for s in sessions}
    packed: dict[str, bytes] = {}
    waiting, live = list(sessions), dict[str, Any]()
    at = dict.fromkeys(sessions, 0)
    began = time.process_time()
    while waiting or live:
        while waiting and len(live) < (4 if seed is None else OPEN):
            live[waiting.pop(0)] = None
        picked = list(live) if seed is None else chance.sample(list(live), chance.randint(1, len(live)))
        works = []
        for s in picked:
            size = 400 if seed is None else chance.choice((1, 1, 1, 2, 3, 7, 20))
            works.append(Work(s, live[s], sessions[s][at[s] : at[s] + size]))
        for work, result in zip(works, model.step(works), strict=True):
            s = work.session
            if result.error is not None:
                raise result.error
            at[s] += len(work.items)
            results[s] += result.items
            live[s] = model.unpack(model.pack(result.state)) if seed is not None and chance.random() < 0.05 else result.state
            if seed is not None and chance.random() < 0.005:
                model.drop(s)
            if at[s] == len(sessions[s]):
                packed[s] = model.pack(live.pop(s))
                model.drop(s)
    return results, packed, time.process_time() - began


def differences(model: StreamingHierarchicalTransformer, sessions: dict[str, list[Item]], seed: int, say: Any = print) -> int:
    """Sessions whose findings or states differ between the two ways."""
    whole, states, seconds = play(model, sessions, None)
    n = sum(map(len, sessions.values()))
    say(f"{n:,} items of {len(sessions)} sessions in large batches: {seconds:.0f} s of one core")
    split, split_states, seconds = play(model, sessions, seed)
    say(f"in random splits with evictions: {seconds:.0f} s of one core")
    wrong = [s for s in sessions if whole[s] != split[s] or states[s] != split_states[s]]
    findings = sum(len(r.findings) for items in whole.values() for r in items)
    say(f"{findings:,} findings compared; sessions that differ: {wrong or 'none'}")
    return len(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path)
    a = parser.parse_args()
    return int(differences(StreamingHierarchicalTransformer.load(a.model), load_sessions(a.data, a.items), a.seed) > 0)


if __name__ == "__main__":
    sys.exit(main())
