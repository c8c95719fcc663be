"""Whether one version of a schema can be read by another: the registry's seven modes, checked offline.

Knows Avro's resolution rules by way of the avro package; leaves bytes to codec.py.
"""

from collections.abc import Sequence

import avro.compatibility
import avro.schema

MODES = ("BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE", "NONE")


def can_read(reader: str, writer: str) -> list[str]:
    """Why `reader` cannot read what `writer` wrote; empty when it can. Both are .avsc texts."""
    checker = avro.compatibility.ReaderWriterCompatibilityChecker()
    result = checker.get_compatibility(avro.schema.parse(reader), avro.schema.parse(writer))
    if result.compatibility is avro.compatibility.SchemaCompatibilityType.compatible:
        return []
    return sorted(str(m) for m in result.messages) or ["incompatible"]


def problems(new: str, earlier: Sequence[str], mode: str = "FULL_TRANSITIVE") -> list[str]:
    """What forbids publishing `new` after `earlier` (oldest first) in a registry's mode; empty when nothing does."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r}; wanted one of {', '.join(MODES)}")
    against = list(earlier if mode.endswith("TRANSITIVE") else earlier[-1:])
    found: list[str] = []
    for old in against:
        if mode.startswith(("BACKWARD", "FULL")):
            found += can_read(new, old)
        if mode.startswith(("FORWARD", "FULL")):
            found += can_read(old, new)
    return found
