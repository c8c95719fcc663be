"""The paged encoder is the full forward within a tolerance, whatever the split, the batch, the padding and the pages; on CPU tensors.

Everything but the recording of CUDA graphs runs here: a recording is stood in for by one that, like a graph, reads and writes fixed buffers.
"""

import gc
import itertools
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models import checkpoint
from models.config import MARKS, ModelConfig
from models.encoder import CachedEncoder
from models.paged_cache import NOWHERE, PAGE, PagedCache, PagePool, PagesExhaustedError, pages_of
from models.paged_encoder import PagedEncoder
from models.paged_shapes import STEP_ROWS, STEP_SESSIONS, Shape, batches, written
from models.paged_step import PagedStep
from models.step_graphs import MOST_GRAPHS, StepGraphs, as_it_is
from models.step_layout import Run
from models.trunk import Trunk
from tests.models.full_forward import full

CONFIG = ModelConfig(vocab_size=512, width=64, n_layers=2, n_heads=4, n_kv_heads=2, feed_forward=96, max_positions=256)
NEAR = 1e-3
"""Another order of a sum may round a key to its other neighbour in half precision."""
CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def trunk():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    trunk = Trunk(CONFIG).eval().requires_grad_(False)
    for p in trunk.blocks.parameters():
        p.data *= 3 if p.ndim == 2 else 1  # attention that looks somewhere
    return trunk


def fixed_outputs(run):
    """A recording as a graph is one: its outputs lie where the first ones lay."""
    outputs = run()

    def replay():
        for held, new in zip(outputs, run()):
            held.copy_(new)
        return outputs

    return replay


def an_encoder(trunk, windows=40.0, record=fixed_outputs, device=CPU):
    page = PagePool(trunk.config, 0, CPU).page_bytes
    return PagedEncoder(trunk, device, windows * page * pages_of(trunk.config.max_positions), record)


@pytest.fixture
def encoder(trunk):
    return an_encoder(trunk)


def ids(n, seed):
    return random.Random(seed).choices(range(20, CONFIG.vocab_size), k=n)


def a_memory(seed):
    return torch.randn(CONFIG.n_sinks - MARKS, CONFIG.width, generator=torch.Generator().manual_seed(seed))


def alone(encoder, tokens, memory=None):
    return encoder.encode([Run(encoder.new_cache(), tokens, memory=memory)])[0]


def in_splits(encoder, tokens, seed, memory=None):
    chance, cache, parts, at = random.Random(seed), encoder.new_cache(), [], 0
    neighbours = [encoder.new_cache() for _ in range(6)]
    while at < len(tokens):
        size = chance.choice((1, 1, 2, 3, 9, 70))
        others = []
        for n, neighbour in enumerate(chance.sample(neighbours, chance.randint(0, 6))):
            new = ids(chance.choice((1, 1, 2, 9, 40)), seed + at + n)
            if neighbour.length + len(new) > CONFIG.max_positions:
                neighbour.window = b""  # as a cut does
            others.append(Run(neighbour, new))
        place = chance.randint(0, len(others))
        runs = [*others[:place], Run(cache, tokens[at : at + size], memory=memory), *others[place:]]
        parts.append(encoder.encode(runs)[place])
        at += size
    return torch.cat(parts)


def far(a, b):
    return (a - b).abs().max()


@pytest.mark.parametrize("seed", range(3))
def test_incremental_equals_full_forward(trunk, encoder, seed):
    tokens, memory = ids(256, seed), a_memory(seed)
    found = in_splits(encoder, tokens, seed, memory)
    assert found.dtype == torch.float32
    assert far(found, full(trunk, tokens, memory)) < NEAR
    assert far(found, full(trunk, tokens)) > 0.1, "the memory is felt"
    assert far(alone(encoder, tokens), full(trunk, tokens)) < NEAR


def test_it_tells_what_the_encoder_of_the_cpu_tells(trunk, encoder):
    other = CachedEncoder(trunk, 1, torch.float32)
    windows = [ids(n, n) for n in (1, 3, 31, 32, 33, 100, 256)]
    watch = [[n] for n in (0, 1, 30, 31, 32, 50, 255)]
    ours = [Run(encoder.new_cache(), w, at) for w, at in zip(windows, watch)]
    theirs = [Run(other.new_cache(), w, at) for w, at in zip(windows, watch)]
    for a, b in zip(encoder.encode(ours), other.encode(theirs), strict=True):
        assert far(a, b) < NEAR
    for a, b in zip(ours, theirs):
        assert a.cache.window == b.cache.window
        assert a.attention.keys() == b.attention.keys()
        assert all(far(a.attention[at], b.attention[at]) < NEAR for at in a.attention)
    hidden, targets = torch.randn(40, CONFIG.width), ids(40, 8)
    assert encoder.nats(hidden, targets) == pytest.approx(other.nats(hidden, targets), abs=1e-4)


