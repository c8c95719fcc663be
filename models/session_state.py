"""TextState: what a session of text or chat has said so far, and its bytes.

Knows every field that cannot be recomputed; leaves caches out, which can. Below 16 KB whatever the session, exact to the bit, never pickle.
Next: models/transformer.py
"""

from typing import Any

import msgspec
import numpy as np
import torch

from models.config import ModelConfig
from models.levels_row import empty_row
from models.levels_row import pack as pack_levels
from models.reader import ReaderState
from models.tokenizer import CHAT, TEXT, sinks
from models.window import to_bytes

LAYOUT = 2
"""First byte of the packed state; of the first layout what still holds is taken over, another is refused, not guessed."""
MAX_WEIGHTS = 24
"""Attention weights kept per level: of the last tokens, sentences or paragraphs."""


class StateError(ValueError):
    """Bytes that are no state of this model; the session must start anew or another version must read them."""

    retriable = False


class TextState(msgspec.Struct, array_like=True, frozen=True):
    """One session. Vectors are bytes, float32 or float16 as each field says; positions count items."""

    window: bytes
    """Token ids in the window, uint16, sinks first."""
    levels: bytes
    """Every tensor of hierarchy.Levels, in the order of its fields; members of rings in half precision."""
    sums: bytes
    """Of the open sentence, float32: weighted hidden states and their weight, word vectors and how many."""
    memory: bytes = b""
    """float16 (3, S): document, topic and paragraph as they were when the window was cut last; empty before."""
    n_items: int = 0
    """Items so far: the next one's position."""
    closed_at: int = -1
    """n_items when the session was last closed; -1 never."""
    characters: int = 0
    """chat: characters of all utterances."""
    reader: ReaderState = ReaderState()
    starts: bytes = b""
    """Sentence starts in the window, a bit for each place."""
    since_us: int = -1
    hidden: bytes = b""
    """Hidden state of the last token, float16, which predicts the next; empty before the first token and in chat."""
    speakers: tuple[str, ...] = ()
    last_speaker: int = -1
    n_sentences: int = 0
    """Sentences closed in the levels."""
    n_tokens: int = 0
    """Tokens of the open sentence."""
    sentence: tuple[int, int, str, str] = (0, 0, "", "")
    """Open sentence: first item, characters before it, context before and after its start."""
    begins_paragraph: bool = True
    """The open sentence is the first of a paragraph."""
    paragraph_start: int = 0
    topic_start: int = 0
    emitted: tuple[int, int, int] = (-1, -1, -1)
    """Last position with a sentence, paragraph, topic boundary."""
    covered: int = 0
    """Items whose surprise was told."""
    nats: float = 0.0
    """Since `covered`."""
    n_surprised: int = 0
    """Tokens in `nats`."""
    token_weights: bytes = b""
    """Attention weights inside the open sentence, paragraph, topic and the document, float32, of the last MAX_WEIGHTS members."""
    paragraph_weights: bytes = b""
    topic_weights: bytes = b""
    document_weights: bytes = b""
    topic_logits: bytes = b""
    """Sum of the class logits of the open topic's sentences, float32; empty before the first."""
    n_topic: int = 0
    """Sentences in it."""
    session_classes: bytes = b""
    """Sum of the class probabilities of all sentences, float32."""
    session_meaning: bytes = b""
    """Sum of what they mean, float32 (W,)."""


def new_state(config: ModelConfig, is_chat: bool) -> TextState:
    sums = np.zeros(config.width + config.word_width + 2, np.float32)
    marks = sinks(CHAT if is_chat else TEXT, config.n_sinks)
    return TextState(window=to_bytes(marks), levels=pack_levels(empty_row(config), config), sums=sums.tobytes())


def begun(config: ModelConfig, is_chat: bool, position: int) -> TextState:
    """Of a session whose first item is at `position`: 0, unless items are missing or what was known of them is lost."""
    return changed(
        new_state(config, is_chat), sentence=(position, 0, "", ""), paragraph_start=position, topic_start=position, covered=position
    )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(TextState)


