"""The questions' formulas against independent ones: scikit-learn, SciPy, and plain Python written from the definitions."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics
from sklearn.calibration import calibration_curve

from sinks import questions, rollups
from sinks.clickhouse import ClickHouse
from tests.sinks.evaluation_rows import common, empty, insert, label, prediction

LABELS = ("billing", "outage", "weather", "other")
N = 1500


@pytest.fixture(scope="module")
def judged(clickhouse: ClickHouse) -> Iterator[tuple[ClickHouse, list[dict], list[dict]]]:
    """Final answers with confidences that are a little too high, and their truths, in sessions of 50 items over three hours."""
    empty(clickhouse)
    draw = random.Random(1)
    answers, truths = [], []
    for n in range(N):
        session, position = f"s{n // 50}", n % 50
        confidence = draw.choice([0.31, 0.5, draw.uniform(0.25, 1.0), 1.0])
        said = draw.choices(LABELS, (6, 3, 2, 1))[0]
        true = said if draw.random() < confidence * 0.9 else draw.choice(LABELS)
        at = {
            "timestamp": prediction(n * 7)["timestamp"],
            "position": position,
            "label": said,
            "confidence": confidence,
            "task": "topic",
            "span_end": position + 1,
            "span_start": position,
        }
        answers.append(prediction(n, session, **at, value=draw.gauss(0, 1), latency_ms=draw.lognormvariate(2.5, 1)))
        truths.append(label(position, session, task="topic", label=true, value=draw.gauss(0, 1), after_s=draw.uniform(1, 9000), offset=n))
    insert(clickhouse, "predictions", answers)
    insert(clickhouse, "labels", truths)
    rollups.refresh(clickhouse)
    yield clickhouse, answers, truths
    empty(clickhouse)


def one(rows: Sequence[dict], **which: object) -> dict:
    found = [row for row in rows if all(row[k] == v for k, v in which.items())]
    assert len(found) == 1, found
    return found[0]


def test_accuracy_and_f1_are_those_of_scikit_learn(judged) -> None:
    database, answers, truths = judged
    said, true = [a["label"] for a in answers], [t["label"] for t in truths]
    row = one(questions.ask(database, "f1"))
    assert row["accuracy"] == pytest.approx(metrics.accuracy_score(true, said))
    assert row["macro_f1"] == pytest.approx(metrics.f1_score(true, said, average="macro"))
    assert row["weighted_f1"] == pytest.approx(metrics.f1_score(true, said, average="weighted"))
    assert one(questions.ask(database, "quality"))["accuracy"] == row["accuracy"]
    precision, recall, f1, support = metrics.precision_recall_fscore_support(true, said, labels=LABELS)
    for i, name in enumerate(LABELS):
        told = one(questions.ask(database, "labels"), label=name)
        assert (told["precision"], told["recall"], told["f1"], told["true_answers"]) == pytest.approx(
            (precision[i], recall[i], f1[i], support[i])
        )


def test_the_bootstrap_interval_of_macro_f1_is_that_of_resampled_answers(judged) -> None:
    database, answers, truths = judged
    said, true = np.array([a["label"] for a in answers]), np.array([t["label"] for t in truths])
    draw, samples = np.random.default_rng(2), []
    for _ in range(300):
        picked = draw.integers(0, N, N)
        samples.append(metrics.f1_score(true[picked], said[picked], average="macro"))
    low, high = np.quantile(samples, [0.025, 0.975])
    row = one(questions.ask(database, "f1"))
    assert row["macro_f1_low"] == pytest.approx(low, abs=0.01)
    assert row["macro_f1_high"] == pytest.approx(high, abs=0.01)


def test_wilson_intervals_are_those_of_scipy(judged) -> None:
    database, _, _ = judged
    for row in questions.ask(database, "quality", by="hour"):
        interval = stats.binomtest(row["correct"], row["judged"]).proportion_ci(method="wilson")
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((interval.low, interval.high), abs=1e-7)


def test_accuracy_by_age_is_counted_by_the_tenth_of_the_session(judged) -> None:
    database, answers, truths = judged
    right, all_of = Counter(), Counter()
    for a, t in zip(answers, truths, strict=True):
        all_of[a["position"] * 10 // 50] += 1
        right[a["position"] * 10 // 50] += a["label"] == t["label"]
    rows = questions.ask(database, "quality", by="age")
    assert {r["age"]: (r["judged"], r["correct"]) for r in rows} == {age: (all_of[age], right[age]) for age in range(10)}


def test_brier_and_log_loss_are_those_of_scikit_learn(judged) -> None:
    database, answers, truths = judged
    p = [a["confidence"] for a in answers]
    y = [int(a["label"] == t["label"]) for a, t in zip(answers, truths, strict=True)]
    row = one(questions.ask(database, "calibration"))
    assert row["brier"] == pytest.approx(metrics.brier_score_loss(y, p))
    clipped = np.clip(p, 1e-15, 1 - 1e-15)
    assert row["nll"] == pytest.approx(metrics.log_loss(y, clipped), rel=1e-4)
    assert (row["accuracy"], row["confidence"]) == pytest.approx((np.mean(y), np.mean(p)))


@pytest.mark.parametrize("bins", [5, 10, 20])
def test_ece_and_mce_are_those_of_scikit_learns_reliability_curve(judged, bins: int) -> None:
    database, answers, truths = judged
    p = np.array([a["confidence"] for a in answers])
    y = np.array([int(a["label"] == t["label"]) for a, t in zip(answers, truths, strict=True)])
    # scikit-learn's bins are (a, b], ours [a, b): the same answers unless one lies on an edge; 0.5 does, so it is moved by a hair
    moved = np.where(p == 1.0, p, p + 1e-9)
    accuracy, confidence = calibration_curve(y, np.minimum(moved, 1.0), n_bins=bins)
    counts = np.bincount(np.minimum((p * bins + 1e-12).astype(int), bins - 1), minlength=bins)
    counts = counts[counts > 0]
    row = one(questions.ask(database, "calibration", bins=bins))
    assert row["ece"] == pytest.approx(float(np.sum(counts * np.abs(accuracy - confidence)) / N), abs=1e-6)
    assert row["mce"] == pytest.approx(float(np.max(np.abs(accuracy - confidence)[counts >= 10])), abs=1e-6)
    rows = [r for r in questions.ask(database, "reliability", bins=bins) if r["binning"] == "width"]
    assert [r["answers"] for r in rows] == list(counts)
    assert [r["accuracy"] for r in rows] == pytest.approx(list(accuracy), abs=1e-6)


def test_equal_mass_bins_hold_about_as_many_answers_and_all_of_them(judged) -> None:
    database, answers, truths = judged
    rows = [r for r in questions.ask(database, "reliability", bins=5) if r["binning"] == "mass"]
    assert sum(r["answers"] for r in rows) == N
    fine: dict[int, list[float]] = defaultdict(lambda: [0, 0, 0])
    for a, t in zip(answers, truths, strict=True):
        cell = fine[min(199, math.floor(a["confidence"] * 200))]
        cell[0], cell[1], cell[2] = cell[0] + 1, cell[1] + (a["label"] == t["label"]), cell[2] + a["confidence"]
    coarse: dict[int, list[float]] = defaultdict(lambda: [0, 0, 0])
    before = 0
    for _, (n, k, c) in sorted(fine.items()):
        at = min(4, int(5 * (before + n / 2) / N))
        before += n
        for i, x in enumerate((n, k, c)):
            coarse[at][i] += x
    assert {r["bin"]: r["answers"] for r in rows} == {b: v[0] for b, v in coarse.items()}
    ece = sum(abs(k - c) for _, k, c in coarse.values()) / N
    assert one(questions.ask(database, "calibration", bins=5))["ece_mass"] == pytest.approx(ece)


def test_errors_of_values_are_those_of_scikit_learn(judged) -> None:
    database, answers, truths = judged
    told, true = [a["value"] for a in answers], [t["value"] for t in truths]
    row = one(questions.ask(database, "errors"))
    assert row["mean_absolute"] == pytest.approx(metrics.mean_absolute_error(true, told))
    assert row["root_mean_square"] == pytest.approx(metrics.root_mean_squared_error(true, told))
    assert row["bias"] == pytest.approx(np.mean(np.array(told) - np.array(true)))
    distances = np.abs(np.array(told) - np.array(true))
    half = 1.959964 * distances.std() / math.sqrt(N)
    assert (row["mean_absolute_low"], row["mean_absolute_high"]) == pytest.approx((distances.mean() - half, distances.mean() + half))


def test_quantiles_merged_over_hours_are_those_of_numpy(judged) -> None:
    database, answers, _ = judged
    times = np.array([a["latency_ms"] for a in answers])
    row = one(questions.ask(database, "latency"))
    assert (row["p50_ms"], row["p95_ms"], row["p99_ms"]) == pytest.approx(tuple(np.quantile(times, [0.5, 0.95, 0.99])), rel=0.03)
    assert row["max_ms"] == times.max()
    assert (row["over_50"], row["over_200"]) == pytest.approx(((times > 50).mean(), (times > 200).mean()))
    assert row["burn_rate"] == pytest.approx((times > 200).mean() / 0.01)


def test_expected_accuracy_is_the_mean_confidence_and_its_error_is_told(judged) -> None:
    database, answers, truths = judged
    row = one(questions.ask(database, "expected"))
    right = np.mean([a["label"] == t["label"] for a, t in zip(answers, truths, strict=True)])
    assert row["expected"] == pytest.approx(np.mean([a["confidence"] for a in answers]))
    assert row["off"] == pytest.approx(row["expected"] - right)


@pytest.fixture(scope="module")
def drifted(clickhouse: ClickHouse) -> Iterator[tuple[ClickHouse, list[dict], list[dict]]]:
    """Two windows of answers, inputs and representations, of different distributions; the split is at three hours."""
    empty(clickhouse)
    draw = np.random.default_rng(3)
    answers, inputs, states = [], [], []
    for n in range(2400):
        late = n >= 1200
        session, at = f"d{n % 7}", prediction(n * 9)["timestamp"]
        confidence = float(np.clip(draw.normal(0.7 - 0.1 * late, 0.1), 0, 1))
        said = LABELS[int(draw.choice(4, p=[0.4, 0.3, 0.2, 0.1] if not late else [0.2, 0.3, 0.2, 0.3]))]
        answers.append(prediction(n, session, timestamp=at, label=said, confidence=confidence))
        text = "x" * int(draw.integers(1, 80 if late else 40))
        inputs.append(
            common("input_stream", n, session, timestamp=at)
            | {"token_id": int(draw.integers(0, 50)), "token_text": text, "token_position": n, "buffer_size": 1, "metadata": {}}
        )
        vector = draw.normal(0.3 * late, 1.0, 16)
        state = {
            "state_type": "sentence",
            "span_start": n,
            "span_end": n + 1,
            "representation": vector.tolist(),
            "attention_weights": [],
            "cache_size_mb": 0.0,
            "metadata": {},
        }
        states.append(common("model_state", n, session, timestamp=at) | state)
    insert(clickhouse, "predictions", answers)
    insert(clickhouse, "input_stream", inputs)
    insert(clickhouse, "model_state", states)
    rollups.refresh(clickhouse)
    yield clickhouse, answers, inputs, states
    empty(clickhouse)


SPLIT = "2026-01-01 03:00:00"


def halves(rows: Sequence[dict], value) -> tuple[np.ndarray, np.ndarray]:
    found = [value(row) for row in rows]
    return np.array(found[:1200]), np.array(found[1200:])


def psi(before: np.ndarray, after: np.ndarray, groups: Sequence[object]) -> float:
    shares = [[max(np.mean(side == g), 1e-4) for g in groups] for side in (before, after)]
    return float(sum((q - p) * math.log(q / p) for p, q in zip(*shares, strict=True)))


def test_ks_and_wasserstein_are_those_of_scipy_on_the_fine_bins(drifted) -> None:
    database, answers, inputs, _ = drifted
    for rows, feature, value, width in (
        (answers, "confidence", lambda r: min(199, math.floor(r["confidence"] * 200)), 0.005),
        (inputs, "input_length", lambda r: math.floor(8 * math.log2(1 + len(r["token_text"]))), 0.125),
    ):
        before, after = halves(rows, value)
        row = one(questions.ask(database, "drift", split=SPLIT), feature=feature)
        assert (row["reference_n"], row["current_n"]) == (1200, 1200)
        assert row["ks"] == pytest.approx(stats.ks_2samp(before, after).statistic)
        assert row["wasserstein"] == pytest.approx(stats.wasserstein_distance(before, after) * width)
        assert row["ks_noise"] == pytest.approx(stats.kstwobign.ppf(0.95) * math.sqrt(2 / 1200), rel=1e-3)


def test_jensen_shannon_is_that_of_scipy_and_psi_that_of_its_definition(drifted) -> None:
    from scipy.spatial.distance import jensenshannon

    database, answers, _inputs, _ = drifted
    for rows, feature, value in (
        (answers, "label", lambda r: r["label"]),
        (answers, "confidence", lambda r: min(199, math.floor(r["confidence"] * 200))),
    ):
        before, after = halves(rows, value)
        values = sorted(set(before) | set(after))
        shares = [[np.mean(side == v) for v in values] for side in (before, after)]
        row = one(questions.ask(database, "drift", split=SPLIT), feature=feature)
        assert row["js"] == pytest.approx(jensenshannon(*shares, base=2) ** 2)
    before, after = halves(answers, lambda r: r["label"])
    assert one(questions.ask(database, "drift", split=SPLIT), feature="label")["psi"] == pytest.approx(psi(before, after, LABELS))
    before, after = halves(answers, lambda r: min(199, math.floor(r["confidence"] * 200)))
    tenth = {v: min(9, int(10 * (np.mean(before < v) + np.mean(before == v) / 2) + 1e-9)) for v in set(before) | set(after)}
    grouped = [np.array([tenth[v] for v in side]) for side in (before, after)]
    assert one(questions.ask(database, "drift", split=SPLIT), feature="confidence")["psi"] == pytest.approx(
        psi(*grouped, sorted(set(tenth.values()))), rel=1e-6
    )


def test_without_drift_the_noise_levels_hold_in_about_95_of_100() -> None:
    """The formulas of psi_noise and ks_noise, on samples of one distribution in ten groups."""
    draw, above = np.random.default_rng(4), Counter()
    for _ in range(400):
        before, after = draw.integers(0, 10, 800), draw.integers(0, 10, 500)
        above["psi"] += psi(before, after, range(10)) > (9 + 1.645 * math.sqrt(18)) * (1 / 800 + 1 / 500)
    assert 0.02 <= above["psi"] / 400 <= 0.1


def test_mmd_is_near_that_of_the_kernel_itself_and_centroids_are_exact(drifted) -> None:
    database, _, _, states = drifted
    units = np.array([np.array(s["representation"]) / np.linalg.norm(s["representation"]) for s in states])
    x, y = units[:1200], units[1200:]
    kernel = metrics.pairwise.rbf_kernel
    exact = math.sqrt(kernel(x, x, 2.0).mean() + kernel(y, y, 2.0).mean() - 2 * kernel(x, y, 2.0).mean())
    row = one(questions.ask(database, "representations", split=SPLIT))
    assert row["centroid_shift"] == pytest.approx(np.linalg.norm(x.mean(0) - y.mean(0)), rel=1e-5)
    cosine = 1 - x.mean(0) @ y.mean(0) / np.linalg.norm(x.mean(0)) / np.linalg.norm(y.mean(0))
    assert row["cosine_distance"] == pytest.approx(cosine, rel=1e-4)
    assert row["mmd"] == pytest.approx(exact, rel=0.35)
    assert row["mmd"] > 2 * row["mmd_noise"]
