"""Replay: order, time and headers of what is sent, against a producer that only remembers."""

import asyncio
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.pieces import PieceCutter, cut_text
from deploy.replay import MODALITIES, SAMPLES, Pace, Play, Sample, load_samples, replay, schedule, tell_truths, trace_headers
from schemas.codec import Codec
from schemas.trace import read


class FakeProducer:
    """Remembers what was sent and when; acknowledges at once."""

    def __init__(self, clock=lambda: 0.0):
        self.sent, self._clock = [], clock

    async def send(self, topic, value, key, headers):
        self.sent.append((self._clock(), topic, key.decode(), value, headers))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def records(self):
        return [(topic, key, Codec().decode(topic, value)) for _, topic, key, value, _ in self.sent]


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now_s = 1000.0

    def clock(self):
        return self.now_s

    def now_us(self):
        return round(self.now_s * 1e6)

    async def sleep(self, seconds):
        self.now_s += seconds


def text_sample(text="a b c d", rate=10.0, name="note"):
    return Sample("tokens", name, "made up", tuple({"text": p} for p in cut_text(text)), rate=rate)


def metric_sample(n=5, gap_ms=300_000):
    items = tuple({"name": "cpu", "value": float(i), "unit": "%"} for i in range(n))
    return Sample("metrics", "host", "made up", items, tuple(float(i * gap_ms) for i in range(n)), rate=1.0)


async def test_the_truths_of_a_sample_come_as_labels_of_the_session_it_was_played_as():
    samples = load_samples()
    plays = [Play(f"{s.name}-{n}", s) for n, s in enumerate(samples)]
    producer = FakeProducer()
    assert await tell_truths(plays, producer, prefix="p-", now_us=lambda: 5) == len(producer.sent)
    told = [Codec().decode("labels", value) for _, _, _, value, _ in producer.sent]
    assert {topic for _, topic, *_ in producer.sent} == {"p-labels"}
    assert {label.task for label in told} == {"topic", "anomaly", "forecast"}
    assert {label.timestamp for label in told} == {5}
    for play in plays:
        mine = [label for label in told if label.session_id == play.session_id]
        forecast = [label for label in mine if label.task == "forecast"]
        assert all(label.value == play.sample.items[label.position + 1]["value"] for label in forecast)
        spans = [(label.position, label.span_end) for label in mine if label.position is not None and label not in forecast]
        covered = [item for a, b in spans for item in range(a, b)]
        assert covered in ([], list(range(len(play.sample.items)))), play.session_id  # each item once, or the session as a whole


async def play(plays, pace=None, **options):
    time = FakeTime()
    producer = FakeProducer(time.clock)
    count = await replay(plays, producer, pace or Pace(), now_us=time.now_us, clock=time.clock, sleep=time.sleep, **options)
    assert count == len(producer.sent)
    return producer


@given(st.text(alphabet="ab \n\t\u3000.", max_size=60))
def test_pieces_put_together_are_the_text(text):
    assert "".join(cut_text(text)) == text


