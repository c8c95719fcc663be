"""Masking: what is a value, that the fast way finds what the plain one does, and that hostile lines cost little."""

import random
import re

import pytest

from models import masking
from models.masking import HOLE, MAX_CHARS, mask


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


PIECES = [
    "user bob ", "host ", "a=", '"x y"', "'q'", " {a, b}", "{{}}", "[q, r]", "/var/x", "C:\\t", "1.2.3", "7", "-1", " a.b.c", "true", "null", "()",
    "[]", "Jun 11 03:28:22 2005", "12 KB", " ", "٣", HOLE, "é", "0x1f", "::", ",", ".", "http://a/b", "word", "\ud800",
]  # fmt: skip


def test_searching_only_the_possible_shapes_finds_what_searching_all_does():
    chance = random.Random(3)
    whole = re.compile("|".join(f"(?:{expression})" for expression in masking._SHAPES.values()))
    for _ in range(5000):
        message = "".join(chance.choices(PIECES, k=chance.randrange(1, 9)))
        plain = message[:MAX_CHARS].replace(HOLE, " ").encode("utf-8", "replace").decode()
        spans = list[tuple[int, int]]()
        for value in whole.finditer(plain):
            if spans and set(plain[spans[-1][1] : value.start()]) <= set(" ,:;/|.-\\"):
                spans[-1] = spans[-1][0], value.end()
            else:
                spans.append(value.span())
        assert mask(message) == (masking.joined(plain, spans), [plain[start:end] for start, end in spans])


def test_a_full_cache_changes_nothing():
    lines = [f"part {'x' * n} of {n}" for n in range(50)]
    found = [mask(line) for line in lines]
    for n in range(masking.CACHED + 10):
        mask(f"{'ab' * (n % 90)} {'cd' * (n // 90)}")
    assert len(masking._cuts) <= masking.CACHED
    assert [mask(line) for line in lines] == found


def test_digits_outside_of_holes_stay_as_they_are():
    for digit in "123":
        assert shown(f"{{a, b}}Jun 11 03:28:22 2005-{digit}.2.3") == f"<*>-{digit}.<*>"
