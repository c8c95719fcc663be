"""The window grows to its size, is cut to its overlap, and depends on the tokens alone."""

import random
from array import array

import pytest

from models.cache_pool import CachePool
from models.config import BufferSettings
from models.kv_cache import KVCache
from models.window import Window, from_bytes, pack_starts, to_bytes, unpack_starts
from tests.models.small_text_model import CONFIG

SINKS = [1, 2, 4, 4]


def window(**settings):
    return Window(BufferSettings(**{"max_tokens": 64, "overlap_tokens": 16} | settings), 4, array("H", SINKS), [])


def test_a_full_window_is_cut_before_the_next_token():
    w = window(flush_strategy="fixed_size")
    w.append(range(100, 160))
    assert w.ids.tolist() == [*SINKS, *range(100, 160)]
    w.append([160])
    assert w.ids.tolist() == [*SINKS, *range(144, 161)]
    assert [(s.prefix and s.prefix.tolist(), s.ids) for s in w.stretches] == [
        (None, list(range(100, 160))),
        ([*SINKS, *range(144, 160)], [160]),
    ]


def test_a_cut_falls_on_the_sentence_start_nearest_to_the_overlap():
    w = window()
    for n in range(60):
        if n in (20, 41, 50):
            w.begin_sentence()
        w.append([100 + n])
    w.append([160])
    assert w.ids.tolist() == [*SINKS, *range(141, 161)], "19 tokens kept: 41 is nearer to 44 than 50 is"
    assert [w.ids[at] for at in w.starts] == [141, 150]


def test_without_a_sentence_start_in_reach_the_overlap_is_exact():
    w = window()
    w.begin_sentence()
    w.append(range(100, 161))
    assert w.ids.tolist() == [*SINKS, *range(144, 161)]


def test_time_cuts_a_window_longer_than_the_overlap():
    w = window(flush_strategy="time_based", flush_interval_s=2)
    for n in range(30):
        w.tick(n * 100_000)
        w.append([100 + n])
    assert len(w.ids) < 30
    quiet = window(flush_strategy="time_based", flush_interval_s=2)
    for n in range(10):
        quiet.tick(n * 1_000_000)
        quiet.append([100 + n])
    assert quiet.ids.tolist() == [*SINKS, *range(100, 110)], "nothing to cut in a short one"


@pytest.mark.parametrize("seed", range(5))
def test_the_window_does_not_depend_on_how_tokens_came(seed):
    chance, whole, at = random.Random(seed), window(), 0
    starts = {n for n in range(500) if chance.random() < 0.1}
    kept = [to_bytes(SINKS), to_bytes([])]
    for n in range(500):
        if n in starts:
            whole.begin_sentence()
        whole.append([100 + n])
    while at < 500:
        part = Window(whole.settings, 4, from_bytes(kept[0]), from_bytes(kept[1]).tolist())
        for n in range(at, min(500, at + chance.randint(1, 90))):
            if n in starts:
                part.begin_sentence()
            part.append([100 + n])
            at = n + 1
        kept = [to_bytes(part.ids), to_bytes(part.starts)]
    assert kept == [to_bytes(whole.ids), to_bytes(whole.starts)]


def test_the_least_recently_used_cache_goes_first():
    size = KVCache(CONFIG).n_bytes
    pool = CachePool(2.5 * size)
    for name in "abc":
        pool.put(name, KVCache(CONFIG))
        pool.get("a")
    assert pool.n_bytes == 3 * size
    assert pool.shrink() == 1
    assert pool.get("b") is None
    assert pool.get("a") is not None
    assert len(pool) == 2
    pool.drop("a")
    assert pool.n_bytes == size


def test_starts_are_kept_as_bits():
    for starts in ([], [5], [0, 7, 8, 511], list(range(512))):
        assert unpack_starts(pack_starts(starts)) == starts
        assert len(pack_starts(starts)) <= 64
