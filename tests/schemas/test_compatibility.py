"""Schemas may only change in ways that readers of the version before, and after, survive."""

import json

import pytest

from schemas.codec import schema_text, versions
from schemas.compatibility import can_read, problems
from schemas.events import RECORDS


@pytest.mark.parametrize("name", RECORDS)
def test_schema_is_its_last_published_version(name: str) -> None:
    last = versions(name)[-1]
    assert json.loads(schema_text(name)) == json.loads(schema_text(name, last)), (
        f"{name}.avsc changed: publish it as versions/{name}.{last + 1}.avsc"
    )


@pytest.mark.parametrize("name", RECORDS)
def test_each_version_is_fully_compatible_with_all_before(name: str) -> None:
    texts = [schema_text(name, v) for v in versions(name)]
    for n, new in enumerate(texts):
        assert problems(new, texts[:n], "FULL_TRANSITIVE") == []


def changed(name: str, change) -> str:
    schema = json.loads(schema_text(name))
    change(schema["fields"])
    return json.dumps(schema)


def test_checker_tells_each_direction_apart() -> None:
    now = schema_text("tokens")
    with_default = changed("tokens", lambda f: f.append({"name": "lang", "type": "string", "default": ""}))
    without_default = changed("tokens", lambda f: f.append({"name": "lang", "type": "string"}))
    dropped = changed("tokens", lambda f: f.remove(next(x for x in f if x["name"] == "text")))
    assert problems(with_default, [now], "FULL") == []
    assert can_read(now, without_default) == []
    assert can_read(without_default, now) != []
    assert problems(without_default, [now], "BACKWARD") != []
    assert problems(without_default, [now], "FORWARD") == []
    assert problems(dropped, [now], "FORWARD") != []
    assert problems(dropped, [now], "NONE") == []


def test_only_transitive_modes_look_further_back() -> None:
    first = changed("tokens", lambda f: f.remove(next(x for x in f if x["name"] == "text")))
    second = schema_text("tokens")
    third = schema_text("tokens")
    assert problems(third, [first, second], "BACKWARD") == []
    assert problems(third, [first, second], "BACKWARD_TRANSITIVE") != []
