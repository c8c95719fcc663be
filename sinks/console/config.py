"""Settings of the console: names, defaults, units, meanings.

Knows values and what they rule out together; schemas/settings.py fills them, sinks/console/__main__.py passes the environment in.
"""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from schemas.errors import SettingError

SECRET_BYTES = 32
"""HS256 wants a key as long as its hash (RFC 7518, section 3.2)."""


@dataclass(frozen=True)
class Budgets:
    """[latency]: the worker's budgets, drawn as lines."""

    max_per_token_ms: float = 50.0
    max_update_ms: float = 200.0


@dataclass(frozen=True)
class ConsoleConfig:
    """One console."""

    kafka_bootstrap: str = "127.0.0.1:9092"
    topic_prefix: str = ""
    schema_registry_url: str | None = None
    data_dir: Path = Path(".strata")
    clickhouse_dsn: str = "chdb://"
    clickhouse_http_port: int = 8123
    clickhouse_http_user: str = ""
    clickhouse_http_password: str = ""
    console_host: str = "127.0.0.1"
    """Address the console listens on. One that other machines reach needs `console_secret`."""
    console_port: int = 8080
    """Where the console listens."""
    console_secret: str = ""
    """Key of the tokens (JWT, HS256), 32 bytes or more. When set, a token is wanted on every address; `strata console --token ROLE` makes one."""
    console_names: tuple[str, ...] = ()
    """Host names the console is reached by, beside its address: a request for another name is refused (DNS rebinding)."""
    console_behind_tls: bool = False
    """A proxy speaks HTTPS to the browsers: cookies are marked Secure."""
    console_requests_per_s: float = 20.0
    """Requests a client may make, with bursts of four seconds' worth."""
    console_writes_per_s: float = 2.0
    """Labels, sign-ins and texts to try a client may send, with bursts of ten seconds' worth."""
    console_streams: int = 32
    """Live views open at a time."""
    console_events_per_s: int = 50
    """Events sent to a live view at most; the rest is summed."""
    console_stage: int = 18
    """Sessions drawn at a time; the others are a mark each."""
    latency: Budgets = field(default_factory=Budgets)


def is_loopback(host: str) -> bool:
    """Can only this machine reach it?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check(config: ConsoleConfig) -> None:
    """Raises SettingError for a console that would be open to others."""
    secret = len(config.console_secret.encode())
    if config.console_secret and secret < SECRET_BYTES:
        raise SettingError(f"STRATA_CONSOLE_SECRET: {secret} bytes, wanted {SECRET_BYTES} or more; make one with `openssl rand -hex 32`")
    if not is_loopback(config.console_host) and not config.console_secret:
        raise SettingError(
            f"STRATA_CONSOLE_HOST {config.console_host} is reached from other machines, so STRATA_CONSOLE_SECRET must be set "
            "(`openssl rand -hex 32`); or listen on 127.0.0.1"
        )


@dataclass(frozen=True)
class ClickHouseAt:
    """Where ClickHouse's HTTP interface is, and as whom to ask."""

    url: str
    user: str = ""
    password: str = ""
    database: str = "strata"


def clickhouse_at(config: ConsoleConfig) -> ClickHouseAt:
    """A server's own interface, or the writer's in front of the embedded engine. Raises SettingError."""
    dsn = config.clickhouse_dsn
    if dsn.startswith("chdb:"):
        return ClickHouseAt(f"http://127.0.0.1:{config.clickhouse_http_port}", config.clickhouse_http_user, config.clickhouse_http_password)
    parts = urlsplit(dsn)
    schemes: dict[str, Literal["http", "https"]] = {"clickhouse": "http", "http": "http", "clickhouses": "https", "https": "https"}
    if parts.scheme not in schemes or not parts.hostname:
        raise SettingError(f"STRATA_CLICKHOUSE_DSN: scheme {parts.scheme!r}, wanted chdb:// or clickhouse://user:password@host:8123/strata")
    scheme = schemes[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    url = f"{scheme}://{host}:{parts.port or (8443 if scheme == 'https' else 8123)}"
    return ClickHouseAt(url, unquote(parts.username or ""), unquote(parts.password or ""), parts.path.strip("/") or "strata")
