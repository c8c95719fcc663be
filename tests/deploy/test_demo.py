"""The demo: which sessions are played, what the view holds and how it looks, when all is through."""

import asyncio
import io
import itertools
import json

import pytest
from rich.console import Console

from deploy.demo import Choice, Demo, DemoError, Servers, numbered, read_counters, write_counters
from deploy.demo_command import flags_of
from deploy.demo_totals import examples
from deploy.live_state import LiveState
from deploy.live_view import Caption, frame, plain
from deploy.replay import Pace, load_samples, schedule
from schemas.events import BoundaryFound, InputRead, PredictionMade, StepFailed

IDS = itertools.count()


def common(session, modality):
    place = {"kafka_topic": modality, "kafka_partition": 0, "kafka_offset": 0}
    return {
        "event_id": str(next(IDS)),
        "timestamp": 0,
        "session_id": session,
        "modality": modality,
        "model_version": "t",
        "trace_id": "",
        **place,
    }


def read(text, position=0, session="visit-1", modality="tokens", **metadata):
    return InputRead(**common(session, modality), token_id=0, token_text=text, token_position=position, buffer_size=1, metadata=metadata)


def edge(kind, position, offset, session="visit-1", modality="tokens", after=""):
    where = {"boundary_type": kind, "position": position, "text_offset": offset}
    return BoundaryFound(**common(session, modality), **where, confidence=0.9, detected_by="rule", context_after=after)


def answer(task, start, end, session="visit-1", modality="tokens", final=True, latency_ms=10.0, output=None, **fields):
    kind = {"prediction_id": "p", "prediction_type": "final" if final else "partial", "task": task, "revision": 0, "position": start}
    span = {"span_start": start, "span_end": end, "latency_ms": latency_ms, "output": json.dumps(output or {})}
    return PredictionMade(**common(session, modality), **kind, **span, **fields)


def state_of(*records):
    state = LiveState()
    told = [h for at, record in enumerate(records) for h in state.apply(record, float(at))]
    return state, told


# what is played


def test_every_round_has_new_session_ids():
    samples = load_samples()
    first, counters = numbered(samples, {})
    second, counters = numbered(samples, counters)
    ids = [p.session_id for p in (*first, *second)]
    assert len(set(ids)) == 2 * len(samples)
    assert {"visit-1", "visit-2", "note-1", "note-4"} <= set(ids)
    assert counters["note"] == 4


def test_a_round_comes_in_waves_with_every_stream_in_the_first():
    plays, _ = numbered(load_samples(), {})
    starts = {m: sorted({p.start_s for p in plays if p.sample.modality == m}) for m in ("tokens", "chat", "logs", "metrics")}
    assert all(s[0] == 0.0 for s in starts.values())
    assert len(starts["tokens"]) == 3
    assert max(d.at_s for d in schedule(plays, Pace())) < 120


def test_counters_survive_a_restart_and_a_broken_file(tmp_path):
    assert read_counters(tmp_path) == {}
    write_counters(tmp_path, {"visit": 3})
    assert read_counters(tmp_path) == {"visit": 3}
    (tmp_path / "demo.json").write_text("{")
    assert read_counters(tmp_path) == {}


def test_the_flags_of_up_are_handed_on():
    given = {"workers": 2, "free-ports": True, "kafka-port": None, "clickhouse-http-port": 0, "kafka": None}
    assert flags_of(given) == ["--workers", "2", "--free-ports", "--clickhouse-http-port", "0"]


def test_the_examples_name_a_session_that_was_played():
    assert examples(["booking-4", "visit-2"])[0] == "strata inspect visit-2"
    assert all(line.startswith("strata ") for line in examples([]))


# what the view holds


def test_a_sentence_is_told_with_its_text_once_the_boundary_came():
    _, told = state_of(read("One. "), read("Two. ", 1), edge("sentence", 1, 5), read("Three", 2), edge("sentence", 2, 10))
    assert [h.text for h in told if h.kind == "sentence"] == ["One.", "Two."]


def test_a_boundary_ahead_of_its_text_waits_for_it():
    state, told = state_of(edge("sentence", 1, 5), read("One. "), read("Two.", 1))
    assert [(h.kind, h.text, h.at_s) for h in told] == [("sentence", "One.", 1.0)]
    assert state.boundaries["sentence"] == 1


