"""Which cores a stack's processes keep to: all but the workers stay off one for each worker, off half of all at most.

A worker is one long chain, its loop and its model; whoever shares its core stops the chain. The workers themselves go where they like.
Knows core numbers and threads; leaves who is bound when to supervisor.py. Linux only: elsewhere nobody is bound.
Next: deploy/local/supervisor.py
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def mine() -> frozenset[int]:
    """Cores this process may use."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def beside_workers(n_workers: int, cores: Iterable[int]) -> frozenset[int]:
    """All but the first, one for each worker, half of all at most; all where every core is a worker's anyway."""
    ordered = sorted(cores)
    return frozenset(ordered if n_workers >= len(ordered) else ordered[min(n_workers, len(ordered) // 2) :])


def keep_to(pid: int, cores: frozenset[int]) -> None:
    """Bind a process, all its threads and those that they start. Nothing where it is gone, is another's, or `cores` is empty."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        return
    bound: set[int] = set()
    while threads := _threads(pid) - bound:  # one that is not bound yet may start another meanwhile
        for thread in threads:
            with contextlib.suppress(OSError):  # it ended, or is not ours
                os.sched_setaffinity(thread, cores)
        bound |= threads


def _threads(pid: int) -> set[int]:
    try:
        return {int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()}
    except OSError:
        return set()
