"""Who may reach the console, and what a request must bring to change something."""

import time
from typing import Any

import httpx
import jwt
import pytest
from fastapi import FastAPI

from schemas.errors import SettingError
from sinks.console.access import AUDIENCE, AccessError, Rates, make_token, read_token
from sinks.console.app import build_app
from sinks.console.config import ConsoleConfig, check
from sinks.console.giving import Placed
from sinks.console.guard import is_own_path

SECRET = "a" * 32
LABEL = {"session_id": "s", "task": "topic", "label": "x", "position": 0}


class Kept:
    """A producer that only remembers."""

    def __init__(self) -> None:
        self.labels: list[Any] = []

    async def label(self, label: Any) -> Placed:
        self.labels.append(label)
        return Placed("labels", 0, len(self.labels) - 1)


def console(**settings: Any) -> tuple[FastAPI, Kept]:
    app = build_app(ConsoleConfig(**settings), with_kafka=False)
    app.state.parts.producer = kept = Kept()
    return app, kept


def client(app: FastAPI, base: str = "http://localhost:8080", **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url=base, **options)


@pytest.fixture
def secured() -> tuple[FastAPI, Kept]:
    return console(console_secret=SECRET, console_host="0.0.0.0", console_names=("strata.example",))


def bearer(role: str, secret: str = SECRET, **claims: Any) -> dict[str, str]:
    now = int(time.time())
    body = {"sub": "ann", "role": role, "aud": AUDIENCE, "iat": now, "exp": now + 60, **claims}
    return {"Authorization": f"Bearer {jwt.encode({k: v for k, v in body.items() if v is not None}, secret, 'HS256')}"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "console.example"])
def test_an_address_that_others_reach_is_refused_without_a_secret(host: str) -> None:
    with pytest.raises(SettingError, match="STRATA_CONSOLE_SECRET must be set"):
        check(ConsoleConfig(console_host=host))
    check(ConsoleConfig(console_host=host, console_secret=SECRET))


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(SettingError, match="31 bytes, wanted 32"):
        check(ConsoleConfig(console_secret="a" * 31))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_needs_no_secret(host: str) -> None:
    check(ConsoleConfig(console_host=host))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("viewer", "b" * 32),
        bearer("viewer", exp=1),
        bearer("root"),
        bearer("viewer", aud="other"),
        bearer("viewer", exp=None),
        {"Authorization": "Bearer " + jwt.encode({"sub": "a", "role": "admin", "aud": AUDIENCE, "iat": 1, "exp": 9e9}, None, "none")},
        {"Authorization": "Basic YTpi"},
    ],
    ids=["none", "other key", "expired", "unknown role", "other audience", "no expiry", "unsigned", "basic"],
)
async def test_without_a_good_token_nothing_is_told(secured: tuple[FastAPI, Kept], headers: dict[str, str]) -> None:
    async with client(secured[0], "http://strata.example") as asked:
        for path in ("/api/v1/now", "/api/v1/openapi.json", "/api/v1/sessions", "/api/v1/live"):
            answer = await asked.get(path, headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), path
        page = await asked.get("/sessions?search=x", headers=headers)
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=%2Fsessions%3Fsearch%3Dx")


async def test_each_role_may_do_what_it_says(secured: tuple[FastAPI, Kept]) -> None:
    app, kept = secured
    seen = {}
    async with client(app, "http://strata.example") as asked:
        for role in ("viewer", "labeller", "admin"):
            looks = await asked.get("/api/v1/now", headers=bearer(role))
            labels = await asked.post("/api/v1/labels", json=LABEL, headers=bearer(role))
            tokens = await asked.post("/api/v1/tokens", json={"name": "bob"}, headers=bearer(role))
            seen[role] = (looks.status_code, labels.status_code, tokens.status_code)
    assert seen == {"viewer": (200, 403, 403), "labeller": (200, 201, 403), "admin": (200, 201, 201)}
    assert len(kept.labels) == 2
    assert read_token(SECRET, tokens.json()["token"]).role == "viewer"


async def test_a_sign_in_keeps_the_token_where_no_script_and_no_other_site_gets_it(secured: tuple[FastAPI, Kept]) -> None:
    token = make_token(SECRET, "labeller", "ann", 1, int(time.time()))
    async with client(secured[0], "http://strata.example") as asked:
        wrong = await asked.post("/login", data={"token": "x", "next": "/"})
        assert wrong.status_code == 401
        assert "strata_token" not in asked.cookies
        done = await asked.post("/login", data={"token": token, "next": "/try"})
        assert (done.status_code, done.headers["location"]) == (303, "/try")
        cookie = next(c for c in done.headers.get_list("set-cookie") if c.startswith("strata_token"))
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        page = await asked.get("/try")
        csrf = page.text.split('name="csrf" content="')[1].split('"')[0]
        assert (await asked.post("/api/v1/labels", json=LABEL)).status_code == 403  # the cookie alone changes nothing
        assert (await asked.post("/api/v1/labels", json=LABEL, headers={"X-CSRF-Token": csrf})).status_code == 201
        assert (await asked.post("/logout")).status_code == 303
        assert (await asked.get("/try")).status_code == 303


