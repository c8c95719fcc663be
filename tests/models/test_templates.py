"""The template miner: when groups merge, that it stays bounded, and that a flood costs no more a line at its end."""

import random
import time

import pytest

from models.templates import MAX_GROUPS, MAX_TEXT_BYTES, PAIRS, SIBLINGS, Miner

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = [a + b + "ton" for a in ("al", "bo", "cla", "dew", "er", "fin", "gol") for b in ("ber", "ding", "man", "ring")]


def test_lines_of_one_kind_have_one_group_and_its_id_is_the_same_everywhere():
    one, other = Miner(), Miner()
    other.learn("something else first")
    ids = {one.learn(f"Block blk_{n} of size {n * 7} received").group_id for n in range(50)}
    ids.add(other.learn("Block blk_999 of size 1 received").group_id)
    assert len(ids) == 1


def test_word_at_a_hole_joins_the_group():
    miner = Miner()
    first = miner.learn("domain storage12 is no longer served")
    assert miner.learn("domain backup is no longer served").group_id == first.group_id


def test_few_alternatives_stay_apart_and_many_become_one_hole():
    miner = Miner()
    words = [f"w{'abcdefghijklmnop'[n]}" for n in range(SIBLINGS + 4)]
    found = [miner.learn(f"switched to mode {word} at once") for word in words]
    assert len({m.group_id for m in found[: SIBLINGS - 1]}) == SIBLINGS - 1
    assert len({m.group_id for m in found[SIBLINGS - 1 :]}) == 1
    assert found[SIBLINGS - 1].group.shown == "switched to mode <*> at once"
    assert len(found[SIBLINGS - 1].merged) == SIBLINGS - 2
    assert found[-1].group_id in {m.group_id for m in found[: SIBLINGS - 1]}  # the id stayed while the text changed


def test_names_in_two_places_become_two_holes():
    chance, miner = random.Random(4), Miner()
    lines = [f"{who} sent a message to {whom} over mail" for who, whom in [chance.sample(WORDS, 2) for _ in range(200)]]
    found = [miner.learn(f"note: {line}") for line in lines]
    assert found[-1].group.shown == "note: <*> sent a message to <*> over mail"
    assert len({m.group_id for m in found[PAIRS:]}) == 1


def test_what_is_found_does_not_depend_on_what_other_sessions_sent():
    alone, beside, other = Miner(), Miner(), Miner()
    for n in range(500):
        other.learn(f"user {WORDS[n % len(WORDS)]} of {n} {'x' * (n % 40)}")
        line = f"worker {WORDS[n % 5]} took {n} ms, 0x{n * 7919:x} left at /srv/{n}"
        assert alone.learn(line) == beside.learn(line)


def test_a_flood_costs_the_same_a_line_at_its_end_as_in_its_middle():
    chance, miner = random.Random(5), Miner()
    lines = [f"job {''.join(chance.choices(LETTERS, k=8))} on {''.join(chance.choices(LETTERS, k=8))} began" for _ in range(12_000)]
    costs = []
    for start in range(2_000, 12_000, 1_000):
        began = time.process_time()
        for line in lines[start : start + 1_000]:
            miner.learn(line)
        costs.append(time.process_time() - began)
    assert min(costs[5:]) < 1.5 * min(costs[:5])


def test_a_hundred_thousand_distinct_lines_stay_bounded():
    chance, miner = random.Random(1), Miner()
    for n in range(100_000):
        word = "".join(chance.choices(LETTERS, k=8))
        miner.learn(f"{word} {LETTERS[n % 26]} " + word * (n % 7))
    assert len(miner.groups) <= MAX_GROUPS
    assert miner.text_bytes <= MAX_TEXT_BYTES + 4096
    assert miner.text_bytes == sum(len(g.text.encode()) for g in miner.groups.values())
    assert len(miner.by_text) == len(miner.groups) == sum(map(len, miner.by_head.values()))
    assert sum(map(len, miner.with_holes.values())) == sum("\x00" in g.text for g in miner.groups.values())


def test_restored_miner_goes_on_as_it_would():
    chance = random.Random(2)
    words = ["alpha", "beta", "gamma", "delta", "12", "x=1", "/a/b", "user", "root", "[a, b]"]
    lines = [" ".join(chance.choices(words, k=chance.randrange(1, 6))) for _ in range(3000)]
    one, other = Miner(), Miner()
    for n, line in enumerate(lines):
        if n % 7 == 0:
            other = Miner.restored(other.rows())
        assert one.learn(line) == other.learn(line)
    assert one.rows() == other.rows()


@pytest.mark.parametrize(
    "hostile", ["{" * 100_000, "[" * 100_000, "=" * 100_000, '="' * 50_000, "a." * 50_000, "1 " * 50_000, "\ud800" * 1000, "\x00" * 9]
)
def test_hostile_lines_are_read_and_can_be_stored(hostile):
    mined = Miner().learn(hostile)
    mined.group.text.encode()
