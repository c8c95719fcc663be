"""One session's new tokens in order: what they close, decide and say.

Knows the state's fields, when a level closes and what is then found; leaves arithmetic on vectors to levels_step.py, hierarchy.py and heads.py, and
the trunk to encoder.py. Everything is added up token by token, so that no split into batches changes a bit.
Next: models/steps.py
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch

from models.config import ModelConfig, UpdateSettings
from models.heads import Calibration, Heads, session_logits, shift_probability
from models.hierarchy import Hierarchy, Levels, unit_flags
from models.labels import LabelScoring, scores, similarities, unit
from models.levels_row import as_levels, pack, places, unpack
from models.levels_step import LevelsStep, softmax
from models.plan import Cut, Event, ItemEnd, Plan, SessionEnd, Tokens
from models.reader import CONTEXT, SURROGATE, Break
from models.session_state import MAX_WEIGHTS, TextState, pack_memory
from models.steps import Answer, Boundary, Item, ItemResult, LevelState
from models.window import pack_starts, to_bytes
from models.words import WordTable

Finding = Boundary | Answer | LevelState


@dataclass(frozen=True, slots=True)
class Labels:
    """What topics are called, and how a text is likened to that (labels.py)."""

    names: tuple[str, ...]
    vectors: np.ndarray
    """float32 (labels, W), unit."""
    columns: np.ndarray
    """int64 (labels,)."""

    def probabilities(self, meaning: np.ndarray, head_logits: np.ndarray, scoring: LabelScoring) -> list[float]:
        """meaning: (W,) unit; head_logits: (classes,). Returns one calibrated probability per label."""
        near = similarities(meaning[None], self.vectors)
        p: list[float] = np.exp(scores(near, head_logits[None].astype(np.float64), self.columns, scoring))[0].tolist()
        return p


@dataclass(frozen=True, slots=True)
class Above:
    """All that lies above the trunk."""

    config: ModelConfig
    hierarchy: Hierarchy
    heads: Heads
    step: LevelsStep
    calibration: Calibration
    words: WordTable
    labels: Labels


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the trunk made of a session's new tokens, row by row, from one cut of its window to the next."""

    hidden: np.ndarray
    """float32 (tokens, C)."""
    pooling: np.ndarray
    """float32 (tokens,), unnormalised weights."""
    nats: Sequence[float]
    """tokens: of each token; chat: empty."""
    attention: dict[int, np.ndarray]
    """Token's place among the new ones -> its attention over the window, where an item wants it."""