def test_watched_attention_of_a_later_piece_is_over_the_whole_window(trunk, encoder):
    tokens, whole = ids(90, 5), Run(encoder.new_cache(), ids(90, 5), (70, 89))
    encoder.encode([whole])
    cache = encoder.new_cache()
    encoder.encode([Run(cache, tokens[:60])])
    part = Run(cache, tokens[60:], (70, 89))
    encoder.encode([Run(encoder.new_cache(), ids(20, 1)), part])
    assert {position: len(row) for position, row in part.attention.items()} == {70: 71, 89: 90}
    assert all(far(part.attention[at], whole.attention[at]) < NEAR for at in (70, 89))


def test_a_window_cut_keeps_the_sinks_and_gives_its_pages_back(trunk, encoder):
    cache, tokens, memory = encoder.new_cache(), ids(256, 2), a_memory(2)
    encoder.encode([Run(cache, tokens)])
    assert encoder.pool.n_pages - encoder.pool.n_free == len(cache.pages) == 8
    cache.window = b""  # as transformer.py does: the sinks and the overlap are prefilled anew, with what the levels remember
    kept = [*tokens[: CONFIG.n_sinks], *tokens[-60:]]
    found = encoder.encode([Run(cache, [*kept, 77], memory=memory)])[0]
    assert far(found, full(trunk, [*kept, 77], memory)) < NEAR
    assert encoder.pool.n_pages - encoder.pool.n_free == len(cache.pages) == 3


def test_a_window_takes_no_more_pages_however_long_the_session(trunk, encoder):
    cache = encoder.new_cache()
    for n in range(60):
        if cache.length + 20 > CONFIG.max_positions:
            cache.window = cache.window[:0]
        encoder.encode([Run(cache, ids(20, n))])
        assert cache.n_bytes <= pages_of(CONFIG.max_positions) * encoder.pool.page_bytes
    assert encoder.pool.n_pages - encoder.pool.n_free == len(cache.pages)


def test_a_cache_cut_back_goes_on_as_if_it_had_never_been_ahead(trunk, encoder):
    tokens, cache = ids(200, 6), encoder.new_cache()
    encoder.encode([Run(cache, tokens)])
    cache.window = cache.window[: 2 * 130]
    again = encoder.encode([Run(cache, [*tokens[130:150], 9])])[0]
    assert far(again, full(trunk, [*tokens[:150], 9])[130:]) < NEAR


def test_a_cache_that_was_dropped_is_rebuilt_by_one_prefill(trunk, encoder):
    tokens, memory = ids(150, 7), a_memory(7)
    cache = encoder.new_cache()
    for at in range(0, 140, 10):
        encoder.encode([Run(cache, tokens[at : at + 10], memory=memory)])
    kept = encoder.encode([Run(cache, tokens[140:])])[0]
    del cache
    assert encoder.pool.n_free == encoder.pool.n_pages, "it gave its pages back"
    rebuilt = encoder.new_cache()
    encoder.encode([Run(rebuilt, tokens[:140], memory=memory)])
    assert far(encoder.encode([Run(rebuilt, tokens[140:])])[0], kept) < NEAR


def test_padding_changes_no_result(trunk, encoder):
    """One session in every shape it fits."""
    tokens = ids(20, 9)
    wanted = full(trunk, tokens)
    for sessions, n_tokens, pages in itertools.product((1, 2, 8), (20, 64, 100), (1, 4, 8)):
        cache, shape = encoder.new_cache(), Shape(sessions, n_tokens, pages)
        encoder.pool.clear(cache.fit(len(tokens)))
        hidden, _ = encoder.graphs(shape, written(shape, [Run(cache, tokens)]), {})
        assert far(hidden[0, :20], wanted) < NEAR, shape
        assert encoder.pool.keys[:, NOWHERE].eq(0).all()


def test_batches_hold_every_run_once_in_shapes_that_fit_it():
    chance, pool = random.Random(4), PagePool(CONFIG, 2**26, CPU)
    runs = []
    for _ in range(700):
        cache = PagedCache(pool)
        cache.window = b"\0\0" * chance.choice((0, 5, 40, 200))
        runs.append(Run(cache, ids(chance.choice((1, 1, 1, 2, 5, 17, 56)), 1)))
    seen = []
    for shape, numbers in batches(runs, CONFIG):
        seen += numbers
        assert len(numbers) <= shape.sessions < 2 * len(numbers) or shape.sessions == 1
        assert shape.sessions * shape.tokens <= STEP_ROWS
        assert shape.sessions <= STEP_SESSIONS
        for n in numbers:
            assert len(runs[n].ids) <= shape.tokens
            assert runs[n].cache.length + len(runs[n].ids) <= shape.pages * PAGE
    assert sorted(seen) == list(range(700))


