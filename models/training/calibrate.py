"""Stage three: thresholds and temperatures from dev data, and the figures of the model card, all measured on the running model.

Knows how dev documents are played, scored and fitted; leaves wording to card.py. What ships is fitted on all dev documents; figures are
cross-fitted, each half judged by what the other half chose, so that no figure is read off the documents that chose it (talks
of MTS-Dialog stand in several sets, as themselves and joined).
Next: models/training/card.py
"""

import gzip
import lzma
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.heads import OTHER, Calibration
from models.labels import DEFAULT, scores, similarities, unit
from models.steps import Answer, Item, Work
from models.tokenizer import split_words
from models.training import label_scoring, visits
from models.training.data import CHAT_SETS, plain_sources, records
from models.transformer import StreamingHierarchicalTransformer
from models.walk import Walk

PIECE = re.compile(r"\s*\S+\s*")
STEP_ITEMS = {"chat": 4, "tokens": 200}
SESSIONS = 40
MOST_CASES = 400
"""Truths of a set that labels are fitted on."""


@dataclass
class Played:
    """A dev document, its truths and what the model thought at each unit."""

    source: str
    items: list[str]
    speakers: list[str] = field(default_factory=list)
    segment_ends: list[int] | None = None
    starts: list[int] = field(default_factory=list)
    """tokens: first item of each reference sentence."""
    labels: list[str | None] = field(default_factory=list)
    """Per item; None unknown."""
    whole: str | None = None
    shifts: list[tuple[int, float]] = field(default_factory=list)
    """(position, logit) per unit, the session's first left out."""
    topics: list[tuple[int, list[float], np.ndarray]] = field(default_factory=list)
    """(position, head's logits, likeness to each label) per unit."""
    document: tuple[list[float], np.ndarray] | None = None
    """The same of the whole session."""
    nats: float = 0.0


class ListeningWalk(Walk):
    """Keeps the raw logits of every unit it closes."""

    def _advanced(self, speaker: int) -> tuple[np.ndarray, float, float]:
        row, logit, weight = super()._advanced(speaker)
        logits, gist, _ = self._topic_of(row)
        self.trace.append((self.sentence[0], logit, logits.tolist(), similarities(gist[None], self.above.labels.vectors)[0]))
        return row, logit, weight

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.trace: list[tuple[int, float, list[float], np.ndarray]] = []
        LISTENERS.append(self)


LISTENERS: list[ListeningWalk] = []
"""Of the step at work, in the order of its sessions."""


def dev_documents(folder: Path, limits: dict[str, int], split: str = "dev") -> Iterator[Played]:
    """Dialogues, sections and articles of the dev split, in file order."""
    for name in CHAT_SETS:
        for n, r in enumerate(records(folder / f"chat/{name}.jsonl.gz", split)):
            if n < limits.get(name, 10**9):
                turns = r["turns"]
                labels: list[str | None] = (
                    [str(t) for t in r["topic"]] if "topic" in r else [OTHER if name in ("tiage", "superdialseg") else None] * len(turns)
                )
                whole = max(sorted(set(labels), key=str), key=labels.count)
                yield Played(name, [t["text"] for t in turns], [t["role"] for t in turns], r["seg_end"], [], labels, whole)
    for r in records(folder / "text/mts_dialog.jsonl.gz", split):
        turns = r["turns"]
        yield Played(
            "mts_dialog", [t["text"] for t in turns], [t["speaker"] for t in turns], None, [], [r["section"]] * len(turns), r["section"]
        )
    talks = list(records(folder / "text/mts_dialog.jsonl.gz", split))
    for r in visits.visits(talks, 0):
        turns = r["turns"]
        yield Played("visits", [t["text"] for t in turns], [t["speaker"] for t in turns], r["seg_end"], [], list(r["topic"]))
    for n, r in enumerate(visits.visits(talks, 1)):
        yield script("visits as text", visits.spoken(r, n))
    for note in visits.joined_notes(talks, 2):
        yield script("notes", note)
    for r in records(folder / "text/aci_bench.jsonl.gz", split):
        yield script("aci notes", visits.headed_note(r))
    for n, r in enumerate(records(folder / "text/wiki300.jsonl.gz", split)):
        if n < limits.get("wiki300", 10**9):
            ends = r["seg_end"]
            starts = (0, *(n for n, end in enumerate(ends, 1) if end))
            yield script("wiki300", visits.Script(r["name"], tuple(r["sentences"]), " ", starts, (OTHER,) * len(ends)))


