"""Severity by name and by key words: the eight levels of RFC 5424 and what a message says about itself.

Knows level words and a few general English rules; nothing here is fitted to a log set. Leaves headers to
streams/log_lines.py. Next: models/log_model.py
"""

import re

SEVERITIES = ("emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug")
"""RFC 5424 numbers 0..7."""

LEVELS = {
    "emergency": 0, "emerg": 0, "alert": 1, "critical": 2, "crit": 2, "fatal": 2, "severe": 2, "panic": 0, "dpanic": 2,
    "error": 3, "err": 3, "erro": 3, "eror": 3, "failure": 3, "warning": 4, "warn": 4, "wrn": 4, "notice": 5,
    "informational": 6, "information": 6, "info": 6, "inf": 6, "config": 6, "audit": 6, "log": 6, "statement": 6, "default": 6,
    "debug": 7, "dbg": 7, "trace": 7, "trc": 7, "verbose": 7, "fine": 7, "finer": 7, "finest": 7,
    "f": 2, "e": 3, "w": 4, "n": 5, "i": 6, "d": 7, "v": 7, "t": 7,
}  # fmt: skip
"""Level words of the usual loggers, lower case; single letters as in logcat, glog and klog."""

READ_CHARS = 400
"""A message says how bad it is near its start; reading more costs time on dumps."""

_PIECES = re.compile(r"\b[A-Za-z][a-z]*\b|\b[A-Z]{2,}\b|(?:Error|Exception|Failure|Warning)\b")
"""Words, and what a camelCase name ends with: ClassCastException."""
_DENIED = re.compile(
    r"\b(?:no|0|zero|without|ignor\w+|any|correctable|corrected)\s(?:\w+\s)?(?:errors?|fail\w*|warnings?|exceptions?)\b"
    r"|\b(?:errors?|failures?|failed|warnings?|exceptions?)\s?[=:]\s?(?:0\b|none|null|false|\[\])|\berrors?\b.{0,20}\b(?:detected and )?corrected\b",
    re.IGNORECASE,
)
"""An error that is counted as none, or was put right, is no error."""
_CALL = re.compile(r"[a-z]+[A-Z]\w*(?:\(|\.\.\.|:\s|\s\w+=)")
"""A message that opens with a camelCase call or field dump is a developer's trace."""

_BY_LEVEL = {
    0: "emergency emerg",
    1: "alert",
    2: "fatal critical panic segfault segmentation oom unrecoverable uncorrectable uncorrected corruption severe",
    3: "error errors err errno exception exceptions fail failed fails failure failures failing cannot denied refused abort aborted aborting "
    "crash crashed crashing corrupt corrupted forbidden unreachable broken traceback unable couldn assertion",
    4: "warn warning warnings deprecated deprecation retry retrying retries slow timeout timeouts exceeded exceeds exceed unknown "
    "unexpected unavailable bad invalid lost rejected overflow threshold throttled throttling degraded violation missing illegal unrecognized",
    5: "notice",
    7: "debug trace verbose",
}
_LEVEL_OF = {word: level for level, words in _BY_LEVEL.items() for word in words.split()}
_LEVEL_OF |= {form(word): level for word, level in _LEVEL_OF.items() for form in (str.capitalize, str.upper)}
_PHRASES = re.compile(r"(?P<emergency>kernel panic)|(?P<critical>out of memory|core dumped|machine check)|(?P<error>can't|could not|no such |timed out)"
                      r"|(?P<warning>not (?:fully|found|available|permitted|allowed|supported|responding)|does not)", re.IGNORECASE)  # fmt: skip
_PHRASE_LEVEL = {"emergency": 0, "critical": 2, "error": 3, "warning": 4}
_PHRASE_WORDS = frozenset(
    ["not", "can", "panic", "memory", "dumped", "check", "no", "timed", "Not", "Can", "Panic", "Memory", "Dumped", "Check", "No", "Timed"]
)
_SURE = {0: 0.5, 1: 0.4, 2: 0.5, 3: 0.5, 4: 0.3, 5: 0.5, 7: 0.6}
"""How often such a word is right, in tenths by judgement."""


def by_keywords(message: str) -> tuple[int, float, str]:
    """Severity number, confidence and what decided (keyword or default): the worst word wins unless it is denied."""
    head = message[:READ_CHARS]
    pieces = _PIECES.findall(head)
    known = [_LEVEL_OF[piece] for piece in pieces if piece in _LEVEL_OF]
    if not _PHRASE_WORDS.isdisjoint(pieces):
        known += [_PHRASE_LEVEL[found.lastgroup or ""] for found in _PHRASES.finditer(head)]
    if known:
        worst = min(known)
        if worst != 3 or not _DENIED.search(head):
            return worst, _SURE[worst], "keyword"
    if _CALL.match(head):
        return 7, 0.6, "keyword"
    return 6, 0.8, "default"
