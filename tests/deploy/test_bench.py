"""`strata bench`: what its figures mean, that each program really does the work, and that no part stops another."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy import bench, cli
from deploy.benchmarks import contest, load, page, parts, plumbing, results
from deploy.benchmarks.contest import Run
from deploy.benchmarks.ground import Ground
from deploy.benchmarks.results import Goal, Plot, Result, Series, Table
from deploy.local.progress import Progress
from deploy.targets import Caller


def ground_on(folder: Path, kafka: str = "127.0.0.1:1") -> Ground:
    return Ground({"PATH": "/usr/bin:/bin"}, folder, Progress(), 1, True, kafka)


def result_of(part: str, *goals: Goal) -> Result:
    plot = Plot("curve", "Curve", "records a second", "milliseconds", [Series("p50", [1.0, 2.0], [3.0, 4.0])])
    return Result(
        part, "what it is", goals, [Table("T", ["a", "b"], [["x", "1"]])], [plot], ["a note"], {"raw": [1, 2]}, results.machine(), 3
    )


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
    by_name = {s.name: s for s in plumbing.standing(runs)}
    assert by_name["faust"].times_records == 30.0
    assert by_name["faust"].times_cpu == 40.0
    assert by_name["strata"].times_records == 1.0
    assert by_name["strata"].records_per_s == 22_500.0


def test_a_goal_is_reached_on_its_side_of_the_bound() -> None:
    assert Goal("speed", "", 7.0, 7.0).reached
    assert not Goal("speed", "", 6.9, 7.0).reached
    assert Goal("latency", "", 50.0, 50.0, "ms", at_most=True).reached
    assert not Goal("latency", "", 50.1, 50.0, "ms", at_most=True).reached


def test_a_part_that_fails_is_told_and_stops_no_other(tmp_path: Path) -> None:
    def breaks(ground: Ground) -> Result:
        raise RuntimeError("no broker today")

    def measures(ground: Ground) -> Result:
        return result_of("tokens", Goal("speed", "peer", 2.0, 1.0))

    found, failed = parts.run(["plumbing", "tokens"], ground_on(tmp_path), tmp_path / "figures", {"plumbing": breaks, "tokens": measures})
    assert [r.part for r in found] == ["tokens"]
    assert failed == {"plumbing": "RuntimeError: no broker today"}
    assert {file.name for file in (tmp_path / "figures").iterdir()} == {"tokens.json", "curve.png"}
    assert "1 of 1 reached" in (tmp_path / "figures.md").read_text()


def test_a_part_measured_again_leaves_the_others_on_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    for part, seen in (("plumbing", 8.0), ("tokens", 2.0), ("tokens", 5.0)):
        results.save(result_of(part, Goal(f"speed of {part}", "peer", seen, 3.0)), folder)
    (folder / page.BY_HAND).write_text("## Seen elsewhere\n")
    text = page.write(folder, list(parts.PARTS)).read_text()
    assert text.endswith("\n\n## Seen elsewhere\n")
    assert "2 of 2 reached" in text
    assert "| speed of plumbing | peer | 8 times | 3 times | yes | plumbing |" in text
    assert "| speed of tokens | peer | 5 times |" in text


def test_a_figure_that_was_missed_stands_on_the_page(tmp_path: Path) -> None:
    missed = replace(result_of("tokens"), goals=[Goal("latency", "", 80.0, 50.0, "ms", at_most=True)])
    text = page.text([missed], "figures")
    assert "0 of 1 reached" in text
    assert "| latency |  | 80 ms | at most 50 ms | **no** | tokens |" in text


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    wrote = result_of("tokens", Goal("speed", "peer", 2.0, 1.0))
    read = results.load(results.save(wrote, tmp_path))
    assert page.text([read], "f") == page.text([wrote], "f")
    assert read.data == wrote.data


def test_an_unknown_part_is_refused_by_name() -> None:
    done = CliRunner().invoke(cli.app, ["bench", "--only", "flink"], obj=Caller({}))
    assert "flink" in str(done.exception)
    assert "plumbing" in str(done.exception)


def test_json_of_a_run_names_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*args: Any) -> tuple[list[Result], dict[str, str]]:
        return [result_of("tokens", Goal("speed", "peer", 2.0, 1.0))], {"logs": "BenchError: stalled"}

    monkeypatch.setattr(bench.parts, "run", run)
    done = CliRunner().invoke(cli.app, ["bench", "--quick", "--json"], obj=Caller({}))
    assert done.exit_code != 0
    assert "logs: BenchError: stalled" in str(done.exception)
    value = json.loads(done.stdout)
    assert value["failed"] == {"logs": "BenchError: stalled"}
    assert value["parts"][0]["goals"][0]["seen"] == 2.0


def one_run(broker: str, folder: Path, name: str) -> Run:
    contender = next(c for c in contest.CONTENDERS if c.name == name)
    ground = ground_on(folder, broker)
    peers = ground.peers() if name == "quix" else None
    return asyncio.run(plumbing.one(ground, broker, peers, contender, round(10_000 / contender.share), "once"))


@pytest.mark.broker
@pytest.mark.parametrize("name", ["faust", "aiokafka", "strata", "strata-all"])
def test_each_program_makes_one_output_for_ten_records(name: str, broker: str, tmp_path: Path) -> None:
    run = one_run(broker, tmp_path, name)  # raises when outputs are missing
    assert run.contender == name
    assert run.records == 10_000
    assert run.records_per_s > 0
    assert run.cpu_s_per_100k > 0


@pytest.mark.broker
@pytest.mark.slow
def test_the_peer_of_another_environment_does_the_same_work(broker: str, tmp_path: Path) -> None:
    assert one_run(broker, tmp_path, "quix").records_per_s > 0