def test_all_shapes_of_the_shipped_model_may_be_recorded():
    config, shapes = ModelConfig(), set()
    pool = PagePool(config, 0, CPU)
    for held, new in itertools.product((0, 100, 200, 500), (1, 3, 9, 40, 200, 510)):
        if held + new <= config.max_positions:
            for n in (2**i for i in range(9)):
                cache = PagedCache(pool)
                cache.window = b"\0\0" * held
                shapes |= {shape for shape, _ in batches([Run(cache, [1] * new)] * n, config)}
    assert len(shapes) == 71 <= MOST_GRAPHS


def test_a_shape_is_recorded_once_and_the_least_recently_used_goes(trunk):
    recorded = []

    def record(run):
        recorded.append(1)
        return run

    encoder = an_encoder(trunk, record=record)
    encoder.graphs = StepGraphs(encoder.step, record, most=2)
    for length, n_recorded in ((1, 1), (1, 1), (3, 2), (1, 2), (9, 3), (1, 3), (3, 4)):
        tokens = ids(length, length)
        assert far(alone(encoder, tokens), full(trunk, tokens)) < NEAR
        assert len(recorded) == n_recorded
        assert len(encoder.graphs.recorded) <= 2


def test_a_replay_forgets_the_batch_before(trunk, encoder):
    """Its buffers held other ids, tables and memories."""
    tokens = ids(8, 3)
    wanted, first = full(trunk, tokens), alone(encoder, tokens)
    alone(encoder, ids(8, 4), a_memory(4))
    assert torch.equal(alone(encoder, tokens), first)
    assert far(first, wanted) < NEAR


def test_a_step_that_is_run_again_changes_nothing(trunk, encoder):
    """A recording is warmed up on the batch itself."""
    cache, tokens = encoder.new_cache(), ids(40, 3)
    encoder.encode([Run(cache, tokens[:30])])
    encoder.graphs.record, encoder.graphs.recorded = lambda run: [run() for _ in range(3)] and run, type(encoder.graphs.recorded)()
    assert far(encoder.encode([Run(cache, tokens[30:])])[0], full(trunk, tokens)[30:]) < NEAR


def test_a_step_makes_no_tensor_elsewhere_and_never_waits(trunk):
    """On a device without data: a tensor of the CPU among them, or a look at a value, would raise."""
    meta, shape = torch.device("meta"), Shape(4, 16, 8)
    step = PagedStep(trunk, PagePool(CONFIG, 2**20, meta))
    hidden, queries = step(shape, *step.inputs(shape))
    assert (hidden.device, hidden.shape, queries.shape) == (meta, (4, 16, 64), (4, 16, 4, 16))


def test_what_is_not_finite_stays_in_its_session(trunk, encoder):
    """Behind a mask zero times NaN would be NaN: neither padding nor a page that was used before may carry it."""
    tokens, poison = ids(20, 11), torch.full((CONFIG.n_sinks - MARKS, CONFIG.width), math.nan)
    sick, well = encoder.new_cache(), encoder.new_cache()
    found = encoder.encode([Run(sick, ids(32, 12), memory=poison), Run(well, tokens)])
    assert found[0].isnan().any()
    assert far(found[1], full(trunk, tokens)) < NEAR
    pages = set(sick.pages)
    del sick
    heir = encoder.new_cache()
    assert far(encoder.encode([Run(heir, tokens)])[0], full(trunk, tokens)) < NEAR
    assert pages & set(heir.pages), "the test needs a page that was used before"


def test_pages_that_run_out_are_told_and_nothing_is_changed(trunk):
    encoder = an_encoder(trunk, windows=2)
    first, second, third = (encoder.new_cache() for _ in range(3))
    encoder.encode([Run(first, ids(256, 0)), Run(second, ids(130, 1))])
    held = list(second.pages), second.window, encoder.pool.n_free
    runs = [Run(second, ids(100, 2)), Run(third, ids(64, 3))]
    assert encoder.missing_bytes(runs) == 2 * encoder.pool.page_bytes
    with pytest.raises(PagesExhaustedError, match=r"3 of 16 pages .* 5 wanted; raise \[state\] max_cache_size_mb"):
        encoder.encode(runs)
    assert (second.pages, second.window, encoder.pool.n_free) == held
    del first
    assert encoder.missing_bytes(runs) == 0
    encoder.encode(runs)
    assert encoder.pool.n_free == 16 - len(second.pages) - len(third.pages)


