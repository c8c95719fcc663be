"""A model that is nothing: what is left is the cost of everything around it.

Knows only to answer once in ten items, so that there is something to publish. For `strata bench` and tests of the plumbing.
"""

from collections.abc import Sequence

from models.steps import Answer, ItemResult, StepResult, Work

EVERY = 10


class NullModel:
    """A SessionModel whose state is the number of items it met."""

    version = "null"

    def step(self, works: Sequence[Work]) -> list[StepResult]:
        """One final answer for each ten items, and one for the whole session at its end."""
        return [self._one(work) for work in works]

    def _one(self, work: Work) -> StepResult:
        seen, items = work.state or 0, []
        for item in work.items:
            seen += 1
            found: tuple[Answer, ...] = ()
            if seen % EVERY == 0:
                found = (Answer("null", item.position + 1 - EVERY, item.position + 1, True, value=float(seen)),)
            items.append(ItemResult(item.position, findings=found))
        return StepResult(seen, tuple(items))

    def close(self, work: Work) -> StepResult:
        return StepResult(work.state)

    def answer(self, work: Work) -> tuple[Answer, ...]:
        return (Answer("null", 0, work.state or 0, False, value=float(work.state or 0)),)

    def pack(self, state: int) -> bytes:
        return (state or 0).to_bytes(8, "big")

    def unpack(self, data: bytes) -> int:
        return int.from_bytes(data, "big")

    def drop(self, session: str) -> None:
        pass

    def rebuild(self, session: str, state: int) -> None:
        pass

    def reset(self, state: int) -> int:
        return state

    def cache_bytes(self) -> int:
        return 0
