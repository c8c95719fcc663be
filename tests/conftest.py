"""What the tests share: one real broker for the whole run, and names that no other test uses."""

import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import broker as embedded
from deploy.local import kafka_server, ports, processes


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a real Kafka broker, started once a run on a free port; its jars are kept in the user's cache."""
    folder = tmp_path_factory.mktemp("broker")
    cache = embedded.default_cache_dir(os.environ)
    one = embedded.assemble(folder, ports.free_port(), cache, os.environ, lambda what, done, total: None)
    kafka_server.prepare(one)
    process = embedded.start_until_ready(one, cache, folder / "server.log")
    yield one.bootstrap
    processes.stop(process, 10.0)


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """A prefix for topics, groups and application ids that is this test's alone."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40]
    return f"{name}-{uuid.uuid4().hex[:8]}-"


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives a free port below 32768 at every call."""
    given: set[int] = set()

    def draw() -> int:
        given.add(port := ports.free_port(given))
        return port

    return draw


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """wait_until(condition, seconds, what): returns once the condition holds, fails with `what` when it does not in time."""

    def wait(condition: Callable[[], object], seconds: float = 20.0, what: str = "the condition") -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"{what} did not hold within {seconds} s")
            time.sleep(0.05)

    return wait


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of the checkout."""
    return Path(__file__).resolve().parent.parent
