"""One local stack from its start to its end: broker, topics, worker(s), sink, console, and the watcher of thresholds where any are set.

Knows the order: the lock of the data folder, ports, broker, topics, then worker, sink and console together; leaves processes to supervisor.py.
Next: deploy/local/background.py
"""

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.config import DeployConfig, are_thresholds_set
from deploy.errors import NotReadyError, StackError
from deploy.local import aot, broker, cores, kafka_server, plan, probe, processes, state, topics
from deploy.local.progress import Progress
from deploy.local.state import StackState
from deploy.local.supervisor import Supervisor

PAUSE_S = 0.1
SUPERVISOR_LOG = "supervisor.log"
"""Written by whoever starts a supervisor in the background, so it is theirs to begin anew."""


@dataclass(frozen=True)
class Setup:
    """What a stack is started from."""

    config: DeployConfig
    kafka_named: bool
    """Somebody set Kafka's address."""
    environ: Mapping[str, str]
    """Passed on to the parts."""


class Stack:
    """A running local stack. `start`, then `tick` now and then, then `stop`; all from the main thread."""

    def __init__(self, setup: Setup, progress: Progress) -> None:
        self.config = replace(setup.config, data_dir=setup.config.data_dir.resolve())
        self._setup, self._progress = setup, progress
        self._supervisor = Supervisor(progress.line)
        self._held = contextlib.ExitStack()
        self._addresses: plan.Addresses | None = None
        self._written: StackState | None = None

    def start(self) -> None:
        """Start everything and return when all is ready. Raises StackError; call `stop` then too."""
        config, logs = self.config, self.config.data_dir / "logs"
        self._held.enter_context(state.owned(config.data_dir))
        end_leftovers(config.data_dir)
        keep_last_logs(logs)
        # 1. what is embedded, and where
        addresses = self._addresses = plan.settle(config, self._setup.kafka_named)
        self._write("starting", "looking at ports")
        # 2. Kafka
        if addresses.starts_broker:
            self._start_broker(addresses, logs)
        elif probe.kafka_nodes(addresses.kafka_bootstrap) is None:
            raise NotReadyError(
                f"no Kafka answers on {addresses.kafka_bootstrap}; start it, or unset STRATA_KAFKA_BOOTSTRAP for the embedded broker"
            )
        # 3. topics, before anything reads them
        self._say("topics")
        created = topics.create_missing(addresses.kafka_bootstrap, config.topic_prefix, config.partitions)
        if created:
            self._progress.line(f"topics: {len(created)} created, {config.partitions} partitions each")
        # 4. the parts, together
        environ = self._setup.environ
        others = [plan.sink_plan(config, addresses, environ), plan.console_plan(config, addresses, environ)]
        if are_thresholds_set(environ):
            others.append(plan.alerts_plan(config, addresses, environ))
        parts = [plan.worker_plan(i, config, addresses, environ) for i in range(config.workers)]
        parts += map(self._beside_workers, others)
        self._say("starting " + ", ".join(p.name for p in parts))
        stage = self._supervisor.add_stage(parts)
        self._supervisor.await_ready(stage, self._pause)
        self._progress.done()
        self._write("ready", "")

    def _start_broker(self, addresses: plan.Addresses, logs: Path) -> None:
        cache = broker.default_cache_dir(self._setup.environ)
        port = probe.split_address(addresses.kafka_bootstrap)[1]
        self._say("getting the broker")
        server = broker.assemble(self.config.data_dir / "kafka", port, cache, self._setup.environ, self._progress.count)
        kafka_server.prepare(server, self._say)
        self._say(f"starting the broker on {addresses.kafka_bootstrap}")
        stage = self._supervisor.add_stage([self._beside_workers(plan.broker_plan(server, aot.usable(server, cache), logs))])
        self._supervisor.await_ready(stage, self._pause)

    def _beside_workers(self, other: plan.Plan) -> plan.Plan:
        config = self.config
        return replace(other, cores=cores.beside_workers(config.workers, cores.mine())) if config.reserve_cores else other

    def tick(self) -> None:
        """Look after the processes once; a few milliseconds unless one does not answer."""
        if self._supervisor.tick():
            self._write("ready" if self._supervisor.all_ready() else "degraded", "")

    def stop(self) -> list[str]:
        """End all processes and free the folder; names of those that had to be killed."""
        try:
            self._progress.done()
            if self._addresses:
                self._write("stopping", "stopping")
            return self._supervisor.stop(self.config.stop_s)
        finally:
            if self._written:
                state.state_file(self.config.data_dir).unlink(missing_ok=True)
            self._held.close()

    def states(self) -> StackState | None:
        """As last written."""
        return self._written

    def _pause(self) -> None:
        time.sleep(PAUSE_S)

    def _say(self, text: str) -> None:
        self._progress.doing(text)
        self._write("starting", text)

    def _write(self, phase: str, message: str) -> None:
        at = self._addresses
        assert at is not None
        pid = os.getpid()
        self._written = StackState(
            phase=phase,
            message=message,
            supervisor_pid=pid,
            supervisor_started=processes.identity(pid) or 0.0,
            kafka_bootstrap=at.kafka_bootstrap,
            clickhouse_dsn=at.clickhouse_dsn,
            clickhouse_url=at.clickhouse_url,
            topic_prefix=self.config.topic_prefix,
            processes=self._supervisor.states(),
        )
        state.write(self.config.data_dir, self._written)


def end_leftovers(data_dir: Path) -> None:
    """End what an earlier supervisor of this folder may have left, and forget its ready files. The caller holds the folder's lock."""
    left = state.read(data_dir)
    for process in left.processes if left else ():
        if process.pid and processes.is_same(process.pid, process.started):
            processes.signal_group(process.pid, 9)
    for file in state.run_dir(data_dir).glob("*.ready"):
        file.unlink(missing_ok=True)


def keep_last_logs(logs: Path) -> None:
    """Begin new logs; those of the run before are kept as NAME.log.1."""
    for log in logs.glob("*.log"):
        if log.name != SUPERVISOR_LOG:
            os.replace(log, log.with_suffix(".log.1"))


def require_workers(count: int) -> None:
    """Raises StackError for a number of workers that makes no sense."""
    if count < 1:
        raise StackError(f"--workers {count}: at least one worker is needed")
