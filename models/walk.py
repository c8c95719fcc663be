"""One session's new tokens in order: what they close, decide and say.

Knows when a level closes, what is then found and when to speak; leaves fields and levels to working_copy.py, labels and surprise to
answers.py, and the trunk to encoder.py. Everything is added up token by token, so that no split into batches changes a bit.
Next: models/steps.py
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.answers import count_classes, surprise_answer, topic_answer
from models.config import UpdateSettings
from models.heads import shift_probability
from models.plan import Cut, Event, ItemEnd, SessionEnd, Tokens
from models.reader import CONTEXT, SURROGATE, Break
from models.session_state import MAX_WEIGHTS, TextState, pack_memory
from models.steps import Answer, Boundary, Item, ItemResult, LevelState
from models.working_copy import Above, WorkingCopy

Finding = Boundary | Answer | LevelState


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


class Walk(WorkingCopy):
    """A copy that events change."""

    def __init__(self, above: Above, updates: UpdateSettings, state: TextState, is_chat: bool):
        super().__init__(above, state, is_chat)
        self.updates = updates
        self.findings: list[Finding] = []
        self.closed: list[tuple[str, int, int, np.ndarray, np.ndarray]] = []
        """Level, start, end, representation and weights of what closed, for an item that wants to see them."""
        self.topic_closed = False
        self.wants_state = False

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
                    self.fields["memory"] = pack_memory(*self.above.hierarchy.remembered(self.level_tensors()))
                    return

    def _result(self, result: ItemResult) -> ItemResult:
        found, self.findings = tuple(self.findings), []
        return ItemResult(result.position, result.first_token_id, found, result.buffer_tokens)

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
        self.findings.append(surprise_answer(self, until, True))
        self.fields |= {"covered": until, "nats": 0.0, "n_surprised": 0}

    def _close_sentence(self, end: int, speaker: int = -1) -> None:
        """Pool the open sentence, whose items end before `end`; decide whether it began a topic."""
        if self.n_tokens == 0:
            return
        position, offset, before, after = self.sentence
        row, logit, weight = self.advanced(speaker)
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
        sentence = self.part(row, "sentences").reshape(reach, -1)[-1, : self.above.config.sentence_width]
        self._level("sentence", position, max(end, position + 1), sentence, self.weights["token"])
        self.weights["topic"] = self.weights["topic"] * np.float32(1 - shift_probability(logit, 1.0, 0.0))
        self._remember("topic", np.ones(1, np.float32))
        self._remember("document", self.part(row, "document_weight") - self.part(self.row, "document_weight"))
        self._remember("paragraph", np.array([weight], np.float32))
        self.row = row
        count_classes(self, row)
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
        self.findings.append(topic_answer(self, end, True))
        self._level("topic", self.topic_start, end, self.part(self.row, "topic"), self.weights["topic"])
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
            self.findings.append(topic_answer(self, item.position + 1, False))
        if item.wants_document or (self.topic_closed and self.updates.document_level == "on_boundary"):
            self._document()
        self.topic_closed = False

    def _level(self, level: str, start: int, end: int, representation: np.ndarray, weights: np.ndarray) -> None:
        self.closed.append((level, start, max(end, start + 1), representation, weights))

    def _document(self) -> None:
        document = self.above.hierarchy.document(self.level_tensors(self.open_row()))[0].numpy()
        self.findings.append(_seen(("document", 0, self.n_items, document, self.weights["document"])))

    def _close_session(self, characters: int) -> None:
        """Every span ends with the last item, and the text so far with `characters`."""
        n = self.n_items
        if n == 0 or self.closed_at == n:
            return
        self._close_sentence(n, self.last_speaker if self.is_chat else -1)
        self._surprise(n)
        self._close_paragraph(n)
        self.findings.append(topic_answer(self, n, True))
        self._level("topic", self.topic_start, n, self.part(self.row, "topic"), self.weights["topic"])
        self.findings.append(topic_answer(self, n, True, whole=True))
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


def _seen(closed: tuple[str, int, int, np.ndarray, np.ndarray]) -> LevelState:
    """A level as it is reported, its weights as shares."""
    level, start, end, representation, weights = closed
    shares = weights / max(float(weights.sum()), 1e-9)
    return LevelState(level, start, end, tuple(representation.tolist()), tuple(shares.tolist()))
