"""Everything a source of logs can get wrong, from record to encoded events: one row, one template and one severity each, in bounded memory."""

import json
import random
import time

from models.log_model import LogModel
from models.severity import SEVERITIES
from models.steps import StepResult, Work
from schemas.codec import Codec
from schemas.events import InputRead, PredictionMade
from streams.agents import logs
from streams.batching import Batch
from streams.config import StreamConfig
from streams.emit import Emitter
from streams.pipeline import Cause, Timing, conclude
from streams.reading import Reader
from streams.session import Accepted, SessionState, accept
from tests.streams.test_reading import Raw

NOW_MS = 1_800_000_000_000
CONFIG = StreamConfig()
BAD = [
    "".join(map(chr, range(256))), "\x00", "a\x00b", "\r\n", "a\rb\nc", "\r", " ", "\ufeff", "\u202e\ufffe\U0010ffff", "x" * 1_000_000, "x y " * 250_000, "\\xff\\xfe",
    random.Random(1).randbytes(65_536).decode("utf-8", "backslashreplace"), random.Random(2).randbytes(300).decode("latin-1"),
    "<999>1 - - - - - - x", "<192>x", "<-1>x", "<34>1", "0 <34>", "999999999 <34>x", "1970-01-01T00:00:00Z INFO first", "2099-12-31T23:59:59Z INFO last",
    "1969-12-31T23:59:59Z INFO before", "9999-12-31T23:59:59Z INFO never", "0000-00-00 00:00:00 INFO never", "Feb 30 25:61:61 h a: x", "\tat a.B.c(D.java:1)",
    "Caused by: x.Y: z", "... 12 more", '  File "x.py", line 1, in f', "goroutine 1 [running]:", '{"msg":', '{"msg":"\\u0000"}', '{"level":1e999,"msg":"x"}', "[" * 5000, "{" * 5000,
]  # fmt: skip


class Worker:
    """What a worker does with one session's records, without Kafka."""

    def __init__(self) -> None:
        self.reader = Reader("logs", Codec(), logs.contents, 1, 10_000_000)
        self.model, self.state, self.model_state = LogModel(), SessionState(), None
        self.emitter = Emitter("", "avro")

    def take(self, raws: list[str], first: int = 0) -> tuple[list[Accepted], StepResult, list]:
        values = [json.dumps({"session_id": "s", "raw": raw}).encode() for raw in raws]
        decoded = self.reader.read_all(Batch("logs", 0, [Raw(first + n, value, b"s", [], NOW_MS) for n, value in enumerate(values)]))
        assert not decoded.failures
        accepted = []
        for read in decoded.reads:
            self.state, one = accept(self.state, read, CONFIG)
            accepted.append(one)
        (result,) = self.model.step([Work("logs/s", self.model_state, [one.item for one in accepted])])
        assert result.error is None
        self.model_state = self.model.unpack(self.model.pack(result.state))
        causes = [Cause("s", "logs", "v", read.place, one.item.timestamp_us) for read, one in zip(decoded.reads, accepted, strict=True)]
        self.state, events = conclude(self.state, causes.__getitem__, accepted, result, Timing(float(NOW_MS)), CONFIG)
        self.emitter.records([event for its in events for event in its], 0)
        return accepted, result, events


def test_every_bad_line_is_one_row_with_its_text_and_one_template_and_severity() -> None:
    start = time.process_time()
    accepted, _, events = Worker().take(BAD)
    assert [[e.token_text for e in its if isinstance(e, InputRead)] for its in events] == [[raw] for raw in BAD]
    for its in events:
        made = [e for e in its if isinstance(e, PredictionMade) and e.prediction_type == "final"]
        assert [e.task for e in made if e.task in ("template", "severity")] == ["template", "severity"]
        assert next(e.label for e in made if e.task == "severity") in SEVERITIES
    assert [one.item.position for one in accepted] == list(range(len(BAD)))
    assert time.process_time() - start < 3.0


def test_odd_times_are_told_and_replaced_by_kafkas() -> None:
    accepted, _, _ = Worker().take(BAD)
    by_text = {one.text: one for one in accepted}
    assert by_text["1970-01-01T00:00:00Z INFO first"].item.timestamp_us == 0
    for text in ("2099-12-31T23:59:59Z INFO last", "9999-12-31T23:59:59Z INFO never"):
        odd = by_text[text]
        assert odd.item.timestamp_us == NOW_MS * 1000
        assert [type(notice).__name__ for notice in odd.notices] == ["TimestampError"]
    before = by_text["1969-12-31T23:59:59Z INFO before"]
    assert (before.item.timestamp_us, [type(n).__name__ for n in before.notices]) == (NOW_MS * 1000, ["TimestampError"])


def test_a_flood_of_distinct_lines_keeps_the_sessions_row_bounded() -> None:
    worker, chance, sizes = Worker(), random.Random(3), []
    letters = "abcdefghijklmnopqrstuvwxyz"
    for part in range(16):
        flood = [" ".join("".join(chance.choices(letters, k=6)) for _ in range(12)) for _ in range(100)]
        worker.take(flood, part * 100)
        sizes.append(len(worker.model.pack(worker.model_state)))
    assert max(sizes) < 100_000
    assert sizes[-1] < sizes[8] * 1.05, "it does not grow once it is full"
