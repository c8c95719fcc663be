"""Comparisons that were kept: the file gives back what went in, and the page shows it whatever is in its texts."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from sinks import compare_pairs, comparisons
from sinks.compare_pairs import Difference
from sinks.console import comparing
from sinks.console.app import build_app
from sinks.console.config import ConsoleConfig
from tests.sinks.evaluation_rows import label, prediction

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
BAD = "<script>alert(1)</script>"
WRONG, RIGHT = ("billing", "outage")


def compared(session: str = "s", texts: str = "text ") -> comparisons.Comparison:
    """Twelve items: B mends two, spoils one, changes two that nobody labelled."""
    a_said = {n: WRONG if n in (1, 2) else RIGHT for n in range(12)}
    b_said = {n: WRONG if n in (5, 8, 9) else RIGHT for n in range(12)}
    sides = [
        compare_pairs.side([prediction(n, session, label=said[n], task="topic", model_version=version) for n in said], [])
        for said, version in ((a_said, "text-1"), (b_said, f"text-2+{BAD}"))
    ]
    truth = compare_pairs.truths([label(n, session, task="topic", label=RIGHT) for n in range(7)], sides)
    words = {("logs", session, n): f"{texts}{n} " for n in range(12)}
    found, changes = compare_pairs.differences(*sides, truth), compare_pairs.changed(*sides, truth)
    return comparisons.made((sides[0].version, sides[1].version), ("shipped", "new/"), found, changes, words, NOW)


def test_what_is_kept_is_read_again_as_json_that_every_reader_takes(tmp_path: Path) -> None:
    made = compared()
    path = comparisons.keep(tmp_path, made)
    assert "NaN" not in path.read_text()  # a topic has no value
    (entry,) = comparisons.listed(tmp_path)
    assert (entry["name"], entry["a"], entry["b"], entry["n_changed"]) == (path.stem, "text-1", f"text-2+{BAD}", 3)
    assert comparisons.read(tmp_path, entry["name"]) == {**json.loads(json.dumps(made)), "name": path.stem}
    assert [(c["item"], c["items"], c["verdict"], c["text"]) for c in made["changed"]] == [
        (1, 2, "won", "text 1  text 2"),
        (5, 1, "lost", "text 5"),
        (8, 2, "unknown", "text 8  text 9"),
    ]


def test_no_name_leads_out_of_the_folder_and_foreign_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}\n{}\n")
    (tmp_path / comparisons.FOLDER).mkdir()
    (tmp_path / comparisons.FOLDER / "broken.json").write_text("no json")
    for name in ("../secret", "..", ".", "", "a/b", "nothing", "broken", "x" * 300):
        assert comparisons.read(tmp_path, name) is None
    assert comparisons.listed(tmp_path) == []


@pytest.mark.parametrize(
    ("measure", "low", "high", "verdict"),
    [
        ("accuracy", 0.02, 0.1, "good"),
        ("accuracy", -0.1, -0.02, "bad"),
        ("accuracy", -0.1, 0.02, "same"),
        ("accuracy", 0.0, 0.1, "same"),
        ("flips per span", 0.1, 0.4, "bad"),
        ("flips per span", -0.4, -0.1, "good"),
        ("confidence", 0.1, 0.4, "differs"),
    ],
)
def test_a_measure_is_better_or_worse_only_where_its_interval_excludes_no_difference(
    measure: str, low: float, high: float, verdict: str
) -> None:
    one = Difference(measure, "chat", "topic", "", 100, 20, 0.5, 0.5, (low + high) / 2, low, high)
    ((about, (told,)),) = comparing.groups({"differences": [one.__dict__]})
    assert (about, told.verdict) == ("chat · topic", verdict)
    assert 0 <= told.low <= told.at <= told.high <= 100
    assert (told.low > 50 or told.high < 50) == (verdict != "same")


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(ConsoleConfig(data_dir=tmp_path), with_kafka=False)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as opened:
        yield opened
    await app.state.parts.tables.close()


async def test_the_page_shows_both_sides_and_hostile_texts_as_text(asked: httpx.AsyncClient, tmp_path: Path) -> None:
    empty = await asked.get("/evaluation/versions", follow_redirects=True)
    assert "strata replay --model shipped" in empty.text
    name = comparisons.keep(tmp_path, compared(f"s {BAD}", BAD)).stem
    page = (await asked.get("/evaluation/versions", follow_redirects=True)).text
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
    assert re.search(r"only A 1, only B 2", page)
    assert f'href="/sessions/s%20{"%3Cscript%3Ealert%281%29%3C%2Fscript%3E"}#item-5"' in page
    assert "1 further measure: the same in every item" in page  # confidence is 0.9 of all
    won = (await asked.get(f"/evaluation/versions/{name}?show=won")).text
    assert won.count('class="example ') == 1
    assert (await asked.get("/evaluation/versions/..%2Fsecret")).status_code == 404
    listed = (await asked.get("/api/v1/evaluation/comparisons")).json()
    assert [one["name"] for one in listed] == [name]
    assert (await asked.get(f"/api/v1/evaluation/comparisons/{name}")).json()["n_changed"] == 3
    assert (await asked.get("/api/v1/evaluation/comparisons/nothing")).status_code == 404
