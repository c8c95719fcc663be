"""Sentence and paragraph ends by rule and by model: what a reader of the text would say."""

import gzip
import itertools
import json
from pathlib import Path

import pytest

from models.boundaries import Context, advance, is_bare, is_foreign, next_marker
from models.boundary_net import AFTER, BEFORE, net, places, products, units
from models.boundary_scorer import features, judge, look_again, probability, scorer, total
from models.reader import Break, ReaderState, finish, read


class Letters:
    """A token per character: enough to read with."""

    def encode_word(self, pretoken: str) -> list[int]:
        return [ord(c) for c in pretoken]

    def n_bytes(self, token_id: int) -> int:
        return len(chr(token_id).encode())


def breaks_of(text: str, kind: str = "sentence") -> list[Break]:
    state, first = read(ReaderState(), text, 0, Letters())
    _, last = finish(state, Letters())
    return [b for b in (*first.breaks, *last.breaks) if b.kind == kind]


def split(text: str, kind: str = "sentence") -> list[str]:
    cuts = [0, *(b.text_offset for b in breaks_of(text, kind)), len(text)]
    return [text[a:b].strip() for a, b in itertools.pairwise(cuts)]


@pytest.mark.parametrize(
    "marked",
    [
        "What is your name? | My name is Jonas.",
        "My name is Jonas E. Smith.",
        "Please turn to p. 55.",
        "Let's ask Jane and co. | They should know.",
        "St. Michael's Church is on 5th st. near the light.",
        "That is JFK Jr.'s book.",
        "I live in the U.S. | How about you?",
        "I visited the U.S.A. last year.",
        "At 5 a.m. Mr. Smith went to the bank. | He left the bank at 6 P.M. | Mr. Smith then went to the store.",
        "She has $100.00 in her bag. | It is 3.5 kg.",
        "He teaches science (He previously worked for 5 years as an engineer.) at the local University.",
        "She turned to him, 'This is great.' she said.",
        "Hello?! | Is that you?",
        "1.) The first item | 2.) The second item",
        "1. The first item. | 2. The second item.",
        "• 9. The first item | • 10. The second item",
        "a. The first item | b. The second item | c. The third list item",
        "I wasn’t really ... well, what I mean...see . . . what I'm saying, the thing is . . . I didn’t mean it.",
        "It was weakened . . . was that of combining words into compounds. | . . . The practice was not abandoned. . . .",
        "Write to jane.doe@example.com or see http://example.com/a.html for it. | It is in main.py there.",
        "We met Dr. Brown, e.g. at the fair in Jan. 2020, and it was good.",
        "First line of the heading\n\n | It starts here.",
    ],
)
def test_english_is_cut_where_a_reader_would(marked: str):
    assert split(marked.replace(" | ", " ").replace("\n ", "\n")) == [part.strip() for part in marked.split(" | ")]


@pytest.mark.parametrize(
    "marked",
    [
        "hi , martha . | how are you ? | i'm fine , and you ?",
        "so i told him that it was late . | he did not listen to me . | we went home .",
        "i went to the shop and it was closed. | then we walked home in the rain. | it was cold.",
    ],
)
def test_transcripts_without_capitals_are_cut(marked: str):
    assert split(marked.replace(" | ", " ")) == marked.split(" | ")


@pytest.mark.parametrize(
    "marked",
    [
        "これはペンです。|それはマーカーです。",
        "我们明天一起去看电影好吗？|好！|走吧。",
        "यह पहला वाक्य है। |यह दूसरा वाक्य है।",
        "ماذا حدث بعد الانتخابات الايرانية؟ |طرح الكثير من التساؤلات غداة ظهور نتائج الانتخابات.",
        "Początkowo dynastia ta walczyła zaciekle, m.in. z sąsiadami, np. Czechami, do końca XV w. |Potem nastał spokój na całej ziemi.",
    ],
)
def test_other_languages_are_cut_at_their_terminators(marked: str):
    assert split(marked.replace("|", "")) == [part.strip() for part in marked.split("|")]


def test_blank_line_ends_sentence_and_paragraph_at_one_place():
    text = "A title\n  \nThe first paragraph goes on\nover two lines. Then more.\n\n\nAnd the next."
    assert split(text, "paragraph") == ["A title", "The first paragraph goes on\nover two lines. Then more.", "And the next."]
    places = {b.text_offset for b in breaks_of(text)}
    assert {b.text_offset for b in breaks_of(text, "paragraph")} <= places
    assert split(text)[1] == "The first paragraph goes on\nover two lines."


