"""Reader: live text in pieces -> tokens in order, with settled sentence and paragraph boundaries between them.

Knows characters, items and what is held back until a later character settles it; leaves token ids to tokenizer.py, the decision
whether a sentence ends to boundaries.py, tensors to nobody: this file has none. Pure: state and piece in, state and Reading out.
Law: the same text in any split gives the same token ids and the same boundaries; only `position` and `items_late` name the split.
Next: models/transformer.py
"""

from dataclasses import dataclass
from typing import Protocol


class Encoder(Protocol):
    """What the reader needs of tokenizer.py."""

    def encode_word(self, pretoken: str) -> list[int]:
        """Ids of one pre-token (see `pretokens`), at least one for a non-empty text."""
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """One model token."""

    id: int
    position: int
    """Item that brought the first character of its pre-token that is not white space (of white space alone: its first character)."""


@dataclass(frozen=True, slots=True)
class Break:
    """A settled boundary: a new sentence (and paragraph) begins."""

    kind: str
    """sentence or paragraph; a paragraph comes right after a sentence with the same `at`, position and text_offset."""
    at: int
    """Tokens of this Reading before the new segment: tokens[:at] belong to the segments before, 0..len(tokens)."""
    position: int
    """Item that holds the first character of the new segment."""
    text_offset: int
    """Characters of the session's text before the first character of the new segment, which is not white space."""
    confidence: float
    """Calibrated probability that the boundary is right, 0.5..1."""
    detected_by: str
    """rule or model."""
    context_before: str
    """The last 40 characters before, long white space shortened."""
    context_after: str
    """What had to be read of the new segment to settle it, at most 40 characters."""
    items_late: int
    """Items read after the one at `position` when this was settled: 0 = settled by that item."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one piece settled. Walk it as: for each break in order, tokens up to `at`, then the break; then the remaining tokens."""

    tokens: tuple[Token, ...] = ()
    breaks: tuple[Break, ...] = ()


@dataclass(frozen=True, slots=True)
class ReaderState:
    """What a session's text so far leaves behind; below 2 KB whatever the text. msgspec packs it with stable bytes."""

    characters: int = 0
    """Characters read, held ones included."""
    held: str = ""
    """The last characters read, not yet tokens: at most some 200."""
    spans: tuple[tuple[int, int], ...] = ()
    """Where `held` came from, in order: (position of the item, characters of it)."""
    sentence_position: int = 0
    """Item that holds the first character of the open sentence."""
    sentence_offset: int = 0
    """Characters before the open sentence."""
    paragraph_position: int = 0
    paragraph_offset: int = 0


def pretokens(text: str) -> list[str]:
    """The whole text cut as `read` cuts it, what `encode_word` is given one by one; concatenated they are the text.

    A word with its leading space, an apostrophe with its letters, up to three digits, a run of punctuation, a run of white space. For training the tokenizer.
    Lone surrogates are given as U+FFFD.
    """
    raise NotImplementedError


def read(state: ReaderState, text: str, position: int, tokenizer: Encoder) -> tuple[ReaderState, Reading]:
    """Read the item at `position` and return all that it settled. An empty text settles nothing."""
    raise NotImplementedError


def finish(state: ReaderState, tokenizer: Encoder) -> tuple[ReaderState, Reading]:
    """End of the session: everything held becomes tokens. The last sentence closes without a break, for nothing begins after it."""
    raise NotImplementedError


def first_token(text: str, tokenizer: Encoder) -> int:
    """Id of the first token of an item's text read by itself, -1 when it is empty: for the item's own record, before anything is settled."""
    raise NotImplementedError
