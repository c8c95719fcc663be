"""Reading live text: the same tokens and boundaries in any split, nothing lost, nothing held without bound."""

import itertools
import random
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.reader import Break, ReaderState, Token, finish, first_token, read
from models.tokenizer import split_words


class Halves:
    """Two tokens for each pre-token longer than a character; ids name their text."""

    def __init__(self):
        self.texts: list[str] = []
        self.ids: dict[str, int] = {}

    def _id(self, text: str) -> int:
        if text not in self.ids:
            self.ids[text] = len(self.texts)
            self.texts.append(text)
        return self.ids[text]

    def encode_word(self, pretoken: str) -> list[int]:
        half = len(pretoken) // 2
        return [self._id(part) for part in (pretoken[:half], pretoken[half:]) if part]

    def n_bytes(self, token_id: int) -> int:
        return len(self.texts[token_id].encode())


ENCODER = Halves()


def play(pieces: list[str]) -> list[Token | Break]:
    """Tokens and breaks in their order; the state is packed and unpacked between pieces."""
    state = ReaderState()
    events: list[Token | Break] = []
    for position, piece in enumerate([*pieces, None]):
        if piece is None:
            state, reading = finish(state, ENCODER)
        else:
            state, reading = read(msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ReaderState), piece, position, ENCODER)
        at = 0
        for found in reading.breaks:
            assert at <= found.at <= len(reading.tokens)
            events += [*reading.tokens[at : found.at], found]
            at = found.at
        events += reading.tokens[at:]
    assert state.held == ""
    assert state.characters == sum(map(len, pieces))
    return events


def unplaced(events: list[Token | Break]) -> list[object]:
    """Events without what may differ between splits: positions, and `at`, which counts within one reading."""
    return [
        e.id if isinstance(e, Token) else (e.kind, e.text_offset, e.confidence, e.detected_by, e.context_before, e.context_after)
        for e in events
    ]


def text_of(events: list[Token | Break]) -> str:
    return "".join(ENCODER.texts[e.id] for e in events if isinstance(e, Token))


def cut(text: str, places: list[int]) -> list[str]:
    marks = [0, *sorted(p % (len(text) + 1) for p in places), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(marks)]


SPEECH = (
    "so i told him that it was late and he did not listen to me we went home then what do you think about that i am not sure um\nokay yes "
    * 3
)

PROSE = """Dr. Smith's dog (a big one!) ran 3.5 miles. "Wait . . . what?" he said...and then\nstopped.\n\n  It wasn't 'em. 1. Apples
2. Pears • plums  hi , martha . how are you ?   See www.a.com/x.html e.g. at 5 p.m. He'd left; U.S. They'll go.\t\tEnd。次の文！「はい。」と言った。
Zażółć gęślą jaźń w 1990 r. Potem. e\u0301\u0301 👩‍👩‍👧 🏳️‍🌈 \u202bשלום עולם.\u202c नमस्ते। ठीक है। 's 'r 're 'v a'rvest \x00\x07 . . . . Next —– "Yes." No."""

CHARACTERS = st.one_of(
    st.sampled_from(
        [*list(" \n.,?!'\"()…。」:;-•*#1 2aAbIthe"), ". . ", "\n\n", "Mr.", " 's", "'re", "e.g.", " I ", "      ", "1.) ", "U.S. "]
    ),
    st.characters(codec="utf-8"),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(CHARACTERS, max_size=80).map("".join), st.lists(st.integers(0, 300), max_size=12))
def test_any_split_of_any_text_gives_the_same_tokens_and_boundaries(text: str, places: list[int]):
    whole = unplaced(play([text]))
    assert unplaced(play(cut(text, places))) == whole
    assert unplaced(play(list(text))) == whole


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=60))
def test_any_split_of_prose_gives_the_same_tokens_and_boundaries(places: list[int]):
    assert unplaced(play(cut(PROSE, places))) == unplaced(play([PROSE]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=60), st.integers(0, 300))
def test_any_split_of_bare_speech_gives_the_same_tokens_and_boundaries(places: list[int], start: int):
    text = SPEECH[start:]
    assert unplaced(play(cut(text, places))) == unplaced(play([text])) == unplaced(play(list(text)))


def test_what_is_held_for_an_uncertain_gap_is_bounded():
    state, longest = ReaderState(), 0
    for position, c in enumerate(SPEECH + ("a" * 63 + " ") * 20 + ("b" + " " * 45) * 20 + "we  went\t\thome " * 20):
        state, _ = read(state, c, position, ENCODER)
        longest = max(longest, len(state.held))
    assert 20 < longest <= 48 + 64 + 64 + 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [" " * 30, "\n", " " * 60, "x" * 40, "x" * 100, "。", "\t" * 50, "." * 70, ". ", "Mr. ", "A ", "'", "so we ", "ok"]
        ),
        max_size=12,
    ),
    st.integers(1, 9),
)
def test_long_runs_split_anywhere_give_the_same_tokens_and_boundaries(parts: list[str], width: int):
    text = "".join(parts)
    assert unplaced(play([text[i : i + width] for i in range(0, len(text), width)])) == unplaced(play([text]))


