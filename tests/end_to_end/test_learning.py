"""Learning goes on through kills and rebalances, and nothing that was published is ever said differently a second time."""

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import pytest

from schemas.codec import Codec
from tests.end_to_end.system import Sent, System

pytestmark = pytest.mark.broker

SESSIONS, LINES = 40, 6000


def lines(n: int, first: int = 0) -> list[Sent]:
    """Interleaved sessions that all say the same ten things in turn; the sessions end with the last lines."""
    sent = []
    for i in range(first, first + n):
        session, step = f"host-{i % SESSIONS}", i // SESSIONS
        value = {"session_id": session, "raw": f"step {step % 10} is done", "end_of_session": i >= LINES - SESSIONS}
        sent.append(Sent("logs", json.dumps(value).encode(), session.encode()))
    return sent


def predictions(system: System) -> dict[str, list[dict]]:
    """What was published under each event id, without what a clock says."""
    codec, found = Codec(), defaultdict(list)
    for record in system.read_topic("predictions"):
        event = msgspec.structs.asdict(codec.decode("predictions", record.value))
        found[event["event_id"]].append({k: v for k, v in event.items() if k != "latency_ms"})
    return found


def until(system: System, n: int, seconds: float = 120.0) -> dict[str, list[dict]]:
    """Until n different predictions are there."""
    deadline = time.monotonic() + seconds
    while len(found := predictions(system)) < n:
        for name, process in system.processes.items():
            assert process.poll() is None, system.log(name)[-3000:]
        assert time.monotonic() < deadline, f"{len(found)} of {n}\n{system.log('worker-0')[-3000:]}"
        time.sleep(0.5)
    return found


def measured(system: System, name: str) -> list[dict]:
    codec = Codec()
    events = [codec.decode("performance", record.value) for record in system.read_topic("performance")]
    return [json.loads(e.context) | {"version": e.model_version} for e in events if e.metric_name == name]


def dies(system: System, name: str) -> None:
    """Wait for a worker that kills itself."""
    assert system.processes[name].wait(60) == -9
    del system.processes[name]


@contextmanager
def sending(system: System, records: list[Sent]) -> Iterator[None]:
    sender = threading.Thread(target=system.send, args=(records, 200.0))
    sender.start()
    yield
    sender.join()


@pytest.mark.timeout(600)
def test_kills_and_rebalances_change_no_verdict_and_what_was_learned_goes_on(make_system: Callable[..., System]) -> None:
    system = make_system("learn", STRATA_LEARNING_CPU_SHARE="1.0")
    system.worker = "tests.streams.learning_worker"
    system.start("worker-0")
    system.start("worker-1", KILL_AT="150")
    system.wait_ready("worker-0", "worker-1")
    with sending(system, lines(LINES // 2)):
        dies(system, "worker-1")  # the other one goes on, and makes versions when the learner is there
        system.start("worker-1")
    system.wait_ready("worker-1")
    system.kill("worker-0")
    system.start("worker-0", KILL_AT="150")
    system.wait_ready("worker-0")
    with sending(system, lines(LINES // 2, LINES // 2)):
        dies(system, "worker-0")
        system.start("worker-0")
    found = until(system, LINES + SESSIONS)

    # 1. each line was judged, and every repetition said the same
    assert len(found) == LINES + SESSIONS
    for copies in found.values():
        assert all(copy == copies[0] for copy in copies)
    assert any(len(copies) > 1 for copies in found.values()), "no kill came between publish and store: the test shows nothing"
    # 2. versions followed each other, the knowledge of one going into the next, whoever made it
    updates = [update for update in measured(system, "log.update") if update["action"] == "taught"]
    numbers = [int(update["version"].split(".")[1]) for update in updates]
    assert len(numbers) > 5
    assert numbers == sorted(numbers)
    judged = Counter(copies[0]["model_version"] for copies in found.values())
    assert len(judged) > 3
    assert set(judged) - {"count-1"} <= {update["version"] for update in updates}
    by_version = {json.loads(c[0]["output"]).get("version"): json.loads(c[0]["output"]).get("taught") for c in found.values()}
    by_number = sorted((int(version.split(".")[1]), taught) for version, taught in by_version.items() if version and "+" in version)
    assert [taught for _, taught in by_number] == sorted(taught for _, taught in by_number)
    # 3. and it shows: what was new at first is usual at the end
    value = {copies[0]["kafka_offset"]: copies[0]["value"] for copies in found.values() if copies[0]["kafka_partition"] == 0}
    offsets = sorted(value)
    assert value[offsets[0]] == 1.0
    assert max(value[offset] for offset in offsets[-100:]) < 0.1
