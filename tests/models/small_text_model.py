"""A text model small enough for tests: random weights, real tokenizer, decisions that do fall."""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from msgspec.structs import replace

from models.checkpoint import SHIPPED, Checkpoint, TextModel
from models.config import BufferSettings, CacheSettings, ModelConfig, TextSettings, UpdateSettings
from models.encoder import Encoder
from models.heads import LABELS, Calibration
from models.steps import Answer, Boundary, Item, ItemResult, LevelState, Work
from models.tokenizer import load_tokenizer
from models.transformer import StreamingHierarchicalTransformer

CONFIG = ModelConfig(width=64, n_layers=2, n_heads=4, n_kv_heads=1, feed_forward=96, sentence_width=32, word_width=16, labels=LABELS)
NGRAM_WEIGHTS = ((0.7, 0.3, 0.0, 0.0, 0.0), (0.5, 0.1, 0.4, 0.0, 0.0), (0.3, 0.1, 0.2, 0.4, 0.0), (0.2, 0.1, 0.1, 0.2, 0.4))
PIECE = re.compile(r"\s*\S+\s*")
TEXT = (
    "The harbour lay still under the morning fog. Dr. Elm walked down to the pier, counting boats. There were 3.5 of them, she joked!\n\n"
    "Prometheus scrapes metrics from targets. It stores all samples locally. Alerts are sent to a manager...\n\n"
    "I would like to book a table for two at seven. What about a flight to Boston? The fare is $120. "
)
UTTERANCES = (
    ("user", "Could you find me a flight to Boston?"), ("agent", "When would you like to leave?"), ("user", "On the 3rd of March."),
    ("agent", "There is one at 9 am for 120 dollars."), ("user", "Great. I also need a restaurant for tonight."), ("agent", "Which food do you like?"),
    ("user", ""), ("agent", "I found an Italian place downtown."), ("Ann", "hello from someone else"), ("user", "Thanks, that is all."),
)  # fmt: skip


def small_checkpoint(calibration: Calibration | None = None) -> Checkpoint:
    torch.manual_seed(7)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    model = TextModel(CONFIG, [*letters, *(f"##{letter}" for letter in letters)]).eval().requires_grad_(False)
    model.words.fill(torch.randn(2 * len(letters), CONFIG.word_width))
    for layer in model.hierarchy.remember:
        torch.nn.init.normal_(layer.weight, std=0.3)  # type: ignore[arg-type]
    for p in model.trunk.parameters():
        p.data *= 1.5 if p.ndim == 2 else 1
    return Checkpoint(
        model,
        load_tokenizer(SHIPPED / "tokenizer.json"),
        calibration or Calibration(chat_threshold=0.5, text_threshold=0.5, ngram_weights=NGRAM_WEIGHTS),
        "small",
    )


def small_model(
    buffer: BufferSettings | None = None,
    update: UpdateSettings | None = None,
    max_cache_size_mb: float = 512,
    checkpoint: Checkpoint | None = None,
    encoder: Encoder | None = None,
) -> StreamingHierarchicalTransformer:
    settings = TextSettings(
        buffer or BufferSettings(max_tokens=128, overlap_tokens=32), update or UpdateSettings(), CacheSettings(max_cache_size_mb)
    )
    return StreamingHierarchicalTransformer(checkpoint or small_checkpoint(), settings, encoder)


def text_items(text: str = TEXT * 3, every_us: int = 100_000, ends: bool = True) -> list[Item]:
    pieces = PIECE.findall(text)
    return [
        Item(
            n,
            piece,
            n * every_us,
            wants_label=n % 7 == 3,
            wants_state=n % 5 == 0,
            wants_document=n % 20 == 19,
            ends_session=ends and n == len(pieces) - 1,
        )
        for n, piece in enumerate(pieces)
    ]


def chat_items(ends: bool = True) -> list[Item]:
    n_last = len(UTTERANCES) - 1
    return [
        Item(
            n,
            text,
            n * 1_000_000,
            speaker,
            wants_label=n % 3 == 1,
            wants_state=n % 2 == 0,
            wants_document=n == 5,
            ends_session=ends and n == n_last,
        )
        for n, (speaker, text) in enumerate(UTTERANCES)
    ]


def sessions() -> dict[str, list[Item]]:
    return {
        "tokens/a": text_items(),
        "tokens/b": text_items(TEXT[60:] * 2),
        "chat/a": chat_items(),
        "chat/b": [replace(i, text=i.text.upper()) for i in chat_items()],
    }


def play(
    model: StreamingHierarchicalTransformer, streams: Mapping[str, Sequence[Item]], seed: int | None = None, drop: float = 0.0
) -> tuple[dict[str, list[ItemResult]], dict[str, bytes]]:
    """All items of all sessions: each session in one step, or (with a seed) in random splits; results and packed states."""
    chance = random.Random(seed)
    at: dict[str, int] = dict.fromkeys(streams, 0)
    states: dict[str, Any] = dict.fromkeys(streams)
    results: dict[str, list[ItemResult]] = {s: [] for s in streams}
    while live := [s for s in streams if at[s] < len(streams[s])]:
        picked = live if seed is None else chance.sample(live, chance.randint(1, len(live)))
        size = 10**9 if seed is None else chance.choice((1, 1, 2, 5, 30))
        works = [Work(s, states[s], streams[s][at[s] : at[s] + size]) for s in picked]
        for work, result in zip(works, model.step(works), strict=True):
            if result.error is not None:
                raise result.error
            assert len(result.items) == len(work.items)
            s = work.session
            at[s] += len(work.items)
            states[s] = model.unpack(model.pack(result.state)) if chance.random() < 0.3 else result.state
            results[s] += result.items
            if chance.random() < drop:
                model.drop(s)
    return results, {s: model.pack(state) for s, state in states.items()}


def found(results: Sequence[ItemResult], kind: type) -> list:
    return [f for r in results for f in r.findings if isinstance(f, kind)]


def answers(results: Sequence[ItemResult], task: str, final: bool = True) -> list[Answer]:
    return [f for f in found(results, Answer) if f.task == task and f.is_final == final]


def boundaries(results: Sequence[ItemResult], kind: str) -> list[Boundary]:
    return [f for f in found(results, Boundary) if f.kind == kind]


def level_states(results: Sequence[ItemResult], level: str) -> list[LevelState]:
    return [f for f in found(results, LevelState) if f.level == level]
