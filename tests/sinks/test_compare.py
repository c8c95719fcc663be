"""Two versions on the same sessions: pairs, intervals and what changed."""

import random
from collections import defaultdict

import numpy as np
import pytest
from scipy import stats

from sinks import compare_pairs
from sinks.compare_pairs import Difference
from tests.sinks.evaluation_rows import BEGIN_US, label, prediction

NAMES = ("billing", "outage", "other")


def final(n: int, session: str, said: str, version: str, **other: object) -> dict:
    return prediction(n, session, label=said, task="topic", model_version=version, **other)


def one(found: list[Difference], measure: str, level: str = "") -> Difference:
    (only,) = [d for d in found if d.measure == measure and d.level == level]
    return only


def test_a_version_compared_with_itself_differs_in_nothing() -> None:
    rows = [final(n, f"s{n % 4}", NAMES[n % 3], "v1", position=n // 4, value=float(n)) for n in range(40)]
    a, b = compare_pairs.side(rows, []), compare_pairs.side(list(reversed(rows)), [])
    found = compare_pairs.differences(a, b, {})
    assert {d.measure for d in found} == {"agreement", "confidence", "value"}
    assert all((d.difference, d.low, d.high) == (0, 0, 0) for d in found)
    assert compare_pairs.changed(a, b, {}) == []


def test_paired_accuracy_counts_and_its_interval_are_those_of_resampled_sessions() -> None:
    draw, a_rows, b_rows, labels = random.Random(9), [], [], []
    right: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for s in range(30):
        for n in range(draw.randint(3, 20)):
            session, true = f"s{s}", draw.choice(NAMES)
            x = true if draw.random() < 0.6 else "wrong"
            y = true if draw.random() < 0.6 + 0.2 * (s % 2) else "wrong"
            a_rows.append(final(n, session, x, "v1"))
            b_rows.append(final(n, session, y, "v2"))
            labels.append(label(n, session, task="topic", label=true))
            right[session].append((x == true, y == true))
    a, b = compare_pairs.side(a_rows, []), compare_pairs.side(b_rows, [])
    truth = compare_pairs.truths(labels, (a, b))
    told = one(compare_pairs.differences(a, b, truth), "accuracy")
    pairs = [pair for found in right.values() for pair in found]
    assert (told.a, told.b) == pytest.approx(tuple(np.mean(pairs, axis=0)))
    assert (told.pairs, told.sessions) == (len(pairs), 30)
    assert f"only A {pairs.count((True, False))}, only B {pairs.count((False, True))}" in told.told
    sums = np.array([sum(y - x for x, y in found) for found in right.values()], float)
    counts = np.array([len(found) for found in right.values()], float)
    expected = stats.bootstrap((sums, counts), lambda s, c, axis: s.sum(axis) / c.sum(axis), paired=True, method="percentile", n_resamples=3000, rng=np.random.default_rng(1)).confidence_interval  # fmt: skip
    assert (told.low, told.high) == pytest.approx((expected.low, expected.high), abs=0.015)


def test_only_final_answers_count_and_spans_are_told_item_by_item() -> None:
    span = {"prediction_id": "p", "span_start": 0}
    rows = [
        final(0, "s", "outage", "v1", **span, span_end=1, prediction_type="partial", revision=0),
        final(1, "s", "billing", "v1", **span, span_end=2, prediction_type="partial", revision=1),
        final(3, "s", "billing", "v1", **span, span_end=4, position=3, revision=2),
        final(4, "s", "other", "v1", prediction_type="partial", prediction_id="open"),
    ]
    made = compare_pairs.side(rows, [])
    assert {key[4]: said.label for key, said in made.items.items()} == dict.fromkeys(range(4), "billing")
    assert list(made.flips.values()) == [[1]]


def test_what_changed_is_told_in_stretches_with_its_truth() -> None:
    a = compare_pairs.side([final(n, "s", "billing", "v1") for n in range(6)], [])
    b = compare_pairs.side([final(n, "s", "outage" if n in (1, 2, 4) else "billing", "v2") for n in range(6)], [])
    truth = compare_pairs.truths([label(1, "s", task="topic", label="outage", span_end=3)], (a, b))
    found = [(c.key[4], c.items, c.truth) for c in compare_pairs.changed(a, b, truth)]
    assert found == [(1, 2, "outage"), (4, 1, None)]


def test_labels_find_their_item_however_they_name_it_and_the_last_one_wins() -> None:
    whole = final(5, "s", "billing", "v1", output='{"level":"document"}', span_start=0, span_end=6)
    a = compare_pairs.side([*[final(n, "s", "billing", "v1") for n in range(5)], whole], [])
    labels = [
        label(0, "s", task="topic", label="new", after_s=100),
        label(0, "s", task="topic", label="old", after_s=50),
        label(None, "s", task="topic", prediction_id="s-1", label="by id"),
        label(None, "s", task="topic", event_timestamp=BEGIN_US + 2_000_000, label="by time"),
        label(None, "s", task="topic", label="whole"),
        label(3, "s", task="topic", label="taken back", after_s=1),
        label(3, "s", task="topic", label=None, after_s=2),
    ]
    assert compare_pairs.truths(labels, (a,)) == {
        ("s", "topic", 0): "new",
        ("s", "topic", 1): "by id",
        ("s", "topic", 2): "by time",
        ("s", "topic", -1): "whole",
    }