def test_a_record_that_comes_twice_counts_once():
    record = read("One. ")
    state, _ = state_of(record, record)
    assert state.items == 1
    assert state.sessions["tokens/visit-1"].items == 1


def test_topics_form_a_trail_whatever_the_order_of_their_labels():
    state, _ = state_of(
        *(read("word ", i) for i in range(14)),
        answer("topic", 9, 12, final=False, label="plan", confidence=0.8),
        answer("topic", 0, 9, label="exam", confidence=0.7),
        answer("topic", 9, 14, final=False, label="results", confidence=0.9),
    )
    assert state.sessions["tokens/visit-1"].labels == [("exam", 0.7), ("results", 0.9)]


def test_the_answer_about_the_whole_ends_a_session():
    state, told = state_of(read("All"), answer("topic", 0, 1, label="plan", confidence=0.9, output={"level": "document"}))
    assert state.sessions["tokens/visit-1"].ended_s == 1.0
    assert [h.kind for h in told] == ["sentence", "ended"]
    assert state.sessions["tokens/visit-1"].labels == []


def test_anomalies_of_points_are_told_and_normal_ones_are_not():
    point = {"session": "cpu-1", "modality": "metrics"}
    state, told = state_of(
        read("25.1", 0, **point, unit="%"),
        answer("anomaly", 0, 1, **point, label="anomaly", value=0.98),
        read("25.2", 1, **point, unit="%"),
        answer("anomaly", 1, 2, **point, label="normal", value=0.1),
        answer("anomaly", 0, 2, **point, label="anomaly", value=0.98, output={"level": "session"}),
    )
    assert [(h.kind, h.text) for h in told] == [("anomaly", "value 25.1 %, score 0.98 at 0"), ("ended", "2 points, as a whole anomaly")]
    assert state.sessions["metrics/cpu-1"].anomalies == 1


def test_an_answer_ahead_of_its_item_waits_for_it():
    pod = {"session": "pod-1", "modality": "logs"}
    _, told = state_of(answer("severity", 0, 1, **pod, label="error"), read("disk full", 0, **pod))
    assert [(h.text, h.at_s) for h in told] == [("error: disk full", 1.0)]


def test_answers_whose_items_never_come_are_taken_in_the_end():
    state, _ = state_of(*(answer("severity", i, i + 1, "pod-1", "logs", label="error") for i in range(150)))
    assert state.sessions["logs/pod-1"].severity_counts["error"] > 100


def test_latency_is_held_against_the_budget():
    state, _ = state_of(*(answer("topic", i, i + 1, latency_ms=float(i), label="x") for i in range(1, 101)))
    assert state.quantiles() == (51.0, 100.0)
    assert state.over_budget == 50


def test_failures_are_told():
    failed = {"failure_id": "f", "failure_type": "CodecError", "exception": "x", "recovery_action": "dead_letter", "recovery_success": True}
    state, told = state_of(StepFailed(**common("s", "logs"), **failed))
    assert (state.failures, told[0].text) == (1, "CodecError: dead_letter worked")


def test_an_endless_demo_forgets_sessions_that_ended():
    state, _ = state_of(read("a"), answer("topic", 0, 1, label="x", output={"level": "document"}), read("b", session="visit-2"))
    state.forget_ended(10.0)
    assert list(state.sessions) == ["tokens/visit-2"]


# how it looks


def full_state():
    records = [read(f"word{i} ", i) for i in range(200)]
    records += [edge("sentence", 50, 340), edge("paragraph", 150, 1000), edge("topic", 190, 1400, after="and 日本語 wide")]
    records += [answer("topic", 0, 9, label="a label [with brackets] that is quite long indeed", confidence=0.9)]
    for n in range(9):
        records += [read("hello 日本語テキスト" * 20, 0, f"booking-{n}", "chat", speaker="agent")]
        records += [read("ERROR " + "x" * 500, 0, f"pod-{n}", "logs"), answer("severity", 0, 1, f"pod-{n}", "logs", label="error")]
        records += [read(str(float(i)), i, f"cpu-{n}", "metrics", unit="%") for i in range(300)]
    records += [answer("anomaly", 299, 300, "cpu-0", "metrics", label="anomaly", value=0.99), read("nan", 0, "cpu-0", "metrics")]
    return state_of(*records)[0]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60), (60, 15), (40, 10)])
