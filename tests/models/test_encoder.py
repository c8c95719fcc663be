"""The cached encoder is the full forward, whatever the split, the batch or the history of its caches."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from models.cache_pool import CachePool
from models.config import MARKS, ModelConfig
from models.encoder import CachedEncoder, Run
from models.kv_cache import KVCache
from models.row_blocks import ONE_BLOCK, SIZES, SMALLEST, product
from models.trunk import Trunk
from tests.models.full_forward import full

CONFIG = ModelConfig(n_layers=2)


@pytest.fixture(scope="module")
def trunk():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    trunk = Trunk(CONFIG).eval().requires_grad_(False)
    for p in trunk.blocks.parameters():
        p.data *= 2 if p.ndim == 2 else 1  # attention that looks somewhere
    return trunk


@pytest.fixture(scope="module")
def encoder(trunk):
    return CachedEncoder(trunk, 2, torch.float32)


def ids(n, seed):
    return random.Random(seed).choices(range(20, CONFIG.vocab_size), k=n)


def a_memory(seed):
    return torch.randn(CONFIG.n_sinks - MARKS, CONFIG.width, generator=torch.Generator().manual_seed(seed))


def in_splits(encoder, tokens, seed, memory=None):
    chance, cache, parts, at = random.Random(seed), KVCache(CONFIG), [], 0
    while at < len(tokens):
        size = chance.choice((1, 1, 2, 3, 9, 70))
        others = [Run(KVCache(CONFIG), ids(chance.choice((1, 1, 2, 9, 40)), seed + at + n)) for n in range(chance.choice((0, 1, 6, 45)))]
        place = chance.randint(0, len(others))
        runs = [*others[:place], Run(cache, tokens[at : at + size], memory=memory), *others[place:]]
        parts.append(encoder.encode(runs)[place])
        at += size
    return torch.cat(parts)


def test_incremental_equals_full_forward(trunk, encoder):
    tokens = ids(512, 0)
    found = in_splits(encoder, tokens, 3)
    assert (found - full(trunk, tokens)).abs().max() < 1e-3
    assert 0 < (found - trunk(torch.tensor([tokens]))[0]).abs().max() < 1e-2, "what half precision of keys and values costs"


def test_bits_do_not_depend_on_split_or_batch(encoder):
    tokens = ids(400, 5)
    whole = encoder.encode([Run(KVCache(CONFIG), tokens)])[0]
    for seed in range(6):
        assert torch.equal(in_splits(encoder, tokens, seed), whole)


@pytest.mark.parametrize(("kind", "far"), [(torch.bfloat16, 0.02), (torch.int8, 0.1)])
def test_rounded_products_keep_the_law_and_stay_near(trunk, kind, far):
    rounded, tokens = CachedEncoder(trunk, 2, kind), ids(300, 40)
    whole = rounded.encode([Run(KVCache(CONFIG), tokens)])[0]
    assert torch.equal(in_splits(rounded, tokens, 8), whole)
    assert 1e-4 < (whole - full(trunk, tokens)).abs().mean() < far


def test_bits_do_not_depend_on_the_number_of_threads(trunk, encoder):
    windows = [ids(chance, 20 + n) for n, chance in enumerate((1, 1, 300, 7, 130, 64, 1, 1, 512, 2))]
    one = CachedEncoder(trunk, 1, torch.float32).encode([Run(KVCache(CONFIG), window) for window in windows])
    for n_threads in (2, 3):
        some = CachedEncoder(trunk, n_threads, torch.float32).encode([Run(KVCache(CONFIG), window) for window in windows])
        assert all(torch.equal(a, b) for a, b in zip(one, some, strict=True))


def test_callers_in_two_threads_do_not_disturb_each_other(encoder):
    windows = [ids(300, 50 + n) for n in range(6)]
    wanted = [encoder.encode([Run(KVCache(CONFIG), window)])[0] for window in windows]

    def ask(window):
        return encoder.encode([Run(KVCache(CONFIG), window)])[0]

    with ThreadPoolExecutor(3, initializer=torch.set_num_threads, initargs=(1,)) as callers:
        assert all(torch.equal(a, b) for a, b in zip(callers.map(ask, windows), wanted, strict=True))


def test_a_failing_run_fails_the_step_whichever_thread_has_it(encoder):
    for place in range(4):
        runs = [Run(KVCache(CONFIG), ids(30, n)) for n in range(4)]
        runs[place].ids = [CONFIG.vocab_size]
        with pytest.raises(IndexError):
            encoder.encode(runs)
    assert len(encoder.encode([Run(KVCache(CONFIG), ids(30, 0))])[0]) == 30


def test_a_memory_in_the_sinks_equals_full_forward_with_it(trunk, encoder):
    tokens, memory = ids(200, 30), a_memory(1)
    found = in_splits(encoder, tokens, 4, memory)
    assert (found - full(trunk, tokens, memory)).abs().max() < 1e-3
    assert (found - full(trunk, tokens)).abs().max() > 0.1
    assert torch.equal(found, encoder.encode([Run(KVCache(CONFIG), tokens, memory=memory)])[0])


def test_no_memory_equals_a_memory_of_zeros(trunk, encoder):
    tokens, zeros = ids(40, 31), torch.zeros(CONFIG.n_sinks - MARKS, CONFIG.width)
    assert torch.equal(encoder.encode([Run(KVCache(CONFIG), tokens)])[0], encoder.encode([Run(KVCache(CONFIG), tokens, memory=zeros)])[0])
    assert torch.equal(full(trunk, tokens), full(trunk, tokens, zeros))


def test_a_thousand_full_windows_fit_the_default_budget(encoder):
    config = ModelConfig()
    cache = KVCache(config)
    cache.reserve(config.max_positions)
    pool = CachePool(512 * 2**20)
    for session in range(1000):
        pool.put(str(session), cache)
    assert pool.shrink() == 0


def test_a_cache_cut_back_gives_the_same_bits_again(encoder):
    tokens, cache = ids(200, 6), KVCache(CONFIG)
    encoder.encode([Run(cache, tokens)])
    ahead = cache.window
    cache.window = ahead[: 2 * 130]
    again = encoder.encode([Run(cache, tokens[130:])])[0]
    assert torch.equal(again, encoder.encode([Run(KVCache(CONFIG), tokens)])[0][130:])
    assert cache.window == ahead


@pytest.mark.parametrize("wrong", ["nan", "inf"])
@pytest.mark.parametrize("part", ["_keys", "_values"])
def test_a_broken_cache_is_found_and_disturbs_nobody(encoder, wrong, part):
    tokens, other = ids(60, 60), KVCache(CONFIG)
    cache = KVCache(CONFIG)
    encoder.encode([Run(cache, tokens), Run(other, tokens)])
    wanted = encoder.encode([Run(other, [77])])[0]
    other.window = other.window[:-2]
    held = getattr(cache, part)[0, 0]
    held[(3, 5) if part == "_keys" else (5, 3)] = float(wrong)
    broken, whole = encoder.encode([Run(cache, [77]), Run(other, [77])])
    assert broken.isnan().any()
    assert torch.equal(whole, wanted)


def test_a_step_without_tokens_is_none(encoder):
    assert [len(rows) for rows in encoder.encode([Run(KVCache(CONFIG), []), Run(KVCache(CONFIG), [5, 6])])] == [0, 2]


def test_surprise_of_a_row_does_not_depend_on_its_neighbours(encoder):
    hidden, targets = torch.randn(300, CONFIG.width), ids(300, 8)
    together = encoder.nats(hidden, targets)
    assert together == [encoder.nats(hidden[n : n + 1], targets[n : n + 1])[0] for n in range(300)]
    full = torch.nn.functional.cross_entropy(hidden @ torch.from_numpy(encoder.embedding).t(), torch.tensor(targets), reduction="none")
    assert torch.allclose(torch.tensor(together), full, atol=1e-3)


def test_watched_attention_is_a_distribution_over_the_window(encoder):
    run = Run(KVCache(CONFIG), ids(150, 9), watch=(0, 149))
    encoder.encode([run])
    assert {position: len(weights) for position, weights in run.attention.items()} == {0: 1, 149: 150}
    assert run.attention[149].sum() == pytest.approx(1, abs=1e-5)


def test_blocks_of_every_used_size_are_multiples_of_the_smallest(encoder):
    for layer in encoder.layers:
        assert layer.qkv.sizes[-1] == SMALLEST[torch.float32]
        assert set(layer.qkv.sizes) <= set(SIZES)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.int8])
def test_a_row_has_its_bits_in_any_number_of_rows(kind):
    torch.manual_seed(6)
    rows, x = product(torch.randn(CONFIG.width, 384), kind), torch.randn(200, CONFIG.width).numpy()
    whole = rows(x)
    for n in (*range(1, ONE_BLOCK + 2), 57, 150):
        assert np.array_equal(rows(x[:n]), whole[:n])


def test_whole_numbers_are_near_and_stand_what_is_none():
    torch.manual_seed(7)
    weight, x = torch.randn(CONFIG.width, 64), torch.randn(9, CONFIG.width)
    weight[:, 3] = 0
    x[4] = 0
    found, wanted = product(weight, torch.int8)(x.numpy()), (x @ weight).numpy()
    assert np.linalg.norm(found - wanted) < 0.02 * np.linalg.norm(wanted)
    assert not found[4].any()
    assert not found[:, 3].any()
    for wrong in ("nan", "inf"):
        x[5, 1] = float(wrong)
        assert np.isnan(product(weight, torch.int8)(x.numpy())[5]).all(), "a session whose numbers are none is found"
