"""The text model over pages tells the same in any split and after any eviction, within a tolerance; and which device it takes."""

import dataclasses
import gc
import random
from unittest.mock import patch

import msgspec
import pytest
import torch

from models.config import CacheSettings, ModelConfigError, TextSettings
from models.devices import device_of, encoder_of
from models.encoder import CachedEncoder
from models.paged_cache import PagePool, PagesExhaustedError
from models.paged_encoder import PagedEncoder
from models.steps import Item, Work
from models.trunk import Trunk
from schemas.errors import SettingError
from schemas.settings import load
from streams.__main__ import text_settings
from streams.config import StreamConfig
from tests.models.small_text_model import CONFIG, chat_items, play, sessions, small_checkpoint, small_model, text_items

NEAR = 5e-3
CPU = torch.device("cpu")


def paged_model(windows=64):
    loaded = small_checkpoint()
    window = PagePool(CONFIG, 0, CPU)
    n_bytes = windows * window.n_pages * window.page_bytes
    encoder = PagedEncoder(loaded.model.trunk, CPU, n_bytes)
    return small_model(checkpoint=loaded, encoder=encoder, max_cache_size_mb=n_bytes / 2**20)


@pytest.fixture(scope="module")
def whole():
    return play(paged_model(), sessions())[0]


def assert_near(a, b):
    """Equal but for the last digits of numbers."""
    if isinstance(a, float) and isinstance(b, float):
        assert a == pytest.approx(b, abs=NEAR, rel=NEAR)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_near(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b):
            assert_near(one, other)
    elif isinstance(a, msgspec.Struct) or dataclasses.is_dataclass(a):
        assert type(a) is type(b)
        for name in a.__struct_fields__ if isinstance(a, msgspec.Struct) else [field.name for field in dataclasses.fields(a)]:
            assert_near(getattr(a, name), getattr(b, name))
    elif hasattr(a, "tolist"):
        assert_near(a.tolist(), b.tolist())
    else:
        assert a == b


def test_it_tells_what_the_model_of_the_cpu_tells(whole):
    with patch("models.encoder.natural_type", lambda: torch.float32):
        assert_near(whole, play(small_model(), sessions())[0])


@pytest.mark.parametrize("seed", range(2))
def test_any_split_and_any_eviction_tell_the_same(whole, seed):
    assert_near(play(paged_model(), sessions(), seed, drop=0.3)[0], whole)


def test_a_pool_that_holds_few_windows_tells_the_same_one_by_one(whole):
    """Sessions at once need more pages than there are: idle ones go first, then the step is taken apart."""
    model, many = paged_model(windows=1), {f"{name}/{n}": items for n in range(3) for name, items in sessions().items()}
    encode, found = model.encoder.encode, []

    def noting(runs):
        try:
            return encode(runs)
        except Exception as problem:
            found.append(type(problem))
            raise

    model.encoder.encode = noting
    for session, results in play(model, many, 12)[0].items():
        assert_near(results, whole[session.rpartition("/")[0]])
    assert found, "the test needs steps that do not fit"
    assert set(found) == {PagesExhaustedError}
    pool = model.encoder.pool
    assert model.cache_bytes() == (pool.n_pages - pool.n_free) * pool.page_bytes


def test_a_step_taken_apart_lets_its_caches_go_first():
    """Sessions that hold all pages, and one more."""
    model = paged_model(windows=1)
    pool, states, items = model.encoder.pool, {}, text_items(ends=False)
    for n in range(4):
        states[f"tokens/{n}"] = model.step([Work(f"tokens/{n}", None, items[:60])])[0].state
    assert len(model.pool) == 4
    assert pool.n_free == 0
    works = [Work(session, state, items[60:65]) for session, state in states.items()]
    results = model.step([*works, Work("tokens/more", None, items[:60])])
    assert [result.error for result in results] == [None] * 5


