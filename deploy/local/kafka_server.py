"""The embedded Kafka server: its settings, its formatted log folder, its Java command. One node in KRaft mode, in one folder.

Knows what Apache Kafka wants on disk and on its command line; leaves getting and running it to broker.py.
Next: deploy/local/broker.py
"""

import base64
import os
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import NotReadyError
from deploy.local.java import Java

HOST = "127.0.0.1"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

SETTINGS = f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{{host}}:{{controller_port}}
listeners=PLAINTEXT://{{host}}:{{port}},CONTROLLER://{{host}}:{{controller_port}}
advertised.listeners=PLAINTEXT://{{host}}:{{port}}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={{log_dir}}
auto.create.topics.enable=false
num.partitions=8
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
message.max.bytes={MAX_MESSAGE_BYTES}
replica.fetch.max.bytes={MAX_MESSAGE_BYTES}
log.message.timestamp.type=LogAppendTime
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
background.threads=4
auto.leader.rebalance.enable=false
"""


@dataclass(frozen=True)
class Broker:
    """One broker: where it listens and keeps its log."""

    data_dir: Path
    """Folder of its own, kept between starts."""
    port: int
    """Where clients connect."""
    controller_port: int
    """Where its own controller listens; may differ at every start."""
    java: Java
    jars: tuple[Path, ...]
    host: str = HOST
    heap_mb: int = 512

    @property
    def bootstrap(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def settings_file(self) -> Path:
        return self.data_dir / "server.properties"

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "log"


def java_command(broker: Broker, *tail: str, options: tuple[str, ...] = ()) -> list[str]:
    """A Java command over the broker's jars."""
    return [
        str(broker.java.path),
        f"-Xmx{broker.heap_mb}m",
        f"-Xms{min(broker.heap_mb, 128)}m",
        "-XX:+UseSerialGC",
        "-Djava.awt.headless=true",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        *options,
        "-cp",
        os.pathsep.join(map(str, broker.jars)),
        *tail,
    ]


def run_command(broker: Broker, aot_cache: Path | None = None) -> list[str]:
    """The command that is the broker. An AOT cache that does not fit is ignored by Java (AOTMode=auto)."""
    options = ("-XX:+ExitOnOutOfMemoryError", *((f"-XX:AOTCache={aot_cache}", "-Xlog:aot=off", "-Xlog:cds=off") if aot_cache else ()))
    return java_command(broker, "kafka.Kafka", str(broker.settings_file), options=options)


def prepare(broker: Broker, say: Callable[[str], None] = lambda line: None) -> None:
    """Write the settings, and format the log folder the first time. Raises NotReadyError with what the tool said."""
    broker.data_dir.mkdir(parents=True, exist_ok=True)
    text = SETTINGS.format(host=broker.host, port=broker.port, controller_port=broker.controller_port, log_dir=broker.log_dir)
    broker.settings_file.write_text(text, encoding="utf-8")
    if (broker.log_dir / "meta.properties").exists():
        return
    say("formatting the broker's log folder")
    broker.log_dir.mkdir(exist_ok=True)
    cluster = cluster_id(broker.data_dir / "cluster-id")
    tool = java_command(broker, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(broker.settings_file))
    done = subprocess.run(tool, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotReadyError(
            f"formatting {broker.log_dir} failed: {(done.stderr or done.stdout).strip()[-800:]}; remove that folder and start again"
        )


def cluster_id(file: Path) -> str:
    """The id kept in `file`, drawn the first time. StorageTool takes one that begins with '-' for an option, so such are drawn again."""
    if file.exists():
        return file.read_text(encoding="ascii").strip()
    drawn = "-"
    while drawn.startswith("-"):
        drawn = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    file.write_text(drawn + "\n", encoding="ascii")
    return drawn