@pytest.mark.parametrize("text", [PROSE, "x" * 1000, " " * 300 + "a" + "\n" * 200 + "b", "don't 're 'r", ""])
def test_tokens_are_the_text_cut_as_the_tokenizer_was_trained(text: str):
    ids = [e.id for e in play(cut(text, [3, 50, 51, 52, 400])) if isinstance(e, Token)]
    assert ids == [i for word in split_words(text) for i in ENCODER.encode_word(word)]
    assert text_of(play(list(text))) == text


def test_tokens_name_the_item_of_their_first_character():
    events = play(["Hel", "lo", " wor", "ld. ", "", "Next", " one."])
    named = [(ENCODER.texts[e.id], e.position) for e in events if isinstance(e, Token)]
    assert named[:5] == [("He", 0), ("llo", 0), (" wo", 2), ("rld", 2), (".", 3)]
    assert named[5:] == [(" N", 5), ("ext", 5), (" ", 6), ("one", 6), (".", 6)] or named[5:] == [
        (" N", 5),
        ("ext", 5),
        (" o", 6),
        ("ne", 6),
        (".", 6),
    ]
    found = [e for e in events if isinstance(e, Break)]
    assert [(b.kind, b.position, b.text_offset, b.items_late) for b in found] == [("sentence", 5, 13, 1)]


def test_a_boundary_is_settled_by_the_word_after_it():
    state, _ = read(ReaderState(), "It is late. ", 0, ENCODER)
    state, reading = read(state, "They ", 1, ENCODER)
    assert [(b.kind, b.position, b.items_late, b.at) for b in reading.breaks] == [("sentence", 1, 0, 0)]
    assert (state.sentence_position, state.sentence_offset, state.sentences) == (1, 12, 1)


def test_whitespace_belongs_to_the_segment_before():
    events = play(["One two.\n\n  Three"])
    at = next(i for i, e in enumerate(events) if isinstance(e, Break))
    assert text_of(events[:at]) == "One two.\n\n "
    assert text_of(events[at:]) == " Three"
    assert [e.kind for e in events if isinstance(e, Break)] == ["sentence", "paragraph"]


def test_nothing_begins_after_the_last_sentence():
    assert not [e for e in play(["Only one.", "  \n\n ", ""]) if isinstance(e, Break)]
    assert play([]) == []
    assert play(["", ""]) == []


HOSTILE = {
    "no space": "x" * 100_000,
    "dots": "." * 10_000,
    "spaced dots": ". " * 5_000,
    "spaces after a title": "Mr. A" + " " * 100_000 + "b",
    "blank lines": "a." + "\n" * 50_000 + "B",
    "nul": "\x00" * 5_000 + " \x01\x1f\x7f.",
    "marks": "e" + "\u0301" * 20_000,
    "emoji": "👩‍👩‍👧🏳️‍🌈" * 3_000,
    "right to left": "\u202eשלום. " * 3_000,
    "cjk": "文" * 20_000 + "。" * 5_000,
    "quotes": "'" * 10_000 + '"' * 10_000,
    "surrogates": "\ud83d\ude00 a\udfff. " * 500,
    "brackets": "(((" * 9_000,
    "speech": "so we went home " * 2_000,
    "long bare words": ("a" * 63 + " ") * 500,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_read_and_the_state_stays_small(name: str):
    text = HOSTILE[name]
    state, size, largest, n_tokens = ReaderState(), 7, 0, 0
    for position, start in enumerate(range(0, min(len(text), 30_000), size)):
        state, reading = read(state, text[start : start + size], position, ENCODER)
        n_tokens += len(reading.tokens)
        if position % 50 == 0:
            largest = max(largest, len(msgspec.msgpack.encode(state)))
    assert largest < 4096
    assert n_tokens > 10 * (len(text) > 5000)
    state, reading = read(ReaderState(), text, 0, ENCODER)
    assert len(msgspec.msgpack.encode(state)) < 4096
    state, _ = finish(state, ENCODER)
    assert state.held == ""
    assert state.characters == len(text)


def test_one_character_pieces_keep_the_state_small():
    state = ReaderState()
    for position, c in enumerate(("Mr. A" + " " * 47 + "." + " " * 40 + "x" * 70 + "\u0301") * 20):
        state, _ = read(state, c, position + 10**12, ENCODER)
        assert len(msgspec.msgpack.encode(state)) < 8192


def test_lone_surrogates_read_as_replacement_characters():
    assert text_of(play(["a\ud83d", "\ude00b"])) == "a\ufffd\ufffdb"


def test_first_token_of_an_item_needs_no_state():
    assert ENCODER.texts[first_token("a b", ENCODER)] == "a"
    assert first_token("", ENCODER) == -1


def test_cost_of_a_piece_does_not_grow_with_the_text():
    words = [w + " " for w in (PROSE * 40).split(" ")]
    random.Random(0).shuffle(words)
    state, laps, position = ReaderState(), [], 0
    for _ in range(6):
        began = time.process_time()
        for word in words:
            state, _ = read(state, word, position, ENCODER)
            position += 1
        laps.append(time.process_time() - began)
    assert min(laps[3:]) < 2 * min(laps[:3])
