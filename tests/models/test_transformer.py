"""The text model tells the same of a session in any batch, after any eviction; its findings keep the contract; its settings do what they say."""

import dataclasses
import itertools
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from models import transformer
from models.config import BufferSettings, ModelConfigError, UpdateSettings
from models.heads import Calibration
from models.kv_cache import KVCache
from models.readout import MAX_STEP_ROWS, passes
from models.steps import Item, Work
from models.tokenizer import BOS, CHAT, SINK
from models.tokenizer import TEXT as TEXT_MARK
from models.transformer import LONG_TEXT, StreamingHierarchicalTransformer
from tests.models.small_text_model import (
    PIECE,
    TEXT,
    answers,
    boundaries,
    chat_items,
    level_states,
    play,
    sessions,
    small_checkpoint,
    small_model,
    text_items,
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def whole(model):
    return play(model, sessions())


def test_spans_of_a_session_that_begins_later_begin_there(model):
    items = [replace(item, position=item.position + 7) for item in text_items()]
    (result,) = model.step([Work("late", None, items)])
    found = answers(result.items, "surprise") + [a for a in answers(result.items, "topic") if not a.output.get("level")]
    assert min(a.span_start for a in found) == 7
    assert model.close(Work("late", None, ())).state is None  # of nothing, nothing is said


@pytest.mark.parametrize("seed", range(4))
def test_any_split_over_any_batches_tells_the_same_bits(model, whole, seed):
    assert play(model, sessions(), seed) == whole


def test_eviction_changes_no_bit(model, whole):
    assert play(model, sessions(), 11, drop=0.3) == whole
    tiny = small_model(max_cache_size_mb=0.1)
    assert play(tiny, sessions(), 12) == whole
    assert tiny.cache_bytes() <= 0.1 * 2**20
    assert model.cache_bytes() > 0


def test_another_thread_tells_the_same_bits(model, whole):
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(play, model, sessions(), 21).result() == whole


def test_recompute_is_the_oracle_of_incremental(whole):
    assert play(small_model(update=UpdateSettings(token_level="recompute")), sessions(), 5) == whole


def test_a_cache_ahead_of_its_state_is_not_believed(model, whole):
    items = sessions()["tokens/a"]
    first = model.step([Work("tokens/r", None, items[:40])])[0]
    model.step([Work("tokens/r", first.state, items[40:60])])  # its result was lost in a crash
    again = model.step([Work("tokens/r", first.state, items[40:])])[0]
    assert [*first.items, *again.items] == whole[0]["tokens/a"]


def test_states_are_small_and_come_back_from_bytes(model, whole):
    for data in whole[1].values():
        assert len(data) < 16_384
        assert model.pack(model.unpack(data)) == data
    with pytest.raises(ValueError, match="layout"):
        model.unpack(b"\x63nonsense")
    with pytest.raises(ValueError, match="cannot be read"):
        model.unpack(next(iter(whole[1].values()))[:40])


def test_hostile_text_keeps_the_state_small(model):
    texts = ["x" * 20_000, "\ud800\x00", "", "👩‍🔬" * 500, "مرحبا بالعالم " * 50, ". ! ? " * 300, "\n" * 5000, "a"]
    for session, speaker in (("tokens/odd", ""), ("chat/odd", "s" * 1000)):
        items = [Item(n, text, n, speaker, wants_state=True, ends_session=n == len(texts) - 1) for n, text in enumerate(texts)]
        results, packed = play(model, {session: items}, 1)
        assert len(packed[session]) < 16_384
        assert len(answers(results[session], "topic")) >= 2


def test_a_long_piece_is_its_parts(model):
    long = " ".join(TEXT for _ in range(110))
    assert len(long) > 2 * LONG_TEXT
    once = model.step([Work("tokens/long", None, [Item(0, long, 5, wants_label=True), Item(1, " The end.", 9, ends_session=True)])])[0]
    assert once.error is None
    assert [r.position for r in once.items] == [0, 1]
    fine = [Item(n, piece, n) for n, piece in enumerate(PIECE.findall(long + " The end."))]
    fine[-1] = replace(fine[-1], ends_session=True)
    nats = [sum(a.output["nats"] for a in answers(r, "surprise")) for r in (once.items, play(model, {"tokens/f": fine})[0]["tokens/f"])]
    assert nats[0] == pytest.approx(nats[1], rel=1e-9), "the same tokens at the same cost"
    failed = model.step([Work("tokens/long2", None, [Item(0, long, 0), Item(1, None, 0)])])  # type: ignore[arg-type]
    assert failed[0].error is not None


def test_an_ended_session_has_one_final_for_itself_and_segments_that_tile_it(whole):
    for session, results in whole[0].items():
        finals = answers(results, "topic")
        documents = [f for f in finals if f.output.get("level") == "document"]
        assert [(f.span_start, f.span_end) for f in documents] == [(0, len(results))]
        segments = [f for f in finals if "level" not in f.output]
        assert [f.span_start for f in segments] == [0, *(f.span_end for f in segments[:-1])]
        assert segments[-1].span_end == len(results)
        assert [b.position for b in boundaries(results, "topic")] == [f.span_start for f in segments[1:]], session
        assert len(segments) > 1, f"{session}: the test needs a model that shifts"
        assert all(sum(f.output["probabilities"].values()) == pytest.approx(1, abs=1e-4) for f in finals)
        assert all(f.output["probabilities"][f.label] == pytest.approx(f.confidence, abs=1e-5) for f in finals)


def test_surprise_covers_every_piece_once(whole):
    for session, results in whole[0].items():
        spans = [(f.span_start, f.span_end) for f in answers(results, "surprise")]
        if session.startswith("chat/"):
            assert not spans
        else:
            assert [a for a, _ in spans] == [0, *(b for _, b in spans[:-1])]
            assert spans[-1][1] == len(results)
            assert all(f.value * f.output["tokens"] == pytest.approx(f.output["nats"]) for f in answers(results, "surprise"))


def test_boundaries_stand_once_and_topics_begin_with_sentences(whole):
    for session, results in whole[0].items():
        for kind in ("sentence", "paragraph", "topic"):
            positions = [b.position for b in boundaries(results, kind)]
            assert positions == sorted(set(positions))
            assert kind == "topic" or bool(positions) == session.startswith("tokens/")
            if session.startswith("tokens/"):
                assert set(positions) <= {b.position for b in boundaries(results, "sentence")}


def test_idle_close_says_what_an_end_says(model):
    items = text_items(ends=False)
    state = model.step([Work("tokens/idle", None, items)])[0].state
    closed = model.close(Work("tokens/idle", state, ()))
    ended = model.step([Work("tokens/ended", None, [*items[:-1], replace(items[-1], ends_session=True)])])[0]
    final = [a for a in answers(closed.items, "topic") if a.output.get("level")]
    assert len(closed.items) == 1
    assert final == [a for a in answers(ended.items, "topic") if a.output.get("level")]
    again = model.close(Work("tokens/idle", closed.state, ()))
    assert [r.findings for r in again.items] == [()]


def test_a_session_may_go_on_after_its_end(model):
    first = model.step([Work("chat/on", None, chat_items())])[0]
    more = [replace(i, position=i.position + 10) for i in chat_items()]
    second = model.step([Work("chat/on", first.state, more)])[0]
    finals = answers(second.items, "topic")
    assert [f.span_end for f in finals if f.output.get("level")] == [20]
    assert min(f.span_start for f in finals if not f.output.get("level")) == 10


def test_partials_come_when_asked_and_answers_change_nothing(model, whole):
    assert len(answers(whole[0]["tokens/a"], "topic", final=False)) == sum(i.wants_label for i in sessions()["tokens/a"])
    state = model.step([Work("tokens/ask", None, text_items(ends=False)[:30])])[0].state
    before = model.pack(state)
    asked = model.answer(Work("tokens/ask", state, ()))
    assert [a.task for a in asked] == ["topic", "surprise"]
    assert not any(a.is_final for a in asked)
    assert model.pack(state) == before
    assert model.answer(Work("tokens/none", None, ())) == ()


def test_one_sessions_failure_touches_no_other(model, whole):
    bad = [Item(0, None, 0)]  # type: ignore[arg-type]
    works = [Work("tokens/a1", None, sessions()["tokens/a"]), Work("tokens/bad", None, bad), Work("chat/a1", None, sessions()["chat/a"])]
    good, failed, other = model.step(works)
    assert isinstance(failed.error, Exception)
    assert failed.state is None
    assert list(good.items) == whole[0]["tokens/a"]
    assert list(other.items) == whole[0]["chat/a"]


def test_a_poisoned_state_is_told_and_mended_by_reset(model):
    items = text_items(ends=False)
    state = model.step([Work("tokens/p", None, items[:30])])[0].state
    poisoned = model.unpack(model.pack(state))
    poisoned = type(poisoned)(**{f: getattr(poisoned, f) for f in poisoned.__struct_fields__} | {"window": b"\xff\xff" * 9})
    failed = model.step([Work("tokens/p", poisoned, items[30:40])])[0]
    assert failed.error is not None
    mended = model.step([Work("tokens/p", model.reset(poisoned), items[30:])])[0]
    assert mended.error is None
    model.rebuild("tokens/p", model.reset(state))
    assert model.step([Work("tokens/p", model.reset(state), items[30:])])[0].items == mended.items


# settings


def windows(results):
    return [r.buffer_tokens for r in results]


@pytest.mark.parametrize("strategy", ["sentence_boundary", "fixed_size", "time_based"])
def test_the_window_never_exceeds_its_size(strategy):
    model = small_model(BufferSettings(max_tokens=100, overlap_tokens=40, flush_strategy=strategy, flush_interval_s=10_000))
    sizes = windows(play(model, {"tokens/a": text_items(TEXT * 5)}, 2)[0]["tokens/a"])
    assert max(sizes) <= 100
    assert any(b < a for a, b in itertools.pairwise(sizes)), "it was cut"


def test_time_based_cuts_a_window_that_grew_too_long():
    settings = BufferSettings(max_tokens=128, overlap_tokens=20, flush_strategy="time_based", flush_interval_s=3)
    slow = play(small_model(settings), {"tokens/a": text_items(every_us=100_000)})[0]["tokens/a"]
    fast = play(small_model(settings), {"tokens/a": text_items(every_us=1000)})[0]["tokens/a"]
    assert max(windows(slow)) < 90 < max(windows(fast))
    assert play(small_model(settings), {"tokens/a": text_items()}, 4)[0]["tokens/a"] == slow


def test_levels_switched_off_stay_silent():
    items = {"tokens/a": [replace(i, wants_state=True) for i in text_items()]}
    on = play(small_model(), items)[0]["tokens/a"]
    assert level_states(on, "sentence")
    assert level_states(on, "paragraph")
    no_paragraphs = play(small_model(update=UpdateSettings(paragraph_level="off")), items)[0]["tokens/a"]
    assert level_states(no_paragraphs, "sentence")
    assert not level_states(no_paragraphs, "paragraph")
    no_sentences = play(small_model(update=UpdateSettings(sentence_level="off")), items)[0]["tokens/a"]
    assert len(level_states(no_sentences, "sentence")) == 1, "the whole session"
    assert not boundaries(no_sentences, "topic")
    assert boundaries(no_sentences, "sentence") == boundaries(on, "sentence")


def test_document_states_come_by_period_or_by_topic():
    items = {"tokens/a": text_items()}
    asked = sum(i.wants_document and not i.ends_session for i in items["tokens/a"])
    periodic = play(small_model(), items)[0]["tokens/a"]
    assert len(level_states(periodic, "document")) == asked + 1
    by_topic = play(
        small_model(update=UpdateSettings(document_level="on_boundary")),
        {"tokens/a": [replace(i, wants_document=False) for i in text_items()]},
    )[0]
    deciding = [r for r in by_topic["tokens/a"][:-1] if boundaries([r], "topic")]
    assert len(level_states(by_topic["tokens/a"], "document")) == len(deciding) + 1 > 1


def test_a_threshold_above_one_finds_no_topic():
    model = small_model(checkpoint=small_checkpoint(Calibration(chat_threshold=1.1, text_threshold=1.1)))
    for results in play(model, sessions())[0].values():
        assert not boundaries(results, "topic")


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": 1024}, {"max_tokens": 16}, {"overlap_tokens": 100}, {"overlap_tokens": 0}, {"flush_interval_s": 0}]
)
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(ModelConfigError, match=next(iter(wrong))):
        small_model(dataclasses.replace(BufferSettings(max_tokens=128, overlap_tokens=32), **wrong))


