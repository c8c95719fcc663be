"""The broker's jars: a locked list, fetched once from Maven Central into a cache that all stacks share, checked by hash.

Knows coordinates, hashes and the cache; leaves starting Java to broker.py. jgo (PythonResolver) does the Maven part.
`python -m deploy.local.jars --lock VERSION` resolves anew and prints the list for kafka_jars.txt.
Next: deploy/local/java.py
"""

import argparse
import concurrent.futures
import contextlib
import fcntl
import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import DownloadError

LOCK_FILE = Path(__file__).with_name("kafka_jars.txt")
LOGGER = "org.slf4j:slf4j-simple:1.7.36"
ATTEMPTS = 5
PARALLEL = 6

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


@dataclass(frozen=True)
class Jar:
    """One locked artifact."""

    group: str
    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}"


def locked_jars() -> list[Jar]:
    """The jars of kafka_jars.txt."""
    jars = []
    for line in LOCK_FILE.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            coordinate, digest = line.split()
            group, name, version = coordinate.split(":")
            jars.append(Jar(group, name, version, digest.removeprefix("sha256:")))
    return jars


def kafka_version(jars: list[Jar]) -> str:
    """The version of Apache Kafka that is locked."""
    return next(j.version for j in jars if j.name == "kafka_2.13")


def fetch(cache_dir: Path, progress: Progress, pause: Callable[[float], None] = time.sleep) -> list[Path]:
    """Paths of all jars, in lock order; what is missing is fetched. Safe when several processes ask at once.

    Raises DownloadError when a jar cannot be had after some tries.
    """
    jars = locked_jars()
    stamp = cache_dir / f"kafka-{kafka_version(jars)}-{_digest(LOCK_FILE)[:12]}.checked"
    paths = [_path(cache_dir, jar) for jar in jars]
    if stamp.exists() and all(p.exists() for p in paths):
        return paths
    with _locked(cache_dir / "fetch.lock"):
        missing = [jar for jar, path in zip(jars, paths) if not path.exists() or _digest(path) != jar.sha256]
        what = f"Apache Kafka {kafka_version(jars)}, jars"
        progress(what, len(jars) - len(missing), len(jars))
        context = _maven(cache_dir)
        pool = concurrent.futures.ThreadPoolExecutor(PARALLEL)
        try:
            running = [pool.submit(_fetch_one, context, jar, pause) for jar in missing]
            for done, future in enumerate(concurrent.futures.as_completed(running), 1):
                future.result()
                progress(what, len(jars) - len(missing) + done, len(jars))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C must not wait for the queue
        stamp.touch()
    return paths


def present(cache_dir: Path) -> int:
    """How many of the locked jars are in the cache."""
    return sum(_path(cache_dir, jar).exists() for jar in locked_jars())


def _path(cache_dir: Path, jar: Jar) -> Path:
    """Where jgo, like Maven, keeps it."""
    return cache_dir.joinpath("maven", *jar.group.split("."), jar.name, jar.version, f"{jar.name}-{jar.version}.jar")


def _maven(cache_dir: Path) -> Any:
    """jgo's MavenContext over our cache."""
    from jgo.maven import MavenContext  # here: it takes 0.3 s to import, and only a first start needs it

    return MavenContext(repo_cache=cache_dir / "maven", timeout=60)


def _fetch_one(context: Any, jar: Jar, pause: Callable[[float], None]) -> None:
    """Download one jar and check it, with growing pauses between tries."""
    artifact = context.project(jar.group, jar.name).at_version(jar.version).artifact()
    path = Path(artifact.cached_path)
    problem: Exception | str = "not tried"
    for attempt in range(ATTEMPTS):
        if attempt:
            pause(min(2.0**attempt, 15.0))
        path.unlink(missing_ok=True)  # jgo leaves a cut-off file behind and never replaces one
        try:
            context.resolver.download(artifact)
        except Exception as error:  # requests, checksum and repository errors of jgo have no common class
            problem = error
            continue
        seen = _digest(path)
        if seen == jar.sha256:
            return
        problem = f"SHA-256 is {seen}, locked is {jar.sha256}"
    path.unlink(missing_ok=True)
    raise DownloadError(f"{jar}: {problem} ({ATTEMPTS} tries); is Maven Central reachable from here? Run the same command again to go on")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def lock(version: str, cache_dir: Path) -> str:
    """The text of kafka_jars.txt for a version of Apache Kafka, resolved anew."""
    context = _maven(cache_dir)
    wanted = [context.create_dependency(f"org.apache.kafka:kafka_2.13:{version}"), context.create_dependency(LOGGER)]
    inputs, transitive = context.resolver.resolve(wanted)
    lines = []
    for dependency in sorted((*inputs, *transitive), key=str):
        artifact = dependency.artifact
        lines.append(f"{artifact.groupId}:{artifact.artifactId}:{artifact.version} sha256:{_digest(artifact.resolve())}")
    head = f"# Apache Kafka {version} (KRaft broker) and a console logger: every jar and its SHA-256. Written by `python -m deploy.local.jars --lock`."
    return "\n".join((head, *lines, ""))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", metavar="VERSION", required=True)
    parser.add_argument("--cache-dir", type=Path, default=Path.home() / ".cache" / "strata")
    chosen = parser.parse_args()
    sys.stdout.write(lock(chosen.lock, chosen.cache_dir))
