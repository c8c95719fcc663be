"""Laws of the session's n-grams: what is mixed is a probability, no split changes it, and a slow plain count agrees."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import ModelConfigError
from models.session_ngrams import ORDERS, TRUNK_ALONE, SessionNgrams, followers
from models.training.ngram_weights import likeliest

WEIGHTS = ((0.7, 0.3, 0, 0, 0), (0.5, 0.1, 0.4, 0, 0), (0.3, 0.1, 0.2, 0.4, 0), (0.2, 0.1, 0.1, 0.2, 0.4))
VOCABULARY = 5


def plainly(history: list[int], target: int, p: float) -> float:
    """The mixture as its definition says it."""
    shares, longest = [0.0] * (ORDERS + 1), -1
    for order in range(ORDERS + 1):
        run = history[len(history) - order :]
        followed = [history[at] for at in range(order, len(history)) if history[at - order : at] == run]
        if followed:
            shares[order], longest = followed.count(target) / len(followed), order
    if longest < 0:
        return p
    return WEIGHTS[longest][0] * p + sum(w * share for w, share in zip(WEIGHTS[longest][1:], shares))


tokens = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=40)


@settings(deadline=None)
@given(tokens, st.integers(0, 40))
def test_it_is_what_its_definition_says(ids: list[int], first: int) -> None:
    first = min(first, len(ids) - 1)
    nats = [0.1 + n % 7 for n in range(len(ids) - first)]
    found = SessionNgrams(WEIGHTS).mixed(np.array(ids[:first], np.uint16), ids[first:], nats)
    wanted = [-math.log(plainly(ids[:n], ids[n], math.exp(-nats[n - first]))) for n in range(first, len(ids))]
    assert found == pytest.approx(wanted, abs=1e-12)


@settings(deadline=None)
@given(tokens)
def test_what_is_mixed_is_a_probability(history: list[int]) -> None:
    trunk = np.random.default_rng(len(history)).dirichlet(np.ones(VOCABULARY))
    ngrams, before = SessionNgrams(WEIGHTS), np.array(history, np.uint16)
    assert sum(math.exp(-ngrams.mixed(before, [w], [-math.log(trunk[w])])[0]) for w in range(VOCABULARY)) == pytest.approx(1)


@settings(deadline=None)
@given(tokens, st.data())
def test_any_split_gives_the_same_bits(ids: list[int], data: st.DataObject) -> None:
    ngrams, nats = SessionNgrams(WEIGHTS), [random.Random(n).uniform(0, 9) for n in range(len(ids))]
    whole = ngrams.mixed(np.zeros(0, np.uint16), ids, nats)
    parts, at = list[float](), 0
    while at < len(ids):
        stop = data.draw(st.integers(at + 1, len(ids)))
        parts += ngrams.mixed(np.array(ids[:at], np.uint16), ids[at:stop], nats[at:stop])
        at = stop
    assert parts == whole


def test_words_that_come_back_surprise_less() -> None:
    text = [5, 6, 7, 8, 9] * 3
    found = SessionNgrams(WEIGHTS).mixed(np.zeros(0, np.uint16), text, [4.0] * 15)
    assert max(found[6:]) < 1.5 < min(found[:5])


def test_the_trunk_alone_is_left_as_it_is() -> None:
    assert SessionNgrams(TRUNK_ALONE).mixed(np.array([1, 1], np.uint16), [1, 1], [2.0, 3.0]) == [2.0, 3.0]
    shares, longest = followers(np.array([4, 4, 4], np.uint16), 0)
    assert longest.tolist() == [-1, 0, 1]
    assert shares[2, :2].tolist() == [1.0, 1.0]


def test_what_the_trunk_finds_all_but_impossible_stays_a_number() -> None:
    found = SessionNgrams(WEIGHTS).mixed(np.array([1, 2], np.uint16), [3], [800.0])
    assert found == pytest.approx([800 - math.log(WEIGHTS[0][0])])


def test_the_likeliest_weights_are_found_again() -> None:
    chance, true = np.random.default_rng(3), np.array([0.3, 0.1, 0.6, 0, 0])
    parts = chance.dirichlet(np.ones(2), (20_000, 5))[:, :, 0]  # of each part the probability of the one of two tokens
    is_first = chance.random(20_000) < parts @ true
    parts = np.where(is_first[:, None], parts, 1 - parts)
    assert likeliest(parts, 1) == pytest.approx(true, abs=0.05)
    assert likeliest(parts[:100], 1) == (1, 0, 0, 0, 0), "of few tokens nothing is learned"


@pytest.mark.parametrize(
    "wrong",
    [WEIGHTS[:3], ((0.5, 0.4, 0, 0, 0), *WEIGHTS[1:]), ((0, 1, 0, 0, 0), *WEIGHTS[1:]), ((0.6, 0.3, 0.1, 0, 0), *WEIGHTS[1:])],
)
def test_weights_that_are_no_mixture_are_refused(wrong: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(ModelConfigError, match="calibrate"):
        SessionNgrams(wrong)
