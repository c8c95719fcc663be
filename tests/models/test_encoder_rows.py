"""What the trunk's machine code does to rows is what plain numpy does; numpy is the oracle."""

import platform

import numpy as np
import pytest
import torch

from models.attention import full_attention, rotary_tables, rotate
from models.config import ModelConfig, ModelConfigError
from models.encoder import CachedEncoder
from models.encoder_attention import attend, scratch_of
from models.encoder_rows import from_whole, gate, normal, surprise, to_whole, turn
from models.kv_cache import KVCache
from models.trunk import Trunk
from models.vectors import check_processor, compiled, exp, half, load, store

RANDOM = np.random.default_rng(1)


def numbers(*shape, scale=1.0):
    return (RANDOM.standard_normal(shape) * scale).astype(np.float32)


@compiled
def _exp_of(x, out):
    for n in range(0, len(x), 16):
        store(out, n, exp(load(x, n)))


@compiled
def _halves(x, out):
    for n in range(len(x)):
        out[n] = half(x[n])


@compiled
def _widened(x, out):
    for n in range(0, len(x), 16):
        store(out, n, load(x, n))


def test_exp_is_within_two_units_of_the_last_place_and_stands_the_ends():
    x = np.linspace(-87, 88, 160_000, dtype=np.float32)
    found = np.empty_like(x)
    _exp_of(x, found)
    wanted = np.exp(x.astype(np.float64))
    assert (np.abs(found - wanted) / np.spacing(wanted.astype(np.float32))).max() < 2
    ends = np.array([0, -200, 500, -np.inf, np.inf, *[1] * 11], np.float32)
    found = np.empty_like(ends)
    _exp_of(ends, found)
    assert found[0] == 1
    assert found[1] == found[3] < 1e-37
    assert found[2] == found[4] > 1e38


def test_half_precision_is_numpys_both_ways():
    bits = np.arange(65_536, dtype=np.uint16)
    numbers_of = bits.view(np.float16).astype(np.float32)
    found = np.empty(65_536, np.float32)
    _widened(bits, found)
    assert np.array_equal(found, numbers_of, equal_nan=True)
    known = numbers_of[~np.isnan(numbers_of)]
    ends = np.array([65_519, 65_520, 1e-8, 6e-8], np.float32)
    between = np.concatenate((known, known * np.float32(1 + 2**-11), numbers(50_000, scale=3), ends))
    rounded = np.empty(len(between), np.uint16)
    _halves(between, rounded)
    with np.errstate(over="ignore"):
        assert np.array_equal(rounded, between.astype(np.float16).view(np.uint16))


def test_norms_whole_numbers_and_gates():
    x = numbers(7, 64, scale=5)
    found = np.empty_like(x)
    normal(x, found)
    assert np.allclose(found, x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5), atol=1e-5)
    x[3] = 0
    whole, scales = np.empty(x.shape, np.int8), np.empty(7, np.float32)
    to_whole(x, whole, scales)
    wanted = np.maximum(np.abs(x).max(1), 1e-12) / np.float32(127)
    assert np.array_equal(scales, wanted.astype(np.float32))
    assert np.array_equal(whole, np.rint(x / scales[:, None]))
    sums, columns = RANDOM.integers(-100_000, 100_000, (7, 48), dtype=np.int32), numbers(48)
    found = np.empty((7, 48), np.float32)
    from_whole(sums, scales, columns, found)
    assert np.array_equal(found, sums.astype(np.float32) * scales[:, None] * columns)
    both, found = numbers(5, 96, scale=20), np.empty((5, 48), np.float32)
    both[0, :2] = 1000, -1000
    gate(both, found)
    x = both.astype(np.float64)
    with np.errstate(over="ignore"):
        assert np.allclose(found, x[:, :48] / (1 + np.exp(-x[:, :48])) * x[:, 48:], rtol=1e-5, atol=1e-5)


def test_surprise_is_cross_entropy():
    logits, targets, found = numbers(9, 4096, scale=6), RANDOM.integers(0, 4096, 9), np.empty(9)
    surprise(logits, targets, found)
    wanted = torch.nn.functional.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(targets), reduction="none")
    assert found == pytest.approx(wanted.numpy(), abs=1e-5)
    logits[4, 9] = np.nan
    surprise(logits, targets, found)
    assert np.isnan(found).nonzero()[0].tolist() == [4]


@pytest.mark.parametrize(("heads", "key_heads", "size"), [(8, 2, 32), (4, 2, 16), (6, 1, 16), (3, 3, 48)])
def test_attention_over_caches_is_attention_over_the_sequence(heads, key_heads, size):
    """Written in turns and read by the last queries; of the second of two layers; beside another session."""
    c, T = ModelConfig(width=heads * size, n_heads=heads, n_kv_heads=key_heads, n_layers=2), 145
    cos, sin = rotary_tables(c.max_positions, size, c.rope_base)
    qkv = numbers(T, (heads + 2 * key_heads) * size)
    caches, queries = [KVCache(c), KVCache(c)], np.empty((T, heads, size), np.float32)
    for cache in caches:
        cache.reserve(T)
    at = [np.full(T, place) for place in (*caches[0].addresses, caches[0].capacity)]
    for rows in (slice(0, 100), slice(100, T)):
        turn(qkv[rows], np.arange(T)[rows], cos.numpy(), sin.numpy(), *[column[rows] for column in at], 1, key_heads, queries[rows])
    q, k, v = (
        torch.from_numpy(part.copy()).view(T, -1, size) for part in np.split(qkv, [heads * size, (heads + key_heads) * size], axis=1)
    )
    q, k = rotate(q, cos[:T, None], sin[:T, None]), rotate(k, cos[:T, None], sin[:T, None])
    assert np.allclose(queries, q, atol=1e-6)
    k, v = k.half().float(), v.half().float()
    wanted = full_attention(*(x.transpose(0, 1)[None] for x in (q, k, v)))[0].transpose(0, 1)
    watched, told, found = np.full(T, -1), np.zeros((1, 512), np.float32), np.empty((T, heads, size), np.float32)
    watched[130] = 0
    attend(queries * np.float32(size**-0.5), np.arange(T), *at, 1, key_heads, scratch_of(512, size), watched, told, found)
    assert np.allclose(found, wanted, atol=2e-5)
    assert told[0].sum() == pytest.approx(1, abs=1e-5)
    assert not told[0, 131:].any()
    assert not np.any(caches[1]._keys), "another session's cache is left alone"


def test_a_vocabulary_of_any_size_is_surprised_alike():
    torch.manual_seed(2)
    c = ModelConfig(vocab_size=846, width=64, n_heads=2, n_kv_heads=1, feed_forward=96, n_layers=1)
    encoder, hidden = CachedEncoder(Trunk(c).eval().requires_grad_(False), 1, torch.float32), torch.randn(5, 64)
    targets = [0, 845, 7, 400, 840]
    wanted = torch.nn.functional.cross_entropy(hidden @ torch.from_numpy(encoder.embedding).t(), torch.tensor(targets), reduction="none")
    assert encoder.nats(hidden, targets) == pytest.approx(wanted.tolist(), abs=1e-4)
    assert encoder.encode([]) == []


def test_a_processor_without_half_precision_is_named(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(ModelConfigError, match="F16C"):
        check_processor({"avx2": True})
    check_processor({"f16c": True})
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    check_processor({})


def test_widths_that_vectors_cannot_hold_are_refused():
    with pytest.raises(ModelConfigError, match="multiples of 16"):
        CachedEncoder(Trunk(ModelConfig(vocab_size=62, width=40, n_heads=5, n_kv_heads=1, n_layers=1)))
