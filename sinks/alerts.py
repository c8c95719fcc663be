"""Alerts: one opens when a row first breaks a threshold and closes when it holds again, however often one looks meanwhile.

Knows what is open and what one look changes; pure, the clock is an argument. Leaves conditions to evaluate_thresholds.py and keeping to alert_log.py.
What is looked at with other filters is another alert: a look at one task says nothing of the others.
Next: sinks/alert_log.py
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.events import event_id
from sinks.evaluate_thresholds import Threshold
from sinks.questions import Row, about

Message = dict[str, Any]
"""As it is in topic `alerts`: JSON."""
Open = dict[str, Message]
"""Key -> the message that opened it."""
HOLDS, UNTOLD = "it holds again", "nothing is told of it any more"


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


def follow(open_: Mapping[str, Message], found: Sequence[Verdict], asked: Mapping[str, str], now: datetime) -> list[Message]:
    """What one look changes: alerts that open, and those of the same filters that close. What was open and is still broken is no news."""
    seen: dict[str, Verdict] = {}
    for one in found:
        key = key_of(_subject(one, asked))
        if key not in seen or not one.holds:
            seen[key] = one
    opened = [_opened(one, asked, now) for key, one in seen.items() if not one.holds and key not in open_]
    closed = [
        _closed(was, seen.get(key), now)
        for key, was in open_.items()
        if was["asked"] == dict(asked) and (key not in seen or seen[key].holds)
    ]
    return closed + opened


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
