"""Readiness as it is asked."""

import os
import socket
import time
from pathlib import Path

import pytest

from deploy.local import probe


@pytest.mark.parametrize(
    ("address", "found"),
    [("127.0.0.1:9092", ("127.0.0.1", 9092)), ("a:1,b:2", ("a", 1)), ("kafka", ("kafka", 9092)), ("[::1]:7", ("[::1]", 7))],
)
def test_an_address_is_split_into_host_and_port(address: str, found: tuple[str, int]) -> None:
    assert probe.split_address(address) == found


def test_a_port_where_something_else_listens_is_no_kafka() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        begun = time.monotonic()
        assert probe.kafka_nodes(f"127.0.0.1:{other.getsockname()[1]}") is None
        assert not probe.http_says_ok("127.0.0.1", other.getsockname()[1])
        assert time.monotonic() - begun < 3 * probe.ASK_TIMEOUT_S


def test_a_ready_file_speaks_for_the_process_it_names(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    assert not probe.ready_file_speaks_for(file, os.getpid())
    file.write_text(f'{{"pid": {os.getpid()}}}')
    assert probe.ready_file_speaks_for(file, os.getpid())
    assert not probe.ready_file_speaks_for(file, os.getppid())


def test_a_ready_file_that_names_none_speaks_for_no_later_process(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    file.write_text("ready\n")
    assert probe.ready_file_speaks_for(file, os.getpid())
    os.utime(file, (1.0, 1.0))  # left by one that was killed
    assert not probe.ready_file_speaks_for(file, os.getpid())
