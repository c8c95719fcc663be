"""docs/settings.md and docs/topics.md from the code: `python -m tests.reference` writes them, tests/test_docs.py compares.

Knows dataclasses with a string below each field, topics and .avsc files.
"""

import ast
import dataclasses
import inspect
import itertools
import json
import textwrap
import typing
from pathlib import Path

from deploy.config import DeployConfig
from schemas.codec import schema_text
from schemas.known_settings import Surroundings, variable
from schemas.topics import TOPICS
from sinks.config import EvaluateConfig, SinkConfig
from sinks.console.config import ConsoleConfig
from streams.config import StreamConfig

DOCS = Path(__file__).resolve().parents[1] / "docs"
EXAMPLES = {
    "topics": """\
Labels of your own, for segments and sessions of `tokens` and `chat`:

```toml
[topics]
labels = ["billing", "outage", "Weather", "other"]

[topics.descriptions]
billing = "invoices, payments, refunds: why was I charged twice, where is my invoice"

[topics.examples]
outage = ["the site is down", "nothing loads since noon"]
```

A label is told by how near a text is to its name, description and examples. A bare name is the weakest: describe a label in the words that the texts themselves use, or give a few of them. `other` is what is near to none; without it
the nearest is always named. A label of the default set (`Weather`) is one that the model was trained on, and its training is heard as well, unless you describe it anew. In the environment:
`STRATA_TOPICS_LABELS="billing,outage,other"`, `STRATA_TOPICS_DESCRIPTIONS='{"billing": "invoices, payments, refunds"}'`, `STRATA_TOPICS_EXAMPLES='{"outage": ["the site is down"]}'`.

A `model_version` ends in `+topics-` and eight digits where labels, descriptions or examples are not the default ones, so that answers of different sets are not counted together.
""",
    "evaluation": """\
```toml
[evaluation]
webhook = "https://alerts.example.org/strata"

[evaluation.thresholds]
"quality.accuracy_high" = ">= 0.8 when judged >= 100 and task = topic"
"latency.p99_ms" = "<= 200"
"drift.is_alarm" = "= 0"
```

`strata up` then holds the thresholds every five minutes, and sends an alert when a crossing begins and when it ends (docs/evaluation.md).
`strata evaluate` ends with exit status 3 when a row of the question has another value; an end of an interval (`accuracy_high`) makes sure that chance alone does not cross it. In the environment:
`STRATA_EVALUATION_THRESHOLDS='{"latency.p99_ms": "<= 200"}'`.
""",
}
"""Section -> what is said below its table."""


def meanings(cls: type) -> dict[str, str]:
    """Field -> the string below it."""
    body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]).body
    found = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[typing.cast(ast.Name, field.target).id] = " ".join(str(text.value.value).split())
    return found


def rows(cls: type, section: str = "") -> list[tuple[str, str, str, str]]:
    """(section, variable, default, meaning) of each setting."""
    made, hints, told = [], typing.get_type_hints(cls), meanings(cls)
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[field.name]):
            made += rows(typing.cast(type, hints[field.name]), field.name)
            continue
        default = field.default if field.default is not dataclasses.MISSING else typing.cast(typing.Any, field.default_factory)()
        choices = typing.get_args(hints[field.name]) if typing.get_origin(hints[field.name]) is typing.Literal else ()
        meaning = told.get(field.name, "") + (f" One of {', '.join(map(str, choices))}." if choices else "")
        made.append((section, variable(section, field.name), "" if default in (None, "", (), {}) else str(default), meaning.strip()))
    return made


def settings() -> str:
    """The page of all settings; one that several processes read stands once."""
    lines = [
        "# Settings",
        "",
        "As environment variables, or in `strata.toml` (or the file `STRATA_CONFIG` names) without `STRATA_`, lower case, those of a section under `[section]`. Flags win over both.",
        "Made by `python -m tests.reference`.",
    ]
    seen: dict[str, tuple[str, str, str, str]] = {}
    for cls in (StreamConfig, SinkConfig, EvaluateConfig, DeployConfig, ConsoleConfig):
        for row in rows(cls):
            if row[1] not in seen or not seen[row[1]][3]:
                seen[row[1]] = row
    for section in dict.fromkeys(row[0] for row in seen.values()):
        lines += ["", f"## [{section}]" if section else "## Without section", "", "| variable | default | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | {default} | {meaning} |" for s, name, default, meaning in seen.values() if s == section]
        lines += ["", EXAMPLES[section].rstrip()] if section in EXAMPLES else []
    lines += ["", "## From the environment alone", "", "| variable | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {default} | {meaning} |" for _, name, default, meaning in rows(Surroundings)]
    lines += [
        "",
        "A misspelt name in the file is an error. A variable `STRATA_...` that no process knows is told in a warning, with the name that is most like it.",
    ]
    return "\n".join(lines) + "\n"


def topics() -> str:
    """The page of all topics and their records' fields."""
    lines = [
        "# Topics and records",
        "",
        "Key: the session id. The `.avsc` files in schemas/avro are the authority. Made by `python -m tests.reference`.",
    ]
    for topic in TOPICS:
        if topic.record is None:
            continue
        schema = json.loads(schema_text(topic.record))
        lines += ["", f"## {topic.name} ({topic.direction})", "", schema["doc"], "", "| field | type | meaning |", "|---|---|---|"]
        lines += [f"| `{f['name']}` | {type_name(f['type'])} | {f['doc']} |" for f in schema["fields"]]
    return "\n".join(lines) + "\n"


def type_name(kind: object) -> str:
    """An Avro type in words."""
    if isinstance(kind, list):
        return " or ".join(type_name(k) for k in sorted(kind, key=lambda k: k == "null"))
    if isinstance(kind, dict):
        inner = kind.get("values") or kind.get("items")
        return kind.get("logicalType") or (f"{kind['type']} of {type_name(inner)}" if inner else str(kind["type"]))
    return str(kind)


PAGES = {"settings.md": settings, "topics.md": topics}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")
