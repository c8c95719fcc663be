"""The state file of a running stack: what runs where, for `status`, `down` and every command that needs an address.

Knows the file DATA_DIR/run/stack.json and the lock beside it; leaves starting to supervisor.py.
The lock is the truth about `running`: the kernel frees it whatever way the supervisor ends.
Next: deploy/local/plan.py
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deploy.errors import AlreadyRunningError
from deploy.local import processes


@dataclass(frozen=True)
class ProcessState:
    """One process of the stack."""

    name: str
    pid: int | None
    """None while it is not running."""
    ready: bool
    address: str
    """Where it is reached; empty where it is not."""
    log: str
    restarts: int = 0
    started: float = 0.0
    """When it was started, seconds since the epoch."""


@dataclass(frozen=True)
class StackState:
    """A stack as its supervisor last wrote it."""

    phase: str
    """starting, ready, degraded, stopping, failed."""
    message: str
    """What it does now, or why it failed."""
    supervisor_pid: int
    supervisor_started: float
    kafka_bootstrap: str
    clickhouse_dsn: str
    clickhouse_url: str
    """HTTP interface of the embedded engine; empty with a server."""
    topic_prefix: str = ""
    processes: tuple[ProcessState, ...] = field(default=())


def run_dir(data_dir: Path) -> Path:
    """Where state, locks and ready files are."""
    return data_dir / "run"


def state_file(data_dir: Path) -> Path:
    return run_dir(data_dir) / "stack.json"


def write(data_dir: Path, state: StackState) -> None:
    """Replace the file whole: a reader sees the old one or the new one."""
    file = state_file(data_dir)
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
    os.replace(fresh, file)


def read(data_dir: Path) -> StackState | None:
    """The file's content, None when there is none or it is not ours."""
    try:
        found: dict[str, Any] = json.loads(state_file(data_dir).read_text(encoding="utf-8"))
        found["processes"] = tuple(ProcessState(**p) for p in found["processes"])
        return StackState(**found)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def running(data_dir: Path) -> StackState | None:
    """The stack that runs on this folder now, None when none does."""
    state = read(data_dir)
    return state if state and processes.is_same(state.supervisor_pid, state.supervisor_started) else None


@contextlib.contextmanager
def owned(data_dir: Path) -> Iterator[None]:
    """Be the one supervisor of this folder. Raises AlreadyRunningError while another is."""
    run_dir(data_dir).mkdir(parents=True, exist_ok=True)
    with (run_dir(data_dir) / "stack.lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            other = read(data_dir)
            who = f" (pid {other.supervisor_pid})" if other else ""
            raise AlreadyRunningError(
                f"a stack already runs on {data_dir}{who}; see `strata status`, stop it with `strata down`, or choose another --data-dir"
            ) from problem
        yield
