"""Training data: the shared sets as token streams for the language model and as units with truths for the heads.

Knows files, splits, licences and how a turn or a sentence becomes tokens; leaves losses to loop.py.
Only `train` parts are learned from; `dev` parts choose thresholds, temperatures and report figures; `test` parts are never read.
loghub is not read at all: its licence does not allow weights to be passed on.
Next: models/training/loop.py
"""

import gzip
import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models import reader
from models.heads import LABELS, OTHER
from models.tokenizer import WordTokenizer, speaker_mark
from models.training import visits

CHAT_SETS = ("dialseg711", "superdialseg", "tiage", "sgd_multi")
PLAIN_SETS = ("standardebooks", "peps", "prometheus_docs")
THIN = 20
"""Every so many-th book chapter is a document of stage two."""
UNIT_TOKENS = 256
"""A longer utterance is cut here, as the running model cuts it."""


@dataclass(frozen=True)
class Unit:
    """One sentence or utterance and what is known of it."""

    ids: tuple[int, ...]
    speaker: int = -1
    """Speaker mark of an utterance, -1 for a sentence of text."""
    starts_paragraph: bool = False
    starts_topic: int = -1
    """1 or 0; -1 where nobody said."""
    label: int = -1
    """Class of the topic this unit belongs to; -1 unknown."""


@dataclass(frozen=True)
class Document:
    """A dialogue or a text as units."""

    name: str
    source: str
    modality: str
    units: tuple[Unit, ...]
    label: int = -1
    """Class of the whole."""


def records(path: Path, split: str) -> Iterator[dict[str, Any]]:
    """Records of one split of a .jsonl.gz; a set without splits (prometheus_docs) gets 1 in 20 documents as dev, by hash."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            record = json.loads(line)
            name = record.get("id") or record.get("doc") or f"{record.get('book')}/{record.get('chapter')}/{number}"
            share = int(hashlib.sha1(f"split-v1|{name}".encode()).hexdigest()[:8], 16) / 2**32
            if record.get("split", "dev" if share < 0.05 else "train") == split:
                yield record | {"name": name}


def plain_sources(folder: Path, split: str) -> Iterator[tuple[str, Iterator[str]]]:
    """Running text with paragraphs apart by a blank line, set by set: books, PEPs, documentation, Wikipedia articles, WikiText."""
    for name in PLAIN_SETS:
        rows = records(folder / f"plain/{name}.jsonl.gz", split)
        yield name, ("\n\n".join(p if isinstance(p, str) else p["text"] for p in r["paragraphs"]) for r in rows)
    yield "wiki300", (" ".join(r["sentences"]) for r in records(folder / "text/wiki300.jsonl.gz", split))
    with gzip.open(folder / "plain/wikitext2_valid.txt.gz", "rt", encoding="utf-8") as lines:
        text = lines.read()
    cut = text.rfind("\n", 0, len(text) * 9 // 10)  # the file has no splits: its last tenth is dev
    yield "wikitext2_valid", iter((text[:cut] if split == "train" else text[cut:],))


def plain_texts(folder: Path, split: str) -> Iterator[str]:
    """All of it, one text after the other."""
    for _, texts in plain_sources(folder, split):
        yield from texts


def dialogues(folder: Path, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Set name and record of every dialogue, meeting and visit."""
    for name in CHAT_SETS:
        yield from ((name, r) for r in records(folder / f"chat/{name}.jsonl.gz", split))
    for name in ("qmsum_meetings", "mts_dialog", "aci_bench"):
        yield from ((name, r) for r in records(folder / f"text/{name}.jsonl.gz", split))


def all_texts(folder: Path) -> Iterator[str]:
    """What the tokenizer learns from: all train texts, the books thinned to a quarter so that they do not decide alone."""
    for number, text in enumerate(plain_texts(folder, "train")):
        if number % 4 == 0 or len(text) < 20_000:
            yield text
    for _, r in dialogues(folder, "train"):
        yield from (t["text"] for t in r["turns"])


