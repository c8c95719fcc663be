"""What is embedded and what is external follows from the settings, and the parts are told."""

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.config import DeployConfig, are_thresholds_set
from deploy.errors import PortTakenError
from deploy.local import plan
from deploy.targets import Caller, config_of, kafka_is_named, target_of


@pytest.fixture
def free(free_port: Callable[[], int]) -> DeployConfig:
    """Default settings on ports that are free."""
    return DeployConfig(kafka_bootstrap=f"127.0.0.1:{free_port()}", clickhouse_http_port=free_port(), console_port=free_port())


def test_by_default_broker_and_engine_are_embedded_on_the_ports_set(free: DeployConfig) -> None:
    found = plan.settle(free, kafka_named=False)
    assert found.starts_broker
    assert found.kafka_bootstrap == free.kafka_bootstrap
    assert found.clickhouse_url == f"http://127.0.0.1:{free.clickhouse_http_port}"


def test_a_named_address_on_this_machine_where_no_kafka_answers_is_where_the_broker_listens(free: DeployConfig) -> None:
    assert plan.settle(free, kafka_named=True).starts_broker


def test_a_named_address_of_another_machine_is_used_as_it_is(free: DeployConfig) -> None:
    found = plan.settle(replace(free, kafka_bootstrap="kafka.invalid:9092"), kafka_named=True)
    assert not found.starts_broker
    assert found.kafka_bootstrap == "kafka.invalid:9092"


@pytest.mark.broker
def test_a_named_address_where_kafka_answers_is_used_as_it_is(broker: str, free: DeployConfig) -> None:
    found = plan.settle(replace(free, kafka_bootstrap=broker), kafka_named=True)
    assert not found.starts_broker


@pytest.mark.broker
def test_the_default_address_where_another_broker_listens_is_a_taken_port(broker: str, free: DeployConfig) -> None:
    with pytest.raises(PortTakenError, match=r"for the broker is taken by java \(pid \d+\)"):
        plan.settle(replace(free, kafka_bootstrap=broker), kafka_named=False)


def test_a_clickhouse_server_needs_no_port_here(free: DeployConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = plan.settle(replace(free, clickhouse_dsn="clickhouse://u:secret@ch:8123/strata", clickhouse_http_port=port), False)
    assert found.clickhouse_http_port == 0
    sink = plan.sink_plan(free, found, {})
    assert sink.address == "clickhouse://u@ch:8123/strata"
    assert sink.environ["STRATA_CLICKHOUSE_DSN"] == "clickhouse://u:secret@ch:8123/strata"


def test_a_taken_http_port_is_an_error_before_anything_starts(free: DeployConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PortTakenError, match="ClickHouse HTTP interface is taken"):
        plan.settle(replace(free, clickhouse_http_port=taken.getsockname()[1]), False)


def test_free_ports_are_below_those_of_clients_and_differ() -> None:
    found = plan.settle(DeployConfig(free_ports=True), kafka_named=False)
    drawn = {int(found.kafka_bootstrap.rpartition(":")[2]), found.clickhouse_http_port, found.console_port}
    assert len(drawn) == 3
    assert max(drawn) < 32768


def test_a_taken_console_port_is_an_error_that_names_the_flag(free: DeployConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PortTakenError, match=r"console is taken .*--console-port"):
        plan.settle(replace(free, console_port=taken.getsockname()[1]), False)


def test_the_console_is_told_its_port_and_asked_on_loopback_when_it_listens_everywhere(free: DeployConfig) -> None:
    found = plan.settle(replace(free, console_host="0.0.0.0"), False)
    console = plan.console_plan(replace(free, console_host="0.0.0.0"), found, {"STRATA_CONSOLE_SECRET": "s"})
    assert console.address == f"http://127.0.0.1:{free.console_port}"
    assert console.environ["STRATA_CONSOLE_HOST"] == "0.0.0.0"
    assert console.environ["STRATA_CONSOLE_PORT"] == str(free.console_port)
    assert console.environ["STRATA_CONSOLE_SECRET"] == "s"


def test_each_worker_is_told_its_number_its_ready_file_and_the_addresses(free: DeployConfig, tmp_path: Path) -> None:
    config = DeployConfig(data_dir=tmp_path, topic_prefix="p-")
    found = plan.settle(free, kafka_named=False)
    first, second = (plan.worker_plan(i, config, found, {"KEPT": "1", "STRATA_KAFKA_BOOTSTRAP": "elsewhere"}) for i in (0, 1))
    assert (first.name, second.name) == ("worker-0", "worker-1")
    assert second.environ["STRATA_WORKER_INDEX"] == "1"
    assert second.environ["STRATA_READY_FILE"] == str(tmp_path / "run" / "worker-1.ready")
    assert second.environ["STRATA_KAFKA_BOOTSTRAP"] == found.kafka_bootstrap
    assert second.environ["STRATA_TOPIC_PREFIX"] == "p-"
    assert second.environ["KEPT"] == "1"


def test_thresholds_that_are_set_are_watched_whatever_else_the_section_holds(tmp_path: Path) -> None:
    file = tmp_path / "strata.toml"
    file.write_text('[evaluation]\nwebhook = "http://hook"\n[evaluation.thresholds]\n"latency.p99_ms" = "<= 200"\n')
    assert are_thresholds_set({"STRATA_CONFIG": str(file)})
    assert are_thresholds_set({"STRATA_EVALUATION_THRESHOLDS": '{"latency.p99_ms": "<= 200"}'})
    assert not are_thresholds_set({"STRATA_EVALUATION_THRESHOLDS": ""})
    assert not are_thresholds_set({})


def test_a_flag_wins_over_a_variable_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "strata.toml"
    file.write_text('clickhouse_http_port = 1\ntopic_prefix = "file-"\nkafka_bootstrap = "k:1"\n')
    caller = Caller({"STRATA_CONFIG": str(file), "STRATA_CLICKHOUSE_HTTP_PORT": "2", "STRATA_TOPIC_PREFIX": "env-"})
    config = config_of(caller, clickhouse_http_port=3, topic_prefix=None)
    assert (config.clickhouse_http_port, config.topic_prefix, config.kafka_bootstrap) == (3, "env-", "k:1")
    assert kafka_is_named(caller, None)
    assert not kafka_is_named(Caller({}), None)


def test_a_command_finds_the_addresses_of_settings_when_no_stack_runs(tmp_path: Path) -> None:
    target = target_of(Caller({"STRATA_KAFKA_BOOTSTRAP": "k:1", "STRATA_DATA_DIR": str(tmp_path)}), topic_prefix="x-")
    assert (target.kafka_bootstrap, target.topic_prefix, target.clickhouse_http_port) == ("k:1", "x-", 8123)
    assert not target.is_running_stack
