"""Simple rules for where a topic starts, each deciding an item from it and what came before: what a topic model has to beat.

Knows dialogues and articles with their topics, rules, and how a rule's one number is chosen on train parts; scores are
segmentation() of calibrate.py. Leaves embedding to whoever has a model, and tables to baselines.py.
Next: models/training/baselines.py
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.labels import Embed
from models.tokenizer import USER_NAMES
from models.training.calibrate import segmentation
from models.training.data import CHAT_SETS, records

BEFORE = 3
"""Items that an item is compared with."""
MOST_TRAIN = 200
"""Dialogues of a train part that a number is chosen on, spread evenly over it."""
SGD_DEV = 240
"""Of 700 dev dialogues, the first."""
SHORT_ARTICLES, SHORT_SENTENCES = 12, 120
"""What an embedding is asked to read of Wiki-300: the first sentences of the first articles."""
STEPS = tuple(range(2, 61))
THRESHOLDS = tuple(n / 50 for n in range(41))
"""Cosines; below 0 is nothing but rare opposites, so the first is nearly `never`."""

Score = dict[str, float]


@dataclass(frozen=True)
class Talk:
    """A dialogue or an article."""

    items: tuple[str, ...]
    """Utterances or sentences."""
    by_user: tuple[bool, ...]
    """Who speaks; empty for an article."""
    ends: tuple[int, ...]
    """1 where a topic ends after the item; the last is 0."""


@dataclass(frozen=True)
class TopicSet:
    """The parts of one set that are used."""

    name: str
    train: tuple[Talk, ...]
    dev: tuple[Talk, ...]

    @property
    def is_chat(self) -> bool:
        return bool(self.dev[0].by_user)


@dataclass(frozen=True)
class Found:
    """A rule's figures on the dev part of a set."""

    rule: str
    chosen: str
    """The number the rule was given; empty where it has none."""
    score: Score


def topic_sets(folder: Path) -> list[TopicSet]:
    """The chat sets, Wiki-300, and its beginnings."""
    found = []
    for name in CHAT_SETS:
        path = folder / f"chat/{name}.jsonl.gz"
        train, dev = ([_dialogue(r) for r in records(path, split)] for split in ("train", "dev"))
        found.append(TopicSet(name, spread(train), tuple(dev[:SGD_DEV] if name == "sgd_multi" else dev)))
    train, dev = ([_article(r) for r in records(folder / "text/wiki300.jsonl.gz", split)] for split in ("train", "dev"))
    found.append(TopicSet("wiki300", spread(train), tuple(dev)))
    found.append(
        TopicSet(
            f"wiki300, {SHORT_ARTICLES} x {SHORT_SENTENCES}", *(tuple(map(_beginning, part[:SHORT_ARTICLES])) for part in (train, dev))
        )
    )
    return found


def spread(talks: Sequence[Talk]) -> tuple[Talk, ...]:
    """At most MOST_TRAIN of them, evenly spaced."""
    return tuple(talks[n] for n in np.unique(np.linspace(0, len(talks) - 1, MOST_TRAIN).astype(int)))


def _dialogue(r: Mapping[str, Any]) -> Talk:
    return Talk(tuple(t["text"] for t in r["turns"]), tuple(t["role"] in USER_NAMES for t in r["turns"]), tuple(r["seg_end"]))


def _article(r: Mapping[str, Any]) -> Talk:
    return Talk(tuple(r["sentences"]), (), tuple(r["seg_end"]))


def _beginning(talk: Talk) -> Talk:
    ends = talk.ends[:SHORT_SENTENCES]
    return Talk(talk.items[:SHORT_SENTENCES], (), (*ends[:-1], 0))


# rules: does a topic start with item i?


def word_counts(items: Sequence[str]) -> np.ndarray:
    """float64 (n, words of these items): how often each occurs, in lower case."""
    split = [re.findall(r"\w+", item.lower()) for item in items]
    places: dict[str, int] = {}
    for words in split:
        for word in words:
            places.setdefault(word, len(places))
    counts = np.zeros((len(items), max(1, len(places))))
    for row, words in enumerate(split):
        for word in words:
            counts[row, places[word]] += 1
    return counts


