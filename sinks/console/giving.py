"""What people give: a label for a prediction, and a text, log, table or conversation to be read; both become records of the input topics.

Knows records and how pasted text becomes them; leaves Kafka's bytes to schemas.codec. `records` is pure.
"""

import asyncio
import contextlib
import csv
import io
import itertools
import logging
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.codec import CONTENT_TYPES, encoder, micros
from schemas.errors import StrataError
from schemas.events import ROLES, ChatEvent, LabelEvent, LogEvent, MetricEvent, Micros, TokenEvent

log = logging.getLogger(__name__)
Kind = Literal["text", "log", "series", "chat"]
TOPIC_OF: dict[str, str] = {"text": "tokens", "log": "logs", "series": "metrics", "chat": "chat"}
MOST_CHARS, MOST_RECORDS, MOST_AT_ONCE = 200_000, 20_000, 4
PIECE = re.compile(r"\s*\S+\s*|\s+")
SPEAKER = re.compile(r"^\s{0,3}([^:\n]{1,40}):\s*(.*)$", re.S)
HEADERLESS = "value"


class GivenError(StrataError):
    """What was given cannot be read as what it is said to be."""


class NotSentError(StrataError):
    """Kafka did not take it."""

    retriable = True


@dataclass(frozen=True)
class Placed:
    """Where a record came to lie."""

    topic: str
    partition: int
    offset: int


def records(kind: Kind, content: str, session_id: str) -> list[Any]:
    """Records of what was pasted; the last one ends the session. Raises GivenError, naming the line."""
    if not content.strip():
        raise GivenError("there is nothing to read; type or paste something first")
    if len(content) > MOST_CHARS:
        raise GivenError(f"{len(content):,} characters, wanted no more than {MOST_CHARS:,}; `strata produce` takes files of any size")
    made = {"text": _text, "log": _log, "chat": _chat, "series": _series}[kind](content, session_id)
    if len(made) > MOST_RECORDS:
        raise GivenError(f"{len(made):,} records, wanted no more than {MOST_RECORDS:,}; `strata produce` takes files of any size")
    *rest, last = made
    fields = {name: getattr(last, name) for name in last.__struct_fields__}
    return [*rest, type(last)(**{**fields, "end_of_session": True})]


def _text(content: str, session_id: str) -> list[Any]:
    return [TokenEvent(text=piece, session_id=session_id, source="console") for piece in PIECE.findall(content.replace("\r\n", "\n"))]


def _log(content: str, session_id: str) -> list[Any]:
    return [LogEvent(raw=line, session_id=session_id, source="console") for line in content.splitlines() if line.strip()]


def _chat(content: str, session_id: str) -> list[Any]:
    """`speaker: text` begins a turn; a line without a speaker goes on with the turn before."""
    turns: list[tuple[str, str]] = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        found = SPEAKER.match(line)
        if found:
            turns.append((found[1].strip(), found[2].strip()))
        elif turns:
            turns[-1] = (turns[-1][0], f"{turns[-1][1]}\n{line.strip()}")
        else:
            raise GivenError(f"line {number}: got {line[:60]!r}, wanted `speaker: text`; put a speaker in front")
    return [
        ChatEvent(speaker=speaker, text=text, session_id=session_id, role=speaker.lower() if speaker.lower() in ROLES else None)
        for speaker, text in turns
    ]


def _series(content: str, session_id: str) -> list[Any]:
    """CSV: an optional head, an optional first column of times, every other column a series. One column alone is one series."""
    lines = [line for line in content.splitlines() if line.strip()]
    mark = max(",;\t", key=lines[0].count)
    table = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=mark)]
    head = table[0] if all(_number(cell) is None and _moment(cell) is None for cell in table[0]) else None
    body, first_line = (table[1:], 2) if head else (table, 1)
    if not body:
        raise GivenError("a head and no rows; put the values below it")
    width = len(body[0])
    timed = width > 1 and all(row and _moment(row[0]) is not None for row in body) and _rises([row[0] for row in body], head)
    names = head or ([HEADERLESS] if width - timed == 1 else [f"{HEADERLESS}-{n}" for n in range(width)])
    names = names if head or not timed else ["", *names] if width - timed == 1 else names
    made: list[Any] = []
    for number, row in enumerate(body, first_line):
        if len(row) != width:
            raise GivenError(f"line {number}: {len(row)} columns, wanted {width} as in the first row")
        moment = _moment(row[0]) if timed else None
        for name, cell in list(zip(names, row, strict=False))[timed:]:
            value = _number(cell)
            if cell == "":
                continue
            if value is None:
                raise GivenError(f"line {number}: {cell[:40]!r} is not a number; a column of times must be the first one")
            made.append(MetricEvent(name=name or HEADERLESS, value=value, session_id=session_id, timestamp=moment))
    if not made:
        raise GivenError("no value in any row; give numbers, a row each")
    return made


