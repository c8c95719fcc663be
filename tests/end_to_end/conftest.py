"""Systems of the whole-way tests: made with the real broker, killed at the end whatever happened."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.system import System


@pytest.fixture
def make_system(broker: str, topic_prefix: str, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., System]]:
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


@pytest.fixture
def system(make_system: Callable[..., System]) -> System:
    """One system with a worker and a writer that are ready."""
    one = make_system()
    one.start("sink")
    one.start("worker-0")
    one.wait_ready("sink", "worker-0")
    return one
