"""Reader: live text in pieces -> tokens in order, with settled sentence and paragraph boundaries between them.

Knows characters, items and what is held back until a later character settles it; leaves token ids to tokenizer.py, the decision
whether a sentence ends to boundary_scorer.py, tensors to nobody: this file has none. Pure: state and piece in, state and Reading out.
Law: the same text in any split gives the same token ids and the same boundaries; only `position` and `items_late` name the split.
A word is read when the character after it is known, and its tokens are released when the gap before it is decided: mostly at once,
else one word later, or up to three where the first look is not sure. Held back are so at most the gap's white space (48 characters),
the word (64) and 64 characters after it.
Next: models/transformer.py
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

import msgspec

from models.boundaries import CJK_TERMINATORS, CLOSERS, NOTHING, SPACE, WAIT, Context, Verdict, advance
from models.boundary_scorer import UNSURE, judge, look_again
from models.tokenizer import PRETOKEN

UNIT = re.compile(rf"(\s*)((?:[^\s{CJK_TERMINATORS}]{{0,55}}[{CJK_TERMINATORS}]{{1,4}}[{re.escape(CLOSERS)}]{{0,5}})|\S{{1,64}})")
"""White space and the word after it: up to a CJK terminator and its closing brackets, else up to white space or 64 characters."""

LONGEST_SPACE = 48
"""White space beyond it is released before the word after it is known."""

AHEAD, AHEAD_CHARACTERS = 3, 64
"""Words after the next one that an uncertain gap may wait for, and the characters within which they must end."""

LOOKBACK = 96
"""Characters of the text before a gap that its decision may see, white space collapsed."""

CONTEXT = 40
"""Characters of a boundary's context before and after."""

SURROGATE = re.compile("[\ud800-\udfff]")
APOSTROPHE = frozenset("rvl")
"""After an apostrophe one of these may become a contraction with the next letter, so one character more is awaited."""


class Encoder(Protocol):
    """What the reader needs of tokenizer.py."""

    def encode_word(self, pretoken: str) -> Sequence[int]:
        """Ids of one pre-token (of tokenizer.split_words), at least one for a non-empty text."""
        ...

    def n_bytes(self, token_id: int) -> int:
        """UTF-8 bytes of a token's text."""
        ...


class Token(msgspec.Struct, frozen=True):
    """One model token."""

    id: int
    position: int
    """Item that brought the token's first character that is not white space (of white space alone: its first character)."""


class Break(msgspec.Struct, frozen=True):
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
    """Probability that the boundary is right, 0..1; calibrated on held-out text where `detected_by` is model."""
    detected_by: str
    """rule or model."""
    context_before: str
    """At most 40 characters before, white space shortened."""
    context_after: str
    """What had to be read of the new segment to settle it: one to four words, at most 40 characters."""
    items_late: int
    """Items read after the one at `position` when this was settled: 0 = settled by that item."""


class Reading(msgspec.Struct, frozen=True):
    """What one piece settled. Walk it as: for each break in order, tokens up to `at`, then the break; then the remaining tokens."""

    tokens: tuple[Token, ...] = ()
    breaks: tuple[Break, ...] = ()


class ReaderState(msgspec.Struct, frozen=True):
    """What a session's text so far leaves behind; below 4 KB whatever the text. msgspec packs it with stable bytes."""

    characters: int = 0
    """Characters read, held ones included."""
    held: str = ""
    """The last characters read, not yet tokens."""
    spans: tuple[tuple[int, int], ...] = ()
    """Where `held` came from, in order: (position of the item, characters of it)."""
    judged: int = 0
    """Characters of `held` in words already judged."""
    gap: tuple[int, int] = (0, 0)
    """White space of the open gap that is released already: its line breaks, at most 2, and the blanks after the last one, at most 8."""
    before: str = ""
    """The end of the judged text, white space collapsed."""
    context: Context = Context()
    sentence_position: int = 0
    """Item that holds the first character of the open sentence."""
    sentence_offset: int = 0
    """Characters before the open sentence."""
    paragraph_position: int = 0
    paragraph_offset: int = 0
    sentences: int = 0
    """Sentences closed so far."""


def read(state: ReaderState, text: str, position: int, tokenizer: Encoder) -> tuple[ReaderState, Reading]:
    """Read the item at `position` and return all that it settled. An empty text settles nothing."""
    if not text:
        return state, Reading()
    if not text.isascii():
        text = SURROGATE.sub("\ufffd", text)
    return _settle(state, text, position, tokenizer, final=False)


