"""The process's memory for tensors: kept once taken, and holes between what lasts given back now and then.

glibc gives blocks of more than 128 KB back to the kernel when they are freed, and every new one costs a page fault per 4 KB: the same step
took 2 to 10 times as long on a busy machine. Knows glibc; leaves sizes to those who allocate.
Next: models/transformer.py
"""

import ctypes

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
LARGEST = 2**25
"""The largest threshold that glibc takes, bytes."""


def keep_freed_memory() -> bool:
    """Let freed blocks up to 32 MB stay with the process, for its next ones. False where the C library is another: only slower."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(M_MMAP_THRESHOLD, LARGEST) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
    except (OSError, AttributeError):
        return False


def give_back_holes() -> None:
    """Return the free pages between blocks that last, which a process that only grows would never use: some milliseconds."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return
