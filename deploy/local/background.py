"""A supervisor as another process: for `up --detach`, and for commands that need a stack while they run.

Knows how to start one, follow its state file and end it; leaves what it does to stack.py.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from deploy.errors import NotReadyError
from deploy.local import processes, state
from deploy.local.broker import tail
from deploy.local.progress import Progress
from deploy.local.stack import SUPERVISOR_LOG
from deploy.local.state import StackState

STOP_S = 12.0
START_S = 900.0
"""The first start may have to download on a slow line."""


def supervisor_log(data_dir: Path) -> Path:
    return data_dir / "logs" / SUPERVISOR_LOG


def launch(flags: Sequence[str], data_dir: Path, environ: Mapping[str, str], detached: bool) -> subprocess.Popen[bytes]:
    """`strata up` with these flags as its own process. Not detached, it dies with this one."""
    log = supervisor_log(data_dir)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "deploy.cli", "up", *flags]
    with log.open("wb") as handle:
        if not detached:
            return processes.start(command, handle, environ)
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=handle, stderr=subprocess.STDOUT, start_new_session=True, env=dict(environ)
        )


def follow(process: subprocess.Popen[bytes], data_dir: Path, progress: Progress) -> StackState:
    """Wait until the supervisor's stack is ready, telling what it does. Raises NotReadyError with its log's end when it ends."""
    deadline = time.monotonic() + START_S
    while True:
        now = state.read(data_dir)
        if now and now.supervisor_pid == process.pid:
            if now.phase == "ready":
                progress.done()
                return now
            progress.doing(now.message)
        if process.poll() is not None:
            progress.done()
            raise NotReadyError(_reason(data_dir))
        if time.monotonic() > deadline:
            raise NotReadyError(f"the stack is not ready after {START_S:.0f} s; see {supervisor_log(data_dir)}")
        time.sleep(0.1)


def _reason(data_dir: Path) -> str:
    """The error a supervisor ended with, as it wrote it."""
    text = tail(supervisor_log(data_dir), 20)
    return text[text.rindex("error: ") + len("error: ") :] if "error: " in text else f"the supervisor ended:\n{text}"


def end(data_dir: Path) -> bool:
    """Stop the stack of this folder, wait until it is gone; False when none runs."""
    now = state.running(data_dir)
    if now is None:
        return False
    os.kill(now.supervisor_pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while processes.is_same(now.supervisor_pid, now.supervisor_started):
        if time.monotonic() > deadline:
            os.kill(now.supervisor_pid, signal.SIGKILL)  # its processes die with it
            break
        time.sleep(0.05)
    return True


@contextlib.contextmanager
def stack_for(flags: Sequence[str], data_dir: Path, environ: Mapping[str, str], progress: Progress) -> Iterator[StackState]:
    """A ready stack on this folder: the one that runs, which is left running, else one that lives as long as the block."""
    now = state.running(data_dir)
    if now is not None and now.phase in ("ready", "degraded"):
        yield now
        return
    process = launch(flags, data_dir, environ, detached=False)
    try:
        yield follow(process, data_dir, progress)
    finally:
        processes.stop(process, STOP_S)
