"""`strata bench`: what its figures mean, and that each program really does the work."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy import bench, cli
from deploy.benchmarks import contest, latency, load
from deploy.benchmarks.contest import Run
from deploy.targets import Caller


def test_expected_outputs_are_those_of_counting_record_by_record() -> None:
    for count in (999, 1000, 10_000, 12_345):
        keys = Counter(key for _, key, _ in load.records(count))
        assert load.expected_outputs(count) == sum(n // load.EVERY for n in keys.values())


def test_the_warm_up_reaches_every_partition_and_makes_no_output() -> None:
    rows = list(load.warm_up())
    assert {partition for partition, _, _ in rows} == set(range(load.PARTITIONS))
    assert max(Counter(key for _, key, _ in rows).values()) < load.EVERY


def test_ratios_compare_runs_of_the_same_round() -> None:
    # the second round had a busy machine: every program was half as fast, and the ratio stays
    runs = [
        Run("faust", 10, 1000.0, 80.0, 90.0),
        Run("strata", 10, 30_000.0, 2.0, 200.0),
        Run("faust", 10, 500.0, 80.0, 90.0),
        Run("strata", 10, 15_000.0, 2.0, 210.0),
    ]
    by_name = {s.name: s for s in bench.standing(runs)}
    assert by_name["strata"].times_faust_records == 30.0
    assert by_name["strata"].times_faust_cpu == 40.0
    assert by_name["strata"].records_per_s == 22_500.0
    assert "met" in bench.verdict(list(by_name.values()))


def test_one_figure_below_the_goal_is_a_miss() -> None:
    runs = [Run("faust", 10, 1000.0, 20.0, 90.0), Run("strata", 10, 30_000.0, 2.0, 200.0)]
    assert "missed" in bench.verdict(bench.standing(runs))


def test_percentiles_are_delays_that_occurred() -> None:
    found = latency.spread([float(n) for n in range(1, 101)])
    assert (found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms) == (50.0, 95.0, 99.0, 100.0)
    assert latency.spread([7.0]).p99_ms == 7.0


def test_an_unknown_program_is_refused_by_name() -> None:
    done = CliRunner().invoke(cli.app, ["bench", "--only", "flink"], obj=Caller({}))
    assert "flink" in str(done.exception)


@pytest.mark.broker
@pytest.mark.parametrize("name", ["faust", "aiokafka", "strata", "strata-all"])
def test_each_program_makes_one_output_for_ten_records(name: str, broker: str, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    records = round(10_000 / next(c for c in contest.CONTENDERS if c.name == name).share)
    done = CliRunner().invoke(
        cli.app, ["bench", "--kafka", broker, "--only", name, "--rounds", "1", "--records", str(records), "--out", str(out)], obj=Caller({})
    )
    assert done.exit_code == 0, done.exception
    (run,) = json.loads(out.read_text())["runs"]
    assert run["contender"] == name
    assert run["records_per_s"] > 0
    assert run["cpu_s_per_100k"] > 0
