"""The broker's jars: a complete lock, checked bytes, tries again, clear failure."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.errors import DownloadError
from deploy.local import jars
from deploy.local.jars import Jar


class Repository:
    """A Maven repository in memory that fails a number of times first."""

    def __init__(self, cache: Path, content: bytes, failures: int = 0) -> None:
        self.cache, self.content, self.failures, self.asked = cache, content, failures, 0
        self.resolver = self

    def project(self, group: str, name: str) -> "Repository":
        self.jar = self.cache.joinpath("maven", group, name, "1", f"{name}-1.jar")
        return self

    def at_version(self, version: str) -> "Repository":
        return self

    def artifact(self) -> SimpleNamespace:
        return SimpleNamespace(cached_path=self.jar)

    def download(self, artifact: SimpleNamespace) -> None:
        assert not artifact.cached_path.exists()
        artifact.cached_path.parent.mkdir(parents=True, exist_ok=True)
        self.asked += 1
        if self.asked <= self.failures:
            artifact.cached_path.write_bytes(self.content[:3])
            raise ConnectionError("connection reset")
        artifact.cached_path.write_bytes(self.content)


@pytest.fixture
def one_jar(monkeypatch: pytest.MonkeyPatch) -> Jar:
    jar = Jar("org", "thing", "1", hashlib.sha256(b"the jar").hexdigest())
    monkeypatch.setattr(jars, "locked_jars", lambda: [jar])
    monkeypatch.setattr(jars, "kafka_version", lambda locked: "1")
    return jar


def fetch(cache: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setattr(jars, "_maven", lambda folder: repository)
    return jars.fetch(cache, lambda what, done, total: None, pause=lambda seconds: None)


def test_the_lock_names_kafka_and_a_hash_for_every_jar_and_no_host() -> None:
    locked = jars.locked_jars()
    assert jars.kafka_version(locked).startswith("4.")
    assert all(len(j.sha256) == 64 for j in locked)
    assert len({str(j) for j in locked}) == len(locked) > 40
    assert "//" not in jars.LOCK_FILE.read_text()


def test_a_cut_off_download_is_tried_again(tmp_path: Path, one_jar: Jar, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(tmp_path, b"the jar", failures=2)
    (path,) = fetch(tmp_path, repository, monkeypatch)
    assert path.read_bytes() == b"the jar"
    assert repository.asked == 3


def test_what_is_there_is_not_fetched_again(tmp_path: Path, one_jar: Jar, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(tmp_path, Repository(tmp_path, b"the jar"), monkeypatch)
    second = Repository(tmp_path, b"the jar")
    fetch(tmp_path, second, monkeypatch)
    assert second.asked == 0


def test_a_damaged_jar_left_by_a_killed_download_is_replaced(tmp_path: Path, one_jar: Jar, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path.joinpath("maven", "org", "thing", "1", "thing-1.jar")
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"the")
    (path,) = fetch(tmp_path, Repository(tmp_path, b"the jar"), monkeypatch)
    assert path.read_bytes() == b"the jar"


def test_other_bytes_than_the_locked_ones_are_refused(tmp_path: Path, one_jar: Jar, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DownloadError, match="locked is"):
        fetch(tmp_path, Repository(tmp_path, b"another jar"), monkeypatch)
    assert not list(tmp_path.rglob("*.jar"))
