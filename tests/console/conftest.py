"""A whole stack with its console, once for the tests of a file, and a browser to look at it."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from deploy.local import broker as embedded
from tests.console import browser as browsers


@dataclass(frozen=True)
class Console:
    """A running console and the stack behind it."""

    url: str
    environ: dict[str, str]

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """An answer of the API, as a program on this machine asks."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Of ClickHouse, by the command."""
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", "query", f"{sql} FORMAT JSONEachRow"],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Console]:
    """`strata up` on free ports. STRATA_TEST_CONSOLE names one that runs already."""
    folder = tmp_path_factory.mktemp("console")
    mine = {k: v for k, v in os.environ.items() if not k.startswith("STRATA_") or k == "STRATA_CACHE_DIR"}
    environ = {**mine, "PYTHONPATH": str(repository), "STRATA_DATA_DIR": str(folder), "OTEL_TRACES_SAMPLER": "always_on"}
    if running := os.environ.get("STRATA_TEST_CONSOLE"):
        yield Console(running, {**environ, **{k: v for k, v in os.environ.items() if k.startswith("STRATA_")}})
        return
    run = [sys.executable, "-m", "deploy.cli"]
    up = subprocess.run([*run, "up", "--detach", "--free-ports"], env=environ, capture_output=True, text=True, timeout=240)
    assert up.returncode == 0, up.stderr
    try:
        listed = json.loads(subprocess.run([*run, "status", "--json"], env=environ, capture_output=True, text=True).stdout)
        yield Console(next(p["address"] for p in listed if p["name"] == "console"), environ)
    finally:
        subprocess.run([*run, "down"], env=environ, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser; each test has a window of its own in it. It ends with its tests: while it is there no other test can run an event loop."""
    found = browsers.find(os.environ, embedded.default_cache_dir(os.environ))
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=str(found.path), env={**os.environ, **found.environ}, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture
def window(chromium: Browser, console: Console) -> Iterator[Callable[..., Page]]:
    """window(path, **context): a page that was opened; the test fails when a script of it failed or something was against the policy."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def opened(path: str, **context: Any) -> Page:
        contexts.append(made := chromium.new_context(**{"viewport": {"width": 1280, "height": 860}, **context}))
        made.set_default_timeout(20_000)
        page = made.new_page()
        page.on("pageerror", lambda problem: complaints.append(str(problem)))
        page.on(
            "console",
            lambda message: complaints.append(message.text) if message.type == "error" and "status of 422" not in message.text else None,
        )
        page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
        page.goto(console.url + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
