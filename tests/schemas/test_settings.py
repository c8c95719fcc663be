"""Settings: defaults, then the file, then the environment, then flags; a wrong one is named."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from schemas.errors import SettingError
from schemas.settings import load


@dataclass(frozen=True)
class Inner:
    max_tokens: int = 512
    mode: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    data_dir: Path = Path(".strata")
    share: float = 0.5
    url: str | None = None
    is_on: bool = False
    names: tuple[str, ...] = ()
    buffer: Inner = field(default_factory=Inner)


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "strata.toml"
    file.write_text('STRATA_SHARE = 0.1\nurl = "file"\nis_on = true\n[buffer]\nmax_tokens = 64\nmode = "b"\n')
    assert load(Outer, {}) == Outer()
    assert load(Outer, {}, file) == Outer(share=0.1, url="file", is_on=True, buffer=Inner(64, "b"))
    environ = {"STRATA_URL": "environment", "STRATA_BUFFER_MAX_TOKENS": "32", "STRATA_NAMES": "x, y"}
    assert load(Outer, environ, file) == Outer(share=0.1, url="environment", is_on=True, names=("x", "y"), buffer=Inner(32, "b"))
    flags = {"url": "flag", "buffer": {"max_tokens": 16}, "share": None}
    assert load(Outer, environ, file, flags) == Outer(share=0.1, url="flag", is_on=True, names=("x", "y"), buffer=Inner(16, "b"))


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"STRATA_SHARE": "much"}, "STRATA_SHARE"),
        ({"STRATA_IS_ON": "perhaps"}, "true or false"),
        ({"STRATA_BUFFER_MODE": "c"}, "one of a, b"),
        ({"STRATA_BUFFER_MAX_TOKENS": "12.5"}, "12.5"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_wanted(environ: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        load(Outer, environ)


def test_a_file_that_is_no_toml_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(SettingError, match=r"bad\.toml is not TOML"):
        load(Outer, {}, tmp_path / "bad.toml")
    with pytest.raises(SettingError, match=r"nowhere\.toml"):
        load(Outer, {}, tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("[buffer]\nmax_token = 3", r"\[buffer\] max_token .* wanted max_tokens"),
        ("[buffer]\nzzz = 3", "wanted .*max_tokens, mode"),
        ("[bufer]\nmax_tokens = 3", r"\[bufer\].*wanted \[buffer\]"),
        ("[evaluaton]\nevery = '5m'", r"\[evaluaton\].*wanted \[evaluation\]"),
        ("[evaluation]\nweb_hook = ''", r"\[evaluation\] web_hook .*wanted webhook"),
        ("[topics]\nlabel = ['a']", r"\[topics\] label .*wanted labels"),
        ("[nobodys]\nname = 1", r"\[nobodys\].*docs/settings.md"),
        ("kafka_bootstrap_server = 'a:1'", "kafka_bootstrap_server .*wanted kafka_bootstrap:"),
        ("STRATA_KAFKA_BOOTSTRAPS = 'a:1'", "wanted kafka_bootstrap:"),
        ("STRATA_BUFFER_MAX_TOKENS = 3", r"wanted max_tokens under \[buffer\]"),
    ],
)
def test_a_misspelt_name_is_refused_rather_than_passed_over(written: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "strata.toml").write_text(written)
    with pytest.raises(SettingError, match=says):
        load(Outer, {}, tmp_path / "strata.toml")


def test_settings_of_our_other_processes_are_left_to_them(tmp_path: Path) -> None:
    (tmp_path / "strata.toml").write_text(
        "console_port = 80\nsink_index = 1\nworkers = 2\n[evaluation]\nevery = '1m'\n[topics.descriptions]\nany = 'text'\n[retention_days]\nhourly = 3\n"
    )
    assert load(Outer, {}, tmp_path / "strata.toml") == Outer()
