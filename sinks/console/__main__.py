"""The console as a process: `python -m sinks.console`, or `strata console`.

Reads the environment, serves until TERM or Ctrl-C. `--token ROLE` prints a token and ends. Exit status 0 when told to stop, 2 for a wrong
setting, 1 otherwise.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import uvicorn

from schemas import settings
from schemas.errors import SettingError, StrataError
from schemas.known_settings import unknown_variables
from sinks.console.access import ROLES, make_token
from sinks.console.app import build_app
from sinks.console.config import SECRET_BYTES, ConsoleConfig, check

log = logging.getLogger("sinks.console")
STOP_S = 1
"""Open live views are cut off so long after the signal."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="strata console", description="The web page and its API. Settings: STRATA_* or strata.toml.")
    made.add_argument("--token", choices=ROLES, metavar="ROLE", help=f"print a token for a role ({', '.join(ROLES)}) and end")
    made.add_argument("--name", default="console", help="who the token is for")
    made.add_argument("--days", type=float, default=30.0, help="how long it is good")
    return made


def listen(config: ConsoleConfig) -> socket.socket:
    """The console's socket, before anything else is begun. Raises SettingError when the port is taken."""
    host = config.console_host.strip("[]")
    try:
        return socket.create_server((host, config.console_port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512)
    except OSError as problem:
        raise SettingError(
            f"STRATA_CONSOLE_PORT {config.console_port} on {config.console_host} cannot be listened on ({problem.strerror}); "
            "stop the other program or choose another port"
        ) from problem


class Server(uvicorn.Server):
    """One that ends with status 0 when told to: uvicorn's own would raise the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def serve(config: ConsoleConfig) -> None:
    """Everything, until a signal. Raises SettingError."""
    app = build_app(config)
    options = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # rates and names are by the real peer
        server_header=False,
        timeout_graceful_shutdown=STOP_S,
        limit_concurrency=256,
        h11_max_incomplete_event_size=64 * 1024,
    )
    with listen(config) as opened:
        log.info("console at http://%s:%d", config.console_host, opened.getsockname()[1])
        asyncio.run(Server(options).serve(sockets=[opened]))


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    asked = parser().parse_args(argv)
    logging.basicConfig(level=environ.get("STRATA_LOG_LEVEL", "INFO").upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("aiokafka", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel("ERROR")
    for line in unknown_variables(environ):
        log.warning("%s", line)
    path = settings.toml_path(environ)
    try:
        config = settings.load(ConsoleConfig, environ, Path(path) if path else None)
        check(config)
        if asked.token:
            if not config.console_secret:
                raise SettingError(f"STRATA_CONSOLE_SECRET is not set; make one of {SECRET_BYTES} bytes with `openssl rand -hex 32`")
            print(make_token(config.console_secret, asked.token, asked.name, asked.days, int(time.time())))
            return 0
        serve(config)
    except SettingError as problem:
        log.error("%s", problem)
        return 2
    except KeyboardInterrupt:
        return 0
    except StrataError as problem:
        log.error("%s", problem)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
