"""A Chromium for the browser tests: the one that is named or installed, else Debian's, unpacked into the user's cache without root.

Knows where browsers are found and how apt fetches packages for a folder of its own; leaves pages to the tests. Without any, it fails with
what to do: a test of a page that was never opened would say nothing.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.local import broker as embedded

VARIABLE = "STRATA_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "microsoft-edge")
PACKAGES = ("chromium", "fonts-dejavu-core")
ADVICE = f"install Chromium, name one in {VARIABLE}, or leave these tests out: pytest -m 'not browser'"


@dataclass(frozen=True)
class Browser:
    """What is started, and its environment."""

    path: Path
    environ: Mapping[str, str] = field(default_factory=dict)


def find(environ: Mapping[str, str], cache: Path) -> Browser:
    """A browser. Fetches Debian's once, about 120 MB, where none is installed; fails the test where that cannot be."""
    if named := environ.get(VARIABLE):
        if not Path(named).is_file():
            pytest.fail(f"{VARIABLE} names {named}, which is no file; {ADVICE}")
        return Browser(Path(named))
    if found := next((path for name in NAMES if (path := shutil.which(name))), None):
        return Browser(Path(found))
    return fetch(cache)


def fetch(cache: Path) -> Browser:
    """Debian's Chromium with what it needs that this machine lacks, by apt's own checks of signatures, in a folder of the user."""
    folder, root = cache / "chromium", cache / "chromium" / "root"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
                pytest.fail(f"no browser is installed, and this is no Debian that could give one; {ADVICE}")
            archives = _download(folder)
            for archive in archives:
                subprocess.run(["dpkg-deb", "--extract", str(archive), str(root)], check=True, capture_output=True)
                archive.unlink()
            shutil.rmtree(folder / "lists")
            (folder / "complete").touch()
    libraries = sorted({str(p.parent) for p in root.glob("usr/lib/**/*.so*")} | {str(p.parent) for p in root.glob("lib/**/*.so*")})
    fonts = root / "fonts.conf"
    fonts.write_text(
        f'<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><dir>{root}/usr/share/fonts</dir><dir>/usr/share/fonts</dir>'
        f"<cachedir>{folder}/fontcache</cachedir></fontconfig>"
    )
    return Browser(root / "usr/lib/chromium/chromium", {"LD_LIBRARY_PATH": ":".join(libraries), "FONTCONFIG_FILE": str(fonts)})


def _download(folder: Path) -> list[Path]:
    """The packages and what they depend on, as far as it is not installed; nothing of the system is changed."""
    for part in ("lists/partial", "archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::State::lists": folder / "lists",
        "Dir::Cache::archives": folder / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Debug::NoLocking": "true",
        "APT::Sandbox::User": os.environ.get("USER", "root"),
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
    }
    apt = ["apt-get", "--quiet=2", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    for words in (["update"], ["install", "--yes", "--download-only", *PACKAGES]):
        done = subprocess.run([*apt, *words], capture_output=True, text=True, timeout=900)
        if done.returncode != 0:
            pytest.fail(f"apt-get {words[0]} failed ({done.stderr.strip()[-300:]}); {ADVICE}")
    return sorted((folder / "archives").glob("*.deb"))


if __name__ == "__main__":  # `make test` does this first, so that no test waits for a download
    print(find(os.environ, embedded.default_cache_dir(os.environ)).path)
