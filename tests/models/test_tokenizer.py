"""The tokenizer loses nothing, stays under its cap and gives a word the same ids wherever it stands."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tokenizer import SPECIALS, load_tokenizer, split_words, train_tokenizer

TOKENIZER = load_tokenizer(Path(__file__).parents[2] / "models/weights/text-small/tokenizer.json")
ODD = [
    "",
    " ",
    "\n\n\n\n\n\n",
    "a" * 100,
    "\ud800 lone",
    "👩‍🔬é\u0301",
    "مرحبا",
    "<bos><eot>",
    "\x00\x01",
    "don't  say 'tis\t\tso_far__12345",
]


@pytest.mark.parametrize("text", ODD)
def test_odd_text_comes_back(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.text(alphabet=st.characters(), max_size=60))
def test_any_text_comes_back_from_words_and_ids(text):
    assert "".join(split_words(text)) == text
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_text_never_encodes_to_a_mark():
    assert min(TOKENIZER.encode("".join(SPECIALS))) >= len(SPECIALS)


def test_vocabulary_cap_is_hard():
    assert train_tokenizer(["some words to merge, some words more"] * 50, 300).vocab_size <= 300
    assert TOKENIZER.vocab_size == 4096


def test_words_are_short_whatever_the_text():
    assert max(map(len, split_words("x" * 10_000 + " " + "1" * 99 + "!" * 99 + "\n" * 99 + " " * 99))) <= 25
