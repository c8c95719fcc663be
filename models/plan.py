"""Items of a session -> tokens in order, with what falls between them, and the runs of the window that the trunk must see.

Knows how text and utterances become tokens; leaves hidden states and decisions to walk.py. Pure: it needs no tensor.
Next: models/encoder.py
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from models import reader
from models.config import BufferSettings
from models.reader import Break, Reading
from models.session_state import TextState
from models.steps import Item
from models.tokenizer import WordTokenizer, speaker_mark
from models.window import Window, from_bytes, unpack_starts

UTTERANCE_TOKENS = 256
"""Tokens of an utterance that are read, its speaker's mark included."""
UTTERANCE_CHARACTERS = 8192
"""Characters of an utterance that can become those tokens."""


class ItemEnd(msgspec.Struct, frozen=True):
    """Everything of an item is read."""

    item: Item
    first_token_id: int
    has_tokens: bool
    """It released tokens, its own or held ones."""
    mark: int = -1
    """chat: who spoke."""
    buffer_tokens: int = 0
    """Tokens in the window after it."""


class SessionEnd(msgspec.Struct, frozen=True):
    """Everything held back is released; every span closes."""

    characters: int
    """tokens: of the session's text so far."""


class Tokens(msgspec.Struct, frozen=True):
    """Tokens go by."""

    count: int
    text: str
    """What they say, whole pre-tokens; of tokens around a cut the first part has all of it."""


class Cut(msgspec.Struct, frozen=True):
    """The window is cut before the next token: what the levels know now is what the new window remembers."""


Event = Tokens | Cut | Break | ItemEnd | SessionEnd


@dataclass(slots=True)
class Plan:
    """What a session's new items are, before any arithmetic."""

    window: Window
    reader: reader.ReaderState
    speakers: tuple[str, ...]
    ids: list[int] = field(default_factory=list)
    """New tokens, all of them."""
    events: list[Event] = field(default_factory=list)
    watch: list[int] = field(default_factory=list)
    """Places in `ids` whose attention an item wants to see."""


def plan(
    state: TextState, items: Sequence[Item], tokenizer: WordTokenizer, settings: BufferSettings, n_sinks: int, is_chat: bool, closes: bool
) -> Plan:
    """Read all items; `closes` ends the session after them even when no item says so."""
    window = Window(settings, n_sinks, from_bytes(state.window), unpack_starts(state.starts), state.since_us)
    made = Plan(window, state.reader, state.speakers)
    for item in items:
        if window.tick(item.timestamp_us):
            made.events.append(Cut())
        (_utterance if is_chat else _piece)(made, item, tokenizer)
        if item.ends_session:
            _end(made, tokenizer)
    if closes:
        _end(made, tokenizer)
    return made


def _piece(made: Plan, item: Item, tokenizer: WordTokenizer) -> None:
    made.reader, reading = reader.read(made.reader, item.text, item.position, tokenizer)
    _take(made, reading, tokenizer)
    _finish_item(made, item, reader.first_token(item.text, tokenizer), bool(reading.tokens), -1)


def _utterance(made: Plan, item: Item, tokenizer: WordTokenizer) -> None:
    mark, made.speakers = speaker_mark(item.speaker, made.speakers)
    ids = [mark, *tokenizer.encode(item.text[:UTTERANCE_CHARACTERS])][:UTTERANCE_TOKENS]
    made.window.begin_sentence()
    _tokens(made, ids, tokenizer)
    _finish_item(made, item, ids[1] if len(ids) > 1 else -1, True, mark)


def _finish_item(made: Plan, item: Item, first_token_id: int, has_tokens: bool, mark: int) -> None:
    if item.wants_state and has_tokens:
        made.watch.append(len(made.ids) - 1)
    made.events.append(ItemEnd(item, first_token_id, has_tokens, mark, len(made.window.ids)))


def _end(made: Plan, tokenizer: WordTokenizer) -> None:
    made.reader, reading = reader.finish(made.reader, tokenizer)
    _take(made, reading, tokenizer)
    made.events.append(SessionEnd(made.reader.characters))
    made.window.begin_sentence()


def _take(made: Plan, reading: Reading, tokenizer: WordTokenizer) -> None:
    """Tokens and breaks in the order in which any split of the text gives them."""
    ids, at = [token.id for token in reading.tokens], 0
    for found in reading.breaks:
        _tokens(made, ids[at : found.at], tokenizer)
        at = found.at
        made.events.append(found)
        if found.kind == "sentence":
            made.window.begin_sentence()
    _tokens(made, ids[at:], tokenizer)


def _tokens(made: Plan, ids: Sequence[int], tokenizer: WordTokenizer) -> None:
    """Whole pre-tokens."""
    if not ids:
        return
    made.ids += ids
    text, first = tokenizer.decode(ids), 0
    for place in (*made.window.append(ids), len(ids)):
        if place > first:
            made.events.append(Tokens(place - first, text))
            text = ""
        if place < len(ids):
            made.events.append(Cut())
        first = place
