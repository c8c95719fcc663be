"""Heads: topic labels, surprise and calibrated confidence, read from the levels.

Knows label sets, temperatures and thresholds as numbers; leaves what is said by them to answers.py.
Next: models/answers.py
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.labels import OTHER, LabelScoring
from models.session_ngrams import TRUNK_ALONE, Weights, checked

SGD_DOMAINS = (
    "Banks", "Buses", "Calendar", "Events", "Flights", "Homes", "Hotels", "Media", "Movies", "Music", "RentalCars", "Restaurants",
    "RideSharing", "Services", "Travel", "Weather",
)  # fmt: skip
MTS_SECTIONS = (
    "ALLERGY", "ASSESSMENT", "CC", "DIAGNOSIS", "DISPOSITION", "EDCOURSE", "EXAM", "FAM/SOCHX", "GENHX", "GYNHX", "IMAGING",
    "IMMUNIZATIONS", "LABS", "MEDICATIONS", "OTHER_HISTORY", "PASTMEDICALHX", "PASTSURGICAL", "PLAN", "PROCEDURES", "ROS",
)  # fmt: skip
LABELS = (*SGD_DOMAINS, *MTS_SECTIONS, OTHER)
"""Domains of the Schema-Guided Dialogue train split, note sections of MTS-Dialog, and talk that is neither."""


@dataclass(frozen=True)
class Calibration:
    """Fitted on dev data, stored with the weights. A temperature divides logits; a threshold is on the calibrated probability."""

    topic_scoring: LabelScoring = field(default_factory=LabelScoring)
    """How head and similarity are pooled for the topic being read; the temperature is that of chat."""
    text_topic_temperature: float = 0.0
    """The same of running text; 0 takes chat's."""
    document_scoring: LabelScoring = field(default_factory=LabelScoring)
    shift_temperature: float = 1.0
    shift_bias: float = 0.0
    """Added to the shift logit after the division (Platt scaling)."""
    text_shift_temperature: float = 1.0
    text_shift_bias: float = 0.0
    chat_threshold: float = 0.5
    text_threshold: float = 0.5
    ngram_weights: Weights = TRUNK_ALONE
    """How the session's own n-grams are mixed into what the trunk says of the next token (session_ngrams.py)."""

    def topics(self, is_chat: bool) -> LabelScoring:
        """How the topic being read is scored."""
        if is_chat or not self.text_topic_temperature:
            return self.topic_scoring
        return replace(self.topic_scoring, temperature=self.text_topic_temperature)


class Heads(nn.Module):
    """Class scores of the topic being read and of the whole session."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        S, n = config.sentence_width, len(config.labels)
        self.topic = nn.Sequential(nn.Linear(3 * S, S), nn.SiLU(), nn.Linear(S, n))
        self.document = nn.Sequential(nn.Linear(3 * S, S), nn.SiLU(), nn.Linear(S, n))

    def topic_logits(self, topic: Tensor, context: Tensor, sentence: Tensor) -> Tensor:
        """(..., S) each: the topic that the last sentence belongs to, that sentence as its level sees it, and as it is. Returns (..., classes)."""
        return self.topic(torch.cat((topic, context, sentence), dim=-1))

    def document_logits(self, document: Tensor, topic: Tensor, context: Tensor) -> Tensor:
        """(..., S) each; returns (..., classes), of everything so far."""
        return self.document(torch.cat((document, topic, context), dim=-1))


def session_logits(document: Tensor, sentences: Tensor) -> Tensor:
    """Log-probabilities of the whole session's class: a fifth what the document head says, the rest how often its sentences were of each class.

    document: (classes,) logits; sentences: (classes,) mean probabilities. The head alone names the majority topic of 65 % of 240 SGD dev
    dialogues, the mixture 83 %; of MTS-Dialog's sections both know 68 to 69 % (100 dev dialogues).
    """
    return (0.2 * torch.softmax(document, dim=-1) + 0.8 * sentences).clamp_min(1e-9).log()


def calibration_of(table: dict[str, Any]) -> Calibration:
    """What asdict() made of a calibration. Raises TypeError or ValueError for another table."""
    scorings = {name: LabelScoring.from_json(table[name]) for name in ("topic_scoring", "document_scoring")}
    ngrams = tuple(map(tuple, table.get("ngram_weights", TRUNK_ALONE)))
    checked(ngrams)
    return Calibration(**(table | scorings | {"ngram_weights": ngrams}))


def shift_probability(logit: float, temperature: float, bias: float) -> float:
    z = logit / temperature + bias
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))