def pack(state: TextState) -> bytes:
    """Layout byte, then msgpack."""
    return bytes((LAYOUT,)) + _encoder.encode(_with_spans(state, -1))


def _with_spans(state: TextState, sign: int) -> TextState:
    """Items of held text counted from the one before (sign -1), as rows have them, or back (1): 173 spans took 11 bytes each."""
    spans, at = [], 0
    for item, size in state.reader.spans:
        spans.append((item + sign * at, size))
        at = item if sign < 0 else item + at
    return changed(state, reader=msgspec.structs.replace(state.reader, spans=tuple(spans))) if spans else state


def unpack(data: bytes, config: ModelConfig) -> TextState:
    """Raises StateError for bytes that no version of this model wrote."""
    layout = data[0] if data else None
    try:
        if layout == LAYOUT:
            state = _with_spans(_decoder.decode(data[1:]), 1)
            return state if _fits(state, config) else _anew(state.window, {name: getattr(state, name) for name in KEPT_OF_FIRST}, config)
        if layout == FIRST_LAYOUT:
            return _from_first(msgspec.msgpack.decode(data[1:]), config)
    except (msgspec.DecodeError, msgspec.ValidationError, LookupError, TypeError, ValueError) as problem:
        raise StateError(
            f"text session state of {len(data)} bytes cannot be read ({problem}); replay the session from its start"
        ) from problem
    raise StateError(
        f"text session state of layout {layout}; this version reads {FIRST_LAYOUT} and {LAYOUT}: replay the session from its start"
    )


FIRST_LAYOUT = 1
KEPT_OF_FIRST = {
    "n_items": 3, "closed_at": 4, "characters": 5, "reader": 6, "speakers": 10, "last_speaker": 11, "sentence": 14, "begins_paragraph": 15,
    "paragraph_start": 16, "topic_start": 17, "emitted": 18, "covered": 19,
}  # fmt: skip
"""Field -> its place in the first layout: where the session is, and what was held back of its text."""


def _from_first(fields: list[Any], config: ModelConfig) -> TextState:
    """A session of the first model goes on where it was, its text numbered on, with nothing in the window and empty levels."""
    types = {f.name: f.type for f in msgspec.structs.fields(TextState)}
    kept = {name: msgspec.convert(fields[place], types[name]) for name, place in KEPT_OF_FIRST.items()}
    return _anew(fields[0], kept, config)


def _fits(state: TextState, config: ModelConfig) -> bool:
    """The state is of a model of this shape."""
    empty, n_classes = new_state(config, is_chat=False), len(config.labels)
    sizes = {"topic_logits": 4 * n_classes, "session_classes": 4 * n_classes, "session_meaning": 4 * config.word_width}
    sizes |= {"hidden": 2 * config.width, "memory": 6 * config.sentence_width}
    return (
        len(state.levels) == len(empty.levels)
        and len(state.sums) == len(empty.sums)
        and all(len(getattr(state, name)) in (0, size) for name, size in sizes.items())
    )


def _anew(window: bytes, kept: dict[str, Any], config: ModelConfig) -> TextState:
    """A session that another model read so far: where it is, with nothing in the window."""
    is_chat = np.frombuffer(window, np.uint16)[1] == CHAT
    return changed(new_state(config, bool(is_chat)), **kept)


def pack_memory(document: torch.Tensor, topic: torch.Tensor, paragraph: torch.Tensor) -> bytes:
    """Three level vectors, float32 (1, S) each, in half precision."""
    return torch.cat((document, topic, paragraph)).numpy().astype(np.float16).tobytes()


def unpack_memory(data: bytes) -> torch.Tensor:
    """float32 (3, S); the state's memory must not be empty."""
    return torch.from_numpy(np.frombuffer(data, np.float16).astype(np.float32).reshape(3, -1))


def changed(state: TextState, **fields: object) -> TextState:
    """The state with other values in some fields."""
    return msgspec.structs.replace(state, **fields)
