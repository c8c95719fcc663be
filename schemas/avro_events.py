"""Output events as ClickHouse reads them: checked, their place known, their bytes as they came.

An event is stored without being taken apart: of its Avro bytes only the fields that tell its place are read, the rest is walked over, which
shows whether they hold one whole record. Many of them make one Avro container, which ClickHouse reads itself. Knows Avro's layout; leaves
other encodings and older schemas to codec.py, which turns them into these bytes.
Next: sinks/rows.py
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas.avro_writer import COMMON, kind_of, number, text

SYNC = b"strata events \0\0"
"""16 bytes between the blocks of a container; ours has one block."""
LAST_BYTE = 36
"""A time from 1970 on whose eighth byte is below it lies before the year 2291: ClickHouse's columns hold it."""


def after(data: bytes, at: int) -> int:
    """Where the number that begins at `at` ends. Raises IndexError where the bytes do."""
    end = at
    while data[end] > 127:
        end += 1
    if end - at > 9:
        raise ValueError("a number of more than 64 bits")
    return end + 1


def number_at(data: bytes, at: int) -> int:
    """The number that begins at `at`. Raises IndexError where the bytes end."""
    left, shift = 0, 0
    while data[at] > 127:
        left |= (data[at] & 127) << shift
        shift += 7
        at += 1
    left |= data[at] << shift
    return (left >> 1) ^ -(left & 1)


def after_texts(data: bytes, at: int) -> int:
    """Where a map of strings ends, which begins at `at`. Raises IndexError, ValueError."""
    while count := number_at(data, at):
        at = after(data, at)
        if count < 0:
            at, count = after(data, at), -count
        for _ in range(2 * count):
            begin, size = after(data, at), number_at(data, at)
            if size < 0:
                raise ValueError("a text of negative length")
            at = begin + size
            data[begin:at].decode()
    return at + 1


def after_floats(data: bytes, at: int) -> int:
    """Where an array of float ends, which begins at `at`. Raises IndexError."""
    while count := number_at(data, at):
        at = after(data, at)
        if count < 0:
            at, count = after(data, at), -count
        at += 4 * count
    return at + 1


NAMES: dict[str, Any] = {name: globals()[name] for name in ("after", "number_at", "after_texts", "after_floats")}
STRING = (
    "b = i + 1 if (n := d[i]) < 128 else after(d, i)\n{pad}if n > 127: n = 2 * number_at(d, i)\n{pad}o |= n\n{pad}i = b + (n >> 1)\n{pad}"
)
NUMBER = "i = i + 1 if d[i] < 128 else after(d, i)"
WALKS = {
    "string": STRING + "{name}d[b:i].decode()",
    "int": NUMBER,
    "long": NUMBER,
    "float": "i += 4",
    "double": "i += 8",
    "boolean": "i += 1",
    "map of string": r"i = i + 1 if not d[i] else after_texts(d, i)",
    "array of float": r"i = i + 1 if not d[i] else after_floats(d, i)",
}
"""Type -> statements that bring `i` from a field of the bytes `d` to the next; an odd or negative `o` says that a length was negative."""


def reader(schema: Mapping[str, Any], start: int) -> Callable[[bytes], tuple[str, str, str, int, int, bool]]:
    """A function from bytes, the record from `start` on, to event_id, session_id, kafka_topic, kafka_partition, kafka_offset and whether
    the time is one that any column holds.

    Raises IndexError or ValueError where they are not one whole record.
    """
    fields = [(field["name"], kind_of(field["type"])) for field in schema["fields"]]
    assert tuple(name for name, _ in fields[1 : 1 + len(COMMON)]) == COMMON, "an event begins with what all events share"
    lines = [f"i = {start}", "o = 0"]
    for name, kind in fields:
        if name in ("kafka_partition", "kafka_offset"):
            lines += [f"{name} = d[i] >> 1 if d[i] < 128 and not d[i] & 1 else number_at(d, i)", NUMBER]
        elif name == "timestamp":
            lines += ["t = i", NUMBER, f"plain = not d[t] & 1 and i - t < 9 and (i - t < 8 or d[i - 1] < {LAST_BYTE})"]
        else:
            lines += _walk(name if name in ("event_id", "session_id", "kafka_topic") else "", kind)
    lines += ["if i != len(d) or o & 1 or o < 0: raise ValueError('not one whole record')"]
    lines += ["return event_id.lower(), session_id, kafka_topic, kafka_partition, kafka_offset, plain"]
    made = dict(NAMES)
    exec("def read(d):\n" + "\n".join(f"    {line}" for line in lines), made)
    function: Callable[[bytes], tuple[str, str, str, int, int, bool]] = made["read"]
    return function


def _walk(name: str, kind: str) -> list[str]:
    """Lines that pass over one field, and keep a string under its name."""
    if kind.startswith("null or "):
        inner = WALKS[kind.removeprefix("null or ")].format(name="", pad=" " * 8)
        return [
            "n = d[i]",
            "i += 1",
            "if n == 2:",
            *[f"    {line.strip()}" for line in inner.split("\n")],
            "elif n: raise ValueError('no branch of a union')",
        ]
    return [line.strip() for line in WALKS[kind].format(name=f"{name} = " if name else "", pad="").split("\n")]


def container(schema: Mapping[str, Any], bodies: Sequence[bytes]) -> bytes:
    """An Avro object container of one block: records of a schema, each as its bytes."""
    fields = [
        {**field, "type": {"type": "string", "logicalType": "uuid"}} if field["name"] == "event_id" else field for field in schema["fields"]
    ]
    meta = {"avro.schema": json.dumps({**schema, "fields": fields}), "avro.codec": "null"}
    head = b"".join((b"Obj\1", number(len(meta)), *(text(part) for pair in meta.items() for part in pair), b"\0", SYNC))
    return b"".join((head, number(len(bodies)), number(sum(map(len, bodies))), *bodies, SYNC))
