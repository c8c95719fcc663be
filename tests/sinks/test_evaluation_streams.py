"""What changes while a session streams: stability, boundaries, failures, alarms; against plain Python written from the definitions."""

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest

from sinks import questions, rollups
from sinks.clickhouse import ClickHouse
from tests.sinks.evaluation_rows import BEGIN_US, common, empty, insert, label, prediction

NAMES = ("billing", "billing question", "outage", "outage in town", "other")


@pytest.fixture
def database(clickhouse: ClickHouse) -> ClickHouse:
    empty(clickhouse)
    return clickhouse


def one(rows: Sequence[dict], **which: object) -> dict:
    found = [row for row in rows if all(row[k] == v for k, v in which.items())]
    assert len(found) == 1, found
    return found[0]


def revised(session: str, labels: Sequence[str], ends: Sequence[int]) -> list[dict]:
    """All answers to one span, an hour apart, the last one final."""
    return [
        prediction(
            n, session, task="topic", prediction_id=f"{session}-span", revision=n, label=said, span_start=0, span_end=end, position=end - 1,
            prediction_type="final" if n == len(labels) - 1 else "partial", timestamp=BEGIN_US + n * 3_600_000_000,
        )
        for n, (said, end) in enumerate(zip(labels, ends, strict=True))
    ]  # fmt: skip


def erased(before: str, after: str) -> int:
    """Words of `before` that are not the beginning of `after`."""
    old, new = before.split(), after.split()
    same = next((i for i, (x, y) in enumerate(zip(old, new, strict=False)) if x != y), min(len(old), len(new)))
    return len(old) - same


