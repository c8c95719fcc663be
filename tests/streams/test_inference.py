"""A session that makes the model fail is recovered alone; the others of its step go on."""

import pytest

from models.null import NullModel
from models.steps import Answer, Item, ItemResult, StepResult, Work
from streams.inference import _close, recover, step_all


class Faulty(NullModel):
    """Fails on items that say so: `always`, `until rebuilt`, `until reset`, `once`; `raises` brings the whole step down."""

    def __init__(self) -> None:
        self.healed: set[str] = set()
        self.met: set[tuple[str, int]] = set()
        self.dropped: list[str] = []

    def step(self, works):
        if any(i.text == "raises" for w in works for i in w.items):
            raise MemoryError("whole step")
        return [self._checked(w) for w in works]

    def _checked(self, work: Work) -> StepResult:
        for item in work.items:
            again = (work.session, item.position) in self.met
            self.met.add((work.session, item.position))
            if (
                item.text == "always"
                or (item.text in ("until rebuilt", "until reset") and item.text not in self.healed)
                or (item.text == "once" and not again)
            ):
                return StepResult(work.state, error=ValueError(item.text))
        return self._one(work)

    def rebuild(self, session, state):
        self.healed.add("until rebuilt")

    def reset(self, state):
        self.healed.add("until reset")
        return state

    def drop(self, session):
        self.dropped.append(session)


def work(session: str, *texts: str) -> Work:
    return Work(session, None, [Item(n, text, 0) for n, text in enumerate(texts)])


def actions(stepped) -> list[tuple[int, str, bool]]:
    return [(r.position, r.action, r.success) for r in stepped.recoveries]


def test_one_failing_session_leaves_the_others_alone() -> None:
    good, bad, also = step_all(Faulty(), [work("a", "x", "y"), work("b", "x", "always", "y"), work("c", "x")])
    assert (good.result.state, also.result.state) == (2, 1)
    assert good.recoveries == also.recoveries == ()
    assert bad.result.state == 2
    assert [i.position for i in bad.result.items] == [0, 1, 2]
    assert actions(bad) == [(1, "retry", False), (1, "rebuild_cache", False), (1, "reset_window", False), (1, "dead_letter", True)]


def test_each_action_is_tried_before_the_next_and_no_further_than_needed() -> None:
    model = Faulty()
    assert actions(recover(model, work("a", "until rebuilt"))) == [(0, "retry", False), (0, "rebuild_cache", True)]
    assert actions(recover(model, work("a", "until reset"))) == [
        (0, "retry", False),
        (0, "rebuild_cache", False),
        (0, "reset_window", True),
    ]
    assert "a" in model.dropped


def test_what_fails_once_is_cured_by_a_retry() -> None:
    (one,) = step_all(Faulty(), [work("a", "x", "once", "y")])
    assert one.result.state == 3
    assert all(r.success for r in one.recoveries)


def test_a_step_that_raises_is_done_again_session_by_session() -> None:
    good, bad = step_all(Faulty(), [work("a", "x"), work("b", "raises", "x")])
    assert good.result.state == 1
    assert bad.result.state == 1
    assert actions(bad)[-1] == (0, "dead_letter", True)
    assert isinstance(bad.recoveries[0].error, MemoryError)


class Unclosable(Faulty):
    """Cannot be closed as it is; `heals`: with an empty window it can."""

    def __init__(self, heals: bool, raises: bool = False) -> None:
        super().__init__()
        self.heals, self.raises = heals, raises

    def close(self, work: Work) -> StepResult:
        if "until reset" in self.healed and self.heals:
            return StepResult(work.state, (ItemResult(5, findings=(Answer("topic", 0, 6, True),)),))
        if self.raises:
            raise ValueError("not finite")
        return StepResult(work.state, error=ValueError("not finite"))


@pytest.mark.parametrize("raises", [True, False])
def test_a_session_that_cannot_be_closed_says_so_and_is_closed_with_an_empty_window(raises: bool) -> None:
    closed = _close(Unclosable(True, raises), work("a"))
    assert actions(closed) == [(-1, "reset_window", True)]
    assert [f.task for i in closed.result.items for f in i.findings] == ["topic"]
    stuck = _close(Unclosable(False, raises), work("a"))
    assert actions(stuck) == [(-1, "reset_window", False)]
    assert stuck.result.error is None


def test_a_last_item_that_nothing_helps_still_ends_its_session() -> None:
    item = Item(0, "always", 0, ends_session=True)
    done = recover(Unclosable(True), Work("a", None, [item]))
    assert [f.task for i in done.result.items for f in i.findings] == ["topic"]
    assert actions(done)[-1] == (0, "dead_letter", True)
