"""Baselines: n-grams are a distribution, rules hear the past alone, and a number is chosen where it is said to be."""

import gzip
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from models.training import label_figures, ngrams, text_figures, topic_rules
from models.training.baselines import KeptVectors, main, rule_ends, sentence_ends
from models.training.calibrate import segmentation
from models.training.inputs import FILES
from models.training.label_figures import hashed_words
from models.training.played import Played, held_out_texts
from models.training.topic_rules import (
    Talk,
    TopicSet,
    below,
    by_embedding,
    by_likeness,
    every,
    likeness,
    starts_to_ends,
    unlearned,
    word_counts,
)

VOCAB = 23
STREAM = np.random.default_rng(3).zipf(1.5, 4000).clip(1, VOCAB - 3).astype(np.uint16)
"""The last two ids never occur."""
FORKS = (
    "my card was stolen",
    "block my card please",
    "the card is blocked",
    "a table for two",
    "a table near the window",
    "a window table for two",
)
TALKS = tuple(Talk(FORKS, (n % 2 == 0, n % 2 == 1) * 3, (0, 0, 1, 0, 0, 0)) for n in range(6))
"""The user begins every other one."""


@pytest.fixture(scope="module")
def model() -> ngrams.Ngrams:
    return ngrams.fit(STREAM, VOCAB, 4)


CONTEXTS = ([], [1], [VOCAB - 1], [1, 1], [2, 1, 3], [VOCAB - 1, 1, 1], [1, VOCAB - 2, 1], STREAM[7:10].tolist(), STREAM[50:60].tolist())


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
def test_probabilities_after_any_context_sum_to_one(model: ngrams.Ngrams, context: list[int]) -> None:
    p = [model.probabilities(np.array([*context, w]))[-1] for w in range(VOCAB)]
    assert math.isclose(sum(p), 1, rel_tol=1e-12)
    assert min(p) > 0, "an id that never occurred can be coded, too"


def test_probabilities_equal_those_counted_one_by_one(model: ngrams.Ngrams) -> None:
    told = np.random.default_rng(5).integers(0, VOCAB, 60)
    text = np.r_[STREAM[:100], told]
    slow = SlowNgrams(STREAM.tolist(), 4)
    assert np.allclose(
        model.probabilities(text), [slow.probability(text[max(0, n - 3) : n].tolist(), w) for n, w in enumerate(text.tolist())], atol=1e-14
    )


class SlowNgrams:
    """The same from the textbook: dictionaries and recursion."""

    def __init__(self, ids: list[int], order: int):
        table = Counter(tuple(ids[n : n + order]) for n in range(len(ids) - order + 1))
        self.tables = {order: table}
        for n in range(order - 1, 0, -1):
            table = Counter(gram[1:] for gram in table)
            self.tables[n] = table
        self.after: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
        for n, table in self.tables.items():
            for gram, count in table.items():
                self.after[n, *gram[:-1]].append((gram[-1], count))
        self.taken = {n: ngrams.discounts(np.array(list(table.values()))) for n, table in self.tables.items()}

    def probability(self, context: list[int], word: int) -> float:
        n = len(context) + 1
        below = self.probability(context[1:], word) if context else 1 / VOCAB
        seen = self.after.get((n, *context))
        if not seen:
            return below
        total = sum(count for _, count in seen)
        own = sum(count - self.taken[n][min(count, 3)] for w, count in seen if w == word)
        return (own + sum(self.taken[n][min(count, 3)] for _, count in seen) * below) / total


def test_longer_contexts_help_where_the_text_depends_on_them() -> None:
    chance = np.random.default_rng(1)
    stream = np.concatenate([[a, b, 10 + (a * 3 + b) % 7] for a, b in chance.integers(0, 10, (3000, 2))])
    bits = [ngrams.fit(stream[:8000], VOCAB, order).code_length_bits(stream[8000:]) for order in (1, 2, 3)]
    assert bits[0] > bits[1] > 1.2 * bits[2]


def test_bits_are_those_of_a_uniform_code_where_nothing_is_known() -> None:
    model = ngrams.fit(np.arange(8), 8, 1)
    assert math.isclose(model.code_length_bits(np.array([3, 5])), 6)


