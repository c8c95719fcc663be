"""Levels: how a sentence is pooled from tokens, and paragraph, topic and document grow from sentences.

Knows pooled vectors and how one sentence changes them; leaves what is read from them to heads.py and when to transformer.py.
The same `advance` serves training (rows are documents) and a live session (one row), so both compute the same thing.
Next: models/heads.py
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.tokenizer import SPEAKER_0, USER

N_FLAGS = 11
SCORE_LIMIT = 8.0
"""Pooling scores stay within this, so that sums of exponentials need no running maximum and add up in token order."""


@dataclass(frozen=True)
class Levels:
    """What the sentences so far leave behind. float32 (B, S) each, or (B, 1) where it is a count or a weight."""

    context: Tensor
    """Recurrent state over all sentences of the session."""
    last: Tensor
    """The sentence before."""
    second_last: Tensor
    topic_sum: Tensor
    """Sentences of the topic being read, faded by every likely shift."""
    topic_weight: Tensor
    paragraph_sum: Tensor
    paragraph_weight: Tensor
    before_paragraph: Tensor
    """The last sentence before the open paragraph."""
    second_before_paragraph: Tensor
    paragraph: Tensor
    """The paragraph closed last."""
    document_sum: Tensor
    document_weight: Tensor


def no_levels(config: ModelConfig, rows: int) -> Levels:
    """Levels of sessions that have not said anything."""
    narrow = {"topic_weight", "paragraph_weight", "document_weight"}
    return Levels(**{f.name: torch.zeros(rows, 1 if f.name in narrow else config.sentence_width) for f in fields(Levels)})


def mean(total: Tensor, weight: Tensor) -> Tensor:
    return total / weight.clamp_min(1e-6)


def unit_flags(speaker: int, previous_speaker: int, starts_paragraph: bool, is_chat: bool, is_first: bool, n_tokens: int) -> list[float]:
    """What is known of a unit beside its words. speaker: a mark's id, -1 for none."""
    who = [float(speaker == mark) for mark in range(USER, SPEAKER_0 + 4)]
    return [
        *who,
        float(speaker >= 0 and speaker == previous_speaker),
        float(starts_paragraph),
        float(is_chat),
        float(is_first),
        min(n_tokens, 256) ** 0.5 / 8,
    ]


class Pool(nn.Module):
    """A sentence from its tokens: two attention pools, of what the trunk made of them and of the bare embeddings."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.scores = nn.Linear(config.width, 2)
        self.project = nn.Linear(2 * config.width, config.sentence_width)
        self.norm = nn.RMSNorm(config.sentence_width, eps=1e-5)

    def weights(self, hidden: Tensor) -> Tensor:
        """hidden: (N, C). Returns unnormalised weights, (N, 2)."""
        return torch.exp(SCORE_LIMIT * torch.tanh(self.scores(hidden) / SCORE_LIMIT))

    def sentence(self, hidden_sum: Tensor, embedding_sum: Tensor, weight_sum: Tensor) -> Tensor:
        """Weighted sums of hidden states and embeddings, (B, C) each, and of the weights, (B, 2). Returns (B, S)."""
        pooled = torch.cat((mean(hidden_sum, weight_sum[:, :1]), 30 * mean(embedding_sum, weight_sum[:, 1:])), dim=-1)
        return self.norm(self.project(pooled))


class Hierarchy(nn.Module):
    """Sentence vectors in order -> the levels above them."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        S = config.sentence_width
        self.config = config
        self.pool = Pool(config)
        self.context = nn.GRUCell(S + N_FLAGS, S)
        self.paragraph_score = nn.Linear(S, 1)
        self.paragraph = nn.Linear(3 * S, S)
        self.paragraph_norm = nn.RMSNorm(S, eps=1e-5)
        self.document_score = nn.Linear(S, 1)
        self.shift = nn.Sequential(nn.Linear(7 * S + N_FLAGS + 5, S), nn.SiLU(), nn.Linear(S, 1))

    def score(self, layer: nn.Module, x: Tensor) -> Tensor:
        return torch.exp(SCORE_LIMIT * torch.tanh(layer(x) / SCORE_LIMIT))

    def open_paragraph(self, levels: Levels) -> Tensor:
        """The paragraph being read, with the two sentences before it for context. (B, S)"""
        pooled = mean(levels.paragraph_sum, levels.paragraph_weight)
        return self.paragraph_norm(self.paragraph(torch.cat((pooled, levels.before_paragraph, levels.second_before_paragraph), dim=-1)))

    def close_paragraph(self, levels: Levels, closes: Tensor) -> Levels:
        """Rows where `closes` is 1 (B, 1) end their paragraph before the next sentence."""
        kept = 1 - closes
        has_text = closes * (levels.paragraph_weight > 0).float()
        return replace(
            levels,
            paragraph=has_text * self.open_paragraph(levels) + (1 - has_text) * levels.paragraph,
            paragraph_sum=kept * levels.paragraph_sum,
            paragraph_weight=kept * levels.paragraph_weight,
            before_paragraph=closes * levels.last + kept * levels.before_paragraph,
            second_before_paragraph=closes * levels.second_last + kept * levels.second_before_paragraph,
        )

    def advance(self, levels: Levels, sentence: Tensor, flags: Tensor) -> tuple[Levels, Tensor]:
        """One more sentence per row: new levels, and the logit that it starts a new topic.

        sentence: (B, S); flags: (B, N_FLAGS). Returns levels and (B,).
        """
        context = self.context(torch.cat((sentence, flags), dim=-1), levels.context)
        topic = mean(levels.topic_sum, levels.topic_weight)
        likeness = [
            torch.cosine_similarity(sentence, other, dim=-1)[:, None]
            for other in (levels.last, levels.second_last, topic, levels.paragraph)
        ]
        seen = torch.cat(
            (
                context,
                levels.context,
                sentence,
                levels.last,
                topic,
                sentence * topic,
                sentence * levels.last,
                *likeness,
                levels.topic_weight.log1p(),
                flags,
            ),
            dim=-1,
        )
        logit = self.shift(seen)[:, 0]
        stays = 1 - torch.sigmoid(logit)[:, None]
        in_paragraph = self.score(self.paragraph_score, sentence)
        in_document = self.score(self.document_score, sentence)
        return Levels(
            context=context,
            last=sentence,
            second_last=levels.last,
            topic_sum=stays * levels.topic_sum + sentence,
            topic_weight=stays * levels.topic_weight + 1,
            paragraph_sum=levels.paragraph_sum + in_paragraph * sentence,
            paragraph_weight=levels.paragraph_weight + in_paragraph,
            before_paragraph=levels.before_paragraph,
            second_before_paragraph=levels.second_before_paragraph,
            paragraph=levels.paragraph,
            document_sum=levels.document_sum + in_document * sentence,
            document_weight=levels.document_weight + in_document,
        ), logit
