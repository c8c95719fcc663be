"""The ClickHouse writer as a process: `python -m sinks`, or `strata sink`.

Reads the environment, opens ClickHouse, migrates, serves the HTTP interface of the embedded engine, consumes, until TERM or Ctrl-C.
Exit status 0 when told to stop, 2 for a wrong setting, 1 otherwise.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import uvloop
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from schemas import collector, ready, settings
from schemas.codec import Codec
from schemas.errors import SettingError, StrataError
from schemas.known_settings import unknown_variables
from schemas.registry import Registry
from sinks import clickhouse, migrations, retention, rollups
from sinks.config import SinkConfig
from sinks.consumer import Consumer
from sinks.errors import UnavailableError
from sinks.http_interface import HttpInterface
from sinks.http_query import HttpConfig
from sinks.rows import Values
from sinks.spans import readable

log = logging.getLogger("sinks")
SUMMING_STOP_S = 1.0
"""Patience for what is being summed up when the writer stops; what is not done is due again at the next start."""


class Sparse(logging.Filter):
    """Passes a message of the Kafka client once in five seconds: with a broker down it writes hundreds a second."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now, key = time.monotonic(), (record.name, record.msg)
        if record.levelno >= logging.CRITICAL or now - self._last.get(key, -5.0) >= 5.0:
            self._last[key] = now
            return True
        return False


def log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(lambda record: not record.name.startswith("aiokafka") or sparse.filter(record))
    sparse = Sparse()
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("aiokafka").setLevel("WARNING")
    logging.getLogger("clickhouse_connect").setLevel("WARNING")


def exporter(environ: Mapping[str, str]) -> tuple[Callable[[Values], None] | None, Callable[[], object]]:
    """Where the writer's own spans go beside their table, when OTLP is configured; and how to end it."""
    if not (environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return None, lambda: None
    processor = BatchSpanProcessor(OTLPSpanExporter())
    return lambda row: processor.on_end(readable(row)), processor.shutdown


async def open_clickhouse(at: clickhouse.Address, stop: asyncio.Event) -> clickhouse.ClickHouse | None:
    """ClickHouse with its tables as this version wants them; a server that is not there yet is waited for. None when told to stop."""
    while not stop.is_set():
        try:
            opened = await asyncio.to_thread(clickhouse.ClickHouse, at)
            await asyncio.to_thread(migrations.migrate, opened, migrations.read())
            return opened
        except UnavailableError as problem:
            log.warning("%s; again in 2 s", problem)
            try:
                async with asyncio.timeout(2.0):
                    await stop.wait()
            except TimeoutError:
                pass
    return None


async def serve(config: SinkConfig, environ: Mapping[str, str], ready_file: Path | None) -> None:
    """Everything, until a signal."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    at = clickhouse.address(config.clickhouse_dsn, config.data_dir)
    registry = Registry(config.schema_registry_url) if config.schema_registry_url else None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    opened = await open_clickhouse(at, stop)
    if opened is None:
        return
    log.info("writing to %s", at)
    http, address, summing = None, str(at), None
    export, end_export = exporter(environ)
    try:
        await asyncio.to_thread(retention.apply, opened, config.retention_days)
        if at.path:
            http = HttpInterface(at.path, http_config(config))
            try:
                port = await http.start()
            except OSError as problem:
                raise SettingError(
                    f"STRATA_CLICKHOUSE_HTTP_PORT {config.clickhouse_http_port} on {config.clickhouse_http_host} cannot be listened on "
                    f"({problem.strerror}); stop the other program or choose another port"
                ) from problem
            address = f"http://{config.clickhouse_http_host}:{port}"
            log.info("ClickHouse's HTTP interface is at %s%s", address, " (read-only)" if config.clickhouse_http_readonly else "")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)  # once more: the engine has handlers of its own
        if config.rollup_every_s > 0 and config.sink_index == 0:
            summing = asyncio.create_task(rollups.keep_up(opened, config.rollup_every_s, stop))

        def tell_ready() -> None:
            ready.tell(ready_file, address)
            log.info("ready")

        collector.spare()
        await Consumer(config, opened, Codec(registry), export).run(stop, tell_ready)
    finally:
        ready.forget(ready_file)
        if http:
            await http.stop()
        stop.set()
        unfinished = bool(summing and (await asyncio.wait([summing], timeout=SUMMING_STOP_S))[1])
        await asyncio.to_thread(end_export)
        if not unfinished:  # closing waits for what runs
            opened.close()
        log.info("stopped")


def http_config(config: SinkConfig) -> HttpConfig:
    return HttpConfig(
        host=config.clickhouse_http_host,
        port=config.clickhouse_http_port,
        readonly=config.clickhouse_http_readonly,
        user=config.clickhouse_http_user,
        password=config.clickhouse_http_password,
        queries=config.clickhouse_http_queries,
        max_threads=config.clickhouse_http_max_threads,
        timeout_s=config.clickhouse_http_timeout_s,
    )


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sinks", description="Write Strata's topics into ClickHouse. Settings: STRATA_* or strata.toml."
    )
    parser.add_argument("--kafka-bootstrap", metavar="HOST:PORT")
    parser.add_argument("--clickhouse-dsn", metavar="DSN")
    parser.add_argument("--clickhouse-http-port", type=int, metavar="PORT")
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    flags = vars(parser.parse_args(argv))
    log_to_stderr(environ.get("STRATA_LOG_LEVEL", "INFO").upper())
    for line in unknown_variables(environ):
        log.warning("%s", line)
    try:
        config = settings.load(SinkConfig, environ, settings.toml_path(environ), flags)
        ready_file = environ.get("STRATA_READY_FILE")
        uvloop.run(serve(config, environ, Path(ready_file) if ready_file else None))
    except SettingError as problem:
        log.error("%s", problem)
        return 2
    except StrataError as problem:
        log.error("%s", problem)
        return 1
    except Exception:
        log.exception("the writer failed")
        return 1
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:], os.environ)
    logging.shutdown()
    os._exit(status)  # a client's query may still run on its thread, for as long as a minute: nothing of it is worth waiting for