@pytest.mark.parametrize("make", [LiveState, full_state])
def test_a_frame_fills_the_screen_and_no_more(make, width, height):
    caption = Caption("demo", 61.0, "wave 1", "going on: 12 sessions, 3,120 items stored", 12345, "Ctrl-C stops everything")
    lines = frame(make(), caption, 500.0, width, height)
    assert len(lines) == height
    assert all(line.cell_len <= width for line in lines)


def test_a_frame_shows_every_stream_at_80_by_24():
    console = Console(width=80, height=24)
    with console.capture() as shown:
        for line in frame(full_state(), Caption("demo", 61.0), 500.0, 80, 24):
            console.print(line)
    text = shown.get()
    for part in (
        "01:01",
        "TEXT",
        "visit-1",
        "CHAT",
        "booking-0",
        "LOGS",
        "pod-0",
        "METRICS",
        "cpu-0",
        "1 anomalies",
        "p99",
        "budget 50 ms",
        "◆",
    ):
        assert part in text


def test_a_plain_line_says_when_where_and_what():
    _, told = state_of(read("One. "), edge("sentence", 1, 5))
    assert plain(told[0], 61.0).split() == ["01:01", "tokens", "visit-1", "sentence", "One."]


# what is said before anything comes back


@pytest.mark.parametrize("once", [True, False])
async def test_what_will_be_seen_is_said_before_anything_is_asked(tmp_path, once):
    """ClickHouse and Kafka take seconds to answer; nobody looks at an empty screen meanwhile."""
    console = Console(width=200, file=io.StringIO())

    class Silent:
        def rows(self, sql, **parameters):
            raise DemoError(console.file.getvalue())

    samples = load_samples()
    with pytest.raises(DemoError) as said:
        await Demo(Servers("nowhere", "", Silent(), tmp_path), Choice(once=once), samples, console).run()
    for part in (f"{len(samples)} recorded sessions", "of tokens", "of metrics", "once" if once else "again and again", "topics of text"):
        assert part in str(said.value)


# when it is through


class FakeClickHouse:
    """Counts rows as the test says."""

    def __init__(self):
        self.stored = {"input_stream": 0, "predictions": 0, "boundaries": 0}

    def rows(self, sql, **parameters):
        if "UNION ALL" in sql:
            return [{"name": name, "n": n} for name, n in self.stored.items()]
        return [{"sessions": 0, "items": 0}] if "uniqExact" in sql else []


def demo_of(tmp_path):
    clickhouse = FakeClickHouse()
    sample = next(s for s in load_samples() if s.modality == "chat")
    demo = Demo(Servers("nowhere", "", clickhouse, tmp_path), Choice(once=True), [sample], Console(quiet=True))
    demo.played, _ = numbered([sample], {})
    return demo, clickhouse, len(sample.items)


async def test_once_waits_until_all_is_read_closed_and_stored(tmp_path):
    demo, clickhouse, n = demo_of(tmp_path)
    through = asyncio.create_task(demo._through())
    tell = lambda record: demo.state.apply(record, 0.0)  # noqa: E731
    for i in range(n):
        tell(read("x", i, "booking-1", "chat"))
    await asyncio.sleep(0.4)
    assert demo.note == "1 of 1 sessions not closed yet"
    tell(answer("topic", 0, n, "booking-1", "chat", label="hotels", output={"level": "document"}))
    await asyncio.sleep(0.4)
    assert demo.note == f"storing: {n} input_stream, 1 predictions"
    clickhouse.stored |= {"input_stream": n, "predictions": 1}
    await asyncio.wait_for(through, 2.0)


async def test_once_gives_up_with_what_is_missing_when_nothing_moves(tmp_path, monkeypatch):
    monkeypatch.setattr("deploy.demo.STALLED_S", 0.5)
    demo, _, n = demo_of(tmp_path)
    with pytest.raises(DemoError, match=f"reading: {n} of {n} items left"):
        await demo._through()