def test_ids_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="take an order of 3"):
        ngrams.fit(STREAM, 2**20, 4)
    with pytest.raises(ValueError, match="each below 3"):
        ngrams.fit(STREAM, 3, 2)


@pytest.mark.parametrize("vectors", [word_counts, hashed_words])
def test_a_prefix_gets_the_prefix_of_the_answers(vectors) -> None:
    whole = likeness(vectors(FORKS))
    for size in range(1, len(FORKS)):
        assert np.allclose(likeness(vectors(FORKS[:size]))[1:], whole[1:size], rtol=1e-6)
        assert below(likeness(vectors(FORKS[:size])), 0.3)[:-1] == below(whole, 0.3)[: size - 1]
        assert every(size, 2)[:-1] == every(len(FORKS), 2)[: size - 1]


def test_a_start_is_the_end_of_the_item_before_and_the_first_starts_nothing() -> None:
    assert starts_to_ends([True, False, True, True]) == [0, 1, 1, 0]
    assert every(7, 3) == [0, 0, 1, 0, 0, 1, 0]
    assert below(likeness(word_counts(FORKS)), 0.1) == [0, 0, 1, 0, 0, 0]


def test_likeness_sees_three_items_back_and_knows_nothing_of_the_first() -> None:
    like = likeness(word_counts(("apple", "pear", "plum", "apple", "apple pear", "fig", "plum")))
    assert like[0] == np.inf
    assert math.isclose(like[3], 1 / math.sqrt(3)), "one of the three words before"
    assert like[2] == like[5] == like[6] == 0, "plum is four items back"
    assert likeness(word_counts(("", "?!", "word")))[1:].tolist() == [0, 0], "no words are like nothing"


def test_numbers_are_chosen_on_train_and_on_the_other_sets() -> None:
    inverted = tuple(Talk(t.items, t.by_user, (1, 1, 0, 1, 1, 0)) for t in TALKS)
    plain, odd, third = TopicSet("plain", TALKS, TALKS), TopicSet("odd", inverted, TALKS), TopicSet("third", TALKS, TALKS)
    found = by_likeness((plain, odd, third), "words", word_counts)
    own, others, own_at_users, others_at_users = found["odd"]
    assert (own.rule, others.rule) == ("words, own train", "words, other sets")
    assert others.score["score"] == found["plain"][0].score["score"] == 1, "told apart at the change of subject"
    assert own.score["score"] < 1, "its train part asks for boundaries everywhere, and dev is not looked at"
    assert own_at_users.rule == "words at user turns, own train"
    assert 0 < others_at_users.score["f1"] < 1, "the agent changes the subject in half of the talks"
    assert [f.score for f in by_embedding((plain, odd, third), "words", hashed_words)["odd"]] == [f.score for f in found["odd"]]


def test_rules_without_words_are_scored_as_the_model_is() -> None:
    never, user, step = unlearned(TopicSet("plain", TALKS, TALKS))
    assert never.score == segmentation((t.ends, [0] * 6) for t in TALKS)
    assert user.score == segmentation((t.ends, [0, 1, 0, 1, 0, 0] if t.by_user[0] else [1, 0, 1, 0, 1, 0]) for t in TALKS)
    assert (step.chosen, step.score["score"]) == ("k = 3", 1)


def test_train_talks_are_spread_over_the_whole_set_and_none_is_taken_twice() -> None:
    many = [Talk((str(n),), (), (0,)) for n in range(1000)]
    chosen = topic_rules.spread(many)
    assert len(set(chosen)) == topic_rules.MOST_TRAIN
    assert (chosen[0], chosen[-1]) == (many[0], many[-1])
    assert topic_rules.spread(many[:7]) == tuple(many[:7])


def test_sentences_end_at_a_mark_a_blank_line_and_the_end() -> None:
    text = 'He paid 3.50 for it. "Why?" she said\n\nA heading\n\nv1.2 (all of it.) and no more \n'
    assert sorted(text[:end].split()[-1] for end in rule_ends(text)) == sorted(["it.", '"Why?"', "said", "heading", "it.)", "more"])


def test_vectors_are_embedded_once_and_kept(tmp_path: Path) -> None:
    asked: list[str] = []

    def embed(texts):
        asked.extend(texts)
        return hashed_words(texts)

    def loaded():
        return KeptVectors(tmp_path / "made" / "v.npz", lambda: embed, lambda line: None)

    first, wanted = loaded(), ["b a", "c", "b a"]
    assert np.array_equal(first(wanted), hashed_words(wanted))
    assert np.array_equal(loaded()(["c", "d"]), hashed_words(["c", "d"]))
    assert asked == ["b a", "c", "d"]


