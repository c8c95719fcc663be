"""The template miner: what is masked, when groups merge, and that it stays bounded."""

import random

import pytest

from models.templates import HOLE, MAX_GROUPS, MAX_TEXT_BYTES, SIBLINGS, Miner, mask


def shown(message: str) -> str:
    return mask(message)[0].replace(HOLE, "<*>")


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("Accepted 3 connections from 10.0.0.1:22", "Accepted <*> connections from <*>"),
        ("Took 1.5 seconds", "Took <*> seconds"),
        ("uid=0 euid=1000 tty=ssh rhost=", "uid=<*> euid=<*> tty=<*> rhost="),
        ("open /var/log/x.log failed", "open <*> failed"),
        (r"load C:\Windows\a.dll now", "load <*> now"),
        ("GET http://a.b/c?d=e done", "GET <*> done"),
        ("at Sat Jun 11 03:28:22 2005", "at <*>"),
        ("request 123e4567-e89b-12d3-a456-426614174000 ok", "request <*> ok"),
        ("flags 0xdeadbeef, size 12 KB", "flags <*>, size <*>"),
        ("state {a: [1, 2], b} ready", "state <*> ready"),
        ("names [alice, bob]", "names <*>"),
        ("session opened for user root", "session opened for user <*>"),
        ("from 1.2.3.4 ()", "from <*> (<*>)"),
        ("nothing to see here", "nothing to see here"),
        ("", ""),
    ],
)
def test_values_become_holes(message, template):
    assert shown(message) == template


def test_parameters_are_what_stood_in_the_holes():
    assert mask("took 12 ms for user alice")[1] == ["12 ms", "alice"]


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


def test_a_hundred_thousand_distinct_lines_stay_bounded():
    chance, miner = random.Random(1), Miner()
    letters = "abcdefghijklmnopqrstuvwxyz"
    for n in range(100_000):
        word = "".join(chance.choices(letters, k=8))
        miner.learn(f"{word} {letters[n % 26]} " + word * (n % 7))
    assert len(miner.groups) <= MAX_GROUPS
    assert miner.text_bytes <= MAX_TEXT_BYTES + 4096
    assert miner.text_bytes == sum(len(g.text.encode()) for g in miner.groups.values())
    assert len(miner.by_text) == len(miner.groups) == sum(map(len, miner.by_head.values()))


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
