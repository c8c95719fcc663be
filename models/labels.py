"""Labels: what a segment or a session can be called, in the user's words, and how likely each is.

A label is a name, perhaps a description and examples, and so a vector; a text is near to it or not. Where the label is one that the
checkpoint's head was trained on, the head is heard as well. Knows names, vectors and probabilities as numbers; leaves embedding to whoever
has the model, settings to config.py, and when to speak to walk.py.
Next: models/heads.py
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache

import numpy as np

from models.config import ModelConfigError, TopicSettings
from models.default_labels import DESCRIPTIONS

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts -> float32 (n, E), of any length."""
OTHER = "other"
NAME_WEIGHT, DESCRIPTION_WEIGHT, EXAMPLE_WEIGHT = 1.0, 2.0, 1.0
REST, REST_OTHER = -1, -2
"""Columns of a label that the head does not know by itself, and of `other`."""
LOWEST = -20.0
"""Log-probability of REST below which the head is not believed: it has not seen the labels of others."""
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class Label:
    """One thing that a text can be about."""

    name: str
    description: str = ""
    examples: tuple[str, ...] = ()

    def weighted_texts(self) -> tuple[tuple[str, float], ...]:
        """What is embedded, and how much it counts."""
        described = ((self.description, DESCRIPTION_WEIGHT),) if self.description.strip() else ()
        return ((words(self.name), NAME_WEIGHT), *described, *((text, EXAMPLE_WEIGHT) for text in self.examples))