@given(st.text(alphabet="ab \n\t", max_size=40), st.lists(st.integers(0, 40), max_size=5))
def test_any_split_of_a_text_gives_the_same_pieces(text, cuts):
    cutter, bounds = PieceCutter(), [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
    pieces = [p for a, b in itertools.pairwise(bounds) for p in cutter.feed(text[a:b])] + cutter.finish()
    assert pieces == cut_text(text)


def test_a_piece_is_a_word_with_the_white_space_after_it():
    assert cut_text(" Hi  there.\n\nBye") == [" Hi  ", "there.\n\n", "Bye"]


async def test_items_are_sent_when_they_are_due():
    producer = await play([Play("note-1", text_sample(rate=10.0))])
    assert [round(at - 1000, 3) for at, *_ in producer.sent] == [0.0, 0.1, 0.2, 0.3]


async def test_speed_divides_the_time_and_a_rate_replaces_the_samples_own():
    twice = await play([Play("note-1", text_sample(rate=10.0))], Pace(speed=2))
    assert [round(at - 1000, 3) for at, *_ in twice.sent] == [0.0, 0.05, 0.1, 0.15]
    slow = await play([Play("note-1", text_sample(rate=10.0))], Pace(rate=1))
    assert [round(at - 1000, 3) for at, *_ in slow.sent] == [0.0, 1.0, 2.0, 3.0]


async def test_recorded_gaps_are_kept_times_the_factor():
    producer = await play([Play("host-1", metric_sample(3, gap_ms=60_000))], Pace(speed=60, recorded=True))
    assert [round(at - 1000, 3) for at, *_ in producer.sent] == [0.0, 1.0, 2.0]


async def test_as_fast_as_possible_never_waits():
    producer = await play([Play("note-1", text_sample(), start_s=5), Play("host-1", metric_sample())], Pace(speed=0))
    assert {at for at, *_ in producer.sent} == {1000.0}
    assert len(producer.sent) == 9


def test_sessions_interleave_and_each_keeps_its_order():
    due = list(schedule([Play("a", text_sample(rate=10)), Play("b", text_sample(rate=10), start_s=0.05)], Pace()))
    assert [d.play.session_id for d in due] == ["a", "b"] * 4
    assert [d.index for d in due if d.play.session_id == "b"] == [0, 1, 2, 3]


@pytest.mark.parametrize("encoding", ["avro", "json"])
async def test_the_records_of_a_session_say_who_where_and_when_it_ends(encoding):
    producer = await play([Play("note-7", text_sample("One  two\nthree"))], encoding=encoding)
    records = [r for _, _, r in producer.records()]
    assert {(topic, key) for topic, key, _ in producer.records()} == {("tokens", "note-7")}
    assert "".join(r.text for r in records) == "One  two\nthree"
    assert [r.position for r in records] == [0, 1, 2]
    assert [r.end_of_session for r in records] == [False, False, True]
    assert {r.session_id for r in records} == {"note-7"}


async def test_event_times_increase_even_when_the_clock_stands():
    producer = await play([Play("note-1", text_sample())], Pace(speed=0))
    moments = [r.timestamp for _, _, r in producer.records()]
    assert moments == sorted(set(moments))
    assert moments[0] == 1_000_000_000


async def test_a_metric_keeps_its_spacing_and_ends_about_now():
    producer = await play([Play("host-1", metric_sample(5, gap_ms=300_000))], Pace(rate=2))
    moments = [r.timestamp for _, _, r in producer.records()]
    assert {b - a for a, b in itertools.pairwise(moments)} == {300_000_000}
    assert moments[-1] == round(producer.sent[-1][0] * 1e6)


async def test_a_prefix_names_other_topics():
    producer = FakeProducer()
    await replay([Play("note-1", text_sample())], producer, Pace(speed=0), prefix="test-")
    assert {topic for _, topic, *_ in producer.sent} == {"test-tokens"}


async def test_an_error_of_the_producer_is_not_swallowed():
    class Broken(FakeProducer):
        async def send(self, *args, **kwargs):
            future = await super().send(*args, **kwargs)
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(ConnectionError("broker gone"))
            return failed if len(self.sent) == 2 else future

    with pytest.raises(ConnectionError):
        await replay([Play("note-1", text_sample())], Broken(), Pace(speed=0))


async def test_every_record_carries_a_traceparent_and_a_share_of_them_is_sampled():
    contexts = [read(trace_headers("s", i, 0, 0.25)) for i in range(4000)]
    assert all(contexts)
    assert 0.22 < sum(c.sampled for c in contexts) / 4000 < 0.28
    assert len({c.trace_id for c in contexts}) == 4000
    assert not any(read(trace_headers("s", i, 0, 0.0)).sampled for i in range(500))
    assert all(read(trace_headers("s", i, 0, 1.0)).sampled for i in range(500))


def test_the_samples_of_the_repository_are_whole():
    samples = load_samples()
    assert {s.modality for s in samples} == set(MODALITIES)
    assert all(s.items and s.rate > 0 and s.source for s in samples)
    assert all(len(s.after_ms) in (0, len(s.items)) for s in samples)
    assert all(list(s.after_ms) == sorted(s.after_ms) for s in samples)


def test_the_samples_stay_small_and_have_their_licences():
    assert sum(f.stat().st_size for f in SAMPLES.rglob("*") if f.is_file()) < 1_000_000
    named = {f.name.split(".")[0] for f in (SAMPLES / "LICENSES").iterdir()}
    readme = (SAMPLES / "README.md").read_text()
    for source in ("ACI-Bench", "QMSum", "Nezha", "SGD", "TIAGE", "NAB"):
        assert source in named
    for file in SAMPLES.glob("*.jsonl"):
        assert f"`{file.name}`" in readme
        for line in file.read_text().splitlines():
            assert json.loads(line)["source"].split()[0] in named
