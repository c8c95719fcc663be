"""Formats and compressions of ClickHouse's HTTP interface: content types, what can be sent in pieces, how bytes are packed.

Knows names and bytes; leaves requests to http_interface.py.
"""

import gzip
import zlib
from collections.abc import Callable
from typing import Protocol

import lz4.frame
import zstandard

PIECES = {"native": 0, "tabseparated": 0, "tsv": 0, "tabseparatedraw": 0, "tsvraw": 0, "csv": 0, "rowbinary": 0, "jsoneachrow": 0}
PIECES |= {"ndjson": 0, "jsonlines": 0, "jsoncompacteachrow": 0, "jsonstringseachrow": 0, "tskv": 0, "lineasstring": 0, "rawblob": 0}
PIECES |= {"tabseparatedwithnames": 1, "tsvwithnames": 1, "csvwithnames": 1, "tabseparatedwithnamesandtypes": 2, "tsvwithnamesandtypes": 2}
PIECES |= {"csvwithnamesandtypes": 2, "jsoncompacteachrowwithnames": 1, "jsoncompacteachrowwithnamesandtypes": 2}
"""Format -> lines of its header. The engine gives each block as a whole document; of these formats, blocks in a row are one document."""
PYTHON_ONLY = frozenset({"arrowtable", "dataframe", "datastore", "debug"})
"""Names the embedded engine answers with Python objects; a server does not know them."""

CONTENT_TYPES = {
    "json": "application/json; charset=UTF-8",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    "ndjson": "application/x-ndjson; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "xml": "application/xml; charset=UTF-8",
    "html": "text/html; charset=UTF-8",
    "prometheus": "text/plain; version=0.0.4; charset=UTF-8",
    "vertical": "text/plain; charset=UTF-8",
    "markdown": "text/markdown; charset=UTF-8",
}
BINARY = ("native", "rowbinary", "arrow", "parquet", "orc", "avro", "msgpack", "bson", "npy", "protobuf", "capnproto")


def content_type(name: str) -> str:
    """As a server answers."""
    name = name.lower()
    if name in CONTENT_TYPES:
        return CONTENT_TYPES[name]
    if name.startswith(BINARY):
        return "application/octet-stream"
    if name.startswith(("tabseparated", "tsv", "tskv")):
        return "text/tab-separated-values; charset=UTF-8"
    if name.startswith("json"):
        return CONTENT_TYPES["jsoneachrow" if "eachrow" in name else "json"]
    return "text/plain; charset=UTF-8"


def without_header(name: str, piece: bytes, header: bytes | None) -> tuple[bytes, bytes | None]:
    """A further piece without the header the first began with; and that header."""
    lines = PIECES.get(name.lower(), 0)
    if not lines:
        return piece, None
    if header is None:
        end = 0
        for _ in range(lines):
            end = piece.find(b"\n", end) + 1
        return piece, piece[:end]
    return piece.removeprefix(header), header


class Packer(Protocol):
    """Packs a stream piece by piece."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Lz4:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._begin = self._frame.begin()

    def compress(self, data: bytes, /) -> bytes:
        begin, self._begin = self._begin, b""
        return begin + self._frame.compress(data)

    def flush(self) -> bytes:
        return self._frame.flush()


PACKERS: dict[str, Callable[[], Packer]] = {
    "zstd": lambda: zstandard.ZstdCompressor(1).compressobj(),
    "lz4": _Lz4,
    "gzip": lambda: zlib.compressobj(3, zlib.DEFLATED, 31),
    "deflate": lambda: zlib.compressobj(3),
}


def accepted(header: str) -> str | None:
    """The first compression of an Accept-Encoding header that we have."""
    names = [part.split(";")[0].strip().lower() for part in header.split(",") if "q=0" not in part.replace(" ", "").split(";")[1:]]
    return next((name for name in names if name in PACKERS), None)


def unpacked(encoding: str, body: bytes) -> bytes:
    """The body of a request. Raises ValueError for a compression we do not have, or bytes that are not of it."""
    try:
        if encoding in ("", "identity"):
            return body
        if encoding == "gzip":
            return gzip.decompress(body)
        if encoding == "deflate":
            return zlib.decompress(body)
        if encoding == "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(body)
        if encoding == "lz4":
            return bytes(lz4.frame.decompress(body))
    except (OSError, EOFError, zlib.error, zstandard.ZstdError, RuntimeError) as problem:
        raise ValueError(f"the body is not {encoding}: {problem}") from problem
    raise ValueError(f"Unknown compression method: {encoding}; send one of gzip, deflate, zstd, lz4")
