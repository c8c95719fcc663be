"""What all parts of the benchmark stand on: one broker, a folder, the peers' environment, stacks that live as long as a block.

Knows how they are started and ended; leaves what is measured to the parts.
Next: deploy/local/background.py
"""

import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil

from deploy.benchmarks.contest import BenchError
from deploy.benchmarks.peers_environment import python_of_peers
from deploy.local import background, broker, cores, kafka_server, ports, processes
from deploy.local.progress import Progress
from deploy.local.state import StackState
from deploy.replay import load_samples

MERGING = {"STRATA_CLICKHOUSE_HTTP_READONLY": "false"}
"""So that tables can be merged before their bytes are counted."""
MEASURING_S = 550.0
"""Longest time of one measurement of the model."""


@dataclass
class Ground:
    """One run of the benchmark."""

    environ: Mapping[str, str]
    folder: Path
    progress: Progress
    rounds: int
    quick: bool
    kafka: str | None = None
    """A Kafka that is named; else an embedded broker is started at the first need."""
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _broker_pid: int | None = None

    def close(self) -> None:
        """End what was started."""
        self._open.close()

    def bootstrap(self) -> str:
        """Kafka's address."""
        if self.kafka is None:
            cache = broker.default_cache_dir(self.environ)
            server = broker.assemble(self.folder / "kafka", ports.free_port(), cache, self.environ, self.progress.count)
            kafka_server.prepare(server, self.progress.doing)
            self.progress.doing(f"starting a broker on {server.bootstrap}")
            process = broker.start_until_ready(server, cache, self.folder / "broker.log")
            self._open.callback(processes.stop, process, 10.0)
            self.kafka, self._broker_pid = server.bootstrap, process.pid
            self.progress.done()
        return self.kafka

    def clean(self) -> dict[str, str]:
        """The caller's environment without settings: they are not part of what is compared."""
        empty = self.folder / "strata.toml"
        empty.touch()
        kept = {k: v for k, v in self.environ.items() if not k.startswith(("STRATA_", "OTEL_"))}
        return {**kept, "STRATA_CONFIG": str(empty)}

    @contextlib.contextmanager
    def stack(self, workers: int = 1, **settings: str) -> Iterator[StackState]:
        """Worker, writer and console on fresh topics of the broker, as `strata up` starts them."""
        prefix = f"bench-{uuid.uuid4().hex[:6]}-"
        folder = self.folder / prefix.rstrip("-")
        flags = [
            "--free-ports",
            "--data-dir",
            str(folder),
            "--kafka",
            self.bootstrap(),
            "--topic-prefix",
            prefix,
            "--workers",
            str(workers),
        ]
        with background.stack_for(flags, folder, {**self.clean(), **MERGING, **settings}, self.progress) as stack:
            if not self._broker_pid or settings.get("STRATA_RESERVE_CORES") == "false":
                yield stack
                return
            cores.keep_to(self._broker_pid, cores.beside_workers(workers, cores.mine()))
            try:
                yield stack
            finally:
                cores.keep_to(self._broker_pid, cores.mine())

    def pids(self, stack: StackState) -> dict[str, int]:
        """Processes of a stack by name, the broker among them where it is ours."""
        found = {p.name: p.pid for p in stack.processes if p.pid}
        return found | ({"broker": self._broker_pid} if self._broker_pid else {})

    def peers(self) -> Path:
        """The peers' interpreter."""
        return python_of_peers(broker.default_cache_dir(self.environ), self.environ, self.progress.doing)

    def model(self, what: str, *flags: object, cpus: set[int] | None = None) -> Any:
        """One measurement of `python -m models.measuring`, where `cpus` are named on those alone."""
        command = [sys.executable, "-m", "models.measuring", what, *map(str, flags)]
        if what != "trunk":
            command += ["--texts", str(self._texts())]
        self.progress.doing(f"model: {what} {' '.join(map(str, flags))}")
        bind = (lambda: psutil.Process().cpu_affinity(sorted(cpus))) if cpus else None
        try:
            done = subprocess.run(command, capture_output=True, env=self.clean(), timeout=MEASURING_S, check=False, preexec_fn=bind)
        except subprocess.TimeoutExpired as problem:
            raise BenchError(
                f"model: {what} took longer than {MEASURING_S:.0f} s; measure it alone with --only, or with --quick"
            ) from problem
        finally:
            self.progress.done()
        if done.returncode:
            raise BenchError(f"model: {what} ended with {done.returncode}:\n{done.stderr.decode()[-1500:]}")
        return json.loads(done.stdout)

    def _texts(self) -> Path:
        file = self.folder / "texts.json"
        if not file.exists():
            file.write_bytes(orjson.dumps([item["text"] for sample in load_samples(modalities=("tokens",)) for item in sample.items]))
        return file