@dataclass(frozen=True)
class LabelSet:
    """Labels in the order of the rows of everything made from them."""

    labels: tuple[Label, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    def texts(self) -> tuple[tuple[str, ...], ...]:
        """What is embedded for each label: its name as words, its description, its examples."""
        return tuple(tuple(text for text, _ in label.weighted_texts()) for label in self.labels)

    def suffix(self) -> str:
        """What a model's version ends with, so that answers of different label sets are told apart; nothing for the default set."""
        if self == DEFAULT:
            return ""
        told = json.dumps([asdict(label) for label in self.labels], sort_keys=True)
        return f"+topics-{hashlib.sha256(told.encode()).hexdigest()[:8]}"

    def columns(self, head_labels: Sequence[str]) -> np.ndarray:
        """int64 (L,): each label's column of the head, REST where it has none, REST_OTHER for `other`.

        A label is the head's when it means what the head learned: its name is the head's and its description not the user's. A `PLAN`
        described as prices and tariffs has nothing of a treatment plan but the name. `other` has no column either: it means what the set
        does not name, which for the whole default set is the head's `other`, and for fewer labels is more.
        """
        places = {label: n for n, label in enumerate(head_labels)} | {OTHER: REST_OTHER}
        return np.array(
            [
                places.get(one.name, REST) if one.name == OTHER or one.description == DESCRIPTIONS.get(one.name, "") else REST
                for one in self.labels
            ]
        )


DEFAULT = LabelSet(tuple(Label(name, description) for name, description in DESCRIPTIONS.items()))


def label_set(topics: TopicSettings, trained: Sequence[str] = ()) -> LabelSet:
    """The labels of the settings; without any, the `trained` ones of a checkpoint, by default DEFAULT's. check() in config.py has vetted them.

    A name of the default set that is not described means what it means there.
    """
    described = DESCRIPTIONS | topics.descriptions
    return LabelSet(
        tuple(
            Label(name, described.get(name, ""), tuple(topics.examples.get(name, ()))) for name in topics.labels or trained or DEFAULT.names
        )
    )


def words(name: str) -> str:
    """A name as it would be said: RentalCars -> rental cars, order_status -> order status, FAM/SOCHX -> fam sochx."""
    return " ".join(re.split(r"[\s_/]+", CAMEL.sub(" ", name))).strip().lower() or name


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32; a row of zeros stays."""
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)).astype(np.float32)


def label_vectors(labels: LabelSet, embed: Embed) -> np.ndarray:
    """float32 (L, E), unit: each label's texts, normalised, weighted, added and normalised again.

    Normalised first, so that a text's weight is what stands here and not how long its vector happens to be. The name counts half of the
    description: often it is one word or an abbreviation, and the vector of a word without a sentence says little of which of its senses is
    meant (400 MTS-Dialog train sections, MiniLM: names alone 17 % right, descriptions alone 40 %, both 41 %). Each example
    counts as the name does, so that three of them outweigh the description: they are what the texts to come look like.
    """
    weighted = [label.weighted_texts() for label in labels.labels]
    vectors = unit(embed([text for several in weighted for text, _ in several]))
    weights = np.array([weight for several in weighted for _, weight in several], np.float32)
    owner = np.repeat(np.arange(len(weighted)), [len(several) for several in weighted])
    total = np.zeros((len(weighted), vectors.shape[1]), np.float32)
    np.add.at(total, owner, weights[:, None] * vectors)
    return unit(total)


@dataclass(frozen=True)
class LabelScoring:
    """How similarity becomes probability and how the head is weighed; fitted on dev data, stored with the calibration."""

    scale: float = 20.0
    """Times cosine similarity: the logit of a label by similarity."""
    other_at: float = 0.35
    """Cosine similarity that `other` has at least: a label less similar than this is less likely than `other`."""
    mix: float = 1.0
    """The head's share where head and similarity judge the same question, 0 to 1."""
    temperature: float = 1.0
    """Divides what both say together: two that agree are surer than either."""

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_json(cls, table: Mapping[str, float]) -> "LabelScoring":
        """Raises ModelConfigError for a table that is not one of to_json."""
        wanted = {f.name for f in fields(cls)}
        if set(table) != wanted:
            raise ModelConfigError(f"label scoring has {sorted(table)}; wanted {sorted(wanted)}: take a checkpoint of this version")
        return cls(**{name: float(table[name]) for name in wanted})


def similarities(vectors: np.ndarray, label_vectors: np.ndarray) -> np.ndarray:
    """float64 (n, L), cosines of unit rows (n, E) and (L, E). Row by row: the same bits whatever is beside a row."""
    rows = [label_vectors @ v for v in np.ascontiguousarray(vectors)]
    return np.array(rows, np.float64).reshape(len(vectors), len(label_vectors))


@dataclass(frozen=True, slots=True)
class Labels:
    """A label set with its vectors: what topics are called, and how a text is likened to that."""

    names: tuple[str, ...]
    vectors: np.ndarray
    """float32 (labels, W), unit."""
    columns: np.ndarray
    """int64 (labels,)."""

    def probabilities(self, meaning: np.ndarray, head_logits: np.ndarray, scoring: LabelScoring) -> list[float]:
        """meaning: (W,) unit; head_logits: (classes,). Returns one calibrated probability per label."""
        near = similarities(meaning[None], self.vectors)
        p: list[float] = np.exp(scores(near, head_logits[None].astype(np.float64), self.columns, scoring))[0].tolist()
        return p


def scores(near: np.ndarray, head_logits: np.ndarray | None, columns: np.ndarray, scoring: LabelScoring) -> np.ndarray:
    """Log-probabilities of the labels, float64 (n, L).

    near: (n, L), of similarities(); head_logits: (n, H), or None where there is no head;
    columns: (L,), of LabelSet.columns().

    The head's softmax is over the labels it was trained on: its logit of Hotels and a similarity to `billing` are of no common scale.
    What it can say of any set is how likely each class is that it tells apart: each label of its own, and REST, all that the set does not
    name, whose probability is what is left. Similarity has an opinion of the same classes: the sums over their labels. Both are pooled by
    class, in log-probabilities, weights `mix` and 1 - `mix` (a product of experts). Within REST the head is silent, and its labels share the
    probability as similarity says. So three cases need no rule of their own: for the default set it is the head's softmax (mix 1) or the
    pool; for labels that are all the user's it is similarity alone, and mix and temperature change nothing; in a set of both, how many
    unknown labels there are takes nothing from the known ones.

    `other` cannot be described, for it is what nobody thought of: by similarity it has `other_at` wherever its words are farther away. With
    its words alone, MiniLM names 40 % of 180 SGD and TIAGE dev segments rightly among five domains and `other`, with 0.35 it is 80 %.
    """
    rest = columns < 0
    own = _log_softmax(scoring.scale * np.where(columns == REST_OTHER, np.maximum(near, scoring.other_at), near))
    if head_logits is None or rest.all():
        return own
    told = _log_softmax(np.asarray(head_logits, np.float64))
    heard, within, by_class = told[:, columns], np.zeros_like(own), own.copy()
    if rest.any():
        heard[:, rest] = np.maximum(_log_sum(told[:, _unnamed(columns.tobytes(), told.shape[1])]), LOWEST)
        by_class[:, rest] = _log_sum(own[:, rest])
        within = own - by_class
    return _log_softmax((scoring.mix * heard + (1 - scoring.mix) * by_class) / scoring.temperature + within)


@lru_cache(maxsize=8)
def _unnamed(columns: bytes, n_classes: int) -> np.ndarray:
    """The head's classes that are no label of the set."""
    return np.setdiff1d(np.arange(n_classes), np.frombuffer(columns, np.int64))


def _log_sum(x: np.ndarray) -> np.ndarray:
    """log of the sum of exp over the last axis, kept; -inf of nothing."""
    if not x.shape[-1]:
        return np.full((*x.shape[:-1], 1), -np.inf)
    x = np.ascontiguousarray(x)  # chosen columns lie the other way round, and a sum along them is in another order when there is one row
    top = x.max(axis=-1, keepdims=True)
    return top + np.log(np.exp(x - top).sum(axis=-1, keepdims=True))


def _log_softmax(x: np.ndarray) -> np.ndarray:
    return x - _log_sum(x)
