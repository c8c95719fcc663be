"""A misspelt variable is told with the name that was meant; no process takes another's for one."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.config import DeployConfig
from schemas.errors import SettingError
from schemas.known_settings import DEFINED, ROOT, Surroundings, check_file, known, of, unknown_variables, variable
from sinks.config import EvaluateConfig, SinkConfig
from sinks.console.config import ConsoleConfig
from streams.config import StreamConfig

CONFIGS = (StreamConfig, SinkConfig, EvaluateConfig, ConsoleConfig, DeployConfig)


def test_the_text_of_the_definitions_says_what_importing_them_does() -> None:
    imported: dict[str, set[str]] = {}
    for config in CONFIGS:
        for section, names in of(config).items():
            imported.setdefault(section, set()).update(names)
    assert known() == imported
    assert {name for _, name in DEFINED} == {config.__name__ for config in CONFIGS}


def test_no_process_takes_anothers_variable_for_misspelt() -> None:
    everything = {variable(section, name): "" for section, names in (known() | of(Surroundings)).items() for name in names}
    everything |= {variable("", name): "" for name in known()[""]}
    assert unknown_variables(everything) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("STRATA_KAFKA_BOOTSTRAP_SERVER", "STRATA_KAFKA_BOOTSTRAP_SERVER is not known; did you mean STRATA_KAFKA_BOOTSTRAP?"),
        ("STRATA_TOPICS_LABEL", "STRATA_TOPICS_LABEL is not known; did you mean STRATA_TOPICS_LABELS?"),
        ("STRATA_MAX_TOKENS", "STRATA_MAX_TOKENS is not known; did you mean STRATA_BUFFER_MAX_TOKENS?"),
        ("STRATA_WHATEVER", "STRATA_WHATEVER is not known; docs/settings.md has all"),
    ],
)
def test_a_misspelt_variable_is_told_with_the_nearest_name(name: str, says: str) -> None:
    assert unknown_variables({name: "1", "PATH": "/bin", "STRATA_DATA_DIR": "x"}) == [says]


def test_every_variable_that_the_product_names_is_known() -> None:
    """Whatever the code reads beside a settings dataclass, or tells a user to set."""
    texts = [
        str(node.value)
        for package in ("schemas", "models", "streams", "sinks", "deploy")
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    named = {name for text in texts for name in re.findall(r"\bSTRATA_[A-Z_]*[A-Z]\b", text)} - {"STRATA_TEST", "STRATA_MAX_TOKENS"}
    assert unknown_variables(dict.fromkeys(named, "")) == []


def test_a_name_of_the_environment_alone_says_so_in_a_file() -> None:
    with pytest.raises(SettingError, match="environment alone; set STRATA_LOG_LEVEL"):
        check_file({"log_level": "DEBUG"}, {"": {"data_dir"}})


def test_without_sources_no_name_is_called_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known.cache_clear()
    monkeypatch.setattr("schemas.known_settings.ROOT", tmp_path)
    try:
        assert unknown_variables({"STRATA_WHATEVER": "1"}) == []
        check_file({"whatever": 1}, {})
    finally:
        known.cache_clear()


@pytest.mark.parametrize("module", ["streams", "sinks", "sinks.console", "sinks.evaluate", "deploy.cli"])
def test_each_process_says_it(module: str, tmp_path: Path) -> None:
    arguments = ["status"] if module == "deploy.cli" else []
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        timeout=120,
        env={
            "STRATA_TOPICS_LABEL": "a",
            "STRATA_PARTITIONS": "many",
            "STRATA_CLICKHOUSE_HTTP_PORT": "none",
            "STRATA_DATA_DIR": str(tmp_path),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2  # for the wrong values: nothing was started
    assert "STRATA_TOPICS_LABEL is not known; did you mean STRATA_TOPICS_LABELS?" in done.stderr