@pytest.mark.parametrize("is_chat", [False, True])
def test_a_session_of_the_first_layout_goes_on_where_it_was(is_chat):
    """Counters and held text are kept; window and levels begin anew."""
    model = small_model()
    reader = {"characters": 20, "held": " now", "spans": [[6, 4]], "judged": 0, "before": "The boat is"}
    window = np.array([BOS, CHAT if is_chat else TEXT_MARK, SINK, SINK, 99], np.uint16).tobytes()
    first = [window, b"x", b"y", 7, -1, 20, reader, b"", -1, b"z", ["ann"], 9, 3, 2, [5, 11, "a", "b"], False, 2, 4, [5, -1, 4], 5, 1.5, 2]
    state = model.unpack(b"\x01" + msgspec.msgpack.encode(first))
    assert (state.n_items, state.covered, state.topic_start, state.emitted, state.speakers) == (7, 5, 4, (5, -1, 4), ("ann",))
    items = [Item(7, " the tide turns.", 0, "ann"), Item(8, " Boats come in.", 0, "ann", ends_session=True)]
    name = "chat/a" if is_chat else "tokens/a"
    result = model.step([Work(name, state, items)])[0]
    assert result.error is None
    assert [r.position for r in result.items] == [7, 8]
    finals = [a for a in answers(result.items, "topic") if a.output.get("level") == "document"]
    assert [(a.span_start, a.span_end) for a in finals] == [(0, 9)]
    if not is_chat:
        assert model.unpack(model.pack(result.state)).reader.characters == 20 + len(items[0].text + items[1].text)


