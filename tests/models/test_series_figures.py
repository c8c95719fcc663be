"""The benchmark's score as its description says, on series small enough to count by hand; the command; made-up benchmark files."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from models.series_score import UNUSUAL_EVIDENCE, probability
from models.training.series_data import ORDINARY, STEP_US, LabelledSeries, benchmark
from models.training.series_figures import corpus_of, main, read_all
from models.training.series_forecasts import hour_figures, next_figures
from models.training.series_nab import PROFILES, judge, judge_choice, normal, places, raw_scores, sigmoid, table

STANDARD = PROFILES["standard"]


def series(rows: int, *windows: tuple[int, int], name: str = "a/x.csv", values: np.ndarray | None = None) -> LabelledSeries:
    values = np.zeros(rows) if values is None else values
    return LabelledSeries(name, STEP_US * np.arange(rows), values, windows)


def scores(rows: int, **detections: float) -> np.ndarray:
    found = np.zeros(rows)
    for row, score in detections.items():
        found[int(row[1:])] = score
    return found


def raw(found: np.ndarray, one: LabelledSeries, threshold: float = 0.5) -> float:
    return float(raw_scores(found, places(one), np.array([threshold]), STANDARD)[0])


def test_sigmoid_is_the_benchmarks() -> None:
    assert sigmoid(-1) == pytest.approx(0.98661, abs=1e-5)
    assert sigmoid(0) == 0
    assert sigmoid(3.01) == -1


def test_a_window_found_at_its_first_row_earns_one_and_later_less() -> None:
    one = series(200, (100, 119))
    assert raw(scores(200, r100=1), one) == pytest.approx(1)
    assert raw(scores(200, r105=1, r118=1), one) == pytest.approx(sigmoid(-15 / 20) / sigmoid(-1))
    assert raw(scores(200), one) == -1


def test_a_false_detection_costs_little_after_a_window_and_nothing_in_the_probation() -> None:
    one = series(200, (100, 119))
    assert raw(scores(200, r60=1), one) == pytest.approx(-1 - 0.11)
    assert raw(scores(200, r121=1), one) == pytest.approx(-1 + 0.11 * sigmoid(2 / 19))
    assert raw(scores(200, r3=1, r29=1), one) == -1
    assert (places(series(9000)).window == -2).sum() == 750


def test_silence_is_0_and_perfection_100() -> None:
    for profile in PROFILES.values():
        one = series(200, (100, 119), (150, 159))
        perfect = table([scores(200, r100=1, r150=1)], [places(one)], np.array([0.5, np.inf]), profile).sum(axis=0)
        assert [normal(float(value), 2, profile) for value in perfect] == pytest.approx([100, 0])


def test_the_best_threshold_is_the_best_of_all_and_others_choose_for_a_category() -> None:
    chance = np.random.default_rng(1)
    many = [series(300, (100, 119), (200, 229), name=f"{'ab'[k % 2]}/{k}") for k in range(6)]
    at, found = [places(one) for one in many], [np.round(chance.random(300), 2) for _ in many]
    judged = judge(found, at, STANDARD)
    every = np.unique(np.concatenate(found))
    totals = [normal(float(table(found, at, np.array([t]), STANDARD).sum()), 12, STANDARD) for t in every if t > 0.5]
    assert judged.oracle == pytest.approx(max(totals))
    assert judged.left_out <= judged.oracle
    assert judge_choice([found, found], at, STANDARD) == pytest.approx(judged.left_out)


def test_evidence_from_views_is_what_the_score_was_made_of() -> None:
    found = read_all(series(2000, values=ORDINARY["student t"](np.random.default_rng(2), 2000)))
    (evidence,) = corpus_of([np.ascontiguousarray(found["views"])])
    assert [probability(e) for e in evidence] == found["score"].tolist()
    assert (evidence >= UNUSUAL_EVIDENCE).any()


def test_a_forecast_of_yesterdays_value_has_error_one() -> None:
    one = series(3000, values=np.random.default_rng(3).normal(0, 1, 3000))
    found = read_all(one)
    found["next"][288:-1] = one.values[1:-288]
    found["next_90"] = (-np.inf, np.inf)
    figures = next_figures(one, found)
    assert figures["ours"] == pytest.approx(1, abs=0.01)
    assert figures["90"] == 1
    assert hour_figures(one, found)["ours"] < 1


def write(folder: Path, name: str, values: np.ndarray, windows: list[list[str]]) -> None:
    path = folder / "data" / f"{name}.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    stamps = [f"2014-04-{1 + n // 288:02} {n % 288 // 12:02}:{n % 12 * 5:02}:00" for n in range(len(values))]
    with gzip.open(path, "wt", encoding="utf-8") as out:
        out.write("timestamp,value\n" + "".join(f"{stamp},{value}\n" for stamp, value in zip(stamps, values)))
    labels = folder / "labels" / "combined_windows.json"
    labels.parent.mkdir(exist_ok=True)
    known = json.loads(labels.read_text()) if labels.exists() else {}
    labels.write_text(json.dumps(known | {name: windows}))


def test_the_command_reads_the_benchmarks_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = ORDINARY["daily"](np.random.default_rng(4), 1500)
    values[1200] += 60
    write(tmp_path, "made/spike.csv", values, [["2014-05-05 03:00:00.000000", "2014-05-05 05:00:00.000000"]])
    write(tmp_path, "other/spike.csv", values, [["2014-05-05 03:00:00.000000", "2014-05-05 05:00:00.000000"]])
    with pytest.raises(ValueError, match="not in"):
        benchmark(tmp_path)
    (tmp_path / "labels" / "combined_windows.json").unlink()
    for name in ("made/spike.csv", "other/spike.csv"):
        write(tmp_path, name, values, [["2014-04-05 03:00:00.000000", "2014-04-05 05:00:00.000000"]])
    assert benchmark(tmp_path)[0].windows == ((1188, 1212),)
    assert main(["--data", str(tmp_path), "--only", "nab", "forecast"]) == 0
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if line.startswith("| standard |")).split("|")
    assert float(row[2]) > 70
    assert "| next value | 0." in said