def finish(state: ReaderState, tokenizer: Encoder) -> tuple[ReaderState, Reading]:
    """End of the session: everything held becomes tokens. The last sentence closes without a break, for nothing begins after it."""
    return _settle(state, "", state.spans[-1][0] if state.spans else state.sentence_position, tokenizer, final=True)


def first_token(text: str, tokenizer: Encoder) -> int:
    """Id of the first token of an item's text read by itself, -1 when it is empty: for the item's own record, before anything is settled."""
    match = PRETOKEN.match(SURROGATE.sub("\ufffd", text[:32]))
    return tokenizer.encode_word(match.group())[0] if match else -1


def _settle(state: ReaderState, text: str, position: int, tokenizer: Encoder, final: bool) -> tuple[ReaderState, Reading]:
    """Judge every gap whose words are known, and release the tokens up to the last one."""
    buffer = state.held + text
    end = len(buffer)
    origin = state.characters - len(state.held)  # offset of buffer[0] in the session's text
    output = _Output(buffer, _starts(state.spans, len(text), position), tokenizer, final)
    at, (newlines, blanks), before, context = state.judged, state.gap, state.before, state.context
    sentence, paragraph = (state.sentence_position, state.sentence_offset), (state.paragraph_position, state.paragraph_offset)
    sentences = state.sentences
    match = UNIT.match(buffer, at)
    while match is not None:
        start, stop = match.span(2)
        if stop == end and not final:
            break
        # 1. the gap before the word: one word of what follows may be needed to judge it
        gap, indent = gap_of(buffer[at:start], newlines, blanks)
        word = match.group(2)
        following = UNIT.match(buffer, stop)
        seen = stop
        verdict = judge(before, gap, indent, word, None, context)
        if verdict is WAIT:
            known = second_word(buffer, following, stop, final)
            if known is None:
                break
            second, seen = known
            verdict = judge(before, gap, indent, word, second, context)
        if verdict is UNSURE:
            ahead = words_ahead(buffer, stop, final)
            if ahead is None:
                break
            words, seen = ahead
            verdict = look_again(before, word, words, context)
        # 2. the boundary, after the tokens before it
        if verdict.kind:
            output.release(start)
            sentence = (output.item_of(start), origin + start)
            sentences += 1
            output.mark(verdict, *sentence, before[-CONTEXT:], buffer[start : min(seen, start + CONTEXT)], position)
            if verdict.kind == "paragraph":
                paragraph = sentence
        elif not before:  # the session's first word
            sentence = paragraph = (output.item_of(start), origin + start)
        # 3. the word
        output.release(stop)
        context = advance(context, before, gap, word, bool(verdict.kind))
        before = extend(before, gap, word)
        at, newlines, blanks, match = stop, 0, 0, following
    if final:
        at = end
        output.release(end)
    else:
        space = (end if match is None else match.start(2)) - at
        if space > LONGEST_SPACE:  # of white space without end only line breaks and last blanks matter
            gap, blanks = gap_of(buffer[at : at + space - 16], newlines, blanks)
            newlines, at = gap - SPACE, at + space - 16
            output.release(at)
    done = output.released
    after = ReaderState(
        state.characters + len(text), buffer[done:], output.spans_from(done), at - done, (newlines, blanks), before, context,
        *sentence, *paragraph, sentences,
    )  # fmt: skip
    return after, Reading(tuple(output.tokens), tuple(output.breaks))


def second_word(buffer: str, following: re.Match[str] | None, stop: int, final: bool) -> tuple[str, int] | None:
    """The word after the one that ends at `stop`, and where it ends; None when more text could change it.

    Empty when it is on another line, far away, or part of the first one. Lone dots are taken together with what follows: `. . The`.
    """
    words: list[str] = []
    end, at = len(buffer), stop
    while len(words) < 4:
        space = (following.start(2) if following is not None else end) - at
        if following is None and not final and space <= LONGEST_SPACE:
            return None
        if following is None or not 0 < space <= LONGEST_SPACE or "\n" in following.group(1):
            break
        if following.end() == end and not final:
            return None
        words.append(following.group(2))
        at = following.end()
        if words[-1] != ".":
            break
        following = UNIT.match(buffer, at)
    return " ".join(words), at


def words_ahead(buffer: str, stop: int, final: bool) -> tuple[tuple[str, ...], int] | None:
    """The words after the one that ends at `stop`, and where the last ends; None when more text could change them.

    On the same line, at most three, within 64 characters.
    """
    words: list[str] = []
    at, limit, end = stop, stop + AHEAD_CHARACTERS, len(buffer)
    while len(words) < AHEAD:
        match = UNIT.match(buffer, at)
        space = buffer[at : match.start(2)] if match is not None else buffer[at:]
        if "\n" in space or (match is not None and not space) or at + len(space) >= limit:
            break
        if match is None or match.end() == end:
            if not final and end <= limit:
                return None
            if match is None:
                break
        if match.end() > limit:
            break
        words.append(match.group(2))
        at = match.end()
    return tuple(words), at


