"""Child processes that cannot outlive their parent, and how they are stopped.

Knows process groups, the kernel's parent-death signal and patience; leaves which processes to plan.py and when to supervisor.py.
Next: deploy/local/supervisor.py
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

PR_SET_PDEATHSIG = 1
LAST_STAGES_S = 2.5
"""A broker needs 0.5 s to stop; this is kept back for it while others take their time."""
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def start(command: Sequence[str], log: Path | IO[bytes] | None = None, environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `command` in its own process group, its output appended to `log`; the kernel kills it when this process dies.

    Call it from a thread that lives as long as the process: the kernel's signal follows the thread.
    """
    if isinstance(log, Path):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as handle:
            return start(command, handle, environ)
    output = log if log is not None else subprocess.DEVNULL
    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if log is not None else subprocess.DEVNULL,
        env=None if environ is None else dict(environ),
        preexec_fn=_bound_to(os.getpid()),  # nothing here takes a lock between fork and exec
    )


def _bound_to(parent: int) -> Callable[[], None]:
    """What runs in the child before exec: own group, and die with the parent."""

    def bind() -> None:
        os.setpgid(0, 0)
        if LIBC is not None:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl: nobody would tell us
            os._exit(1)

    return bind


def stop_stages(
    stages: Sequence[Sequence[subprocess.Popen[bytes]]], patience_s: float, clock: Callable[[], float] = time.monotonic
) -> list[int]:
    """TERM one stage after the other, KILL what is left after `patience_s` for all together. Returns the pids that were killed.

    A stage gets its TERM when the one before it has ended, so that a writer still has its broker; LAST_STAGES_S of the time are
    kept for each stage that follows.
    """
    deadline = clock() + patience_s
    killed = []
    for index, stage in enumerate(stages):
        kept = min(LAST_STAGES_S, patience_s / len(stages)) * (len(stages) - index - 1)
        for process in stage:
            signal_group(process.pid, signal.SIGTERM)
        for process in stage:
            if not _ended(process, deadline - kept, clock):
                signal_group(process.pid, signal.SIGKILL)
                killed.append(process.pid)
                process.wait()
            signal_group(process.pid, signal.SIGKILL)  # what the process itself left behind in its group
    return killed


def stop(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """TERM, wait, KILL."""
    stop_stages([[process]], patience_s)


def _ended(process: subprocess.Popen[bytes], deadline: float, clock: Callable[[], float]) -> bool:
    while process.poll() is None:
        if clock() >= deadline:
            return False
        time.sleep(0.02)
    return True


def signal_group(pid: int, number: int) -> None:
    """Signal the group that `pid` leads; nothing when it is gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def identity(pid: int) -> float | None:
    """When the process started, None when there is none: tells a pid from one that was given anew."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time()
    except psutil.Error:
        return None


def is_same(pid: int, started: float) -> bool:
    """Does the process that was `pid` at `started` still run?"""
    now = identity(pid)
    return now is not None and abs(now - started) < 1.0
