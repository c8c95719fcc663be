"""The state file: what is written is read, a dead supervisor's is not believed, one folder has one supervisor."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.errors import AlreadyRunningError
from deploy.local import processes, state
from deploy.local.state import ProcessState, StackState


@pytest.fixture
def mine() -> StackState:
    return StackState(
        phase="ready",
        message="",
        supervisor_pid=os.getpid(),
        supervisor_started=processes.identity(os.getpid()) or 0.0,
        kafka_bootstrap="127.0.0.1:20001",
        clickhouse_dsn="chdb://",
        clickhouse_url="http://127.0.0.1:20002",
        topic_prefix="p-",
        processes=(ProcessState("broker", 7, True, "127.0.0.1:20001", "broker.log", 2, 1.5),),
    )


def test_a_state_read_is_the_state_written(tmp_path: Path, mine: StackState) -> None:
    state.write(tmp_path, mine)
    assert state.read(tmp_path) == mine == state.running(tmp_path)


def test_a_state_whose_supervisor_is_gone_is_not_running(tmp_path: Path, mine: StackState) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    state.write(tmp_path, replace(mine, supervisor_pid=gone.pid))
    assert state.running(tmp_path) is None


def test_a_state_whose_pid_was_given_to_another_process_is_not_running(tmp_path: Path, mine: StackState) -> None:
    state.write(tmp_path, replace(mine, supervisor_started=mine.supervisor_started - 100))
    assert state.running(tmp_path) is None


def test_a_damaged_state_file_is_no_state(tmp_path: Path) -> None:
    state.run_dir(tmp_path).mkdir()
    state.state_file(tmp_path).write_text('{"phase": "rea')
    assert state.read(tmp_path) is None


def test_a_second_supervisor_on_one_folder_is_refused_until_the_first_ends(tmp_path: Path, mine: StackState) -> None:
    with state.owned(tmp_path):
        state.write(tmp_path, mine)
        with pytest.raises(AlreadyRunningError, match=rf"already runs on .*pid {os.getpid()}.*strata down"), state.owned(tmp_path):
            pass
    with state.owned(tmp_path):
        pass
