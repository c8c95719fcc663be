"""An ahead-of-time cache for the broker's Java: 1.9 s to a ready broker in place of 4.6 s.

Knows how Java 25 records one (a trained run, then an assembly); leaves using it to broker.py. Never needed: without it the broker
starts slower, and Java ignores one that does not fit.
Next: deploy/local/probe.py
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from deploy.local import kafka_server, probe, processes
from deploy.local.kafka_server import Broker
from deploy.local.ports import free_port

FIRST_JAVA = 25
"""One-step AOT recording (JEP 514)."""
TRAINING_S = 120.0


def cache_file(broker: Broker, cache_dir: Path) -> Path:
    """Where the cache of this Java and these jars is."""
    named = "\n".join((str(broker.java.path), broker.java.version, *map(str, broker.jars)))
    return cache_dir / "aot" / f"kafka-{hashlib.sha256(named.encode()).hexdigest()[:16]}.aot"


def usable(broker: Broker, cache_dir: Path) -> Path | None:
    """The cache, None when there is none."""
    file = cache_file(broker, cache_dir)
    return file if broker.java.major >= FIRST_JAVA and file.exists() else None


def record(broker: Broker, cache_dir: Path, say: Callable[[str], None]) -> Path | None:
    """Run a broker once in a folder of its own and keep what Java learned; None when it did not work out."""
    if broker.java.major < FIRST_JAVA:
        return None
    file = cache_file(broker, cache_dir)
    if file.exists():
        return file
    say("recording an ahead-of-time cache for a faster start (once)")
    file.parent.mkdir(parents=True, exist_ok=True)
    forget_removed(file.parent)
    work = Path(tempfile.mkdtemp(prefix="record-", dir=file.parent))
    try:
        port = free_port()
        trained = replace(broker, data_dir=work / "broker", port=port, controller_port=free_port({port}))
        kafka_server.prepare(trained)
        made = work / "made.aot"
        options = (f"-XX:AOTCacheOutput={made}",)
        command = kafka_server.java_command(trained, "kafka.Kafka", str(trained.settings_file), options=options)
        process = processes.start(command, work / "java.log")
        deadline = time.monotonic() + TRAINING_S
        try:
            while probe.kafka_nodes(trained.bootstrap) is None and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
            process.terminate()  # Java writes the cache at its end
            process.wait(max(deadline - time.monotonic(), 1.0))
        except subprocess.TimeoutExpired:
            return None
        finally:
            processes.stop(process, 1.0)
        if not made.exists():
            return None
        os.replace(made, file)
        file.with_suffix(".java").write_text(str(broker.java.path), encoding="utf-8")
        return file
    finally:
        shutil.rmtree(work, ignore_errors=True)


def forget_removed(folder: Path) -> None:
    """Remove the caches (60 MB each) of Javas that are no longer there."""
    for note in folder.glob("*.java"):
        if not Path(note.read_text(encoding="utf-8")).exists():
            note.with_suffix(".aot").unlink(missing_ok=True)
            note.unlink()