@pytest.mark.parametrize(
    "path", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "/a\r\nSet-Cookie: b=c"]
)
def test_a_sign_in_leads_nowhere_else(path: str) -> None:
    assert not is_own_path(path)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost:8080"},  # our own page, but without the token only it can read
        {"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": "0" * 64},
    ],
)
async def test_another_site_cannot_make_a_browser_label(headers: dict[str, str]) -> None:
    app, kept = console()
    async with client(app) as asked:
        await asked.get("/try")
        assert (await asked.post("/api/v1/labels", json=LABEL, headers=headers)).status_code == 403
    assert kept.labels == []


async def test_a_form_of_another_site_cannot_pose_as_json() -> None:
    app, kept = console()
    async with client(app) as asked:
        sent = await asked.post(
            "/api/v1/labels", content=b'{"session_id":"s","task":"t","label":"x","position":0}', headers={"Content-Type": "text/plain"}
        )
    assert sent.status_code == 422
    assert kept.labels == []


async def test_a_program_on_this_machine_needs_nothing() -> None:
    app, kept = console()
    async with client(app) as asked:
        assert (await asked.post("/api/v1/labels", json=LABEL)).status_code == 201
    assert [(e.session_id, e.task, e.label, e.position) for e in kept.labels] == [("s", "topic", "x", 0)]


@pytest.mark.parametrize(
    ("host", "status"), [("localhost", 200), ("127.0.0.1:1", 200), ("[::1]:80", 200), ("evil.example", 421), ("10.0.0.8", 421), ("", 421)]
)
async def test_a_foreign_name_pointed_here_is_refused(host: str, status: int) -> None:
    async with client(console()[0]) as asked:
        assert (await asked.get("/api/v1/now", headers={"Host": host})).status_code == status


async def test_a_console_on_every_address_is_reached_by_address_or_named_name(secured: tuple[FastAPI, Kept]) -> None:
    async with client(secured[0]) as asked:
        seen = [(await asked.get("/login", headers={"Host": h})).status_code for h in ("10.0.0.8:8080", "strata.example", "evil.example")]
    assert seen == [200, 200, 421]


async def test_too_many_requests_are_told_to_wait() -> None:
    app, _ = console(console_requests_per_s=1.0, console_writes_per_s=0.1)
    async with client(app) as asked:
        reads = [(await asked.get("/api/v1/evaluation/questions")).status_code for _ in range(6)]
        writes = [await asked.post("/api/v1/labels", json=LABEL) for _ in range(3)]
    assert reads == [200] * 4 + [429] * 2
    assert [w.status_code for w in writes] == [201, 429, 429]
    assert int(writes[-1].headers["retry-after"]) >= 9


def test_a_bucket_fills_again_and_clients_do_not_share_one() -> None:
    rates = Rates(2.0, 2.0)
    assert [rates.wait_s("a", 0.0) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert rates.wait_s("b", 0.0) == 0.0
    assert rates.wait_s("a", 0.5) == 0.0
    for n in range(3 * Rates.MOST):
        rates.wait_s(f"client {n}", 1.0)
    assert len(rates._buckets) == Rates.MOST


def test_a_token_for_no_role_or_for_ever_is_not_made() -> None:
    with pytest.raises(SettingError, match="wanted one of viewer"):
        make_token(SECRET, "root", "a", 1, 0)
    with pytest.raises(SettingError, match="no more than 366"):
        make_token(SECRET, "viewer", "a", 4000, 0)
    with pytest.raises(AccessError, match="expired"):
        read_token(SECRET, make_token(SECRET, "viewer", "a", 1, 0))


async def test_every_answer_forbids_inline_scripts_and_frames() -> None:
    async with client(console()[0]) as asked:
        for path in ("/try", "/api", "/nothing", "/api/v1/now", "/static/live.js", "/login"):
            told = (await asked.get(path)).headers
            policy = dict(part.split(" ", 1) for part in told["content-security-policy"].split("; "))
            assert (policy["script-src"], policy["style-src"], policy["default-src"], policy["frame-ancestors"]) == (
                "'self'",
                "'self'",
                "'none'",
                "'none'",
            ), path
            assert told["x-content-type-options"] == "nosniff"
