"""Settings: one frozen dataclass per package, filled from defaults, strata.toml, the environment and flags, in that order.

Knows names and types; leaves meaning to each package's config.py, misspelt names to known_settings.py. Only `__main__` and deploy/cli.py pass the environment in.

A field `max_tokens` of a dataclass loaded with section "buffer" is `[buffer] max_tokens` in the file and
`STRATA_BUFFER_MAX_TOKENS` in the environment; without a section it is `max_tokens` and `STRATA_MAX_TOKENS`.
A list is a list in the file and has commas between in the environment; a table is `[topics.examples]` in the file and a JSON object in the environment.
"""

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from schemas import known_settings
from schemas.errors import SettingError
from schemas.known_settings import variable

T = TypeVar("T")
WANTED = {dict: "a table (in the environment a JSON object)", tuple: "a list", str: "a text"}
TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def load(
    cls: type[T],
    environ: Mapping[str, str],
    toml_path: str | Path | None = None,
    flags: Mapping[str, Any] | None = None,
    section: str = "",
) -> T:
    """An instance of dataclass `cls`: flags (those not None) win over the environment, that over the file, that over defaults.

    A field that is itself a dataclass is a section of that name. Raises SettingError naming the setting, the value seen and what was wanted;
    also for a name in the file that no process knows.
    """
    table = read_toml(toml_path) if toml_path else {}
    known_settings.check_file(table, known_settings.of(cls, section))
    return _fill(cls, environ, table, flags or {}, section)


def toml_path(environ: Mapping[str, str]) -> Path | None:
    """`$STRATA_CONFIG`, else ./strata.toml when there is one."""
    named = environ.get("STRATA_CONFIG")
    if named:
        return Path(named)
    return Path("strata.toml") if Path("strata.toml").is_file() else None


def read_toml(path: str | Path) -> dict[str, Any]:
    """The whole file. Names may be written plain (`kafka_bootstrap`) or as in the environment (`STRATA_KAFKA_BOOTSTRAP`)."""
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise SettingError(f"settings file {path}: {problem.strerror}; create it or unset STRATA_CONFIG") from problem
    except tomllib.TOMLDecodeError as problem:
        raise SettingError(f"settings file {path} is not TOML: {problem}; mend that line") from problem
    return {k.removeprefix("STRATA_").lower(): v for k, v in table.items()}


def _fill(cls: type[T], environ: Mapping[str, str], table: Mapping[str, Any], flags: Mapping[str, Any], section: str) -> T:
    values, hints = {}, typing.get_type_hints(cls)
    own = table.get(section, {}) if section else table
    if not isinstance(own, Mapping):
        raise SettingError(f"setting {section} (settings file): got {own!r}, wanted a section: write [{section}] above its settings")
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            values[field.name] = _fill(kind, environ, table, flags.get(field.name) or {}, field.name)  # type: ignore[arg-type]
        elif flags.get(field.name) is not None:
            values[field.name] = _convert(flags[field.name], kind, field.name, "flag")
        elif variable(section, field.name) in environ:
            name = variable(section, field.name)
            values[field.name] = _convert(environ[name], kind, name, "environment")
        elif field.name in own:
            values[field.name] = _convert(own[field.name], kind, f"[{section}] {field.name}" if section else field.name, "settings file")
    return cls(**values)


def _convert(value: Any, kind: Any, name: str, where: str) -> Any:
    """Text or TOML value -> the field's type."""
    args = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None or value == "":
            return None
        kind = next(a for a in args if a is not type(None))
        origin, args = typing.get_origin(kind), typing.get_args(kind)
    try:
        if origin is typing.Literal:
            if value not in args:
                raise ValueError("one of " + ", ".join(map(str, args)))
            return value
        if kind is bool:
            if isinstance(value, bool):
                return value
            if str(value).lower() in TRUE | FALSE:
                return str(value).lower() in TRUE
            raise ValueError("true or false")
        if kind is Path:
            return Path(str(value))
        if origin is tuple:
            if isinstance(value, dict):
                raise ValueError
            items = [i for i in value.split(",") if i.strip()] if isinstance(value, str) else value
            return tuple(_convert(i.strip() if isinstance(i, str) else i, args[0], name, where) for i in items)
        if origin is dict:
            return _table(json.loads(value or "{}") if isinstance(value, str) else value, args[1], name, where)
        if kind is str and isinstance(value, dict | list):
            raise ValueError("a text")
        return kind(value)
    except (TypeError, ValueError) as problem:
        wanted = (
            str(problem) if origin is typing.Literal or kind is bool else WANTED.get(origin or kind) or getattr(kind, "__name__", str(kind))
        )
        raise SettingError(f"setting {name} ({where}): got {value!r}, wanted {wanted}") from problem


def _table(value: Any, kind: Any, name: str, where: str) -> dict[str, Any]:
    """A table whose values are of that kind; where it is a list, one text alone is a list of one, commas and all."""
    if not isinstance(value, dict):
        raise ValueError
    lone = str if typing.get_origin(kind) is tuple else ()
    return {k: _convert([v] if isinstance(v, lone) else v, kind, f"{name}.{k}", where) for k, v in value.items()}