def likeness(vectors: np.ndarray) -> np.ndarray:
    """float64 (n,): cosine of each item and the sum of the BEFORE items before it; of the first, infinite.

    The comparison of TextTiling (Hearst 1997) with the block after the gap cut to the one item that has been heard.
    """
    found = np.full(len(vectors), np.inf)
    for n in range(1, len(vectors)):
        before, now = vectors[max(0, n - BEFORE) : n].sum(axis=0), vectors[n]
        found[n] = float(before @ now) / max(float(np.linalg.norm(before) * np.linalg.norm(now)), 1e-12)
    return found


def below(like: np.ndarray, threshold: float) -> list[int]:
    """Segment ends before the items that are less like what came before than `threshold`."""
    return starts_to_ends(like < threshold)


def every(size: int, step: int) -> list[int]:
    """Segment ends before every step-th item."""
    return starts_to_ends(np.arange(size) % step == 0)


def starts_to_ends(starts: Sequence[bool] | np.ndarray) -> list[int]:
    """Starts of topics, one an item, as ends of the items before; the first start ends nothing."""
    return [int(s) for s in starts[1:]] + [0]


# choosing and scoring


def unlearned(part: TopicSet) -> list[Found]:
    """Rules without a number, and every k-th item with k chosen on train."""
    found = [Found("never", "", scored(part.dev, [[0] * len(t.items) for t in part.dev]))]
    if part.is_chat:
        found.append(Found("every user turn", "", scored(part.dev, [starts_to_ends(t.by_user) for t in part.dev])))
    curve = [scored(part.train, [every(len(t.items), step) for t in part.train])["score"] for step in STEPS]
    step = STEPS[int(np.argmax(curve))]
    found.append(Found("every k-th item", f"k = {step}", scored(part.dev, [every(len(t.items), step) for t in part.dev])))
    return found


Likes = list[np.ndarray]
"""likeness() of each talk of a part."""


def by_likeness(sets: Sequence[TopicSet], rule: str, vectors: Callable[[Sequence[str]], np.ndarray]) -> dict[str, list[Found]]:
    """Set -> the rule's figures, of chat also with the starts left that the user makes: who speaks is known to every model of chat."""
    likes = {s.name: tuple([likeness(vectors(t.items)) for t in part] for part in (s.train, s.dev)) for s in sets}
    found = _with_thresholds(sets, rule, likes)
    chat = [s for s in sets if s.is_chat]
    by_users = {
        s.name: tuple([np.where(t.by_user, like, np.inf) for t, like in zip(*part)] for part in zip((s.train, s.dev), likes[s.name]))
        for s in chat
    }
    for name, more in _with_thresholds(chat, f"{rule} at user turns", by_users).items():
        found[name] += more
    return found


def _with_thresholds(sets: Sequence[TopicSet], rule: str, likes: Mapping[str, tuple[Likes, ...]]) -> dict[str, list[Found]]:
    """With the threshold of the set's own train part, and with the one of the other chat sets, each of which counts the same."""
    curves = {
        s.name: np.array([scored(s.train, [below(like, cut) for like in likes[s.name][0]])["score"] for cut in THRESHOLDS]) for s in sets
    }
    found: dict[str, list[Found]] = {}
    for s in sets:
        others = np.mean([curves[o.name] for o in sets if o.is_chat and o.name != s.name], axis=0)
        for name, curve in (("own train", curves[s.name]), ("other sets", others)):
            cut = THRESHOLDS[int(np.argmax(curve))]
            score = scored(s.dev, [below(like, cut) for like in likes[s.name][1]])
            found.setdefault(s.name, []).append(Found(f"{rule}, {name}", f"{cut:.2f}", score))
    return found


def by_embedding(sets: Sequence[TopicSet], rule: str, embed: Embed) -> dict[str, list[Found]]:
    """by_likeness() of an embedding; all texts are embedded at once, for one by one is slow."""
    texts = list(dict.fromkeys(item for s in sets for talk in (*s.train, *s.dev) for item in talk.items))
    places, rows = {text: n for n, text in enumerate(texts)}, embed(texts)
    return by_likeness(sets, rule, lambda items: rows[[places[item] for item in items]].astype(np.float64))


def scored(talks: Sequence[Talk], answers: Sequence[Sequence[int]]) -> Score:
    return segmentation((talk.ends, answer) for talk, answer in zip(talks, answers, strict=True))
