"""Values and attributes of OTLP as text, and which session a resource is.

Knows AnyValue and KeyValue; leaves lines to otlp_logs.py and points to otlp_metrics.py.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from schemas.events import Micros


def session_of(attributes: Mapping[str, str]) -> str:
    """Resource attribute service.name, else host.name, else `unknown`."""
    return attributes.get("service.name") or attributes.get("host.name") or "unknown"


def micros_of(nanos: int) -> Micros | None:
    """OTLP's time; None where it has none."""
    return Micros(nanos // 1000) if nanos else None


def attributes_of(pairs: Iterable[Any]) -> dict[str, str]:
    """KeyValues as a map of text."""
    return {pair.key: text_of(pair.value) for pair in pairs}


def text_of(value: Any) -> str:
    """An AnyValue as text: a string as it is, all else as JSON."""
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, sort_keys=True)


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "array_value":
        return [_plain(v) for v in value.array_value.values]
    if kind == "kvlist_value":
        return {v.key: _plain(v.value) for v in value.kvlist_value.values}
    return value.bytes_value.hex() if kind == "bytes_value" else getattr(value, kind)