def script(source: str, written: visits.Script) -> Played:
    """A text as words, its parts as reference units; a boundary is judged by the part that holds it."""
    pieces = [PIECE.findall(part.strip() + written.joint) for part in written.parts]
    starts = np.cumsum([0] + [len(p) for p in pieces])[:-1].tolist()
    ends = [0] * len(pieces)
    for topic in written.topics or ():
        if topic:
            ends[topic - 1] = 1
    labels = [label or None for p, label in zip(pieces, written.labels) for _ in p]
    whole = written.labels[0] if len(set(written.labels)) == 1 and written.labels[0] else None
    return Played(source, [w for p in pieces for w in p], [], ends if written.topics is not None else None, starts, labels, whole)


def play(model: StreamingHierarchicalTransformer, documents: Sequence[Played], tell: Callable[[str], None]) -> None:
    """Stream documents, SESSIONS at a time, and keep what was thought."""
    model.walk = ListeningWalk
    for first in range(0, len(documents), SESSIONS):
        group = documents[first : first + SESSIONS]
        states: list[Any] = [None] * len(group)
        at = [0] * len(group)
        while live := [n for n, d in enumerate(group) if at[n] < len(d.items)]:
            works = []
            for n in live:
                d = group[n]
                modality = "chat" if d.speakers else "tokens"
                stop = min(len(d.items), at[n] + STEP_ITEMS[modality])
                items = [
                    Item(i, d.items[i], i * 1_000_000, d.speakers[i] if d.speakers else "", ends_session=i == len(d.items) - 1)
                    for i in range(at[n], stop)
                ]
                at[n] = stop
                works.append(Work(f"{modality}/{n}", states[n], items))
            LISTENERS.clear()
            results = model.step(works)
            for n, walk, result in zip(live, LISTENERS, results, strict=True):
                if result.error:
                    raise result.error
                states[n] = result.state
                _keep(group[n], walk, result)
        for n in range(len(group)):
            model.drop(f"chat/{n}")
            model.drop(f"tokens/{n}")
        tell(f"calibrate {first + len(group)} of {len(documents)} dev documents")
    model.walk = Walk


def _keep(document: Played, walk: ListeningWalk, result: Any) -> None:
    for position, logit, topic, near in walk.trace:
        if position > 0:
            document.shifts.append((position, logit))
        document.topics.append((position, topic, near))
    if result.state.closed_at >= 0:
        meaning = unit(np.frombuffer(result.state.session_meaning, np.float32))
        document.document = walk.document_logits().tolist(), similarities(meaning[None], walk.above.labels.vectors)[0]
    for item in result.items:
        document.nats += sum(f.output["nats"] for f in item.findings if isinstance(f, Answer) and f.task == "surprise")


# scores, after the definitions of the data's README


def segmentation(pairs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> dict[str, float]:
    """Mean Pk, WindowDiff, F1 and Score of (reference, answer) segment ends, one pair a document."""
    rows = []
    for y, h in pairs:
        k = max(2, round(len(y) / (sum(y) + 1) / 2))
        windows = [(sum(y[i : i + k]), sum(h[i : i + k])) for i in range(len(y) - k + 1)] or [(sum(y), sum(h))]
        pk = sum((a > 0) != (b > 0) for a, b in windows) / len(windows)
        wd = sum(a != b for a, b in windows) / len(windows)
        hits = sum(a and b for a, b in zip(y, h))
        f1 = 2 * hits / (sum(y) + sum(h)) if hits else 0.0
        rows.append((pk, wd, f1, 0.5 * f1 + 0.25 * (1 - pk) + 0.25 * (1 - wd)))
    return dict(zip(("pk", "wd", "f1", "score"), np.mean(rows, axis=0).tolist()))


def ends(document: Played, threshold_logit: float) -> list[int]:
    """Segment ends that a threshold gives, per utterance or reference sentence."""
    marks = [0] * len(document.segment_ends or [])
    for position, logit in document.shifts:
        if logit >= threshold_logit:
            unit = bisect_right(document.starts, position) - 1 if document.starts else position
            if unit > 0:
                marks[unit - 1] = 1
    marks[-1:] = [0]
    return marks


def calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = 15) -> float:
    """Expected calibration error over equal-mass bins."""
    order = np.argsort(confidences, kind="stable")
    c, r = np.asarray(confidences, float)[order], np.asarray(right, float)[order]
    parts = [part for part in np.array_split(np.arange(len(c)), bins) if len(part)]
    return float(sum(len(p) * abs(c[p].mean() - r[p].mean()) for p in parts) / max(1, len(c)))


