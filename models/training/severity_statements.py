"""Log statements of programs' source code -> (project, severity, message): what a line says, with the level its author gave it.

Knows how Java, Scala, Python, C and Go programs call their loggers; leaves which projects are read to severity.py. A literal's
placeholders and whatever is joined to it become holes, as the template miner would have masked them.
Next: models/training/severity.py
"""

import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.masking import HOLE
from models.severity import LEVELS

STATEMENT_CHARS = 1200
"""A call's arguments are looked for within so many characters."""
SHORTEST = 6
"""Letters a message must have, holes apart: less says nothing of its level."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One call of a logger."""

    project: str
    severity: int
    """RFC 5424 number."""
    message: str
    """Placeholders and joined values as holes."""


# 1. who calls a logger, by language

_JVM = re.compile(
    r"\b(?:_?log(?:ger)?|LOG(?:GER)?|Log|Timber|igniteLog|alertsLogger|auditLog)(?:\(\))?\s*\.\s*"
    r"(?P<level>fatal|error|warn|warning|severe|info|config|debug|trace|fine|finer|finest|[evdiw]|wtf)\s*\("
)
_PYTHON = re.compile(
    r"\b(?:self\.|cls\.)?_?(?:log|logger|logging|LOG|LOGGER|_logger|_LOG)\s*\.\s*(?P<level>critical|fatal|error|exception|warn|warning|info|debug)\s*\("
)
_C = re.compile(
    r"\b(?:ngx_(?:log_error(?:_core)?|conf_log_error)|serverLog(?:Raw)?|log_fn(?:_ratelim)?|log__printf|cupsdLog\w+|(?:m|x|krb5_klog_)?syslog|qb_log|log_printf|wpa_printf|zlog|elog|ereport|do_log2|sshlog)\s*\("
    r"(?:\s*[\w>.()-]{1,40},)?\s*\(?(?:NGX_LOG|LL|LOG|MOSQ_LOG|CUPSD_LOG|ZLOG|SYSLOG_LEVEL|LOGSYS_LEVEL|MSG)?_?"
    r"(?P<level>EMERG|ALERT|CRIT|CRITICAL|PANIC|FATAL|ERR|ERROR|WARN|WARNING|NOTICE|LOG|INFO|VERBOSE|DEBUG\d?)\b"
    r"|\blog_?(?P<short>notice|info|debug|warnx?|err|error|verbose|crit|fatal|fatalx)\s*\("
    r"|\b(?P<bare>Note|Status|Warning|Error|Fatal|Alert|Emergency|Debug|fatal|fatalx|logit|verbose|error|warn|notice|info|dbglog|debug[23]?)\s*\((?=\s*[\"A-Z])"
)
_GO = re.compile(
    r"(?<!fmt)(?<!errors)(?<!status)\.(?P<level>Fatal|DPanic|Error|Warn|Warning|Notice|Info|Debug|Trace)(?:f|ln|S|w|Context)?\((?=\s*(?:err,\s*|ctx,\s*|nil,\s*)?\")"
    r"|\blevel\.(?P<kit>Error|Warn|Info|Debug)\([\w.]+\)\.Log\(\s*\"msg\",\s*(?=\")"
)
_OF_SUFFIX = {".java": _JVM, ".scala": _JVM, ".kt": _JVM, ".py": _PYTHON, ".c": _C, ".cc": _C, ".cpp": _C, ".go": _GO}
_OWN = {
    "exception": 3, "wtf": 2, "warnx": 4, "fatalx": 2, "note": 5, "status": 5, "logit": 6, "log": 6, "dbglog": 7, "verbose": 7, "debug": 7, "severe": 2,
    "panic": 2, "alert": 1, "emerg": 0, "emergency": 0, "dpanic": 2,
}  # fmt: skip
"""Where a program's word differs from LEVELS or is not in it."""

# 2. what it says

_PIECE = re.compile(
    r'(?P<prefix>\b[fFrRbBuUsS]{1,2})?(?P<quote>"""|"|\')(?P<text>(?:\\.|(?!(?P=quote))[^\\])*)(?P=quote)|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<comma>,)|(?P<plus>\+)|(?P<other>[^\s"\'()\[\]{},+]+)'
)
_PLACEHOLDER = re.compile(
    r"%\([^)]*\)[-#0 +]*[\d.*]*[a-zA-Z]|%[-#0 +']*[\d.*]*(?:hh|h|ll|l|z|j|t|q|L)?[diouxXeEfFgGcsSpPVATOM]|\$?\{[^{}]*\}|\$\w+|<\w+>"
)
_ESCAPE = re.compile(r"\\(?:[ntrfv0]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})")
_MACRO = re.compile(r"PRI[a-zA-Z]\w*|\w*_FMT\w*")


def statements(project: str, place: Path) -> Iterator[Statement]:
    """All logger calls of a program: a folder of sources, or a .jar of them; in the order of their paths, tests left out."""
    for name, source in sources(place):
        shape = _OF_SUFFIX.get(Path(name).suffix)
        if shape is not None and "test" not in name.lower():
            yield from of_source(project, source(), shape)


def sources(place: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """Paths of a program's files inside it, and how to read each."""
    if place.suffix == ".jar":
        with zipfile.ZipFile(place) as jar:
            for name in sorted(jar.namelist()):
                yield name, lambda name=name: jar.read(name).decode("utf-8", "replace")  # type: ignore[misc]
    else:
        for path in sorted(place.rglob("*")):
            if path.is_file():
                yield str(path.relative_to(place)), lambda path=path: path.read_text(encoding="utf-8", errors="replace")  # type: ignore[misc]


def of_source(project: str, source: str, shape: re.Pattern[str]) -> Iterator[Statement]:
    """The logger calls of one file."""
    for call in shape.finditer(source):
        word = next(word for word in call.groups() if word).lower()
        severity = _OWN.get(word, LEVELS.get(word.rstrip("123456789x"), -1))
        message = first_message(source[call.end() : call.end() + STATEMENT_CHARS])
        if severity >= 0 and len(re.findall("[A-Za-z]", message)) >= SHORTEST:
            yield Statement(project, severity, message)


def first_message(arguments: str) -> str:
    """The first argument with a literal of words in it, joined values as holes; empty where there is none."""
    parts: list[str] = []
    depth, has_text = 0, False
    for piece in _PIECE.finditer(arguments):
        if piece["quote"] is not None and (piece["quote"] != "'" or len(piece["text"]) > 2):
            text = _ESCAPE.sub(" ", piece["text"]).replace('\\"', '"').replace("\\'", "'").replace("%%", "%")
            text = _PLACEHOLDER.sub(HOLE, text)
            parts.append(text)
            has_text = has_text or " " in text.strip() or len(text) >= SHORTEST
        elif piece["close"]:
            depth -= 1
            if depth < 0:
                break
        elif piece["open"]:
            depth += 1
        elif piece["comma"]:
            if has_text:
                break
            if depth <= 0:
                parts = []
        elif piece["other"] and not _MACRO.fullmatch(piece["other"]):
            parts.append(HOLE)
    text = re.sub(f"{HOLE}(?:\\s*{HOLE})*", HOLE, "".join(parts)) if has_text else ""
    return " ".join(text.split())
