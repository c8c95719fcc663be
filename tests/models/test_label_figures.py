"""Labels told by similarity alone: cases, accuracy and what a student keeps of its teacher."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from models.labels import DEFAULT, Label, LabelSet
from models.training.label_figures import SETS, Case, figure, figures, hashed_words, main, nearest, retained, segments, turns

TURNS = (
    ("I want to play a song by this artist", "Music"), ("Which album?", "Music"), ("What is the weather forecast?", "Weather"), ("Windy.", "Weather"),
    ("Play music, any song", "Music"),
)  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two dialogues of each set, one of them not dev."""
    chat = [
        {"id": i, "split": s, "turns": [{"role": "user", "text": text} for text, _ in TURNS], "topic": [topic for _, topic in TURNS]}
        for i, s in (("a", "dev"), ("b", "train"), ("c", "test"))
    ]
    visits = [
        {"id": "d", "split": "dev", "section": "ALLERGY", "turns": [{"text": "Any drug allergies?"}, {"text": "Allergic to penicillin."}]},
        {"id": "e", "split": "dev", "section": "LABS", "turns": [{"text": "Do you smoke, drink or use drugs?"}]},
        {"id": "f", "split": "train", "section": "LABS", "turns": [{"text": "blood tests and urine tests"}]},
    ]
    for name, rows in (("chat/sgd_multi", chat), ("text/mts_dialog", visits)):
        path = tmp_path / f"{name}.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return tmp_path


def test_only_dev_is_read_and_segments_end_where_the_domain_changes(data: Path) -> None:
    assert turns(data, 10) == [Case((text,), topic) for text, topic in TURNS]
    assert [(len(c.texts), c.label) for c in segments(data, 10)] == [(2, "Music"), (2, "Weather"), (1, "Music")]


def test_bare_words_find_what_shares_words(data: Path) -> None:
    found = figures(data, hashed_words)
    assert set(found) == set(SETS)
    assert found["SGD segment"].accuracy == 1
    assert (found["SGD turn"].n, found["MTS-Dialog section"].n) == (5, 2)
    assert found["MTS-Dialog section"].accuracy == 0.5, "the second is called a laboratory result and speaks of smoking"


def test_each_set_chooses_among_its_own_labels() -> None:
    chosen = {name: {label.name for label in DEFAULT.labels[part]} for name, (_, part) in SETS.items()}
    assert len(chosen["SGD turn"]) == 16
    assert len(chosen["MTS-Dialog section"]) == 20
    assert {"Banks", "Weather"} <= chosen["SGD segment"]
    assert {"ALLERGY", "ROS"} <= chosen["MTS-Dialog section"]


def test_the_answer_does_not_depend_on_how_long_vectors_are_nor_on_the_order_of_cases(data: Path) -> None:
    cases, labels = turns(data, 10), LabelSet(DEFAULT.labels[:16])

    def longer(texts) -> np.ndarray:
        return hashed_words(texts) * (1 + np.arange(len(texts)) % 7)[:, None]

    plain = nearest(cases, labels, hashed_words)
    assert nearest(cases, labels, longer) == plain
    assert nearest(cases[::-1], labels, hashed_words) == plain[::-1]


def test_rare_labels_count_as_much_as_common_ones_when_balanced() -> None:
    cases = [Case(("x",), "common")] * 9 + [Case(("y",), "rare")]
    found = figure(cases, ["common"] * 10)
    assert (found.n, found.accuracy, found.balanced, found.most_common) == (10, 0.9, 0.5, 0.9)


def test_a_student_as_good_as_its_teacher_keeps_all(data: Path) -> None:
    teacher = figures(data, hashed_words)
    assert retained(teacher, teacher) == dict.fromkeys(SETS, 1.0)
    blind = figures(data, lambda texts: np.ones((len(texts), 4)))
    assert retained(blind, teacher)["SGD segment"] < 0.85


def test_the_command_prints_a_row_for_each_set(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(data)]) == 0, "words keep all of words"
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in SETS)


def test_an_example_finds_what_a_bare_name_misses() -> None:
    case = [Case(("nothing loads since noon",), "outage")]
    assert nearest(case, LabelSet((Label("billing", "since when"), Label("outage"))), hashed_words) == ["billing"]
    assert nearest(case, LabelSet((Label("billing", "since when"), Label("outage", "", ("nothing loads",)))), hashed_words) == ["outage"]
