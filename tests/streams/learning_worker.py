"""A worker whose log model is a small count of neighbours: all of learning but the model. Run as python -m tests.streams.learning_worker

KILL_AT=n in the environment: it kills itself when it is about to store its n-th change of a session, with all it said of it published.
"""

import logging
import os
import signal
import sys
from collections.abc import Iterable, Sequence

from models.learnable import Lesson
from models.null import NullModel
from models.steps import Answer, Item, ItemResult, StepResult, Work
from schemas.events import MODALITIES
from schemas.settings import load
from streams.app import build_app
from streams.config import StreamConfig
from streams.delivery import run
from streams.sessions import Session, Sessions
from tests.models.count_model import CountModel


class Schooled(NullModel):
    """A session's state is its number of lines and the last one. Every line is judged by what its tenant has taught."""

    version = "count-1"
    learnable = CountModel("count-1")

    def step(self, works: Sequence[Work]) -> list[StepResult]:
        return [self._judged(work) for work in works]

    def _judged(self, work: Work) -> StepResult:
        knowledge: CountModel = work.knowledge or self.learnable
        end, last = work.state or (0, "")
        items, lessons = [], []
        for item in work.items:
            lesson = _lesson(item, last, knowledge)
            end, last = item.position + 1, item.text
            output = {"version": knowledge.version, "taught": float(knowledge.cells.sum())}
            found = [Answer("anomaly", end - 1, end, True, "normal", value=lesson.surprise, output=output)]
            if item.ends_session:
                found.append(Answer("anomaly", 0, end, True, "normal", value=lesson.surprise, output={"level": "session"}))
            items.append(ItemResult(item.position, findings=tuple(found)))
            lessons.append(lesson)
        return StepResult((end, last), tuple(items), lessons=tuple(lessons))

    def close(self, work: Work) -> StepResult:
        end, _ = work.state
        knowledge: CountModel = work.knowledge or self.learnable
        answer = Answer("anomaly", 0, end, True, "normal", value=float(knowledge.cells.sum()), output={"level": "session"})
        return StepResult(work.state, (ItemResult(end - 1, findings=(answer,)),))

    def pack(self, state) -> bytes:
        end, last = state or (0, "")
        return end.to_bytes(8, "big") + last.encode()

    def unpack(self, data: bytes):
        return int.from_bytes(data[:8], "big"), data[8:].decode()


def _lesson(item: Item, last: str, knowledge: CountModel) -> Lesson:
    plain = Lesson(item.text, (last,), 6, 0.0, 0.0)
    return Lesson(item.text, (last,), 6, 0.0, knowledge.surprise([plain])[0])


def kill_at(n: int) -> None:
    """Die between publish and store."""
    store, changes = Sessions.store, 0

    async def deadly(self: Sessions, changed: Iterable[Session]) -> None:
        nonlocal changes
        changes += len(changed := list(changed))
        if 0 < n <= changes:
            os.kill(os.getpid(), signal.SIGKILL)
        await store(self, changed)

    Sessions.store = deadly  # type: ignore[method-assign]


def main() -> None:
    kill_at(int(os.environ.get("KILL_AT", "0")))
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    config = load(StreamConfig, os.environ)
    run(build_app(config, {modality: NullModel() for modality in MODALITIES} | {"logs": Schooled()}))


if __name__ == "__main__":
    main()
