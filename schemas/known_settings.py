"""Every setting that any of our processes has: so that a misspelt name is told, and another process's is not.

All processes share one environment and one settings file, but none imports the others: their settings are read from the text of the
dataclasses that define them, which stay the only list. Knows names; leaves values to settings.py.
"""

import ast
import dataclasses
import difflib
import typing
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from schemas.errors import SettingError

ROOT = Path(__file__).resolve().parents[1]
DEFINED = (
    ("streams/config.py", "StreamConfig"),
    ("sinks/config.py", "SinkConfig"),
    ("sinks/config.py", "EvaluateConfig"),
    ("sinks/console/config.py", "ConsoleConfig"),
    ("deploy/config.py", "DeployConfig"),
)
"""What each process is told: file and dataclass."""
OURS = ("schemas.", "models.", "streams.", "sinks.", "deploy.")
PREFIX, TESTS = "STRATA_", "STRATA_TEST_"
Names = dict[str, set[str]]
"""Section, empty for none -> names of its settings."""


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What is read from the environment and not from the file."""

    config: Path | None = None
    """The settings file; without it `strata.toml` in the working folder, where there is one."""
    log_level: str = "INFO"
    """How much writer and console log: DEBUG, INFO, WARNING, ERROR."""
    cache_dir: Path | None = None
    """Where what is downloaded is kept for all stacks; without it `strata` in the user's cache folder."""


def variable(section: str, name: str) -> str:
    """The environment variable of a setting."""
    return "_".join(("STRATA", *(p for p in (section, name) if p))).upper()


@cache
def known() -> Names:
    """The settings of all processes; empty where their sources are not there (an installation without them): then no name is called unknown."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    try:
        for file, name in DEFINED:
            _read(ROOT / file, name, "", found)
    except OSError:
        return {}
    return dict(found)


def of(cls: Any, section: str = "") -> Names:
    """The settings of one dataclass."""
    found, hints = Names(), typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[field.name]):
            found |= of(hints[field.name], field.name)
        else:
            found.setdefault(section, set()).add(field.name)
    return found


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """A line about each variable that looks like a setting and is none. Not an error: other programs may have set it."""
    if not known():
        return []
    names = {variable(section, name)[len(PREFIX) :] for section, own in (*known().items(), *of(Surroundings).items()) for name in own}
    strangers = [name[len(PREFIX) :] for name in sorted(environ) if name.startswith(PREFIX) and not name.startswith(TESTS)]
    return [
        f"{PREFIX}{name} is not known; "
        + (f"did you mean {PREFIX}{near}?" if (near := _nearest(name, names)) else "docs/settings.md has all")
        for name in strangers
        if name not in names
    ]


def check_file(table: Mapping[str, Any], own: Names) -> None:
    """Raises SettingError for a name that no process has, neither one of all nor one of `own`."""
    if not known():
        return
    alone = of(Surroundings)[""]
    names = {section: known().get(section, set()) | own.get(section, set()) for section in known().keys() | own.keys()}
    spelt = {variable(s, n)[len(PREFIX) :].lower(): f"{n} under [{s}]" for s, found in names.items() if s for n in found}
    for key, value in table.items():
        if key in alone:
            raise SettingError(
                f"setting {key} (settings file): it is read from the environment alone; set {variable('', key)} there and take it out"
            )
        if key in names:
            for name in value if isinstance(value, Mapping) else ():
                if name not in names[key]:
                    raise _none_of_that_name(f"setting [{key}] {name}", _nearest(name, names[key]) or ", ".join(sorted(names[key])))
        elif key not in names[""]:
            sections = [s for s in names if s]
            if isinstance(value, Mapping) and (near := _nearest(key, [*sections, *names[""]])):
                raise _none_of_that_name(f"section [{key}]", f"[{near}]")
            wanted = spelt.get(key) or _nearest(key, names[""]) or "one of docs/settings.md"
            raise _none_of_that_name(f"section [{key}]" if isinstance(value, Mapping) else f"setting {key}", wanted)


def _none_of_that_name(what: str, wanted: str) -> SettingError:
    return SettingError(f"{what} (settings file): there is none of that name; wanted {wanted}: rename it or take it out")


def _nearest(name: str, names: typing.Iterable[str]) -> str:
    """The known name that is most like it; empty where none is."""
    return next(iter(difflib.get_close_matches(name, sorted(names), 1, cutoff=0.7)), "")


def _read(file: Path, name: str, section: str, found: dict[str, set[str]]) -> None:
    """Add the settings of a dataclass in a file; a field whose type is another dataclass of ours is a section."""
    tree = _parsed(file)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    imported = {a.name: n.module for n in tree.body if isinstance(n, ast.ImportFrom) and n.module for a in n.names}
    for field in classes[name].body:
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        kind = field.annotation.id if isinstance(field.annotation, ast.Name) else ""
        home = ROOT / (imported[kind].replace(".", "/") + ".py") if kind in imported else file
        if kind in classes or (kind in imported and imported[kind].startswith(OURS)):
            _read(home, kind, field.target.id, found)
        else:
            found[section].add(field.target.id)


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))
