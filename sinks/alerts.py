"""Alerts: one opens when a row breaks a threshold and closes when it holds again, however often one looks meanwhile.

Knows what is open, what one look changes and how long a change must last; pure, the clock is an argument. Leaves conditions to evaluate_thresholds.py and keeping to alert_log.py.
What is looked at with other filters is another alert: a look at one task says nothing of the others.
Next: sinks/alert_log.py
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from schemas.events import event_id
from sinks.evaluate_thresholds import Threshold
from sinks.questions import Row, about

Message = dict[str, Any]
"""As it is in topic `alerts`: JSON."""
Open = dict[str, Message]
"""Key -> the message that opened it."""
Since = dict[str, tuple[bool, datetime]]
"""Key of what is otherwise than was told -> whether it is broken, and since when."""
HOLDS, UNTOLD = "it holds again", "nothing is told of it any more"


@dataclass(frozen=True)
class Patience:
    """How long a row must be otherwise than was told before that is told: a value that hovers at its bound opens one alert, not one a look."""

    pending: timedelta = timedelta()
    """Broken for so long, it opens (Prometheus' `for`)."""
    keep_firing: timedelta = timedelta()
    """Not broken for so long, it closes (Prometheus' `keep_firing_for`)."""


AT_ONCE = Patience()


@dataclass(frozen=True)
class Verdict:
    """A threshold and a row it speaks of."""

    threshold: Threshold
    row: Row
    holds: bool

    def told(self) -> str:
        """In a line."""
        named = " ".join(str(self.row[n]) for n in ("model_version", "modality", "task", "feature") if self.row.get(n))
        return f"{self.threshold.name} of {named} is {self.row[self.threshold.must.column]}, must be {self.threshold.text}"


def verdicts(thresholds: Iterable[Threshold], rows: Mapping[str, Sequence[Row]]) -> list[Verdict]:
    """Every threshold held to its question's rows."""
    return [Verdict(t, row, holds) for t in thresholds for row, holds in t.judged(rows[t.asked.name])]


def crossed(found: Iterable[Verdict]) -> list[Verdict]:
    """Those that are broken."""
    return [one for one in found if not one.holds]


def key_of(message: Mapping[str, Any]) -> str:
    """The same for all that is said of one threshold and row, asked with the same filters."""
    return json.dumps([message["threshold"], message["asked"], message["about"]], sort_keys=True)


def differing(open_: Mapping[str, Message], found: Sequence[Verdict], asked: Mapping[str, str], now: datetime, since: Since) -> Since:
    """Since when each alert is otherwise than was told: broken and not open, or open and not broken. since: as of the look before."""
    broken = {key for key, one in _worst(found, asked).items() if not one.holds}
    mine = {key for key, was in open_.items() if was["asked"] == dict(asked)}
    states = {key: key in broken for key in broken ^ mine}
    return {key: since[key] if key in since and since[key][0] == state else (state, now) for key, state in states.items()}


def follow(
    open_: Mapping[str, Message],
    found: Sequence[Verdict],
    asked: Mapping[str, str],
    now: datetime,
    patience: Patience = AT_ONCE,
    since: Since | None = None,
) -> list[Message]:
    """What one look changes: alerts that open, and those of the same filters that close. What was open and is still broken is no news.

    since: what `differing` gave for this look.
    """
    since, seen = since or {}, _worst(found, asked)

    def has_lasted(key: str, wanted: timedelta) -> bool:
        return now - (since[key][1] if key in since else now) >= wanted

    opened = [
        _opened(one, asked, now) for key, one in seen.items() if not one.holds and key not in open_ and has_lasted(key, patience.pending)
    ]
    closed = [
        _closed(was, seen.get(key), now)
        for key, was in open_.items()
        if was["asked"] == dict(asked) and (key not in seen or seen[key].holds) and has_lasted(key, patience.keep_firing)
    ]
    return closed + opened


def _worst(found: Iterable[Verdict], asked: Mapping[str, str]) -> dict[str, Verdict]:
    """One verdict for each alert there could be: a broken one where there is one."""
    seen: dict[str, Verdict] = {}
    for one in found:
        key = key_of(_subject(one, asked))
        if key not in seen or not one.holds:
            seen[key] = one
    return seen


def apply(open_: Mapping[str, Message], messages: Iterable[Message]) -> Open:
    """What is open after these messages, in their order."""
    left = dict(open_)
    for message in messages:
        if message["state"] == "open":
            left[key_of(message)] = message
        else:
            left.pop(key_of(message), None)
    return left


def sentence(message: Message) -> str:
    """What it says, in a line."""
    named = " ".join(str(v) for name, v in message["about"].items() if name not in ("final", "at"))
    value = message["value"] if not isinstance(message["value"], float) else f"{message['value']:.4g}"
    if message["state"] == "open":
        return f"{message['threshold']} of {named} is {value}, must be {message['must_be']}"
    return f"{message['threshold']} of {named}, {message['why']}" + (f" ({value})" if message["why"] == HOLDS else "")


def _subject(one: Verdict, asked: Mapping[str, str]) -> Message:
    return {"threshold": one.threshold.name, "asked": dict(asked), "about": _plain(about(one.row))}


def _opened(one: Verdict, asked: Mapping[str, str], now: datetime) -> Message:
    subject, at = _subject(one, asked), now.isoformat()
    return {
        "alert_id": event_id("alert", key_of(subject), at),
        "state": "open",
        "timestamp": at,
        "opened_at": at,
        **subject,
        "must_be": one.threshold.text,
        "value": one.row[one.threshold.must.column],
        "question": one.threshold.asked.asks,
        "row": _plain(one.row),
    }


def _closed(was: Message, one: Verdict | None, now: datetime) -> Message:
    """The message that opened it, with what is so now."""
    so_now: Message = {"state": "closed", "timestamp": now.isoformat(), "why": HOLDS if one else UNTOLD}
    if one:
        so_now |= {"must_be": one.threshold.text, "value": one.row[one.threshold.must.column], "row": _plain(one.row)}
    return {**was, **so_now}


def _plain(row: Mapping[str, Any]) -> Message:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
