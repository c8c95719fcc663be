"""The worker process: signals, event loop, logs.

Knows Faust's Worker and what it does that we do not want; leaves what runs to app.py and log formats to the caller.
Next: streams/delivery.py
"""

import asyncio
import logging
import os
import sys
import threading
import time
from typing import Any, NoReturn

import faust
import uvloop

from schemas import collector

SWITCH_S = 0.0005
"""How long a thread that wants the interpreter waits for one that computes. By default 5 ms: the fetching thread was late by so much in
every tenth of its turns, and a model step of 1 ms took 7."""
LOG_EVERY_S = 5.0
STOP_S = 9.0
"""After a signal the process is gone in so long, in order or not; a supervisor kills after 10 s."""


def run(app: faust.App) -> NoReturn:
    """Run the worker until TERM or INT (status 0) or a failure (status 1). Logging is the caller's to set up."""
    quieten()
    collector.spare()
    sys.setswitchinterval(SWITCH_S)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    _Worker(app, loop=loop).execute_from_commandline()


class _Worker(faust.Worker):
    """Faust's worker without its banner, spinner, process title, log setup (root at DEBUG) and last second of sleep."""

    def __init__(self, app: faust.App, **kwargs: Any):
        super().__init__(app, quiet=True, override_logging=False, redirect_stdouts=False, **kwargs)
        self.spinner = None

    def _setproctitle(self, info: str, *, ident: str = "") -> None:
        pass

    async def _sentinel_task(self) -> None:
        pass

    def _schedule_shutdown(self, signal: Any) -> None:
        exit_at_last(STOP_S)
        super()._schedule_shutdown(signal)


def exit_at_last(seconds: float) -> None:
    """End the process after a while, with status 1, whatever hangs: a broker that is away, a step in a thread that Python would join."""
    last_resort = threading.Timer(seconds, os._exit, [1])
    last_resort.daemon = True
    last_resort.start()


class SometimesFilter(logging.Filter):
    """Lets one record of a kind through every LOG_EVERY_S; aiokafka logs 100,000 lines a minute when the broker is away."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = (record.levelno, str(record.msg)), time.monotonic()
        last, hidden = self._last.get(kind, (-LOG_EVERY_S, 0))
        if now - last < LOG_EVERY_S:
            self._last[kind] = (last, hidden + 1)
            return False
        self._last[kind] = (now, 0)
        if hidden:
            record.msg = f"{record.msg} (and {hidden} more of these)"
        return True


def quieten() -> None:
    """Rate-limit aiokafka's logs and leave out Faust's tables of offsets. A filter does not reach child loggers: each gets its own."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("aiokafka"):
            logging.getLogger(name).addFilter(SometimesFilter())
        elif name.startswith(("faust", "mode")):
            logging.getLogger(name).setLevel(logging.WARNING)
