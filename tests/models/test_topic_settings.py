"""`[topics]`: from strata.toml or the environment to the text model's settings; a wrong one is named with what to do."""

import json
from pathlib import Path

import pytest

from models.checkpoint import SHIPPED
from models.config import ModelConfig, ModelConfigError, TextSettings, TopicSettings, check
from models.heads import LABELS
from models.labels import label_set
from models.transformer import StreamingHierarchicalTransformer
from schemas.errors import SettingError
from schemas.settings import load
from streams.__main__ import text_settings
from streams.config import StreamConfig
from tests.models.small_text_model import small_checkpoint
from tests.reference import EXAMPLES

FILE = """
[topics]
labels = ["billing", "outage", "smalltalk"]

[topics.descriptions]
billing = "invoices, payments, refunds"

[topics.examples]
outage = ["the site is down", "nothing loads since noon"]
smalltalk = "hi, how are you"
"""
READ = TopicSettings(
    ("billing", "outage", "smalltalk"),
    {"billing": "invoices, payments, refunds"},
    {"outage": ("the site is down", "nothing loads since noon"), "smalltalk": ("hi, how are you",)},
)
CONFIG = ModelConfig(labels=LABELS)


def settings(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> TextSettings:
    (tmp_path / "strata.toml").write_text(text)
    return text_settings(load(StreamConfig, environ or {}, tmp_path / "strata.toml"))


def test_labels_reach_the_text_model_from_the_file(tmp_path: Path) -> None:
    read = settings(tmp_path, FILE)
    assert read.topics == READ
    check(read, CONFIG)
    assert [label.description for label in label_set(read.topics).labels] == ["invoices, payments, refunds", "", ""]


def test_labels_reach_the_text_model_from_the_environment(tmp_path: Path) -> None:
    environ = {
        "STRATA_TOPICS_LABELS": "billing, outage,smalltalk",
        "STRATA_TOPICS_DESCRIPTIONS": json.dumps(READ.descriptions),
        "STRATA_TOPICS_EXAMPLES": json.dumps(READ.examples),
    }
    assert settings(tmp_path, "", environ).topics == READ
    assert settings(tmp_path, '[topics]\nlabels = ["a", "b"]\n[topics.examples]\na = ["x"]', environ).topics == READ, "the environment wins"


def test_without_labels_those_of_the_checkpoint_stand(tmp_path: Path) -> None:
    read = settings(tmp_path, '[topics.descriptions]\nWeather = "storms"')
    check(read, CONFIG)
    assert settings(tmp_path, "").topics == TopicSettings() == TextSettings().topics
    assert label_set(read.topics, LABELS).names == LABELS


@pytest.mark.parametrize(
    ("topics", "says"),
    [
        (TopicSettings(("a", "b", "a")), "'a' twice; wanted each once"),
        (TopicSettings(("a", " ")), "empty one at place 2"),
        (TopicSettings(("a", "")), "empty one at place 2"),
        (TopicSettings(("a",)), "labels has 1; wanted 2 to 256.*add `other`"),
        (TopicSettings(tuple(f"l{n}" for n in range(257))), "labels has 257; wanted 2 to 256"),
        (TopicSettings(("a", "b"), {"c": "x"}), r"\[topics.descriptions\] speaks of 'c', which is not among the labels \(a, b\): add it"),
        (TopicSettings(("a", "b"), {}, {"c": ("x",)}), r"\[topics.examples\] speaks of 'c'"),
        (TopicSettings((), {"c": "x"}), "Banks, Buses,.* and 29 more"),
        (TopicSettings(("a", "b" * 2001)), "labels of 'b+' has a text of 2001 characters; wanted at most 2000: shorten it"),
        (TopicSettings(("a", "b"), {"a": "x" * 2001}), "descriptions of 'a' has a text of 2001"),
        (TopicSettings(("a", "b"), {}, {"a": ("x", "x" * 2001)}), "examples of 'a' has a text of 2001"),
        (TopicSettings(("a", "b"), {}, {"a": ("x", " ")}), "examples.* of 'a' has an empty text"),
    ],
)
def test_labels_that_cannot_work_are_named(topics: TopicSettings, says: str) -> None:
    with pytest.raises(ModelConfigError, match=says):
        check(TextSettings(topics=topics), CONFIG)


def test_an_empty_label_in_the_file_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(ModelConfigError, match="empty one at place 2"):
        check(settings(tmp_path, '[topics]\nlabels = ["a", "", "b"]'), CONFIG)


def test_the_largest_set_and_the_longest_text_are_taken() -> None:
    labels = (*(f"l{n}" for n in range(255)), "x" * 2000)
    check(TextSettings(topics=TopicSettings(labels, {"l0": "x" * 2000}, {"l1": ("x" * 2000,)})), CONFIG)


def test_a_worker_refuses_them_at_its_start() -> None:
    with pytest.raises(ModelConfigError, match="'a' twice"):
        StreamingHierarchicalTransformer(small_checkpoint(), TextSettings(topics=TopicSettings(("a", "a"))))


@pytest.mark.parametrize(
    ("text", "environ", "says"),
    [
        ('topics = ["a", "b"]', {}, r"setting topics \(settings file\): got \['a', 'b'\], wanted a section: write \[topics\]"),
        ("[topics]\nlabels = 3", {}, r"\[topics\] labels .*got 3, wanted a list"),
        ('[topics.labels]\na = "x"', {}, r"\[topics\] labels .*wanted a list"),
        ('[topics]\ndescriptions = "x"', {}, r"\[topics\] descriptions .*wanted a table"),
        ('[topics.descriptions]\na = ["x"]', {}, r"descriptions\.a .*wanted a text"),
        ('[topics.examples.a]\nb = "x"', {}, r"examples\.a .*wanted a list"),
        ("", {"STRATA_TOPICS_DESCRIPTIONS": "billing: invoices"}, r"STRATA_TOPICS_DESCRIPTIONS \(environment\).*a JSON object"),
        ("", {"STRATA_TOPICS_EXAMPLES": "[1]"}, r"STRATA_TOPICS_EXAMPLES \(environment\).*a JSON object"),
    ],
)
def test_a_wrong_kind_of_value_is_named(tmp_path: Path, text: str, environ: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        settings(tmp_path, text, environ)


def test_the_example_of_the_settings_page_works(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/settings.md").read_text()
    example = page.split("```toml\n")[1].split("```")[0]
    assert example in EXAMPLES["topics"]
    read = settings(tmp_path, example)
    check(read, CONFIG)
    assert read.topics.labels
    assert read.topics.descriptions
    assert read.topics.examples


def test_the_shipped_checkpoint_has_the_default_labels() -> None:
    assert label_set(TopicSettings(), json.loads((SHIPPED / "config.json").read_text())["labels"]).suffix() == ""
