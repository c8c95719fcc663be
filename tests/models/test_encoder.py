"""The cached encoder is the full forward, whatever the split, the batch or the history of its caches."""

import random

import pytest
import torch

from models.config import ModelConfig
from models.encoder import CachedEncoder, Run
from models.kv_cache import KVCache
from models.row_blocks import ROWS
from models.trunk import Trunk

CONFIG = ModelConfig(n_layers=2)


@pytest.fixture(scope="module")
def trunk():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    return Trunk(CONFIG).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def encoder(trunk):
    return CachedEncoder(trunk)


def ids(n, seed):
    return random.Random(seed).choices(range(20, CONFIG.vocab_size), k=n)


def in_splits(encoder, tokens, seed):
    chance, cache, parts, at = random.Random(seed), KVCache(CONFIG), [], 0
    while at < len(tokens):
        size = chance.choice((1, 1, 2, 3, 9, 70))
        others = [Run(KVCache(CONFIG), ids(chance.randint(1, 40), seed + at + n)) for n in range(chance.choice((0, 1, 6)))]
        place = chance.randint(0, len(others))
        runs = [*others[:place], Run(cache, tokens[at : at + size]), *others[place:]]
        parts.append(encoder.encode(runs)[place])
        at += size
    return torch.cat(parts)


def test_incremental_equals_full_forward(trunk, encoder):
    tokens = ids(512, 0)
    full = trunk(torch.tensor([tokens]))[0]
    assert (in_splits(encoder, tokens, 3) - full).abs().max() < 1e-4


def test_bits_do_not_depend_on_split_or_batch(encoder):
    tokens = ids(400, 5)
    whole = encoder.encode([Run(KVCache(CONFIG), tokens)])[0]
    for seed in range(6):
        assert torch.equal(in_splits(encoder, tokens, seed), whole)


def test_a_cache_cut_back_gives_the_same_bits_again(encoder):
    tokens, cache = ids(200, 6), KVCache(CONFIG)
    encoder.encode([Run(cache, tokens)])
    ahead = cache.window
    cache.window = ahead[: 2 * 130]
    again = encoder.encode([Run(cache, tokens[130:])])[0]
    assert torch.equal(again, encoder.encode([Run(KVCache(CONFIG), tokens)])[0][130:])
    assert cache.window == ahead


def test_surprise_of_a_row_does_not_depend_on_its_neighbours(encoder):
    hidden, targets = torch.randn(300, CONFIG.width), ids(300, 8)
    together = encoder.nats(hidden, targets)
    assert together == [encoder.nats(hidden[n : n + 1], targets[n : n + 1])[0] for n in range(300)]
    full = torch.nn.functional.cross_entropy(hidden @ encoder.embedding.t(), torch.tensor(targets), reduction="none")
    assert torch.allclose(torch.tensor(together), full, atol=1e-3)


def test_watched_attention_is_a_distribution_over_the_window(encoder):
    run = Run(KVCache(CONFIG), ids(150, 9), watch=(0, 149))
    encoder.encode([run])
    assert {position: len(weights) for position, weights in run.attention.items()} == {0: 1, 149: 150}
    assert run.attention[149].sum() == pytest.approx(1, abs=1e-5)


def test_blocks_of_every_used_size_are_multiples_of_the_smallest(encoder):
    for layer in encoder.layers:
        assert layer.qkv.sizes[-1] == ROWS
        assert all(size % ROWS == 0 for size in layer.qkv.sizes)
