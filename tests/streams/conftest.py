"""What tests of batches and of steps share: a worker that is not connected."""

from pathlib import Path

import pytest

from streams.delivery import make_app
from tests.streams.unconnected_worker import UnconnectedWorker


@pytest.fixture
async def worker(tmp_path: Path) -> UnconnectedWorker:
    return UnconnectedWorker(make_app("unit", "127.0.0.1:1", tmp_path))
