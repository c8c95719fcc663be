"""What the documents say is so: files, commands, settings and fields they name exist, and the README's commands run."""

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from deploy.local.ports import free_port
from tests.reference import DOCS, PAGES

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/*.md"), *ROOT.glob("deploy/**/README.md")])
COMMANDS = re.compile(r"`(?:\.venv/bin/)?strata ([a-z]+)\b")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@cache
def known_commands() -> set[str]:
    shown = subprocess.run([sys.executable, "-m", "deploy.cli", "--help"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    return set(re.findall(r"^  ([a-z]+)  ", shown, re.M))


@pytest.mark.parametrize("page", PAGES)
def test_reference_pages_are_what_the_code_says(page: str) -> None:
    assert (DOCS / page).read_text(encoding="utf-8") == PAGES[page](), "run `python -m tests.reference`"


def test_every_setting_has_a_meaning() -> None:
    assert [
        line for line in (DOCS / "settings.md").read_text().splitlines() if line.startswith("| `STRATA") and line.endswith("|  |")
    ] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_files_a_document_names_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:schemas|models|streams|sinks|deploy|tests|docs)/[\w./-]+)`", text))
    assert [n for n in sorted(named) if "*" not in n and not (ROOT / n).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_commands_a_document_names_exist(document: Path) -> None:
    assert set(COMMANDS.findall(document.read_text(encoding="utf-8"))) <= known_commands()


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    """Every line of the README's `sh` blocks, in order, on a stack of its own; `make` lines are what `make test` itself did."""
    script = [line for block in blocks((ROOT / "README.md").read_text(encoding="utf-8"), "sh") for line in block.splitlines()]
    lines = [line.split("  #")[0].strip() for line in script if line.strip() and not line.startswith(("make", "git", "cd"))]
    assert len(lines) >= 6
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "STRATA_DATA_DIR": str(tmp_path / "data"),
        "STRATA_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
        "STRATA_CLICKHOUSE_HTTP_PORT": str(free_port()),
        "STRATA_CONSOLE_PORT": str(free_port()),
    }
    try:
        for line in lines:
            line = line.replace(".venv/bin/strata", f"{shlex.quote(sys.executable)} -m deploy.cli")
            done = subprocess.run(["bash", "-c", line], env=environ, cwd=ROOT, capture_output=True, text=True, timeout=200)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    finally:
        subprocess.run([sys.executable, "-m", "deploy.cli", "down"], env=environ, cwd=ROOT, capture_output=True, timeout=60)