def test_line_breaks_of_lists_and_headings_end_sentences_and_wrapped_lines_do_not():
    assert split("# Fruit\n- apples\n- pears\n2. plums") == ["# Fruit", "- apples", "- pears", "2. plums"]
    wrapped = "The men of the village came down to the water in the evening,\nwhere the boats lay, and they talked about\nthe weather."
    assert split(wrapped) == [wrapped]
    assert split("It ended there, late at night.\n    The next day they began again.", "paragraph") == [
        "It ended there, late at night.",
        "The next day they began again.",
    ]


def test_a_boundary_says_what_was_around_it_and_who_decided():
    found = breaks_of("It was late. They went home.\n\nNext day.")
    assert [b.detected_by for b in found] == ["model", "rule"]
    assert found[0].context_before == "It was late."
    assert found[0].context_after == "They"
    assert found[0].text_offset == 13
    assert all(0.5 < b.confidence <= 1 for b in found)


def test_list_markers_count_on():
    assert [next_marker(m) for m in ("1.", "9)", "2.)", "a.", "12.", "A.", "U.S.", "word.", "1")] == [
        "2.",
        "10)",
        "3.)",
        "b.",
        "13.",
        "",
        "",
        "",
        "",
    ]


def test_context_stays_small_and_forgets():
    context, before = Context(), ""
    for i in range(5000):
        context = advance(context, before, 1, "((((" if i % 2 else "Word", False)
        before = "Word"
    assert context.words == 99
    assert context.depth == 9
    assert context.counted <= 60
    assert context.line == 999


def after(text: str) -> Context:
    """The context after words joined by single spaces, none of which begins a sentence."""
    context, before = Context(), ""
    for word in text.split():
        context = advance(context, before, 1, word, False)
        before = f"{before} {word}" if before else word
    return context


def test_probability_is_the_same_bits_every_time():
    value = total(features("He went home.", "They", Context()), scorer().first)
    assert probability(value, scorer().first) == probability(value, scorer().first) > 0.5


def test_the_net_gives_the_same_bits_in_any_order_of_adding():
    """Its numbers are multiples of powers of two, so that no processor rounds them differently."""
    model, around = net(), places("we went home and then it was", "very", ("late", "so", "we"))
    assert len(around) == BEFORE + AFTER
    parts = [products(word)[place] for place, word in enumerate(around)]
    forward, backward = model.lengths[3].copy(), model.lengths[3].copy()
    for part in parts:
        forward = forward + part
    for part in reversed(parts):
        backward = backward + part
    assert (forward == backward).all()
    exact = sum(p.astype("float64") for p in parts) + model.lengths[3].astype("float64")
    assert (forward == exact).all()
    assert (units("we went home and then it was", "very", ("late", "so", "we"), 3) >= 0).all()


def test_words_of_another_line_are_hidden_from_the_net():
    assert places("An old line\nhere", "we", ()) == (None, None, None, None, None, "here", "we", None, None, None)


def test_text_is_bare_until_it_has_a_capital_or_a_mark():
    assert is_bare(after("so we went home and then it rained"))
    assert not is_bare(Context())
    assert not is_bare(after("so we went home, and then it rained"))
    assert not is_bare(after("so we went to Paris and then it rained"))


def test_names_and_dates_are_not_taken_for_a_foreign_language():
    assert not is_foreign(after("Pam Butler Renee Ratcliff Larry Lewis Tom Martin Scott Neal Phillip Allen Monday July 2 Portland"))
    assert is_foreign(after("das ist ein kurzer Satz in einer anderen Sprache und er geht noch etwas weiter"))


def test_speech_without_case_and_marks_is_cut():
    found = split("so i told him that we were late yesterday he said he did not care about it at all what do you think we should do now")
    assert found == [
        "so i told him that we were late yesterday",
        "he said he did not care about it at all",
        "what do you think we should do now",
    ]


def test_what_follows_can_change_an_uncertain_decision():
    context = after("i told them about it and")
    assert is_bare(context)
    assert judge("i told them about it", 1, 0, "you", None, context).kind == "unsure"
    alone, more = (units("i told them about it", "you", ahead, 5) for ahead in ((), ("know", "what", "i")))
    assert (alone != more).any()
    assert look_again("i told them about it", "you", (), context).kind in ("", "sentence")


SHARED = Path(__file__).parents[3] / "shared" / "data" / "sentences"


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data sets are not here")
def test_sentence_ends_of_ewt_dev_beat_the_rules():
    """`.!?` rule 0.919, pySBD 0.908 on the same set."""
    tp = fp = fn = 0
    with gzip.open(SHARED / "ewt.jsonl.gz", "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if record["split"] == "dev":
                text, truth = record["text"], set(record["sent_end"])
                found = {len(text[: b.text_offset].rstrip()) for b in breaks_of(text)} | {len(text.rstrip())}
                tp, fp, fn = tp + len(truth & found), fp + len(found - truth), fn + len(truth - found)
    assert 2 * tp / (2 * tp + fp + fn) > 0.95