class Walk:
    """A working copy of one session's state."""

    def __init__(self, above: Above, updates: UpdateSettings, state: TextState, is_chat: bool):
        self.above, self.updates, self.is_chat = above, updates, is_chat
        self.fields: dict[str, Any] = msgspec.structs.asdict(state)
        self._open: np.ndarray | None = None
        self._asked: tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None
        self._row: np.ndarray | None = None  # unpacked when a sentence closes, not at every token
        self.sums = np.frombuffer(state.sums, np.float32).copy()
        self.weights = {
            level: np.frombuffer(getattr(state, f"{level}_weights"), np.float32) for level in ("token", "paragraph", "topic", "document")
        }
        self.last_hidden = np.frombuffer(state.hidden, np.float16) if state.hidden else None
        self.findings: list[Finding] = []
        self.closed: list[tuple[str, int, int, np.ndarray, np.ndarray]] = []
        """Level, start, end, representation and weights of what closed, for an item that wants to see them."""
        self.topic_closed = False
        self.wants_state = False

    @property
    def row(self) -> np.ndarray:
        """The levels (levels_row.py)."""
        if self._row is None:
            self._row = unpack(self.fields["levels"], self.above.config)
        return self._row

    @row.setter
    def row(self, row: np.ndarray) -> None:
        self._row, self._open = row, None
        self.fields["levels"] = pack(row, self.above.config)

    def _levels(self, row: np.ndarray | None = None) -> Levels:
        """For what is asked of the levels now and then."""
        return as_levels(self.row if row is None else row, self.above.config)

    def _field(self, row: np.ndarray, name: str) -> np.ndarray:
        found: np.ndarray = row[places(self.above.config)[name]]
        return found

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def read(self, events: Iterator[Event], encoded: Encoded, results: list[ItemResult]) -> None:
        """Walk the events up to a cut of the window, or all that are left; adds one result per item (a session end without items one)."""
        at = 0
        for event in events:
            match event:
                case Tokens():
                    self._tokens(event, encoded, at)
                    at += event.count
                case Break():
                    self._break(event)
                case ItemEnd():
                    self._item(event, encoded, at)
                    results.append(ItemResult(event.item.position, event.first_token_id, buffer_tokens=event.buffer_tokens))
                    if not event.item.ends_session:  # else the end that follows tells
                        self._tell(event.item)
                        results[-1] = self._result(results[-1])
                case SessionEnd():
                    self._close_session(self.characters if self.is_chat else event.characters)
                    if not results or results[-1].findings:
                        results.append(ItemResult(max(0, self.n_items - 1), -1))
                    results[-1] = self._result(results[-1])
                case Cut():
                    self.fields["memory"] = pack_memory(*self.above.hierarchy.remembered(self._levels()))
                    return

    def _result(self, result: ItemResult) -> ItemResult:
        found, self.findings = tuple(self.findings), []
        return ItemResult(result.position, result.first_token_id, found, result.buffer_tokens)

    def state(self, plan: Plan) -> TextState:
        """The new state, after all events."""
        kept = b"" if self.is_chat or self.last_hidden is None else self.last_hidden.tobytes()
        window = plan.window
        self.fields |= {
            "window": to_bytes(window.ids), "starts": pack_starts(window.starts), "since_us": window.since_us, "reader": plan.reader,
            "speakers": plan.speakers, "hidden": kept, "sums": self.sums.tobytes(),
        }  # fmt: skip
        self.fields |= {f"{level}_weights": weights.tobytes() for level, weights in self.weights.items()}
        return TextState(**self.fields)

    # 1. tokens

    def _tokens(self, event: Tokens, encoded: Encoded, start: int) -> None:
        """Add tokens to the open sentence, in order: the same sum in any split."""
        stop = start + event.count
        self._open = None
        pooling = encoded.pooling[start:stop]
        self.above.step.add(self.sums, pooling, encoded.hidden[start:stop], self.above.words.vectors(event.text))
        self._remember("token", pooling[-MAX_WEIGHTS:])
        self.last_hidden = encoded.hidden[stop - 1].astype(np.float16)
        self.fields["n_tokens"] += event.count
        for nats in encoded.nats[start:stop]:
            self.fields["nats"] += nats
        self.fields["n_surprised"] += len(encoded.nats[start:stop])

    def _remember(self, level: str, weights: np.ndarray) -> None:
        self.weights[level] = np.concatenate((self.weights[level], weights))[-MAX_WEIGHTS:].astype(np.float32)

    # 2. boundaries

    def _break(self, found: Break) -> None:
        """A settled boundary of the reader: the sentence before it closes, and what else ends with it."""
        kind = 0 if found.kind == "sentence" else 1
        if kind == 0:
            self._surprise(found.position)
            if self.updates.sentence_level == "on_boundary":
                self._close_sentence(found.position)
            self.fields["sentence"] = (found.position, found.text_offset, found.context_before, found.context_after)
        else:
            self._close_paragraph(found.position)
        self._boundary(
            kind, found.position, found.text_offset, found.confidence, found.detected_by, found.context_before, found.context_after
        )

    def _boundary(self, kind: int, position: int, offset: int, confidence: float, by: str, before: str, after: str) -> None:
        """Once per kind and position: a piece may hold several starts, and rows name only its position."""
        if position <= self.emitted[kind]:
            return
        self.fields["emitted"] = (*self.emitted[:kind], position, *self.emitted[kind + 1 :])
        self.findings.append(Boundary(("sentence", "paragraph", "topic")[kind], position, offset, confidence, by, before, after))

    def _surprise(self, until: int) -> None:
        """What the tokens since the last answer cost; a span without an item waits for the next one."""
        if self.is_chat or until <= self.covered:
            return
        nats, n = self.nats, self.n_surprised
        self.findings.append(Answer("surprise", self.covered, until, True, value=nats / max(n, 1), output={"nats": nats, "tokens": n}))
        self.fields |= {"covered": until, "nats": 0.0, "n_surprised": 0}

    def _advanced(self, speaker: int) -> tuple[np.ndarray, float, float]:
        """Levels after the open sentence, the logit that it began a topic, and its weight in its paragraph."""
        flags = unit_flags(
            speaker, self.last_speaker, self.begins_paragraph and not self.is_chat, self.is_chat, self.n_sentences == 0, self.n_tokens
        )
        return self.above.step.advance(self.row, self.sums, flags)

    def _close_sentence(self, end: int, speaker: int = -1) -> None:
        """Pool the open sentence, whose items end before `end`; decide whether it began a topic."""
        if self.n_tokens == 0:
            return
        position, offset, before, after = self.sentence
        row, logit, weight = self._advanced(speaker)
        c = self.above.calibration
        t, b, threshold = (
            (c.shift_temperature, c.shift_bias, c.chat_threshold)
            if self.is_chat
            else (c.text_shift_temperature, c.text_shift_bias, c.text_threshold)
        )
        p = shift_probability(logit, t, b)
        if p >= threshold and self.n_sentences > 0 and position > self.topic_start:
            self._boundary(2, position, offset, p, "model", before, after)
            self._close_topic(position)
        reach = self.above.config.sentence_reach
        sentence = self._field(row, "sentences").reshape(reach, -1)[-1, : self.above.config.sentence_width]
        self._level("sentence", position, max(end, position + 1), sentence, self.weights["token"])
        self.weights["topic"] = self.weights["topic"] * np.float32(1 - shift_probability(logit, 1.0, 0.0))
        self._remember("topic", np.ones(1, np.float32))
        self._remember("document", self._field(row, "document_weight") - self._field(self.row, "document_weight"))
        self._remember("paragraph", np.array([weight], np.float32))
        self.row = row
        self._count_classes(row)
        self.fields |= {"n_tokens": 0, "n_sentences": self.n_sentences + 1, "last_speaker": speaker, "begins_paragraph": False}
        self.sums = np.zeros_like(self.sums)
        self.weights["token"] = self.weights["token"][:0]

    def _close_paragraph(self, position: int) -> None:
        if self.updates.paragraph_level == "on_boundary" and self.n_sentences and not self.is_chat:
            row, paragraph = self.above.step.close_paragraph(self.row)
            self._level("paragraph", self.paragraph_start, position, paragraph, self.weights["paragraph"])
            self.row = row
            self.weights["paragraph"] = self.weights["paragraph"][:0]
        self.fields |= {"paragraph_start": position, "begins_paragraph": self.updates.paragraph_level == "on_boundary"}

    def _close_topic(self, end: int) -> None:
        """The segment up to `end` gets its final label, from what was known before the next one began."""
        self.findings.append(self._label(end, True))
        self._level("topic", self.topic_start, end, self._field(self.row, "topic"), self.weights["topic"])
        self.fields |= {"topic_start": end, "topic_logits": b"", "n_topic": 0}
        self.topic_closed = True

    # 3. items and the end

    def _item(self, event: ItemEnd, encoded: Encoded, at: int) -> None:
        item = event.item
        self.wants_state = item.wants_state
        self.fields["n_items"] = item.position + 1
        if self.is_chat:
            self.fields["sentence"] = (item.position, self.characters, "", SURROGATE.sub("\ufffd", item.text[:CONTEXT]))
            if self.updates.sentence_level == "on_boundary":
                self._close_sentence(item.position + 1, event.mark)
            self.fields["characters"] = self.characters + len(item.text)
        if item.wants_state and self.last_hidden is not None:
            attention = encoded.attention.get(at - 1) if event.has_tokens else None
            self.findings.append(
                LevelState(
                    "token",
                    item.position,
                    item.position + 1,
                    tuple(self.last_hidden.tolist()),
                    () if attention is None else tuple(attention.tolist()),
                )
            )

    def _tell(self, item: Item) -> None:
        """What is due after an item, beside what it decided."""
        closed, self.closed = self.closed, []
        self.findings += map(_seen, closed) if item.wants_state else ()
        if item.wants_label and item.position >= self.topic_start:
            self.findings.append(self._label(item.position + 1, False))
        if item.wants_document or (self.topic_closed and self.updates.document_level == "on_boundary"):
            self._document()
        self.topic_closed = False

    def _open_row(self) -> np.ndarray:
        """Levels as if the open sentence ended here; made once however many ask."""
        if not self.n_tokens:
            return self.row
        if self._open is None:
            self._open = self._advanced(-1)[0]
        return self._open

    def _level(self, level: str, start: int, end: int, representation: np.ndarray, weights: np.ndarray) -> None:
        self.closed.append((level, start, max(end, start + 1), representation, weights))

    def _document(self) -> None:
        document = self.above.hierarchy.document(self._levels(self._open_row()))[0].numpy()
        self.findings.append(_seen(("document", 0, self.n_items, document, self.weights["document"])))

    def _count_classes(self, row: np.ndarray) -> None:
        """Add what the closed sentence says of its topic: a segment's last words alone (thanks, goodbye) mislead."""
        logits, _, meaning = self._topic_of(row)
        for name, more in (("topic_logits", logits), ("session_classes", softmax(logits)), ("session_meaning", meaning)):
            before = self.fields[name]
            self.fields[name] = (np.frombuffer(before, np.float32) + more if before else more).tobytes()
        self.fields["n_topic"] += 1

    def segment_logits(self, with_open: bool) -> np.ndarray:
        """(classes,), half the last sentence's, half the mean over the segment's: as quick as the one, as steady as the other.

        An open sentence counts where it belongs to the segment.
        """
        has_open = with_open and self.n_tokens > 0
        now = self._topic_of(self._open_row() if has_open else self.row)[0]
        total, n = np.frombuffer(self.topic_logits, np.float32), self.n_topic
        if has_open or not n:
            total, n = (total + now if n else now), n + 1
        half: np.ndarray = (now + total / np.float32(n)) / np.float32(2)
        return half

    def document_logits(self) -> torch.Tensor:
        """(classes,), of everything closed so far."""
        classes = np.frombuffer(self.session_classes, np.float32) / np.float32(self.n_sentences)
        levels = self._levels()
        document = self.above.heads.document_logits(self.above.hierarchy.document(levels), levels.topic, levels.context)[0]
        return session_logits(document, torch.from_numpy(classes))

    def _topic_of(self, row: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """LevelsStep.topic of levels, made once however many ask."""
        if self._asked is None or self._asked[0] is not row:
            self._asked = row, self.above.step.topic(row)
        return self._asked[1]

    def _label(self, end: int, is_final: bool, whole: bool = False) -> Answer:
        """The most probable class with its calibrated probability; none of a session that has not said a word."""
        c, start = self.above.calibration, 0 if whole else self.topic_start
        output: dict[str, Any] = {"level": "document"} if whole else {}
        if not self.n_sentences and not self.n_tokens:
            return Answer("topic", start, end, is_final, output=output | {"probabilities": {}})
        labels = self.above.labels
        if whole:
            meaning, head = unit(np.frombuffer(self.session_meaning, np.float32)), self.document_logits().numpy()
            p = labels.probabilities(meaning, head, c.document_scoring)
        else:
            gist = self._topic_of(self._open_row() if not is_final else self.row)[1]
            p = labels.probabilities(gist, self.segment_logits(not is_final), c.topics(self.is_chat))
        best = max(range(len(p)), key=p.__getitem__)
        output["probabilities"] = {label: round(x, 6) for label, x in zip(labels.names, p)}
        return Answer("topic", start, end, is_final, labels.names[best], p[best], output=output)

    def _close_session(self, characters: int) -> None:
        """Every span ends with the last item, and the text so far with `characters`."""
        n = self.n_items
        if n == 0 or self.closed_at == n:
            return
        self._close_sentence(n, self.last_speaker if self.is_chat else -1)
        self._surprise(n)
        self._close_paragraph(n)
        self.findings.append(self._label(n, True))
        self._level("topic", self.topic_start, n, self._field(self.row, "topic"), self.weights["topic"])
        self.findings.append(self._label(n, True, whole=True))
        self.findings += map(_seen, self.closed) if self.wants_state else ()
        self.closed = []
        self._document()
        self.fields |= {
            "closed_at": n,
            "topic_start": n,
            "covered": n,
            "topic_logits": b"",
            "n_topic": 0,
            "sentence": (n, characters, "", ""),
            "begins_paragraph": True,
        }
        self.topic_closed = False

    def open_answers(self) -> tuple[Answer, ...]:
        """What could be said now; changes nothing."""
        answers = [self._label(self.n_items, False)] if self.n_items > self.topic_start else []
        if not self.is_chat and self.n_surprised and self.n_items > self.covered:
            output = {"nats": self.nats, "tokens": self.n_surprised}
            answers.append(Answer("surprise", self.covered, self.n_items, False, value=self.nats / self.n_surprised, output=output))
        return tuple(answers)


def _seen(closed: tuple[str, int, int, np.ndarray, np.ndarray]) -> LevelState:
    """A level as it is reported, its weights as shares."""
    level, start, end, representation, weights = closed
    shares = weights / max(float(weights.sum()), 1e-9)
    return LevelState(level, start, end, tuple(representation.tolist()), tuple(shares.tolist()))
