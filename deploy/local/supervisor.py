"""The supervisor: starts processes, waits until each is ready, restarts what ends, stops all in reverse order.

Knows pids, clocks and patience; leaves what the processes are to plan.py and what a stack is to stack.py.
It never waits long in one call (`tick`), so that a program can show something meanwhile. Call it from the main thread only: the
children are bound to the thread that started them.
Next: deploy/local/stack.py
"""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from deploy.errors import NotReadyError
from deploy.local import cores, processes
from deploy.local.broker import tail
from deploy.local.plan import Plan
from deploy.local.state import ProcessState

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
STEADY_S = 60.0
"""A process that ran so long is restarted as if it had never failed."""
LOOK_EVERY_S = 5.0
"""How often the readiness of a running process is asked again."""
SILENT_LOOKS = 3
"""A ready process that is too busy to answer once or twice still counts as ready."""
WRONG_SETTING = 2
"""Exit status of a process whose settings are wrong: another try would end the same way."""
TRIES_BEFORE_READY = 3
"""A process that ends so often without ever having been ready stops the start."""


def backoff_s(failures: int) -> float:
    """Pause before the restart after so many failures in a row: 0.5, 1, 2, ... 30 seconds."""
    return min(FIRST_PAUSE_S * 2.0 ** max(failures - 1, 0), LONGEST_PAUSE_S)


@dataclass
class Child:
    """One planned process and how it fares."""

    plan: Plan
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    """Now."""
    was_ready: bool = False
    restarts: int = 0
    failures: int = 0
    """In a row, since it last ran steadily."""
    started: float = 0.0
    """Wall clock, for people."""
    started_at: float = 0.0
    """Monotonic."""
    due_at: float = 0.0
    """Monotonic; when a stopped one is started again."""
    looked_at: float = field(default=-1e9)
    silent: int = 0
    """Looks in a row without an answer."""
    status: int | None = None
    """How it last ended."""


class Supervisor:
    """Keeps a list of stages running; the processes of a stage start together, a stage after the one before it is ready."""

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self.children: list[Child] = []
        self.stages: list[list[Child]] = []
        self._say, self._clock, self._wall = say, clock, wall

    def add_stage(self, plans: Sequence[Plan]) -> list[Child]:
        """Start these processes. They are watched from now on; `await_ready` waits for them."""
        stage = [Child(plan) for plan in plans]
        self.stages.append(stage)
        self.children += stage
        for child in stage:
            self._start(child)
        return stage

    def await_ready(self, stage: Sequence[Child], pause: Callable[[], None]) -> None:
        """Tick until all of the stage are ready; `pause` is called between ticks and may raise to give up.

        Raises NotReadyError with the end of its log when a process takes too long or keeps ending.
        """
        begun = self._clock()
        while waiting := [c for c in stage if not c.ready]:
            for child in waiting:
                spent = self._clock() - begun
                hopeless = child.status == WRONG_SETTING or child.failures >= TRIES_BEFORE_READY
                if hopeless or spent > child.plan.patience_s:
                    what = f"ended with status {child.status}" if hopeless else f"is not ready after {spent:.0f} s"
                    raise NotReadyError(f"{child.plan.name} {what}; the end of {child.plan.log}:\n{tail(child.plan.log)}")
            pause()
            self.tick()

    def tick(self) -> bool:
        """Look at every process once: restart what is due, ask what may be ready. True when something changed."""
        changed = [self._look(child) for child in self.children]
        return any(changed)

    def all_ready(self) -> bool:
        return all(child.ready for child in self.children)

    def states(self) -> tuple[ProcessState, ...]:
        """For the state file."""
        return tuple(
            ProcessState(
                name=c.plan.name,
                pid=c.process.pid if c.process else None,
                ready=c.ready,
                address=c.plan.address,
                log=str(c.plan.log),
                restarts=c.restarts,
                started=c.started,
            )
            for c in self.children
        )

    def stop(self, patience_s: float) -> list[str]:
        """Stop all, the last stage first; names of those that had to be killed."""
        names = {c.process.pid: c.plan.name for c in self.children if c.process}
        stages = [[c.process for c in stage if c.process] for stage in reversed(self.stages)]
        killed = processes.stop_stages(stages, patience_s, self._clock)
        for child in self.children:
            child.process, child.ready = None, False
        return [names[pid] for pid in killed]

    def _start(self, child: Child) -> None:
        plan = child.plan
        use_fallback = plan.fallback is not None and child.failures > 0 and not child.was_ready
        command = plan.fallback if use_fallback and plan.fallback else plan.command
        child.process = processes.start(command, plan.log, plan.environ or None)
        child.started = processes.identity(child.process.pid) or self._wall()
        child.started_at, child.looked_at = self._clock(), -1e9

    def _look(self, child: Child) -> bool:
        now = self._clock()
        if child.process is None:
            if now < child.due_at:
                return False
            child.restarts += 1
            self._start(child)
            self._say(f"{child.plan.name}: started again (pid {child.process.pid if child.process else 0}, restart {child.restarts})")
            return True
        if child.process.poll() is not None:
            self._ended(child, now)
            return True
        if child.ready and now - child.looked_at < LOOK_EVERY_S:
            return False
        child.looked_at = now
        answers = child.plan.is_ready(child.process.pid)
        child.silent = 0 if answers else child.silent + 1
        before, child.ready = child.ready, answers or (child.ready and child.silent < SILENT_LOOKS)
        child.was_ready = child.was_ready or child.ready
        if child.ready and not before:
            cores.keep_to(child.process.pid, child.plan.cores)
        if child.failures and child.ready and now - child.started_at > STEADY_S:
            child.failures = 0
        if child.ready != before:
            took = f" after {now - child.started_at:.1f} s" if child.ready else ""
            self._say(f"{child.plan.name}: {'ready' + took if child.ready else 'does not answer'}")
        return child.ready != before

    def _ended(self, child: Child, now: float) -> None:
        """Note how it ended and when it is started again; clean what it left in its group."""
        assert child.process is not None
        status = child.status = child.process.returncode
        processes.signal_group(child.process.pid, 9)
        child.failures = 1 if now - child.started_at > STEADY_S else child.failures + 1
        pause = backoff_s(child.failures)
        how = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
        self._say(f"{child.plan.name}: {how}, starts again in {pause:g} s; log {child.plan.log}")
        child.process, child.ready, child.due_at = None, False, now + pause