def _rises(cells: Sequence[str], head: Sequence[str] | None) -> bool:
    """Is the first column one of times: text of dates, or seconds since 1970 in order under a name that says so or none?"""
    if any(_number(cell) is None for cell in cells):
        return True
    numbers = [float(cell) for cell in cells]
    named = head is None or any(word in head[0].lower() for word in ("time", "date", "ts"))
    return named and numbers[0] > 1e8 and all(a <= b for a, b in itertools.pairwise(numbers))


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if value - value == 0 else None


def _moment(cell: str) -> Micros | None:
    with contextlib.suppress(ValueError, OverflowError):
        number = _number(cell)
        return micros(number / 1000 if number is not None and number > 1e11 else number if number is not None else cell)
    return None


class Producer:
    """Sends records; connects at the first one."""

    def __init__(self, bootstrap: str, prefix: str):
        self._bootstrap, self._prefix = bootstrap, prefix
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._playing: set[asyncio.Task[None]] = set()

    async def _ready(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    acks="all",
                    enable_idempotence=True,
                    client_id="strata-console",
                    request_timeout_ms=10_000,
                )
                try:
                    await asyncio.wait_for(producer.start(), 10)
                except (KafkaError, OSError, TimeoutError) as problem:
                    await producer.stop()
                    raise NotSentError(f"no Kafka answers at {self._bootstrap}; `strata status` tells what runs") from problem
                self._producer = producer
        return self._producer

    async def label(self, label: LabelEvent) -> Placed:
        """One record of topic labels, kept by the broker when this returns. Raises NotSentError."""
        return await self._send("labels", label)

    async def _send(self, topic: str, record: Any) -> Placed:
        producer = await self._ready()
        fields = {name: getattr(record, name) for name in record.__struct_fields__}
        if fields["timestamp"] is None:
            fields["timestamp"] = time.time_ns() // 1000
        headers = [("content-type", CONTENT_TYPES["avro"])]
        try:
            sent = await producer.send_and_wait(
                self._prefix + topic, value=encoder(topic)(fields), key=record.session_id.encode("utf-8", "replace"), headers=headers
            )
        except (KafkaError, OSError, TimeoutError) as problem:
            raise NotSentError(f"Kafka at {self._bootstrap} did not take it ({type(problem).__name__}); try again") from problem
        return Placed(topic, sent.partition, sent.offset)

    async def play(self, kind: Kind, content: str, per_s: float) -> tuple[str, int]:
        """Begin to send what was pasted, so many records a second; its new session and how many records. Raises GivenError, NotSentError."""
        if len(self._playing) >= MOST_AT_ONCE:
            raise NotSentError(f"{MOST_AT_ONCE} texts are being read now; try again when one is through")
        session_id = f"try-{time.strftime('%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
        made = await asyncio.to_thread(records, kind, content, session_id)
        await self._ready()
        task = asyncio.create_task(self._play(TOPIC_OF[kind], made, per_s))
        self._playing.add(task)
        task.add_done_callback(self._playing.discard)
        return session_id, len(made)

    async def _play(self, topic: str, made: Sequence[Any], per_s: float) -> None:
        begun = time.monotonic()
        try:
            for number, record in enumerate(made):
                await asyncio.sleep(max(begun + number / per_s - time.monotonic(), 0.0))
                await self._send(topic, record)
        except NotSentError as problem:
            log.warning("a text to try ended early: %s", problem)

    async def stop(self) -> None:
        for task in list(self._playing):
            task.cancel()
        if self._producer is not None:
            await self._producer.stop()
