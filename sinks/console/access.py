"""Who may do what: tokens (JWT, HS256), roles, and how often.

Knows claims, roles and rates; leaves requests to guard.py. Time comes as an argument.
Next: sinks/console/guard.py
"""

import secrets
from collections import OrderedDict
from dataclasses import dataclass

import jwt

from schemas.errors import SettingError, StrataError

ROLES = ("viewer", "labeller", "admin")
"""Each may do what the ones before it may: look; give labels and texts to try; read the SQL and the state of the console."""
AUDIENCE, ALGORITHM = "strata-console", "HS256"
LONGEST_DAYS = 366


class AccessError(StrataError):
    """A token that is none, or not any more."""


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    name: str
    role: str
    by_cookie: bool = False
    """The browser sends it by itself, so another page may have made it ask."""

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


def make_token(secret: str, role: str, name: str, days: float, now_s: int) -> str:
    """A token for that role. Raises SettingError."""
    if role not in ROLES:
        raise SettingError(f"role {role!r}: wanted one of {', '.join(ROLES)}")
    if not 0 < days <= LONGEST_DAYS:
        raise SettingError(f"{days:g} days: wanted more than 0 and no more than {LONGEST_DAYS}")
    claims = {"sub": name, "role": role, "aud": AUDIENCE, "iat": now_s, "exp": now_s + int(days * 86400), "jti": secrets.token_hex(8)}
    return jwt.encode(claims, secret, ALGORITHM)


def read_token(secret: str, token: str, by_cookie: bool = False) -> Caller:
    """Who a token speaks for. Raises AccessError."""
    try:
        claims = jwt.decode(
            token, secret, algorithms=[ALGORITHM], audience=AUDIENCE, options={"require": ["exp", "iat", "sub", "aud", "role"]}
        )
    except jwt.ExpiredSignatureError as problem:
        raise AccessError("the token has expired; ask for a new one") from problem
    except jwt.InvalidTokenError as problem:
        raise AccessError("the token is not one of this console; make one with `strata console --token ROLE`") from problem
    if claims["role"] not in ROLES:
        raise AccessError(f"the token's role is none of {', '.join(ROLES)}; ask for a new one")
    return Caller(str(claims["sub"])[:80], claims["role"], by_cookie)


class Rates:
    """A bucket for each client: so much a second, with bursts."""

    MOST = 4096
    """Clients remembered; the one seen longest ago is forgotten."""

    def __init__(self, per_s: float, burst: float):
        self._per_s, self._burst = per_s, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """0 when the client may go on, and its turn is counted; else how long it should wait."""
        left, seen = self._buckets.pop(client, (self._burst, now_s))
        left = min(self._burst, left + max(now_s - seen, 0.0) * self._per_s)
        allowed = left >= 1.0
        self._buckets[client] = (left - 1.0 if allowed else left, now_s)
        while len(self._buckets) > self.MOST:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self._per_s
