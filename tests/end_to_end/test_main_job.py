"""10,000 real pieces of 50 interleaved sessions through broker, worker and writer; and the same with both killed on the way."""

import threading
import time
from collections.abc import Callable

import pytest

from tests.end_to_end.streams import documents, interleaved
from tests.end_to_end.system import System

pytestmark = pytest.mark.broker

SESSIONS, PIECES = 50, 10_000
TABLES = ("input_stream", "predictions", "boundaries", "model_state", "performance", "failures")
ENDED = (
    "SELECT count() FROM predictions WHERE task = 'topic' AND prediction_type = 'final' AND JSONExtractString(output, 'level') = 'document'"
)


def complete(system: System, n_sessions: int, n_pieces: int, seconds: float = 180) -> None:
    """Until all is in the tables and nothing moves."""
    system.wait_for("SELECT count() FROM input_stream", n_pieces, seconds)
    system.wait_for(ENDED, n_sessions, 60)
    system.settle()


@pytest.mark.timeout(900)
def test_kills_and_rebalances_on_the_way_change_no_table(make_system: Callable[..., System]) -> None:
    sessions = documents(SESSIONS, PIECES)
    records = interleaved(sessions)

    # 1. undisturbed: what the tables must be
    calm = make_system("calm")
    calm.start("sink")
    calm.start("worker-0")
    calm.wait_ready("sink", "worker-0")
    calm.send(records)
    complete(calm, SESSIONS, PIECES)
    stored = calm.query("SELECT session_id, token_text FROM input_stream ORDER BY session_id, token_position")
    texts: dict[str, str] = {}
    for row in stored:
        texts[row["session_id"]] = texts.get(row["session_id"], "") + row["token_text"]
    assert texts == {s: "".join(pieces) for s, pieces in sessions.items()}
    with_sentences = calm.query("SELECT session_id, count() AS n FROM boundaries WHERE boundary_type = 'sentence' GROUP BY session_id")
    assert {r["session_id"] for r in with_sentences if int(r["n"]) > 0} == sessions.keys()
    ends = calm.query(ENDED.replace("count()", "session_id, count() AS n, max(span_end) AS size") + " GROUP BY session_id")
    assert {(r["session_id"], int(r["n"]), int(r["size"])) for r in ends} == {(s, 1, len(p)) for s, p in sessions.items()}
    assert calm.query("SELECT failure_type, exception FROM failures") == []
    expected = {table: calm.table(table) for table in TABLES}
    calm.stop("worker-0")
    calm.stop("sink")

    # 2. the same with SIGKILL of worker and writer, and a second worker that joins and is killed
    wild = make_system("wild")
    wild.start("sink")
    wild.start("worker-0")
    wild.wait_ready("sink", "worker-0")
    sender = threading.Thread(target=wild.send, args=(records, 800.0))
    sender.start()
    time.sleep(2.0)
    wild.kill("worker-0")
    time.sleep(0.5)
    wild.start("worker-0")
    time.sleep(1.0)
    wild.kill("sink")
    wild.start("sink")
    wild.wait_ready("worker-0", "sink")
    wild.start("worker-1")
    wild.wait_ready("worker-1")
    time.sleep(1.0)
    wild.kill("worker-1")
    wild.kill("sink")
    wild.start("sink")
    wild.wait_ready("sink")
    sender.join()
    complete(wild, SESSIONS, PIECES)
    for table in TABLES:
        assert wild.table(table) == expected[table], table
        assert wild.value(f"SELECT count() - uniqExact(event_id) FROM {table}") in (0, "0"), table
