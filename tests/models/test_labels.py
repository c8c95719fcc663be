"""Labels of one's own: what is embedded, how near becomes probable, and when the head is heard."""

import json
import re

import numpy as np
import pytest

from models.config import ModelConfigError, TopicSettings
from models.heads import LABELS
from models.labels import (
    DEFAULT,
    REST,
    REST_OTHER,
    Label,
    LabelScoring,
    LabelSet,
    label_set,
    label_vectors,
    scores,
    similarities,
    unit,
    words,
)
from models.training.label_figures import hashed_words
from models.training.label_scoring import fit

RNG = np.random.default_rng(3)
POOLED = LabelScoring(scale=15.0, other_at=0.3, mix=0.6, temperature=0.8)


def named(*names: str) -> LabelSet:
    return label_set(TopicSettings(labels=names))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# what is embedded


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("RentalCars", "rental cars"), ("order_status", "order status"), ("FAM/SOCHX", "fam sochx"), ("HTTPError", "http error"),
        ("billing & payments", "billing & payments"), ("GPT4", "gpt4"), ("Straße", "straße"), ("请求", "请求"), ("__", "__"),
    ],
)  # fmt: skip
def test_a_name_is_read_as_words(name: str, said: str) -> None:
    assert words(name) == said


def test_default_labels_are_the_heads_in_its_order_and_all_described() -> None:
    assert DEFAULT.names == LABELS
    assert all(len(label.description.split()) >= 5 for label in DEFAULT.labels)
    assert label_set(TopicSettings()) == DEFAULT


def test_a_label_is_embedded_by_name_description_and_examples() -> None:
    topics = TopicSettings(("OrderStatus", "other"), {"OrderStatus": "where is my parcel"}, {"OrderStatus": ("track it", "late again")})
    assert label_set(topics).texts()[0] == ("order status", "where is my parcel", "track it", "late again")


def test_a_default_name_keeps_its_description_until_it_is_described() -> None:
    assert named("Weather", "billing").labels[0] == next(label for label in DEFAULT.labels if label.name == "Weather")
    assert label_set(TopicSettings(("Weather", "billing"), {"Weather": "storms"})).labels[0].description == "storms"


def test_a_label_without_texts_beside_its_name_is_embedded_as_its_name() -> None:
    assert np.allclose(label_vectors(named("late parcel", "refund"), hashed_words), unit(hashed_words(["late parcel", "refund"])))


def test_texts_count_by_their_weight_and_not_by_their_length() -> None:
    vectors = {"a": (1.0, 0.0, 0.0), "d": (0.0, 100.0, 0.0), "x": (0.0, 0.0, 0.01)}

    def embed(texts) -> np.ndarray:
        return np.array([vectors[t] for t in texts])

    made = label_vectors(LabelSet((Label("a"), Label("a", "d"), Label("a", "d", ("x", "x")))), embed)
    assert np.allclose(made, unit(np.array([(1, 0, 0), (1, 2, 0), (1, 2, 2)])))


# the version


def test_only_another_label_set_changes_the_version() -> None:
    assert DEFAULT.suffix() == "" == label_set(TopicSettings(labels=LABELS)).suffix()
    own = label_set(TopicSettings(("billing", "outage"), {"billing": "invoices"}))
    others = [
        named("billing", "outage"), named("outage", "billing"), label_set(TopicSettings(("billing", "outage"), {"billing": "payments"})),
        label_set(TopicSettings(("billing", "outage"), {}, {"billing": ("invoices",)})), label_set(TopicSettings((), {"Weather": "storms"})),
    ]  # fmt: skip
    assert re.fullmatch(r"\+topics-[0-9a-f]{8}", own.suffix())
    assert own.suffix() == label_set(TopicSettings(("billing", "outage"), {"billing": "invoices"})).suffix()
    assert len({own.suffix(), *(o.suffix() for o in others)}) == 6


