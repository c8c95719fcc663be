"""The environment of the programs of other makers: made once, in the cache, from a pinned list.

Knows venv and pip as processes; leaves what is run in it to contest.py. It sees the packages of this environment behind its own, for torch,
so that both sides multiply with the same library.
"""

import hashlib
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.benchmarks.contest import SCRIPTS, BenchError

REQUIREMENTS = SCRIPTS / "requirements.txt"


def python_of_peers(cache: Path, environ: Mapping[str, str], tell: Callable[[str], None]) -> Path:
    """The interpreter of the peers' environment, made when there is none for this list. Raises BenchError when it cannot be made."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache / f"peers-{wanted}"
    python, made = folder / "bin" / "python", folder / "made"
    if not made.exists():
        tell(f"making the environment of the peers in {folder}")
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], environ)
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)], environ)
        made.touch()
    # what is not there is looked for here; anew each time, as another checkout's environment may have made it
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (own / "zz-behind.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def _run(command: list[str], environ: Mapping[str, str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=dict(environ), check=False)
    if done.returncode:
        tail = "\n".join(done.stderr.splitlines()[-5:])
        raise BenchError(
            f"the environment of the peers: {' '.join(command[:4])} ended with {done.returncode}: {tail}; leave the peers out with --only"
        )
    return done.stdout