def jsonl(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """As little data of the right layout as every part can read.."""
    folder = tmp_path / "data"
    for file in FILES:
        turns = [{"role": ("user", "agent")[n % 2], "speaker": "", "text": text} for n, text in enumerate(FORKS)]
        common = {"topic": ["Banks"] * 3 + ["Restaurants"] * 3, "section": "ALLERGY", "seg_end": TALKS[0].ends, "note": "", "title": ""}
        rows = [
            {"id": f"{split} {n}", "split": split, "paragraphs": FORKS * 9, "sentences": FORKS, "turns": turns} | common
            for split in ("train", "dev")
            for n in range(3)
        ]
        jsonl(folder / file, rows)
    (folder / "plain/wikitext2_valid.txt.gz").write_bytes(gzip.compress(("\n".join(FORKS) * 9).encode()))
    jsonl(
        folder / "sentences/ewt.jsonl.gz",
        [{"text": text, "sent_end": [4, 8], "split": s} for text, s in (("One. Two", "dev"), ("No. No", "test"))],
    )
    for name in ("en_pud", "pl_pud"):
        jsonl(folder / f"sentences/{name}.jsonl", [{"text": "Mr. X", "sent_end": [5]}])
    return folder


def test_sentence_ends_are_counted_on_dev(data: Path) -> None:
    assert [r[2:] for r in sentence_ends(data).rows] == [
        ("1.000", "1.000", "1.000"),
        ("0.500", "1.000", "0.667"),
        ("0.500", "1.000", "0.667"),
    ]


def test_one_command_measures_every_part(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(label_figures.EMBEDDINGS, "teacher", lambda: hashed_words)
    assert main(["--data", str(data), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out.md")]) == 0
    printed, told = capsys.readouterr()
    assert (tmp_path / "out.md").read_text().strip() == printed.strip()
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in printed.splitlines() if line.startswith("| ")]
    topics = {row[0]: dict(zip(rows[0], row)) for row in rows if row[0] in ("rule", "every k-th item", "cosine of teacher, other sets")}
    assert topics["cosine of teacher, other sets"]["tiage (3 dev)"] == "0.000 / 0.000 / 1.000 / **1.000**, 0.02"
    assert topics["every k-th item"]["wiki300 (3 dev)"] == "0.000 (0.0) / 0.000 / 1.000 / **1.000**, k = 3"
    assert topics["cosine of teacher, other sets"]["wiki300 (3 dev)"] == "", "too long for an encoder"
    assert ("SGD turn", "18", "most common label", "0.500", "") in rows
    bits = {row[0].split()[0]: float(row[2]) for row in rows if row[0].startswith(("gzip", "xz")) or "-grams" in row[0]}
    assert set(bits) == {"gzip", "xz", "2-grams", "3-grams", "5-grams"}
    assert bits["5-grams"] < 1, "the dev texts are the train texts"
    assert "language: " in told
    assert "language: " not in printed


def test_the_held_out_text_is_that_of_the_model_card(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[Played] = []
    monkeypatch.setattr(text_figures, "play", lambda model, documents, tell: played.extend(documents))
    found = text_figures.language_figures(None, data, 500)  # type: ignore[arg-type]
    texts = held_out_texts(data, 500)
    assert ["".join(d.items) for d in played] == texts
    assert found == {"bytes": len("".join(texts)), "model": 0, **text_figures.compressor_figures("".join(texts).encode())}


def test_nobody_is_judged_by_what_it_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [Played(source, []) for source in "abbacab"]
    monkeypatch.setattr(text_figures, "fit", lambda chosen, labels: chosen)
    judged = text_figures.cross_fitted(documents, (), {"c"})
    assert [d for d, _ in judged] == documents
    for n, (one, chosen) in enumerate(judged):
        assert not any(d is one for d in chosen)  # type: ignore[attr-defined]
        assert [id(d) for d in chosen] == [id(d) for d in documents[1 - n % 2 :: 2] if d.source != "c"]  # type: ignore[attr-defined]