def test_stability_is_counted_as_defined_though_revisions_lie_in_several_hours(database: ClickHouse) -> None:
    draw, spans = random.Random(5), []
    for _s in range(40):
        n = draw.randint(2, 6)
        spans.append(([draw.choice(NAMES) for _ in range(n)], sorted(draw.sample(range(1, 60), n))))
    insert(database, "predictions", [row for s, (labels, ends) in enumerate(spans) for row in revised(f"r{s}", labels, ends)])
    rollups.refresh(database)
    flips = np.array([sum(a != b for a, b in itertools.pairwise(labels)) for labels, _ in spans])
    shares, seconds, partials, same = [], [], defaultdict(int), defaultdict(int)
    for labels, ends in spans:
        stable = next(i for i in range(len(labels)) if set(labels[i:]) == {labels[-1]})
        shares.append(ends[stable] / ends[-1])
        seconds.append(stable * 3600)
        for said, end in zip(labels[:-1], ends[:-1], strict=True):
            partials[(end - 1) * 10 // ends[-1]] += 1
            same[(end - 1) * 10 // ends[-1]] += said == labels[-1]
    row = one(questions.ask(database, "stability"))
    assert (row["spans"], row["outputs"]) == (40, sum(len(labels) for labels, _ in spans))
    assert row["flips_per_span"] == pytest.approx(flips.mean())
    assert row["flips_high"] == pytest.approx(flips.mean() + 1.959964 * flips.std() / np.sqrt(40))
    assert row["flipped"] == pytest.approx((flips > 0).mean())
    taken_back = sum(erased(a, b) for labels, _ in spans for a, b in itertools.pairwise(labels))
    assert row["normalised_erasure"] == pytest.approx(taken_back / sum(len(labels[-1].split()) for labels, _ in spans))
    assert row["stable_share"] == pytest.approx(np.mean(shares))
    assert row["stable_p50_s"] == pytest.approx(np.quantile(seconds, 0.5), abs=1800)
    assert row["partials_as_final"] == pytest.approx(sum(same.values()) / sum(partials.values()))
    rows = questions.ask(database, "partials")
    assert {r["tenth"]: (r["partials"], r["as_final"]) for r in rows} == {t: (n, same[t]) for t, n in partials.items()}


def test_an_answer_that_never_had_a_partial_is_no_span_of_stability(database: ClickHouse) -> None:
    insert(database, "predictions", [prediction(n) for n in range(5)])
    rollups.refresh(database)
    assert questions.ask(database, "stability") == []


def items(session: str, n: int, **other: object) -> list[dict]:
    text = {"token_id": 1, "token_text": "word ", "buffer_size": 1, "metadata": {}}
    return [
        common("input_stream", i, session, modality="tokens", kafka_topic="tokens") | text | {"token_position": i} | other for i in range(n)
    ]


def boundary(session: str, position: int, kind: str = "topic", decided: int | None = None) -> dict:
    row = {
        "boundary_type": kind,
        "position": position,
        "text_offset": position * 5,
        "confidence": 0.8,
        "detected_by": "model",
        "context_before": "",
        "context_after": "",
    }
    return (
        common("boundaries", position if decided is None else decided, session, modality="tokens", kafka_topic="tokens")
        | row
        | {"event_id": common(kind, position, session)["event_id"]}
    )


def windows(n: int, true: set[int], found: set[int]) -> tuple[float, float]:
    """Pk and WindowDiff from their definitions: items i and i + k, and the boundaries between them."""
    k = max(1, round(n / (len(true) + 1) / 2))
    between = [[sum(1 for b in side if i < b <= i + k) for side in (true, found)] for i in range(n - k)]
    return float(np.mean([(a > 0) != (b > 0) for a, b in between])), float(np.mean([a != b for a, b in between]))


def test_pk_and_window_diff_are_those_of_their_definitions(database: ClickHouse) -> None:
    draw, expected = random.Random(6), []
    for s in range(12):
        n, session = draw.randint(12, 80), f"t{s}"
        true, found = (set(draw.sample(range(1, n), draw.randint(0, 5))) for _ in range(2))
        insert(database, "input_stream", items(session, n))
        if found:
            insert(database, "boundaries", [boundary(session, p) for p in found])
        starts = sorted({0, *true})
        insert(
            database,
            "labels",
            [label(a, session, task="topic", label="x", span_end=b) for a, b in zip(starts, [*starts[1:], n], strict=True)],
        )
        expected.append((*windows(n, true, found), len(true & found), len(found), len(true)))
    rollups.refresh(database)
    pk, window_diff, hits, found_n, true_n = (np.array(column) for column in zip(*expected, strict=True))
    row = one(questions.ask(database, "segments"))
    assert row["sessions"] == 12
    assert (row["pk"], row["window_diff"]) == pytest.approx((pk.mean(), window_diff.mean()))
    assert (row["hits"], row["found"], row["true_boundaries"]) == (hits.sum(), found_n.sum(), true_n.sum())
    assert row["f1"] == pytest.approx(2 * hits.sum() / (found_n.sum() + true_n.sum()))
    draws = np.random.default_rng(7).integers(0, 12, (2000, 12))
    assert (row["pk_low"], row["pk_high"]) == pytest.approx(tuple(np.quantile(pk[draws].mean(1), [0.025, 0.975])), abs=0.035)


def test_segments_labelled_days_later_are_judged_in_the_hour_their_session_began(database: ClickHouse) -> None:
    insert(database, "input_stream", items("d", 8))
    insert(database, "boundaries", [boundary("d", 4)])
    rollups.refresh(database)
    insert(
        database,
        "labels",
        [label(0, "d", task="topic", span_end=4, after_s=200_000), label(4, "d", task="topic", span_end=8, after_s=200_000)],
    )
    rollups.refresh(database)
    row = one(questions.ask(database, "segments", by="hour"))
    assert (row["at"], row["hits"], row["pk"]) == (datetime(2026, 1, 1, tzinfo=UTC), 1, 0)


def test_labels_of_single_utterances_begin_a_segment_where_they_change(database: ClickHouse) -> None:
    insert(database, "input_stream", items("u", 6))
    insert(database, "boundaries", [boundary("u", 2), boundary("u", 4)])
    insert(database, "labels", [label(i, "u", task="topic", label=said) for i, said in enumerate("aabbbc")])
    rollups.refresh(database)
    row = one(questions.ask(database, "segments"))
    assert (row["true_boundaries"], row["hits"], row["found"]) == (2, 1, 2)


def test_a_boundary_decided_after_later_records_is_a_correction(database: ClickHouse) -> None:
    insert(database, "input_stream", items("b", 30))
    insert(database, "boundaries", [boundary("b", 3), boundary("b", 10, decided=14), boundary("b", 20, decided=22)])
    rollups.refresh(database)
    row = one(questions.ask(database, "corrections"))
    assert (row["boundaries"], row["corrections"], row["late_p50_items"]) == (3, 2, pytest.approx(2, abs=1))


def failure(n: int, action: str, success: bool, session: str = "f", kind: str = "InvalidJsonError") -> dict:
    row = {
        "failure_id": f"{session}-{n}",
        "failure_type": kind,
        "exception": "",
        "stack_trace": "",
        "context": "{}",
        "recovery_action": action,
        "recovery_success": success,
    }
    return common(f"failures {action}", n, session, modality="tokens") | row


def test_failures_are_counted_once_however_often_recovery_was_tried(database: ClickHouse) -> None:
    insert(database, "input_stream", items("f", 10))
    tried = [failure(2, "retry", False), failure(2, "rebuild_cache", True), failure(5, "dead_letter", True), failure(9, "retry", False)]
    insert(database, "failures", [*tried, failure(3, "retry", True, "other", "SlowError")])
    rollups.refresh(database)
    row = one(questions.ask(database, "failures"), failure_type="InvalidJsonError")
    assert (row["failures"], row["attempts"], row["recovered"], row["dead_letters"], row["sessions"]) == (3, 4, 1, 1, 1)
    assert (row["recover_mean_s"], row["recover_n"]) == (1.0, 2)  # items come a second apart; the last failure was the end of its session


def test_alarms_stand_beside_one_that_never_fires_and_one_that_always_does(database: ClickHouse) -> None:
    """Eight hours: the reference is the first four; in hours 6 and 7 confidence and accuracy fall."""
    draw, answers, truths = random.Random(8), [], []
    for n in range(8 * 300):
        hour, bad = n // 300, n // 300 >= 6
        session, moment = f"a{n // 100}", BEGIN_US + hour * 3_600_000_000 + (n % 300) * 10_000_000
        at = {"timestamp": moment, "position": n % 100}
        answers.append(prediction(n, session, **at, label="info", confidence=draw.uniform(0.2, 0.6) if bad else draw.uniform(0.7, 1.0)))
        truths.append(
            label(
                n % 100, session, timestamp=moment + 1_000_000, label="info" if draw.random() < (0.4 if bad else 0.9) else "error", offset=n
            )
        )
    insert(database, "predictions", answers)
    insert(database, "labels", truths)
    rollups.refresh(database)
    rows = questions.ask(database, "alarms", by="hour", split="2026-01-01 04:00:00")
    told = {r["detector"]: r for r in rows if r["feature"] == "confidence"}
    assert set(told) == {"psi", "js", "ks", "never", "always"}
    assert {r["onset"] for r in told.values()} == {datetime(2026, 1, 1, 6, tzinfo=UTC)}
    assert {d: (r["alarms"], r["delay_h"], r["false_alarms_a_day"]) for d, r in told.items()} == {
        "psi": (2, 0.0, 0.0), "js": (2, 0.0, 0.0), "ks": (2, 0.0, 0.0), "never": (0, None, 0.0), "always": (4, 0.0, 24.0),
    }  # fmt: skip
    assert {r["alarms"] for r in rows if r["feature"] == "label" and r["detector"] in ("psi", "js")} == {0}


def test_a_label_of_the_whole_session_judges_its_last_word_and_no_other(database: ClickHouse) -> None:
    whole = prediction(9, "w", task="anomaly", label="anomaly", output='{"level":"session"}', span_start=0, span_end=10)
    insert(database, "predictions", [*[prediction(n, "w", task="anomaly", label="normal") for n in range(9)], whole])
    insert(database, "labels", [label(None, "w", task="anomaly", label="anomaly")])
    rollups.refresh(database)
    rows = {r["level"]: (r["judged"], r["correct"]) for r in questions.ask(database, "quality")}
    assert rows == {"": (0, 0), "session": (1, 1)}


def test_a_label_by_event_time_or_prediction_finds_its_answer(database: ClickHouse) -> None:
    insert(database, "predictions", [prediction(n, "e") for n in range(4)])
    by_time = label(None, "e", event_timestamp=BEGIN_US + 2_000_000, label="info")
    by_id = label(None, "e", prediction_id="e-3", label="error", after_s=61)
    insert(database, "labels", [by_time, by_id])
    rollups.refresh(database)
    assert [(r["position"], r["truth"]) for r in outcome_rows(database)] == [(2, "info"), (3, "error")]


def outcome_rows(database: ClickHouse) -> list[dict]:
    found = database.ask("SELECT position, truth FROM outcomes ORDER BY position")
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]
