"""Systems of the whole-way tests: made with the real broker, killed at the end whatever happened."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.ports import free_port
from tests.end_to_end.system import System


@pytest.fixture
def make_system(broker: str, topic_prefix: str, tmp_path: Path) -> Iterator[Callable[..., System]]:
    """make_system(name) -> System with its own topics and folder."""
    made: list[System] = []

    def make(name: str = "one", partitions: int = 4, **settings: str) -> System:
        folder = tmp_path / name
        folder.mkdir()
        system = System(broker, f"{topic_prefix}{name}-", folder, free_port(), dict(settings))
        made.append(system)
        system.create_topics(partitions)
        return system

    yield make
    for system in made:
        system.stop_all()


@pytest.fixture(scope="session")
def system(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system with a worker and a writer that are ready, for all tests that do not kill: each has sessions of its own."""
    one = System(broker, f"shared-{os.getpid()}-", tmp_path_factory.mktemp("shared"), free_port())
    one.create_topics(4)
    one.start("sink")
    one.start("worker-0")
    one.wait_ready("sink", "worker-0")
    yield one
    one.stop_all()