def fit_platt(logits: Sequence[float], truths: Sequence[int], weights: Sequence[float]) -> tuple[float, float]:
    """Temperature and bias that minimise the weighted log loss of logit / temperature + bias."""
    x, y, w = (torch.tensor(v, dtype=torch.float64) for v in (logits, truths, weights))
    slope, bias = torch.ones((), dtype=torch.float64, requires_grad=True), torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([slope, bias], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (torch.nn.functional.binary_cross_entropy_with_logits(x * slope + bias, y, reduction="none") * w).sum() / w.sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(1 / slope.detach().clamp_min(0.05)), float(bias.detach())


def fit(documents: Sequence[Played], labels: Sequence[str]) -> Calibration:
    """Every set counts the same, whatever its size."""
    c = Calibration()
    for modality in ("chat", "tokens"):
        chosen = [d for d in documents if d.segment_ends and bool(d.speakers) == (modality == "chat")]
        rows = [(logit, truth, d.source) for d in chosen for logit, truth in _shift_truths(d)]
        sizes = {s: sum(r[2] == s for r in rows) for s in {r[2] for r in rows}}
        t, b = fit_platt([r[0] for r in rows], [r[1] for r in rows], [1 / sizes[r[2]] for r in rows])
        grid = np.linspace(0.04, 0.8, 77)
        sets = sorted(sizes)
        means = [
            np.mean(
                [segmentation((d.segment_ends or [], ends(d, (_logit(p) - b) * t)) for d in chosen if d.source == s)["score"] for s in sets]
            )
            for p in grid
        ]
        best = float(grid[int(np.argmax(means))])
        if modality == "chat":
            c = replace(c, shift_temperature=t, shift_bias=b, chat_threshold=best)
        else:
            c = replace(c, text_shift_temperature=t, text_shift_bias=b, text_threshold=best)
    columns = DEFAULT.columns(labels)
    of_chat, of_text = (
        _balanced(
            (z, near, label, d.source)
            for d in documents
            if bool(d.speakers) == is_chat
            for z, near, label in _label_truths(d, threshold_logit(d, c))
            if label in labels
        )
        for is_chat in (True, False)
    )
    wholes = _balanced((*d.document, d.whole, d.source) for d in documents if d.whole in labels and d.document)
    topics, document = (label_scoring.fit(*_truths_of(cases, labels), columns) for cases in (of_chat + of_text, wholes))
    chat, text = (
        label_scoring.with_temperature(topics, *_truths_of(cases, labels), columns) if cases else topics for cases in (of_chat, of_text)
    )
    return replace(c, topic_scoring=chat, text_topic_temperature=text.temperature, document_scoring=document)


Case = tuple[list[float], np.ndarray, str | None, str]
"""Head's logits, likeness to the labels, the true label, the set."""


def _truths_of(cases: Sequence[Case], labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Likeness, head's logits and the place of the true label among `labels`."""
    return (
        np.stack([case[1] for case in cases]),
        np.array([case[0] for case in cases]),
        np.array([labels.index(str(case[2])) for case in cases]),
    )


def _balanced(cases: Iterable[Case]) -> list[Case]:
    """At most MOST_CASES of each set, spread evenly over it: no set decides by its size."""
    by_set: dict[str, list[Case]] = {}
    for case in cases:
        by_set.setdefault(case[3], []).append(case)
    return [mine[n] for mine in by_set.values() for n in np.unique(np.linspace(0, len(mine) - 1, MOST_CASES).astype(int))]


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _shift_truths(d: Played) -> Iterator[tuple[float, int]]:
    """(logit, truth) of every unit that could start a topic."""
    seen = set()
    for position, logit in d.shifts:
        unit = bisect_right(d.starts, position) - 1 if d.starts else position
        if unit > 0 and unit not in seen and d.segment_ends:
            seen.add(unit)
            yield logit, d.segment_ends[unit - 1]


def _label_truths(d: Played, threshold_logit: float) -> Iterator[tuple[list[float], np.ndarray, str | None]]:
    """(head's logits, likeness, truth) of every unit, as it would have been told then: half its own, half the mean over the segment the model was in."""
    shifts = dict(d.shifts)
    total, n = np.zeros(0), 0
    for position, topic, near in d.topics:
        if n == 0 or shifts.get(position, -99.0) >= threshold_logit:
            total, n = np.zeros(len(topic)), 0
        total, n = total + np.asarray(topic), n + 1
        if position < len(d.labels):
            yield ((np.asarray(topic) + total / n) / 2).tolist(), near, d.labels[position]


def threshold_logit(d: Played, c: Calibration) -> float:
    """The raw shift logit from which a boundary is told."""
    if d.speakers:
        return (_logit(c.chat_threshold) - c.shift_bias) * c.shift_temperature
    return (_logit(c.text_threshold) - c.text_shift_bias) * c.text_shift_temperature


def cross_fitted(documents: Sequence[Played], labels: Sequence[str], left_out: Container[str] = ()) -> list[tuple[Played, Calibration]]:
    """Each document with a calibration that it had no part in: fitted on the half it is not of; never on sets left out."""
    halves = [fit([d for d in documents[n::2] if d.source not in left_out], labels) for n in (0, 1)]
    return [(d, halves[1 - n % 2]) for n, d in enumerate(documents)]


def figures(judged: Sequence[tuple[Played, Calibration]], labels: Sequence[str]) -> dict[str, Any]:
    """Scores per set, label accuracy and calibration error of documents, each under its calibration."""
    out: dict[str, Any] = {"segments": {}, "labels": {}, "ece": {}}
    number, columns = {label: n for n, label in enumerate(labels)}, DEFAULT.columns(labels)
    confidences: dict[str, tuple[list[float], list[bool]]] = {}
    for source in sorted({d.source for d, _ in judged}):
        mine = [(d, c) for d, c in judged if d.source == source]
        chat = bool(mine[0][0].speakers)
        if mine[0][0].segment_ends:
            pairs = [(d.segment_ends or [], ends(d, threshold_logit(d, c))) for d, c in mine]
            every = segmentation((y, [0] + [0] * (len(y) - 1)) for y, _ in pairs)["score"]
            out["segments"][source] = segmentation(pairs) | {"documents": len(mine), "no_boundary_score": every}
            p, y = confidences.setdefault(f"shift {'chat' if chat else 'tokens'}", ([], []))
            for d, c in mine:
                t, b = (c.shift_temperature, c.shift_bias) if chat else (c.text_shift_temperature, c.text_shift_bias)
                for logit, truth in _shift_truths(d):
                    p.append(1 / (1 + math.exp(-(logit / t + b))))
                    y.append(bool(truth))
        told: dict[str, list[tuple[np.ndarray, int]]] = {"topic": [], "document": []}
        for d, c in mine:
            units = [case for case in _label_truths(d, threshold_logit(d, c)) if case[2] in number]
            wholes = [(*d.document, d.whole)] if d.whole in number and d.document else []
            for name, cases, scoring in (("topic", units, c.topics(chat)), ("document", wholes, c.document_scoring)):
                if cases:
                    heads, near = np.array([case[0] for case in cases]), np.stack([case[1] for case in cases])
                    told[name] += zip(np.exp(scores(near, heads, columns, scoring)), [number[str(case[2])] for case in cases])
        for name, answers in told.items():
            if answers:
                truths, hits = [truth for _, truth in answers], [bool(p.argmax() == truth) for p, truth in answers]
                most = max(np.bincount(truths).tolist()) / len(truths)
                out["labels"][f"{source} {name}"] = {"accuracy": sum(hits) / len(hits), "most_common": most, "n": len(hits)}
                kept, right = confidences.setdefault(f"{name}, {'sets of one label' if most == 1 else 'sets of many labels'}", ([], []))
                kept += [float(p.max()) for p, _ in answers]
                right += hits
    out["ece"] = {name: calibration_error(kept, right) for name, (kept, right) in confidences.items()}
    return out


def language_figures(model: StreamingHierarchicalTransformer, folder: Path, limit: int) -> dict[str, float]:
    """Bits per byte of held-out plain text, streamed; beside gzip and xz over the same text, as one file."""
    texts = held_out_texts(folder, limit)
    documents = plain(texts)
    play(model, documents, lambda line: None)
    data = "".join(texts).encode()
    return {"bytes": len(data), "model": sum(d.nats for d in documents) / math.log(2) / len(data), **compressor_figures(data)}


def plain(texts: Iterable[str]) -> list[Played]:
    """Running texts in pieces of 50 words."""
    return [Played("plain", ["".join(words) for words in _groups(split_words(text), 50)]) for text in texts]


def held_out_texts(folder: Path, limit: int, behind: int = 0) -> list[str]:
    """Beginnings of dev texts, of 30,000 characters at most: of each set the same share of `limit` characters, as far as it has them.

    behind: of the texts that come after those that are taken for a `limit` of so many characters.
    """
    found: list[str] = []
    sources = [list(texts) for _, texts in plain_sources(folder, "dev")]
    for texts in sources:
        passed, left = behind // len(sources), limit // len(sources)
        for text in texts:
            if passed > 0:
                passed -= min(30_000, len(text))
            elif left > 0:
                found.append(text[: min(30_000, left)])
                left -= len(found[-1])
    return found


def compressor_figures(data: bytes) -> dict[str, float]:
    """Bits per byte that compressors of files need, at their best setting."""
    return {
        "gzip": 8 * len(gzip.compress(data, 9)) / len(data),
        "xz": 8 * len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) / len(data),
    }


def _groups(words: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for at in range(0, len(words), size):
        yield words[at : at + size]
