"""The capacity model: proportions that must hold whatever was measured."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy import cli
from deploy.benchmarks import capacity, results
from deploy.benchmarks.capacity import Constants
from deploy.benchmarks.results import Result
from deploy.targets import Caller
from schemas.errors import SettingError

C = Constants(
    worker_us=300.0,
    writer_us=100.0,
    broker_us=50.0,
    rebuild_us=20_000.0,
    worker_mb=700.0,
    cache_bytes=524_288.0,
    row_bytes=14_000.0,
    rows_per_piece={"input_stream": 1.0, "predictions": 0.5},
    bytes_per_row={"input_stream": 40.0, "predictions": 60.0},
)


def test_no_process_is_planned_beyond_its_share_of_a_core() -> None:
    for sessions in (1, 1000, 1_000_000):
        plan = capacity.plan(C, sessions, 0.1)
        used = capacity.cores(C, plan.pieces_per_s)
        assert used["worker"] <= capacity.UTILISATION * plan.workers
        assert used["writer"] <= capacity.UTILISATION * plan.writers
        assert used["broker"] <= capacity.UTILISATION * plan.broker_cores
        assert plan.partitions >= capacity.PARTITIONS_PER_WORKER * plan.workers


def test_twice_the_sessions_need_twice_of_everything() -> None:
    one, two = capacity.plan(C, 1_000_000, 0.1), capacity.plan(C, 2_000_000, 0.1)
    assert two.workers == pytest.approx(2 * one.workers, abs=1)
    assert two.rows_per_day == 2 * one.rows_per_day
    assert two.disk_gb_per_day == pytest.approx(2 * one.disk_gb_per_day)
    assert two.state_gb == pytest.approx(2 * one.state_gb)


def test_sessions_that_do_not_fit_are_paid_for_in_workers() -> None:
    hot, cold = capacity.plan(C, 1_000_000, 0.1), capacity.plan(C, 1_000_000, 0.1, cache_mb=512.0)
    assert hot.hot_share == 1.0
    assert cold.hot_share < 1.0
    assert cold.workers > hot.workers
    load = cold.pieces_per_s * (C.worker_us + (1 - cold.hot_share) * C.rebuild_us) / 1e6
    assert load <= capacity.UTILISATION * cold.workers
    fewer = cold.workers - 1
    share = fewer * 512.0 * 1e6 / (C.cache_bytes * cold.sessions)
    assert cold.pieces_per_s * (C.worker_us + (1 - share) * C.rebuild_us) / 1e6 > capacity.UTILISATION * fewer  # it is the least


def test_rows_and_disk_of_a_day_are_those_of_its_pieces() -> None:
    plan = capacity.plan(C, 100, 10.0)
    assert plan.rows_per_day == 100 * 10 * 86_400 * 1.5
    assert plan.disk_gb_per_day == pytest.approx(100 * 10 * 86_400 * (40 + 30) / 1e9)


def test_a_quiet_session_still_has_a_worker() -> None:
    plan = capacity.plan(replace(C), 1, 0.0)
    assert (plan.workers, plan.writers, plan.partitions) == (1, 1, 8)


def test_without_figures_the_plan_says_what_to_measure(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="strata bench --only tokens"):
        capacity.constants(tmp_path)


def figures(folder: Path) -> None:
    """Files of the three parts that the model reads, as `strata bench` writes them."""

    def point(share: float, rate: float) -> dict[str, Any]:
        return {"share": share, "rate": rate, "cores": {"worker-0": 300e-6 * rate, "sink": 100e-6 * rate, "broker": 60e-6 * rate}}

    drained = {"records": 1000, "rows": {"input_stream": 1000, "predictions": 500}}
    disk = {"input_stream": {"rows": 2000, "bytes": 80_000}, "predictions": {"rows": 1000, "bytes": 60_000}}
    memory = {"rebuild_ms_median": 20.0, "loaded_mb": 700.0, "cache_bytes": 524_288.0, "row_bytes_median": 14_000}
    parts = {
        "tokens": {"drained": [drained], "disk": disk},
        "memory": memory,
        "latency": {"high": [point(0.7, 700.0)], "curve": [point(0.3, 300.0), point(0.5, 500.0)]},
    }
    for name, data in parts.items():
        results.save(Result(name, name, data=data, machine=results.machine()), folder)


def test_constants_are_read_from_what_was_measured(tmp_path: Path) -> None:
    figures(tmp_path)
    found = capacity.constants(tmp_path)
    assert (found.worker_us, found.writer_us, found.broker_us) == pytest.approx((300.0, 100.0, 60.0))
    assert found == replace(C, worker_us=found.worker_us, writer_us=found.writer_us, broker_us=found.broker_us)


def test_the_page_sets_computed_points_beside_measured_ones(tmp_path: Path) -> None:
    figures(tmp_path)
    constants, check, plans = capacity.tables(tmp_path)
    assert ["worker, core us a piece", "300"] in constants.rows
    assert check.rows == [["300", "0.09 / 0.09", "0.03 / 0.03", "0.02 / 0.02"], ["500", "0.15 / 0.15", "0.05 / 0.05", "0.03 / 0.03"]]
    assert plans.head == ["open sessions", "1,000", "100,000", "1,000,000", "1,000,000", "1,000,000"]


def test_the_command_plans_a_load(tmp_path: Path) -> None:
    figures(tmp_path)
    flags = ["bench", "--plan", "--sessions", "100", "--rate", "10", "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(cli.app, flags, obj=Caller({}))
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["workers"] == 1
    assert json.loads(done.stdout)["rows_per_day"] == 100 * 10 * 86_400 * 1.5