def extend(before: str, gap: int, word: str) -> str:
    """The text before the next gap, white space collapsed."""
    return (before + ("", " ", "\n", "\n\n")[gap] + word)[-LOOKBACK:] if before else word


def gap_of(space: str, newlines: int, indent: int) -> tuple[int, int]:
    """Kind of a gap's white space and the blanks after its last line break, what was released of it before included."""
    if space == " " and not newlines:
        return SPACE, min(8, indent + 1)
    if not space and not newlines and not indent:
        return NOTHING, 0
    line = space.rfind("\n")
    newlines = min(2, newlines + space.count("\n"))
    return SPACE + newlines, min(8, len(space) - line - 1 if line >= 0 else indent + len(space))


def _starts(spans: tuple[tuple[int, int], ...], n_new: int, position: int) -> list[tuple[int, int]]:
    """(offset in the buffer, item) of every item in it, in order."""
    starts, at = [], 0
    for item, size in spans:
        starts.append((at, item))
        at += size
    if n_new:
        starts.append((at, position))
    return starts


class _Output:
    """Tokens and breaks of one reading as they are released, and where the buffer's characters came from."""

    __slots__ = ("breaks", "buffer", "encoder", "final", "following", "matches", "released", "starts", "tokens")

    def __init__(self, buffer: str, starts: list[tuple[int, int]], encoder: Encoder, final: bool):
        self.buffer, self.starts, self.encoder, self.final = buffer, starts, encoder, final
        self.tokens: list[Token] = []
        self.breaks: list[Break] = []
        self.released = 0
        self.matches = PRETOKEN.finditer(buffer)
        self.following: re.Match[str] | None = next(self.matches, None)

    def item_of(self, offset: int) -> int:
        """The item that brought a character of the buffer."""
        return self.starts[bisect_right(self.starts, offset, key=_first) - 1][1]

    def release(self, limit: int) -> None:
        """Make tokens of all pre-tokens that end by `limit`; at least one character after it is known, or none will come."""
        match, buffer, starts, tokens, encode = self.following, self.buffer, self.starts, self.tokens, self.encoder.encode_word
        while match is not None and (stop := match.end()) <= limit:
            word, start = match.group(), match.start()
            if word == "'" and not self.final and stop + 1 == len(buffer) and buffer[stop] in APOSTROPHE:
                break
            if word[0] == " " and len(word) > 1:
                start += 1
            item = starts[-1][1] if start >= starts[-1][0] else self.item_of(start)
            ids = encode(word)
            if len(ids) == 1 or item == self.item_of(stop - 1):
                for token_id in ids:
                    tokens.append(Token(token_id, item))
            else:
                self._spread(word, ids, match.start())
            self.released = stop
            match = next(self.matches, None)
        self.following = match

    def _spread(self, word: str, ids: Sequence[int], start: int) -> None:
        """Tokens of a pre-token that came in several items: each has the item of its own first character."""
        character = [i for i, c in enumerate(word) for _ in range(len(c.encode("utf-8")))]
        at = 0
        for token_id in ids:
            i = character[min(at, len(character) - 1)]
            self.tokens.append(Token(token_id, self.item_of(start + i + (word[i] == " "))))
            at += self.encoder.n_bytes(token_id)

    def mark(self, verdict: Verdict, item: int, offset: int, context_before: str, context_after: str, position: int) -> None:
        """A boundary after the tokens released so far; `position` is the item being read."""
        for kind in ("sentence", "paragraph") if verdict.kind == "paragraph" else ("sentence",):
            found = (len(self.tokens), item, offset, verdict.confidence, verdict.detected_by, context_before, context_after)
            self.breaks.append(Break(kind, *found, position - item))

    def spans_from(self, offset: int) -> tuple[tuple[int, int], ...]:
        """(item, characters) of the buffer from an offset on."""
        end, starts = len(self.buffer), self.starts
        if offset >= end:
            return ()
        if offset >= starts[-1][0]:
            return ((starts[-1][1], end - offset),)
        stops = [at for at, _ in starts[1:]] + [end]
        return tuple((item, stop - max(at, offset)) for (at, item), stop in zip(starts, stops) if stop > offset)


def _first(start: tuple[int, int]) -> int:
    return start[0]
