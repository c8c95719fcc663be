"""A request of ClickHouse's HTTP interface -> what is asked; and an error -> a server's words for it.

Knows parameters, headers, credentials; leaves running to http_run.py.
Next: sinks/http_run.py
"""

import base64
import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from sinks import http_formats
from sinks.http_readonly import RefusedQueryError

OWN_PARAMETERS = {
    *("query", "database", "default_format", "user", "password", "quota_key", "query_id", "role", "stacktrace", "readonly"),
    *("session_id", "session_timeout", "session_check", "close_session", "compress", "decompress", "enable_http_compression"),
    *("buffer_size", "wait_end_of_query", "client_protocol_version", "http_zlib_compression_level", "add_http_cors_header"),
    *("send_progress_in_http_headers", "http_headers_progress_interval_ms"),
}
"""URL parameters that are not settings of the engine's query."""
SETTING_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
MAX_BODY_BYTES = 256 * 1024 * 1024
STATUS = {194: 401, 192: 403, 193: 403, 516: 403, 48: 501, 77: 413, 159: 408, 202: 503, 209: 503, 76: 503, 373: 500}
STATUS |= dict.fromkeys((6, 26, 27, 36, 38, 41, 43, 53, 62, 72, 117, 167, 168, 320, 321, 376, 427, 456, 457), 400)
STATUS |= dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 80, 81, 115), 404)
"""ClickHouse's error code -> HTTP status; 500 for all others (ClickHouse, src/Server/HTTP/exceptionCodeToHTTPStatus.cpp)."""
TOKENS = re.compile(
    rb"'(?:\\.|''|[^'\\])*'|`(?:\\.|[^`\\])*`|\"(?:\\.|[^\"\\])*\"|--[^\n]*|/\*.*?\*/|\b(VALUES|SELECT|WITH|FROM|WATCH)\b|\bFORMAT\s+(\w+)",
    re.IGNORECASE | re.DOTALL,
)
INSERT = re.compile(rb"\s*(?:(?:--[^\n]*\n|/\*.*?\*/)\s*)*INSERT\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class HttpConfig:
    """What the interface needs of the settings."""

    host: str = "127.0.0.1"
    port: int = 8123
    readonly: bool = True
    user: str = ""
    password: str = ""
    queries: int = 4
    max_threads: int = 2
    timeout_s: int = 60


@dataclass(frozen=True)
class Query:
    """A request, understood."""

    text: bytes
    data: bytes | None
    """Of an INSERT with data: the bytes after its FORMAT; None for any other statement."""
    data_format: str
    database: str
    """Empty where none is named."""
    format: str
    settings: dict[str, str]
    parameters: dict[str, str]
    readonly: bool
    whole: bool
    """Answer only when the query has ended."""
    packing: str | None
    session_id: str = ""
    session_timeout_s: float = 60.0
    session_check: bool = False
    """The session must be there already."""
    close_session: bool = False


def admit(request: web.Request, config: HttpConfig) -> None:
    """Refuse wrong credentials, and names that a web page could point at this machine (DNS rebinding)."""
    if _is_loopback(config.host) and not _is_local_name(request.host):
        raise RefusedQueryError(
            516,
            f"host '{request.host}' is not this machine; ask for http://127.0.0.1 or listen on another address. (AUTHENTICATION_FAILED)",
        )
    if not config.user:
        return
    user = request.headers.get("X-ClickHouse-User") or request.query.get("user", "")
    key = request.headers.get("X-ClickHouse-Key") or request.query.get("password", "")
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, key = base64.b64decode(credentials).decode().partition(":")
        except ValueError:
            user, key = "", ""
    if not (_same(user, config.user) and _same(key, config.password)):
        raise RefusedQueryError(
            516,
            f"{user or 'default'}: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)",
        )


def understand(request: web.Request, body: bytes, config: HttpConfig) -> Query | None:
    """What is asked; None for nothing (a health check). Raises RefusedQueryError."""
    asked = request.query
    if _on(asked, "compress") or _on(asked, "decompress"):
        raise RefusedQueryError(
            48, "compress=1 and decompress=1 are not known here; use Accept-Encoding and Content-Encoding. (NOT_IMPLEMENTED)"
        )
    try:
        body = http_formats.unpacked(request.headers.get("Content-Encoding", "").lower(), body) if body else b""
    except ValueError as problem:
        raise RefusedQueryError(36, f"{problem}. (BAD_ARGUMENTS)") from problem
    given = "\n".join(asked.getall("query", [])).encode("utf-8", "surrogateescape")
    text = given + b"\n" + body if given and body else given or body
    if not text.strip():
        if request.method in ("GET", "HEAD"):
            return None
        raise RefusedQueryError(62, "Syntax error: Empty query. (SYNTAX_ERROR)")
    settings = {k: v for k, v in asked.items() if k not in OWN_PARAMETERS and not k.startswith("param_")}
    if wrong := next((k for k in settings if not SETTING_NAME.match(k)), None):
        raise RefusedQueryError(115, f"Unknown setting '{wrong}'. (UNKNOWN_SETTING)")
    statement, data_format, data = split_insert(text)
    return Query(
        text=statement,
        data=data,
        data_format=data_format,
        database=(request.headers.get("X-ClickHouse-Database") or asked.get("database", "")).replace("`", ""),
        format=request.headers.get("X-ClickHouse-Format") or asked.get("default_format") or "TabSeparated",
        settings=settings,
        parameters={k.removeprefix("param_"): v for k, v in asked.items() if k.startswith("param_")},
        readonly=config.readonly or request.method != "POST" or _on(asked, "readonly"),
        whole=_on(asked, "wait_end_of_query"),
        packing=http_formats.accepted(request.headers.get("Accept-Encoding", "")) if _on(asked, "enable_http_compression") else None,
        session_id=asked.get("session_id", ""),
        session_timeout_s=_seconds(asked),
        session_check=_on(asked, "session_check"),
        close_session=_on(asked, "close_session"),
    )


def _on(asked: Mapping[str, str], name: str) -> bool:
    return asked.get(name, "0").lower() not in ("0", "", "false")


def split_insert(text: bytes) -> tuple[bytes, str, bytes | None]:
    """Statement, format and data of an INSERT with data; any other statement as it is, with None."""
    if INSERT.match(text):
        for token in TOKENS.finditer(text):
            if token[1]:
                break
            if token[2]:
                rest = text[token.end() :].lstrip(b" \t\f").removeprefix(b"\r").removeprefix(b"\n")
                return text[: token.start()].rstrip(), token[2].decode(), b"" if rest.strip() == b";" else rest
    return text, "", None


def _seconds(asked: Mapping[str, str]) -> float:
    try:
        return min(max(float(asked.get("session_timeout") or 60), 1.0), 3600.0)
    except ValueError:
        raise RefusedQueryError(
            27, f"session_timeout: got '{asked['session_timeout']}', wanted seconds. (CANNOT_PARSE_INPUT_ASSERTION_FAILED)"
        ) from None


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_local_name(host: str) -> bool:
    """An address, or a name that means this machine."""
    name = re.sub(r":\d+$", "", host).strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def error_text(problem: Exception, version: str) -> tuple[int, bytes]:
    """Code and text of an error, in a server's words."""
    message = str(problem)
    if isinstance(problem, RefusedQueryError):
        message = f"Code: {problem.code}. DB::Exception: {message}"
    elif isinstance(problem, web.HTTPRequestEntityTooLarge):
        message = f"Code: 77. DB::Exception: the body is larger than {MAX_BODY_BYTES} bytes; send it in parts. (QUERY_IS_TOO_LARGE)"
    start = message.find("Code: ")
    if start < 0:
        message, start = f"Code: 1001. DB::Exception: {type(problem).__name__}: {message}. (STD_EXCEPTION)", 0
    message = message[start:].strip()
    found = re.match(r"Code: (\d+)", message)
    return int(found[1]) if found else 1001, f"{message} (version {version})\n".encode("utf-8", "replace")
