"""The supervisor on small real processes: waits, restarts with growing pauses, stops in order, leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from deploy.errors import NotReadyError
from deploy.local import cores, processes
from deploy.local.plan import Plan
from deploy.local.supervisor import Supervisor, backoff_s

STEADY = "import time, sys; print('up', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


class Clock:
    """Monotonic time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def program(folder: Path, name: str, code: str, patience_s: float = 20.0) -> Plan:
    """A Python program that is ready once it has written to its log."""
    log = folder / f"{name}.log"
    return Plan(name, (sys.executable, "-S", "-c", code), log, "", lambda pid: "up" in log.read_text(), patience_s)


def gone(pid: int) -> bool:
    return processes.identity(pid) is None


def tick_until(supervisor: Supervisor, condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        supervisor.tick()
        time.sleep(0.01)


@pytest.fixture
def said() -> list[str]:
    return []


def test_the_pause_before_a_restart_doubles_up_to_half_a_minute() -> None:
    assert [backoff_s(n) for n in (1, 2, 3, 4, 8, 50)] == [0.5, 1.0, 2.0, 4.0, 30.0, 30.0]


def test_a_stage_is_ready_when_all_its_processes_say_so(tmp_path: Path, said: list[str]) -> None:
    supervisor = Supervisor(said.append)
    try:
        stage = supervisor.add_stage([program(tmp_path, "one", STEADY), program(tmp_path, "two", STEADY)])
        assert not supervisor.all_ready()
        supervisor.await_ready(stage, lambda: time.sleep(0.01))
        assert supervisor.all_ready()
        assert [(s.name, s.ready) for s in supervisor.states()] == [("one", True), ("two", True)]
    finally:
        supervisor.stop(5.0)


def test_a_process_that_dies_is_started_again_after_its_pause_and_not_before(tmp_path: Path, said: list[str]) -> None:
    clock = Clock()
    supervisor = Supervisor(said.append, clock)
    try:
        (child,) = supervisor.add_stage([program(tmp_path, "one", STEADY)])
        tick_until(supervisor, supervisor.all_ready)
        pauses = []
        for _ in range(3):
            first = child.process
            assert first is not None
            first.kill()
            tick_until(supervisor, lambda: child.process is None)
            pauses.append(child.due_at - clock.now)
            clock.now = child.due_at - 0.01
            supervisor.tick()
            assert child.process is None
            clock.now = child.due_at
            supervisor.tick()
            assert child.process is not None
            assert child.process.pid != first.pid
        assert pauses == [0.5, 1.0, 2.0]
        assert child.restarts == 3
        # after a steady minute it counts as new
        clock.now += 61
        child.process.kill()
        tick_until(supervisor, lambda: child.process is None)
        assert child.due_at - clock.now == 0.5
        assert any("killed by signal 9, starts again in 0.5 s" in line for line in said)
    finally:
        supervisor.stop(5.0)


def test_a_busy_process_stays_ready_and_a_silent_one_does_not(tmp_path: Path, said: list[str]) -> None:
    clock, answers = Clock(), [True]
    busy = Plan("one", (sys.executable, "-S", "-c", STEADY), tmp_path / "log", "", lambda pid: answers[-1], 20.0)
    supervisor = Supervisor(said.append, clock)
    try:
        supervisor.add_stage([busy])
        supervisor.tick()
        answers.append(False)
        seen = []
        for _ in range(4):
            clock.now += 5.0
            supervisor.tick()
            seen.append(supervisor.all_ready())
        assert seen == [True, True, False, False]
        answers.append(True)
        supervisor.tick()
        assert supervisor.all_ready()
    finally:
        supervisor.stop(5.0)


def test_a_process_that_keeps_ending_stops_the_start_with_the_end_of_its_log(tmp_path: Path, said: list[str]) -> None:
    clock = Clock()
    supervisor = Supervisor(said.append, clock)

    def pause() -> None:
        time.sleep(0.01)
        clock.now += 1.0

    failing = program(tmp_path, "one", "raise SystemExit('no such host')", patience_s=1e6)
    stage = supervisor.add_stage([failing])
    with pytest.raises(NotReadyError, match=r"one ended with status 1; .*\n.*no such host"):
        supervisor.await_ready(stage, pause)
    assert supervisor.states()[0].restarts == 2
    supervisor.stop(5.0)


def test_a_wrong_setting_is_not_tried_again(tmp_path: Path, said: list[str]) -> None:
    supervisor = Supervisor(said.append)
    stage = supervisor.add_stage([program(tmp_path, "one", "raise SystemExit(2)")])
    with pytest.raises(NotReadyError, match="one ended with status 2"):
        supervisor.await_ready(stage, lambda: time.sleep(0.01))
    assert supervisor.states()[0].restarts == 0
    supervisor.stop(5.0)


def test_a_process_that_never_gets_ready_stops_the_start(tmp_path: Path, said: list[str]) -> None:
    supervisor = Supervisor(said.append)
    stage = supervisor.add_stage([program(tmp_path, "one", "import time; time.sleep(600)", patience_s=0.2)])
    with pytest.raises(NotReadyError, match="one is not ready after"):
        supervisor.await_ready(stage, lambda: time.sleep(0.01))
    supervisor.stop(5.0)


def test_the_last_stage_is_stopped_first_and_each_has_ended_before_the_next_is_told(tmp_path: Path, said: list[str]) -> None:
    order = tmp_path / "order"
    code = (
        "import signal, sys, time\n"
        "def end(*a):\n    time.sleep(0.2); open({file!r}, 'a').write({name!r}); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('up', flush=True); time.sleep(600)"
    )
    supervisor = Supervisor(said.append)
    for name in "ab":
        stage = supervisor.add_stage([program(tmp_path, name, code.format(file=str(order), name=name))])
        supervisor.await_ready(stage, lambda: time.sleep(0.01))
    assert supervisor.stop(5.0) == []
    assert order.read_text() == "ba"


def test_a_process_that_ignores_term_is_killed_in_time_and_the_broker_still_gets_its_term(tmp_path: Path, said: list[str]) -> None:
    supervisor = Supervisor(said.append)
    for name, code in (("broker", STEADY), ("worker", DEAF)):
        stage = supervisor.add_stage([program(tmp_path, name, code)])
        supervisor.await_ready(stage, lambda: time.sleep(0.01))
    pids = [s.pid for s in supervisor.states()]
    begun = time.monotonic()
    assert supervisor.stop(1.0) == ["worker"]
    assert time.monotonic() - begun < 2.0
    assert all(pid and gone(pid) for pid in pids)


def test_what_a_process_started_itself_ends_with_it(tmp_path: Path, said: list[str]) -> None:
    code = f"import subprocess, sys, time; print(subprocess.Popen([sys.executable, '-S', '-c', {STEADY!r}]).pid, 'up', flush=True); time.sleep(600)"
    supervisor = Supervisor(said.append)
    stage = supervisor.add_stage([program(tmp_path, "one", code)])
    supervisor.await_ready(stage, lambda: time.sleep(0.01))
    grandchild = int((tmp_path / "one.log").read_text().split()[0])
    supervisor.stop(5.0)
    tick_until(supervisor, lambda: gone(grandchild), 5.0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent-death signal is Linux's")
def test_a_killed_supervisor_leaves_no_process_behind(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from deploy.local import processes
children = [processes.start([sys.executable, "-S", "-c", {DEAF!r}], Path({str(tmp_path)!r}) / "log") for _ in range(3)]
print(*[c.pid for c in children], flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(p) for p in parent.stdout.readline().split()]
    assert len(pids) == 3
    assert all(psutil.pid_exists(pid) for pid in pids)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5.0
    while not all(gone(pid) for pid in pids):
        assert time.monotonic() < deadline, "left behind"
        time.sleep(0.02)


def test_others_stay_off_one_core_for_each_worker_and_keep_the_last() -> None:
    assert cores.beside_workers(1, {0, 1}) == {1}
    assert cores.beside_workers(2, {0, 1}) == {0, 1}, "all are workers' cores"
    assert cores.beside_workers(3, range(4)) == {2, 3}
    assert cores.beside_workers(2, {4, 6, 8, 10}) == {8, 10}
    assert cores.beside_workers(3, {5}) == cores.beside_workers(1, {5}) == {5}
    assert cores.beside_workers(1, set()) == set()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are bound on Linux only")
def test_a_ready_process_keeps_to_its_cores_with_all_its_threads(tmp_path: Path) -> None:
    code = "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); print('up', flush=True); time.sleep(600)"
    some = frozenset({max(cores.mine())})
    supervisor = Supervisor(lambda line: None)
    stage = supervisor.add_stage([replace(program(tmp_path, "bound", code), cores=some), program(tmp_path, "free", STEADY)])
    try:
        supervisor.await_ready(stage, lambda: time.sleep(0.02))
        bound, free = (child.process.pid for child in stage if child.process)
        threads = [int(task.name) for task in Path(f"/proc/{bound}/task").iterdir()]
        assert len(threads) == 2
        assert all(os.sched_getaffinity(thread) == some for thread in threads)
        assert os.sched_getaffinity(free) == cores.mine()
    finally:
        supervisor.stop(5)
    cores.keep_to(bound, some)  # gone: nothing
