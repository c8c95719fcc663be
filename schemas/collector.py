"""The cyclic garbage collector of a process that makes many values and hardly a cycle.

Knows Python's collector; leaves when a process is loaded to each of them.
"""

import gc


def spare() -> None:
    """Let it look seldom, and never at what was loaded before.

    By default it would walk the values of a step or a batch, 100,000s of them, and all of the libraries, hundreds of times a second: 30 %
    of the time of a worker (`strata bench`), and pauses.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
