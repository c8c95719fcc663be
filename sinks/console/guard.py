"""What stands before every request: host, rate, token, origin; and what every answer says about itself.

Knows HTTP headers, cookies and which paths are open; leaves tokens and rates to access.py. An ASGI layer of its own, so that a stream of
events passes through it untouched.

    host      a name that is not ours is refused: a foreign page could point its own name here (DNS rebinding)
    rate      429 with Retry-After, by token or address; what writes has a smaller rate of its own
    token     when a secret is set: `Authorization: Bearer`, or the cookie of /login
    origin    what changes something must come from our own pages: Sec-Fetch-Site or Origin, and the page's own X-CSRF-Token
Next: sinks/console/app.py
"""

import hmac
import secrets
import time
from collections.abc import Iterable
from hashlib import sha256
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sinks.console.access import AccessError, Caller, Rates, read_token
from sinks.console.config import ConsoleConfig, is_loopback

TOKEN_COOKIE, NONCE_COOKIE, CSRF_HEADER = "strata_token", "strata_nonce", "x-csrf-token"
OPEN_PATHS = ("/static/", "/login", "/logout", "/healthz")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""No inline script and no inline style: a session's text cannot become either."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
LOCAL = Caller("local", "admin")
"""Whoever reaches a console without a secret: this machine only."""


class Guard:
    """The layer; one for a console."""

    def __init__(self, app: ASGIApp, config: ConsoleConfig):
        self._app, self._config = app, config
        self._key = sha256(b"csrf" + config.console_secret.encode()).digest() if config.console_secret else secrets.token_bytes(32)
        self._reads = Rates(config.console_requests_per_s, 4 * config.console_requests_per_s)
        self._writes = Rates(config.console_writes_per_s, 10 * config.console_writes_per_s)
        self._names = {"localhost", "127.0.0.1", "::1", config.console_host.strip("[]"), *config.console_names}
        self._any_address = config.console_host in ("0.0.0.0", "::", "[::]")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), scope["path"]
        cookies = _cookies(headers)
        nonce = cookies.get(NONCE_COOKIE, "")
        fresh = "" if len(nonce) == 32 and nonce.isalnum() else secrets.token_hex(16)
        state = scope.setdefault("state", {})
        state["csrf"] = self._csrf(fresh if fresh else nonce)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    told.setdefault(name, value)
                if not path.startswith("/static/"):
                    told.setdefault("cache-control", "no-store")
                    if fresh:
                        told.append("set-cookie", self.cookie(NONCE_COOKIE, fresh))
            await send(message)

        refusal = self._admit(scope, headers, cookies, state, fresh)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _admit(self, scope: Scope, headers: Headers, cookies: dict[str, str], state: dict, fresh: str) -> Response | None:
        """None when the request may go on; who asks is then in the request's state."""
        path, method = scope["path"], scope["method"]
        # 1. host
        if not self._is_our_name(headers.get("host", "")):
            return refuse(scope, 421, "this console is not reached by that host name; STRATA_CONSOLE_NAMES lists further ones")
        # 2. token
        caller: Caller | None = LOCAL
        why = "a token is needed; `strata console --token ROLE` makes one"
        if self._config.console_secret:
            try:
                caller = self._caller(headers, cookies)
            except AccessError as problem:
                caller, why = None, str(problem)
        # 3. rate: by name where there is one, so that callers behind one proxy do not share it
        client = f"name {caller.name}" if caller and caller is not LOCAL else (scope.get("client") or ("",))[0]
        writes = method not in SAFE_METHODS
        if not path.startswith("/static/") and path != "/healthz":
            wait_s = (self._writes if writes else self._reads).wait_s(client, time.monotonic())
            if wait_s > 0:
                answer = refuse(scope, 429, f"too many requests; again in {wait_s:.1f} s")
                answer.headers["retry-after"] = str(int(wait_s) + 1)
                return answer
        # 4. origin
        if writes and (told := self._foreign(headers, caller, cookies, path, fresh)):
            return refuse(scope, 403, told)
        # 5. who may
        state["caller"] = caller
        if caller is None and not path.startswith(OPEN_PATHS):
            if path.startswith("/api/"):
                answer = refuse(scope, 401, why)
                answer.headers["www-authenticate"] = "Bearer"
                return answer
            query = scope["query_string"].decode("latin-1")
            return RedirectResponse("/login?next=" + quote(path + (f"?{query}" if query else ""), safe=""), status_code=303)
        return None

    def _is_our_name(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._names:
            return True
        # listening on every address: an address is no name that somebody else could point here
        return self._any_address and not is_loopback(name) and _is_address(name)

    def _caller(self, headers: Headers, cookies: dict[str, str]) -> Caller | None:
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and token:
            return read_token(self._config.console_secret, token.strip())
        if token := cookies.get(TOKEN_COOKIE, ""):
            return read_token(self._config.console_secret, token, by_cookie=True)
        return None

    def _foreign(self, headers: Headers, caller: Caller | None, cookies: dict[str, str], path: str, fresh: str) -> str:
        """Why a request that changes something may come from another page; empty when it does not."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None and site not in ("same-origin", "none"):
            return f"a request of another site ({site}) changes nothing here"
        if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
            return f"a request from {origin[:80]} changes nothing here"
        from_browser = site is not None or origin is not None
        ambient = caller is not None and (caller.by_cookie or (caller is LOCAL and from_browser))
        if ambient and path not in ("/login", "/logout"):  # plain forms: their origin is enough
            nonce = cookies.get(NONCE_COOKIE, "")
            if fresh or not hmac.compare_digest(headers.get(CSRF_HEADER, ""), self._csrf(nonce)):
                return "the page is older than the console; load it again"
        return ""

    def _csrf(self, nonce: str) -> str:
        return hmac.new(self._key, nonce.encode(), sha256).hexdigest()

    def cookie(self, name: str, value: str, age_s: int | None = None) -> str:
        """A Set-Cookie line: not for scripts, not for other sites' requests."""
        parts = [f"{name}={value}", "Path=/", "HttpOnly", "SameSite=Strict"]
        parts += [f"Max-Age={age_s}"] if age_s is not None else []
        parts += ["Secure"] if self._config.console_behind_tls else []
        return "; ".join(parts)


def refuse(scope: Scope, status: int, detail: str) -> Response:
    """An answer that nothing was done (RFC 9457)."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(body, status, media_type="application/problem+json")


def is_own_path(path: str) -> bool:
    """May a sign-in lead there: a path of this console, no address of another."""
    return path.startswith("/") and not path.startswith(("//", "/\\")) and not any(c in path for c in "\r\n\t\\")


def _is_address(name: str) -> bool:
    return name.replace(".", "").isdigit() or ":" in name


def _cookies(headers: Headers) -> dict[str, str]:
    parsed: SimpleCookie = SimpleCookie()
    for line in _lines(headers):
        try:
            parsed.load(line)
        except CookieError:
            continue
    return {name: morsel.value for name, morsel in parsed.items()}


def _lines(headers: Headers) -> Iterable[str]:
    return headers.getlist("cookie")