def test_the_suffix_of_a_set_never_changes() -> None:
    """Stored predictions are grouped by it."""
    assert (
        label_set(TopicSettings(("billing", "outage"), {"billing": "invoices"}, {"outage": ("it is down",)})).suffix() == "+topics-7ba4c681"
    )


# which labels are the head's


def test_a_label_is_the_heads_only_if_it_means_what_the_head_learned() -> None:
    topics = TopicSettings(
        ("Weather", "PLAN", "billing", "Hotels", "other"), {"PLAN": "prices and tariffs"}, {"Hotels": ("a room please",)}
    )
    found = label_set(topics).columns(LABELS).tolist()
    assert found == [LABELS.index("Weather"), REST, REST, LABELS.index("Hotels"), REST_OTHER]


def test_other_means_what_the_set_does_not_name_however_described() -> None:
    assert label_set(TopicSettings(("Weather", "other"), {"other": "chit-chat"})).columns(LABELS).tolist()[1] == REST_OTHER


# probabilities


def rows(n: int, labels: LabelSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Similarities, head logits and columns."""
    near = RNG.uniform(-0.1, 0.7, (n, len(labels.labels)))
    return near, RNG.normal(0, 3, (n, len(LABELS))), labels.columns(LABELS)


@pytest.mark.parametrize("scoring", [LabelScoring(), POOLED])
@pytest.mark.parametrize(
    "labels", [DEFAULT, named("Weather", "Banks"), named("a", "b", "other"), named("Weather", "a", "other"), named("Banks", "b", "c")]
)
def test_scores_are_log_probabilities(labels: LabelSet, scoring: LabelScoring) -> None:
    near, head, columns = rows(20, labels)
    assert np.allclose(np.exp(scores(near, head, columns, scoring)).sum(axis=1), 1)
    assert np.allclose(np.exp(scores(near, None, columns, scoring)).sum(axis=1), 1)


def test_the_default_set_is_the_heads_softmax_when_similarity_has_no_share() -> None:
    near, head, columns = rows(20, DEFAULT)
    assert np.allclose(np.exp(scores(near, head, columns, LabelScoring())), softmax(head), atol=1e-9)


def test_head_labels_alone_are_the_heads_softmax_over_them() -> None:
    labels = named("Weather", "Banks", "Hotels")
    near, head, columns = rows(20, labels)
    assert np.allclose(np.exp(scores(near, head, columns, LabelScoring())), softmax(head[:, columns]))


def test_labels_of_ones_own_are_told_by_similarity_whatever_the_head_says() -> None:
    labels = named("billing", "outage", "praise")
    near, head, columns = rows(20, labels)
    for scoring in (LabelScoring(), POOLED):
        assert np.allclose(np.exp(scores(near, head, columns, scoring)), softmax(scoring.scale * near))


def test_unknown_labels_share_what_the_head_leaves_and_similarity_divides_it() -> None:
    labels = named("Weather", "billing", "outage")
    near, head, columns = rows(20, labels)
    p = np.exp(scores(near, head, columns, LabelScoring()))
    assert np.allclose(p[:, 0], softmax(head)[:, LABELS.index("Weather")])
    assert np.allclose(p[:, 1] / p[:, 2], np.exp(20 * (near[:, 1] - near[:, 2])))


@pytest.mark.parametrize("scoring", [LabelScoring(), POOLED])
def test_an_unlikely_label_more_takes_next_to_nothing(scoring: LabelScoring) -> None:
    few, many = named("Weather", "billing", "other"), named("Weather", "billing", "other", "yoga", "tides")
    near, head, columns = rows(20, few)
    far = np.concatenate((near, np.full((20, 2), -0.8)), axis=1)
    assert np.allclose(
        np.exp(scores(near, head, columns, scoring)), np.exp(scores(far, head, many.columns(LABELS), scoring))[:, :3], atol=1e-5
    )


@pytest.mark.parametrize("scoring", [LabelScoring(), POOLED])
@pytest.mark.parametrize("names", [("billing", "outage", "other"), ("Weather", "billing", "other"), ("Weather", "Banks", "other")])
def test_more_similar_is_more_probable(names: tuple[str, ...], scoring: LabelScoring) -> None:
    labels = named(*names)
    near, head, columns = rows(50, labels)
    nearer = near + np.array([0, 0.1, 0])
    before, after = (scores(x, head, columns, scoring)[:, 1] for x in (near, nearer))
    assert (after >= before - 1e-12).all()
    if scoring.mix < 1 or names[1] == "billing":
        assert (after > before).all()


def test_other_is_named_when_no_label_is_similar_enough() -> None:
    labels = named("billing", "outage", "other")
    near = np.array([(0.6, 0.2, 0.1), (0.2, 0.1, 0.1), (0.2, 0.1, 0.34), (0.5, 0.1, 0.7)])
    found = scores(near, None, labels.columns(LABELS), LabelScoring(other_at=0.35)).argmax(axis=1)
    assert [labels.names[n] for n in found] == ["billing", "other", "other", "other"]


def test_a_head_that_rules_out_all_else_leaves_unknown_labels_finite() -> None:
    labels = named("Weather", "billing")
    head = np.full((1, len(LABELS)), -1000.0)
    head[0, LABELS.index("Weather")] = 1000
    assert np.isfinite(scores(np.zeros((1, 2)), head, labels.columns(LABELS), POOLED)).all()
    only = np.array([0, REST])  # a head of one label has nothing left over
    assert np.isfinite(scores(np.zeros((1, 2)), np.zeros((1, 1)), only, POOLED)).all()


def test_a_row_gets_the_same_bits_in_any_batch() -> None:
    vectors, of_labels, head = unit(RNG.normal(size=(61, 384))), unit(RNG.normal(size=(37, 384))), RNG.normal(size=(61, len(LABELS)))
    for labels in (DEFAULT, named("Weather", "a", "b", "other"), named(*"abcdefghijklm")):
        own, columns = of_labels[: len(labels.labels)], labels.columns(LABELS)
        together = scores(similarities(vectors, own), head, columns, POOLED)
        for n in range(61):
            alone = scores(similarities(vectors[n : n + 1].copy(), own), head[n : n + 1].copy(), columns, POOLED)
            assert alone.tobytes() == together[n : n + 1].tobytes()
    assert similarities(vectors[:0], of_labels).shape == (0, 37)


# the numbers


def test_scoring_survives_json_and_a_foreign_table_is_refused() -> None:
    assert LabelScoring.from_json(json.loads(json.dumps(POOLED.to_json()))) == POOLED
    with pytest.raises(ModelConfigError, match="take a checkpoint of this version"):
        LabelScoring.from_json({"scale": 1.0})


def test_fitting_trusts_who_is_right() -> None:
    n, n_labels = 400, len(LABELS)
    truths = RNG.integers(0, n_labels, n)
    right = np.eye(n_labels)[truths]
    near, head = 0.1 * RNG.normal(size=(n, n_labels)), RNG.normal(size=(n, n_labels))
    columns = DEFAULT.columns(LABELS)
    by_similarity = fit(near + 0.5 * right, head, truths, columns)
    by_head = fit(near, head + 6 * right, truths, columns)
    assert by_similarity.mix < 0.1 < 0.9 < by_head.mix
    assert fit(near + 0.5 * right, head, truths, columns) == by_similarity, "same cases, same numbers"


def test_fitting_puts_other_between_what_is_near_and_what_is_not() -> None:
    truths = RNG.integers(0, len(LABELS), 600)
    near = 0.1 + 0.02 * RNG.normal(size=(600, len(LABELS))) + 0.5 * np.eye(len(LABELS))[truths]
    near[:, -1] = 0.1  # the words of `other` are near to nothing
    assert 0.15 < fit(near, np.zeros((600, len(LABELS))), truths, DEFAULT.columns(LABELS)).other_at < 0.55
