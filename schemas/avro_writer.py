"""Avro's binary form of a record, written by a function that is made once for its schema.

A record of twenty fields costs 2 µs so, of which an event's common part is written once for all events of one input record; fastavro takes 8.
Knows the types our schemas use; leaves schemas, fingerprints and encodings to codec.py. fastavro is the oracle of tests/schemas/test_avro_writer.py.
Next: schemas/codec.py
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

COMMON = ("timestamp", "session_id", "modality", "model_version", "trace_id", "kafka_topic", "kafka_partition", "kafka_offset")
"""What all events of one input record share; an event's second field to its ninth."""
SMALL = 1024
"""Numbers below it are looked up."""


def number(value: int) -> bytes:
    """int and long: zigzag, then seven bits a byte, the least significant first. Raises OverflowError beyond 64 bits."""
    if not -(1 << 63) <= value < 1 << 63:
        raise OverflowError(f"{value} is beyond 64 bits")
    left = (value << 1) ^ (value >> 63)
    if left < 1 << 14:
        return bytes((left & 127 | 128, left >> 7)) if left > 127 else bytes((left,))
    if left < 1 << 21:
        return bytes((left & 127 | 128, left >> 7 & 127 | 128, left >> 14))
    if left < 1 << 28:
        return bytes((left & 127 | 128, left >> 7 & 127 | 128, left >> 14 & 127 | 128, left >> 21))
    parts = bytearray()
    while left > 127:
        parts.append(left & 127 | 128)
        left >>= 7
    parts.append(left)
    return bytes(parts)


SMALL_NUMBERS = tuple(number(value) for value in range(SMALL))


def text(value: str) -> bytes:
    """string: its length in bytes, then UTF-8."""
    data = value.encode()
    return number(len(data)) + data


def texts(values: Mapping[str, str]) -> bytes:
    """A map of strings that is not empty: one block, then the end."""
    return b"".join((number(len(values)), *(text(part) for pair in values.items() for part in pair), b"\0"))


def floats(values: Iterable[float]) -> bytes:
    """An array of float that is not empty: one block, then the end."""
    numbers = tuple(values)
    return number(len(numbers)) + struct.pack(f"<{len(numbers)}f", *numbers) + b"\0"


NAMES: dict[str, Any] = {
    "SMALL": SMALL_NUMBERS,
    "number": number,
    "text": text,
    "texts": texts,
    "floats": floats,
    "single": struct.Struct("<f").pack,
    "double": struct.Struct("<d").pack,
    "join": b"".join,
}
WRITES = {
    "string": f"SMALL[n] if (n := len(b := {{0}}.encode())) < {SMALL} else number(n), b",
    "int": f"SMALL[v] if 0 <= (v := {{0}}) < {SMALL} else number(v)",
    "long": f"SMALL[v] if 0 <= (v := {{0}}) < {SMALL} else number(v)",
    "float": "single({0})",
    "double": "double({0})",
    "boolean": r"b'\1' if {0} else b'\0'",
    "map of string": r"texts(m) if (m := {0}) else b'\0'",
    "array of float": r"floats(a) if (a := {0}) else b'\0'",
    "null or string": r"b'\0' if (u := {0}) is None else b'\2' + text(u)",
    "null or long": r"b'\0' if (u := {0}) is None else b'\2' + number(u)",
    "null or double": r"b'\0' if (u := {0}) is None else b'\2' + double(u)",
}
"""Type -> expressions for the parts of a field."""


def writer(schema: Mapping[str, Any], prefix: bytes) -> Callable[[Any], bytes]:
    """A function from a record, its fields as attributes, to `prefix` and its bytes. Raises ValueError for a type that no record of ours has."""
    fields = [(field["name"], kind_of(field["type"])) for field in schema["fields"]]
    names = dict(NAMES, PREFIX=prefix)
    if tuple(name for name, _ in fields[1 : 1 + len(COMMON)]) != COMMON:
        return _function(f"def write(r):\n    return join((PREFIX, {_parts(fields)}))", names)
    names["common"] = _function(f"def write(r):\n    return join(({_parts(fields[1 : 1 + len(COMMON)])},))", names)
    names["last"] = _last
    key = ", ".join(f"r.{name}" for name in COMMON)
    return _function(
        f"def write(r):\n    key = ({key})\n    known, data = last[0]\n    if known != key:\n        data = common(r)\n        last[0] = key, data\n"
        f"    return join((PREFIX, {_parts(fields[:1])}, data, {_parts(fields[1 + len(COMMON) :])}))",
        names,
    )


_last: list[tuple[tuple, bytes]] = [((), b"")]
"""The common part of the event that was written last: the next one is mostly of the same input record."""


def kind_of(kind: Any) -> str:
    """A type of a schema, in the words of WRITES."""
    if isinstance(kind, list) and len(kind) == 2 and kind[0] == "null":
        return f"null or {kind_of(kind[1])}"
    if isinstance(kind, Mapping):
        inner = {"map": "values", "array": "items"}.get(kind["type"])
        return f"{kind['type']} of {kind_of(kind[inner])}" if inner else kind_of(kind["type"])
    return str(kind)


def _parts(fields: Iterable[tuple[str, str]]) -> str:
    parts = []
    for name, kind in fields:
        if kind not in WRITES or not name.isidentifier():
            raise ValueError(f"field {name} of type {kind}; wanted one of {', '.join(WRITES)}: add the type to schemas/avro_writer.py")
        parts.append(WRITES[kind].format(f"r.{name}"))
    return ", ".join(parts)


def _function(source: str, names: dict[str, Any]) -> Callable[[Any], bytes]:
    """The function `write` of a source that this file made."""
    made = dict(names)
    exec(source, made)
    function: Callable[[Any], bytes] = made["write"]
    return function