def language_stream(folder: Path, tokenizer: WordTokenizer, split: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids, uint16, in two streams: text and chat, documents shuffled and joined.

    CHAT_SETS are left out: what a model finds in a set that it was not shown must not have been read in stage one.
    """
    texts = [np.array(tokenizer.encode(t), np.uint16) for t in plain_texts(folder, split)]
    spoken = (chat_document(source, r, tokenizer, {}) for source, r in dialogues(folder, split) if source not in CHAT_SETS)
    chats = [np.array([i for u in d.units for i in u.ids], np.uint16) for d in spoken]
    for parts in (texts, chats):
        random.Random(seed).shuffle(parts)
    return np.concatenate(texts), np.concatenate(chats)


def chat_documents(folder: Path, tokenizer: WordTokenizer, split: str, labels: dict[str, int]) -> Iterator[Document]:
    """Every dialogue with the truths it carries."""
    for source, r in dialogues(folder, split):
        yield chat_document(source, r, tokenizer, labels)


def chat_document(source: str, r: dict[str, Any], tokenizer: WordTokenizer, labels: dict[str, int]) -> Document:
    ends = r.get("seg_end")
    section = labels.get(r.get("section", ""), -1)
    other = labels.get(OTHER, -1) if source in ("tiage", "qmsum_meetings", "superdialseg") else -1
    topics = [labels.get(str(t), -1) for t in r["topic"]] if "topic" in r else [section if section >= 0 else other] * len(r["turns"])
    seen: tuple[str, ...] = ()
    units = []
    for n, turn in enumerate(r["turns"]):
        mark, seen = speaker_mark(turn.get("speaker") or turn["role"], seen)
        starts = -1 if ends is None or n == 0 else int(ends[n - 1])
        units.append(Unit(utterance_ids(tokenizer, mark, turn["text"]), mark, False, starts, topics[n]))
    whole = max(set(topics), key=topics.count) if topics else -1
    return Document(str(r["name"]), source, "chat", tuple(units), whole)


def utterance_ids(tokenizer: WordTokenizer, mark: int, text: str) -> tuple[int, ...]:
    """Speaker mark, then the text's first tokens."""
    return (mark, *tokenizer.encode(text)[: UNIT_TOKENS - 1])


def text_documents(folder: Path, tokenizer: WordTokenizer, split: str, labels: dict[str, int], thin: int) -> Iterator[Document]:
    """Articles, PEPs, every `thin`-th book chapter, and dialogues written out as text, with the truths they carry."""
    other = labels.get(OTHER, -1)
    for r in records(folder / "text/wiki300.jsonl.gz", split):
        starts = [0, *(n for n, end in enumerate(r["seg_end"], 1) if end)]
        yield text_document(
            "wiki300", str(r["name"]), [s.strip() for s in r["sentences"]], " ", starts, [other] * len(r["sentences"]), tokenizer
        )
    for r in records(folder / "plain/peps.jsonl.gz", split):
        paragraphs = r["paragraphs"]
        starts = [n for n, p in enumerate(paragraphs) if n == 0 or p["section"] != paragraphs[n - 1]["section"]]
        yield text_document("peps", str(r["name"]), [p["text"] for p in paragraphs], "\n\n", starts, [other] * len(paragraphs), tokenizer)
    for n, r in enumerate(records(folder / "plain/standardebooks.jsonl.gz", split)):
        if n % thin == 0:
            parts = r["paragraphs"][:120]
            yield text_document("standardebooks", str(r["name"]), parts, "\n\n", None, [other] * len(parts), tokenizer)
    for n, (source, r) in enumerate(dialogues(folder, split)):
        if source == "qmsum_meetings" or (source == "sgd_multi" and n % 4 == 0):
            script = visits.spoken(r, n // 4)
            yield script_document(f"{source} as text", script, tokenizer, labels, other if source == "qmsum_meetings" else -1)
    talks = list(records(folder / "text/mts_dialog.jsonl.gz", split))
    for seed in range(2):
        for n, r in enumerate(visits.visits(talks, seed)):
            yield script_document("visits as text", visits.spoken(r, n), tokenizer, labels)
        for script in visits.joined_notes(talks, seed):
            yield script_document("notes", script, tokenizer, labels)
    for r in records(folder / "text/aci_bench.jsonl.gz", split):
        yield script_document("aci notes", visits.headed_note(r), tokenizer, labels)


def visit_documents(folder: Path, tokenizer: WordTokenizer, split: str, labels: dict[str, int]) -> Iterator[Document]:
    """Visits made of MTS-Dialog's dialogues, as chat."""
    talks = list(records(folder / "text/mts_dialog.jsonl.gz", split))
    for seed in range(2):
        yield from (chat_document("visits", r, tokenizer, labels) for r in visits.visits(talks, 100 + seed))


def script_document(source: str, script: visits.Script, tokenizer: WordTokenizer, labels: dict[str, int], unknown: int = -1) -> Document:
    """`unknown`: class of parts without a known label."""
    numbers = [labels.get(label, unknown) for label in script.labels]
    whole = numbers[0] if len(set(numbers)) == 1 else -1
    topics = list(script.topics) if script.topics is not None else None
    return text_document(source, script.name, list(script.parts), script.joint, topics, numbers, tokenizer, whole)


def text_document(
    source: str,
    name: str,
    parts: list[str],
    joint: str,
    topics: list[int] | None,
    labels: list[int],
    tokenizer: WordTokenizer,
    whole: int = -2,
) -> Document:
    """Parts joined and read as the running model reads them. `topics`: parts that start one; `labels`: one per part."""
    text = joint.join(parts)
    part_starts = np.cumsum([0] + [len(p) + len(joint) for p in parts])[:-1]
    state, reading = reader.read(reader.ReaderState(), text, 0, tokenizer)
    _, rest = reader.finish(state, tokenizer)
    ids = [token.id for token in (*reading.tokens, *rest.tokens)]
    found = [(b.at, b.text_offset, b.kind) for b in reading.breaks] + [
        (b.at + len(reading.tokens), b.text_offset, b.kind) for b in rest.breaks
    ]
    sentences = [(0, 0), *((at, offset) for at, offset, kind in found if kind == "sentence")]
    paragraphs = {at for at, _, kind in found if kind == "paragraph"} | {0}
    units = []
    first_units = (
        {int(np.searchsorted([o for _, o in sentences], part_starts[t], side="right")) - 1 for t in topics} if topics is not None else None
    )
    for n, (at, offset) in enumerate(sentences):
        stop = sentences[n + 1][0] if n + 1 < len(sentences) else len(ids)
        label = labels[int(np.searchsorted(part_starts, offset, side="right")) - 1] if labels else -1
        starts = -1 if first_units is None or n == 0 else int(n in first_units)
        if stop > at:
            units.append(Unit(tuple(ids[at:stop]), -1, at in paragraphs, starts, label))
    return Document(name, source, "tokens", tuple(units), max(set(labels), key=labels.count) if whole == -2 and labels else whole)


def documents_of(data: Path, tokenizer: WordTokenizer, split: str, without: set[str]) -> list[Document]:
    """All documents of stage two, without the sets named."""
    numbers = {label: n for n, label in enumerate(LABELS)}
    sources: tuple[Iterable[Document], ...] = (
        chat_documents(data, tokenizer, split, numbers),
        visit_documents(data, tokenizer, split, numbers),
        text_documents(data, tokenizer, split, numbers, THIN),
    )
    return [d for documents in sources for d in documents if d.source not in without]