def test_what_a_cut_gives_back_serves_the_same_step(trunk):
    encoder = an_encoder(trunk, windows=1)
    old, new = encoder.new_cache(), encoder.new_cache()
    encoder.encode([Run(old, ids(256, 0))])
    old.window = b""
    runs = [Run(new, ids(130, 1)), Run(old, ids(65, 2))]
    assert encoder.missing_bytes(runs) == 0
    encoder.encode(runs)
    assert (len(new.pages), len(old.pages), encoder.pool.n_free) == (5, 3, 0)


def test_a_page_is_held_once(trunk, encoder):
    chance, caches = random.Random(5), [encoder.new_cache() for _ in range(12)]
    for n in range(60):
        some = chance.sample(range(12), 5)
        for at in some:
            if caches[at].length > 180:
                caches[at] = encoder.new_cache() if chance.random() < 0.5 else caches[at]
                caches[at].window = b""
        encoder.encode([Run(caches[at], ids(chance.choice((1, 20, 60)), n)) for at in some])
        held = [page for cache in caches for page in cache.pages]
        assert len(held) == len(set(held)) == encoder.pool.n_pages - encoder.pool.n_free
        assert NOWHERE not in held


def test_caches_held_in_a_circle_give_their_pages_back_when_pages_run_out(trunk):
    encoder = an_encoder(trunk, windows=1)
    gc.collect()
    cache = encoder.new_cache()
    encoder.encode([Run(cache, ids(200, 0))])
    circle = [cache]
    circle.append(circle)
    del cache, circle
    assert len(alone(encoder, ids(256, 1))) == 256


@pytest.mark.parametrize(("tokens", "said"), [([CONFIG.vocab_size], "wanted 0 to 511"), ([-1], "from -1"), ([1] * 257, "at most 256")])
def test_what_would_be_read_beside_a_table_is_refused_before_the_device_sees_it(encoder, tokens, said):
    with pytest.raises(IndexError, match=said):
        encoder.encode([Run(encoder.new_cache(), ids(5, 0)), Run(encoder.new_cache(), tokens)])
    assert encoder.pool.n_free == encoder.pool.n_pages


def test_windows_that_are_no_multiple_of_a_page_fit(trunk):
    torch.manual_seed(3)
    small = Trunk(replace(CONFIG, max_positions=90, n_layers=1)).eval().requires_grad_(False)
    tokens = ids(90, 1)
    assert far(in_splits_of(an_encoder(small), tokens, 7), full(small, tokens)) < NEAR


def in_splits_of(encoder, tokens, size):
    cache = encoder.new_cache()
    return torch.cat([encoder.encode([Run(cache, tokens[at : at + size])])[0] for at in range(0, len(tokens), size)])


def test_shipped_weights_stay_near_the_full_forward():
    """What docs/adr/0016 says, with some room."""
    loaded = checkpoint.load()
    trunk, tokens = loaded.model.trunk, loaded.tokenizer.encode((Path(__file__).parents[2] / "ARCHITECTURE.md").read_text())[:512]
    encoder, at, parts = an_encoder(trunk, windows=1), 0, list[torch.Tensor]()
    cache = encoder.new_cache()
    for size in (5, 1, 16, 1, 100, 2, 260, 127):
        parts += encoder.encode([Run(cache, tokens[at : at + size])])
        at += size
    found, wanted = torch.cat(parts), full(trunk, tokens)
    assert far(found, wanted) < 5e-3
    nats = [torch.tensor(encoder.nats(hidden[:-1], tokens[1:])).mean() for hidden in (found, wanted)]
    assert far(*nats) < 2e-4


@pytest.mark.gpu
@needs_cuda
def test_a_replayed_graph_equals_the_step_it_recorded(trunk):
    """On a GPU: graphs, the same without them, and the full forward of the CPU."""
    cuda = torch.device("cuda")
    graphs, eager = an_encoder(trunk, record=None, device=cuda), an_encoder(trunk, record=as_it_is, device=cuda)
    for seed in range(3):
        tokens, memory = ids(256, seed), a_memory(seed)
        found = in_splits(graphs, tokens, seed, memory)
        assert far(found, in_splits(eager, tokens, seed, memory)) < NEAR
        assert far(found, full(trunk, tokens, memory)) < 1e-3
    assert graphs.graphs.recorded
    hidden = torch.randn(40, CONFIG.width)
    assert graphs.nats(hidden, ids(40, 8)) == pytest.approx(CachedEncoder(trunk, 1, torch.float32).nats(hidden, ids(40, 8)), abs=1e-3)