def test_ended_evicted_and_failed_sessions_give_their_pages_back():
    model = paged_model(windows=1)
    pool, bad = model.encoder.pool, [Item(0, None, 0)]  # type: ignore[arg-type]
    states = {}
    for n in range(12):
        works = [Work(f"tokens/{n}", None, text_items(ends=False)[:30]), Work(f"tokens/bad{n}", None, bad)]
        good, failed = model.step(works)
        assert good.error is None
        assert failed.error is not None
        states[works[0].session] = good.state
    assert len(model.pool) < 12, "some were evicted"
    assert model.cache_bytes() <= pool.n_pages * pool.page_bytes
    first = model.step([Work("tokens/0", states["tokens/0"], text_items()[30:])])[0]
    assert_near(first.items, paged_model().step([Work("tokens/x", states["tokens/0"], text_items()[30:])])[0].items)
    for session in states:
        model.drop(session)
    del failed  # its error holds the step it failed in
    gc.collect()
    assert pool.n_free == pool.n_pages


def test_a_session_is_rebuilt_from_its_row_by_one_prefill():
    model, items = paged_model(), chat_items()
    state = model.step([Work("chat/r", None, items[:5])])[0].state
    kept = model.step([Work("chat/r", state, items[5:])])[0]
    model.drop("chat/r")
    row = model.unpack(model.pack(state))
    with patch.object(model.encoder, "encode", wraps=model.encoder.encode) as encode:
        model.rebuild("chat/r", row)
    assert encode.call_count == 1
    after = model.step([Work("chat/r", row, items[5:])])[0]
    assert after.cache_hit
    assert_near(after.items, kept.items)


# the choice of a device


@pytest.mark.parametrize(("sees", "taken"), [(True, ("cpu", "cuda", "cuda")), (False, ("cpu", "cpu"))])
def test_auto_takes_cuda_where_torch_sees_it(sees, taken):
    with patch("torch.cuda.is_available", lambda: sees):
        assert tuple(device_of(name).type for name in ("cpu", "auto", "cuda")[: len(taken)]) == taken


def test_cuda_without_a_device_is_told():
    with patch("torch.cuda.is_available", lambda: False), pytest.raises(ModelConfigError, match=r"sees no CUDA device; wanted .* or cpu"):
        encoder_on("cuda")


def test_a_device_of_another_name_is_told(tmp_path):
    with pytest.raises(ModelConfigError, match="'tpu'; wanted cpu, cuda or auto: set STRATA_MODEL_DEVICE"):
        device_of("tpu")
    with pytest.raises(SettingError, match=r"STRATA_MODEL_DEVICE .*'tpu', wanted one of cpu, cuda, auto"):
        load(StreamConfig, {"STRATA_MODEL_DEVICE": "tpu"})


def test_the_choice_reaches_the_model_and_the_cpu_stays_the_default():
    assert text_settings(load(StreamConfig, {"STRATA_MODEL_DEVICE": "auto"})).device == "auto"
    assert text_settings(load(StreamConfig, {})).device == TextSettings().device == "cpu"
    assert isinstance(encoder_on("cpu"), CachedEncoder)


def test_a_device_holds_the_budget_of_the_settings():
    pool = PagedEncoder(Trunk(CONFIG), CPU, 3 * 2**20).pool
    assert 3 * 2**20 - pool.page_bytes < pool.n_pages * pool.page_bytes <= 3 * 2**20


def encoder_on(device):
    return encoder_of(Trunk(CONFIG).eval().requires_grad_(False), TextSettings(state=CacheSettings(1), device=device))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_model_tells_what_it_tells_on_the_cpu(whole):
    loaded = small_checkpoint()
    model = small_model(checkpoint=loaded, encoder=PagedEncoder(loaded.model.trunk, torch.device("cuda"), 2**24), max_cache_size_mb=16)
    assert_near(play(model, sessions(), random.Random(3).randrange(9), drop=0.2)[0], whole)