def test_a_state_of_another_shape_goes_on_where_it_was():
    model = small_model()
    state = model.step([Work("chat/a", None, chat_items(ends=False))])[0].state
    other = replace(state, levels=b"\0" * 40, topic_logits=b"\0" * 8)
    found = model.unpack(model.pack(other))
    assert (found.n_items, found.topic_start, found.characters) == (state.n_items, state.topic_start, state.characters)
    assert model.step([Work("chat/a", found, [Item(state.n_items, "on it goes", 0, "user", ends_session=True)])])[0].error is None


def test_the_window_behind_a_cut_depends_on_what_was_remembered():
    """Else every law about evictions and splits would say nothing of it."""
    streams = {"tokens/a": text_items()}
    with_memory = play(small_model(), streams)[1]
    forgetful = small_model()
    forgetful.hierarchy.muted = frozenset(("memory",))
    assert play(forgetful, streams)[1] != with_memory


def test_a_row_stays_below_16_kb_at_the_shipped_shape():
    """One-character items, blanks and letters of four bytes held back, sentences of a word, positions beyond 32 bits."""
    model = StreamingHierarchicalTransformer.load()
    text = ["it ", *["7\n"] * 600, *["it is the ", "if you want "] * 6, "it", *" " * 48, *"\U0001d41a" * 63, " ", *"\U0001d41a" * 61]
    state, largest = None, 0
    for at in range(0, len(text), 40):
        items = [Item(2**33 + n, piece, n) for n, piece in enumerate(text[at : at + 40], at)]
        result = model.step([Work("tokens/a", state, items)])[0]
        assert result.error is None
        state = result.state
        largest = max(largest, len(model.pack(state)))
    assert 14_000 < largest < 16_384


def test_passes_take_every_neighbour_once_within_the_rows():
    for sizes in ([], [0, 0], [3000], [1000, 1048, 1, 0, 2048, 5000, 7], [700] * 10):
        parts = list(passes(sizes))
        assert [n for part in parts for n in range(part.start, part.stop)] == list(range(len(sizes)))
        assert all(sum(sizes[part]) <= MAX_STEP_ROWS or len(sizes[part]) == 1 for part in parts)


def test_holes_between_caches_are_given_back_as_they_grow_and_shrink(monkeypatch):
    calls = []
    monkeypatch.setattr(transformer, "give_back_holes", lambda: calls.append(1))
    model = small_model()
    size = KVCache(model.config).n_bytes
    monkeypatch.setattr(transformer, "TIDY_EVERY", 3 * size)
    for n in range(8):
        model.pool.put(f"s{n}", KVCache(model.config))
        model._keep_small()
    assert len(calls) == 2
    for n in range(8):
        model.pool.drop(f"s{n}")
    model._keep_small()
    assert len(calls) == 3
