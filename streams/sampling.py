"""Sampling by a stable hash: the same session and position are picked in every run and by every worker."""

from zlib import crc32


def is_sampled(share: float, name: str, position: int | None = None) -> bool:
    """Whether `name`, or `position` of session `name`, falls into the first `share` (0 to 1) of the hash range."""
    if share >= 1.0:
        return True
    if share <= 0.0:
        return False
    key = name if position is None else f"{name}:{position}"
    return crc32(key.encode("utf-8", "surrogatepass")) < share * 4294967296
