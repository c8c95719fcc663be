"""The embedded broker as a process: get Java and the jars, format, start, wait until it answers.

Knows the order of these steps; leaves topics to topics.py and restarts to supervisor.py.
`python -m deploy.local.broker --data-dir DIR --port 9092` runs one in the foreground, says `ready` on standard error and stops on
Ctrl-C or TERM; `--prepare` only fetches and records what later starts need.
Next: deploy/local/topics.py
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.errors import NotReadyError, StackError
from deploy.local import aot, jars, kafka_server, ports, probe, processes
from deploy.local.java import find_java
from deploy.local.kafka_server import Broker
from deploy.local.progress import Progress

READY_S = 90.0
STOP_S = 10.0


def default_cache_dir(environ: Mapping[str, str]) -> Path:
    """Where downloads are kept for all stacks: STRATA_CACHE_DIR, else the user's cache folder."""
    if environ.get("STRATA_CACHE_DIR"):
        return Path(environ["STRATA_CACHE_DIR"])
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "strata"


def assemble(
    data_dir: Path,
    port: int,
    cache_dir: Path,
    environ: Mapping[str, str],
    count: Callable[[str, int, int], None],
    controller_port: int = 0,
    host: str = kafka_server.HOST,
) -> Broker:
    """A Broker whose Java is found and whose jars are there. Downloads what is missing, telling `count` (what, done, total); starts nothing."""
    java = find_java(environ)
    files = jars.fetch(cache_dir, count)
    return Broker(data_dir.resolve(), port, controller_port or ports.free_port({port}), java, tuple(files), host)


def start(broker: Broker, cache_dir: Path, log: Path) -> subprocess.Popen[bytes]:
    """The running Java; it dies with this process."""
    return processes.start(kafka_server.run_command(broker, aot.usable(broker, cache_dir)), log)


def wait_ready(broker: Broker, process: subprocess.Popen[bytes], log: Path, patience_s: float = READY_S) -> None:
    """Return when clients are answered. Raises NotReadyError with the log's end when the process ends or time is up."""
    deadline = time.monotonic() + patience_s
    while probe.kafka_nodes(broker.bootstrap) is None:
        if process.poll() is not None:
            raise NotReadyError(f"the broker ended with status {process.returncode}; last lines of {log}:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise NotReadyError(
                f"the broker on {broker.bootstrap} does not answer after {patience_s:.0f} s; last lines of {log}:\n{tail(log)}"
            )
        time.sleep(0.1)


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log file."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def start_until_ready(broker: Broker, cache_dir: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start and wait; when it ends early with an ahead-of-time cache, once more without it."""
    process = start(broker, cache_dir, log)
    try:
        wait_ready(broker, process, log)
    except BaseException as problem:
        processes.stop(process, STOP_S)
        stale = aot.usable(broker, cache_dir)
        if not isinstance(problem, NotReadyError) or stale is None:
            raise
        stale.unlink(missing_ok=True)
        return start_until_ready(broker, cache_dir, log)
    return process


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    """The command line of one broker."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.broker", description="Run an embedded Apache Kafka broker in the foreground."
    )
    parser.add_argument(
        "--data-dir", type=Path, default=Path(".strata/kafka"), help="its folder, kept between starts (default %(default)s)"
    )
    parser.add_argument("--port", type=int, default=9092, help="where clients connect; 0 takes a free one (default %(default)s)")
    parser.add_argument("--controller-port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--cache-dir", type=Path, default=default_cache_dir(environ), help="downloads, shared (default %(default)s)")
    parser.add_argument("--prepare", action="store_true", help="fetch the jars and record the start cache, then end")
    chosen = parser.parse_args(argv)

    progress = Progress()
    say = progress.line
    process: subprocess.Popen[bytes] | None = None

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        port = chosen.port or ports.free_port()
        if not chosen.prepare:
            ports.require_free(port, "broker", "--port")
        broker = assemble(chosen.data_dir, port, chosen.cache_dir, environ, progress.count, chosen.controller_port)
        progress.done()
        if chosen.prepare:
            aot.record(broker, chosen.cache_dir, say)
            return 0
        kafka_server.prepare(broker, say)
        log = broker.data_dir / "server.log"
        say(f"starting Apache Kafka on {broker.bootstrap} with Java {broker.java.version} ({broker.java.source}), log {log}")
        process = start_until_ready(broker, chosen.cache_dir, log)
        print(f"ready {broker.bootstrap}", file=sys.stderr, flush=True)
        status = process.wait()
        say(f"the broker ended with status {status}; last lines of {log}:\n{tail(log)}")
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        say("stopping")
        if process is not None:
            processes.stop(process, STOP_S)
        return 0
    except StackError as problem:
        say(f"error: {problem}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
