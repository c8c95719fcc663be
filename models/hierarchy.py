"""Levels: sentence from tokens, paragraph from sentences, topic from paragraphs, document from topics.

Each level is pooled from the one below by attention and has a small causal transformer of its own over the members of its kind that came
before, so that what slid out of the token window lives on; `memory` hands it back to the token level (encoder.py adds it to the sinks).
`advance` serves training, where rows are documents, and is the oracle of what a live session runs (levels_kernel.py).
Next: models/heads.py, models/levels_kernel.py
"""

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import MARKS, ModelConfig
from models.tokenizer import SPEAKER_0, USER

N_FLAGS = 11
SCORE_LIMIT = 8.0
"""Pooling scores stay within this, so that sums of exponentials need no running maximum and add up in token order."""
FADE = 0.95
"""Of a session's habits, per sentence."""
SIMILAR_TO = 4
"""Sentences before, one by one, that a sentence is compared with."""


@dataclass(frozen=True)
class Levels:
    """What the sentences so far leave behind, float32, a row per session. Rings hold the members before, the latest last."""

    sentences: Tensor
    """(B, R, S + N_FLAGS): sentence vectors and what is known of them."""
    n_sentences: Tensor
    """(B, 1), all there were."""
    context: Tensor
    """(B, S): the last sentence as its level's transformer sees it."""
    paragraph_sum: Tensor
    """(B, S): the open paragraph's sentences, faded by every likely shift."""
    paragraph_weight: Tensor
    paragraphs: Tensor
    """(B, P, S): closed paragraphs."""
    n_paragraphs: Tensor
    topic_sum: Tensor
    """(B, S): the open topic's closed paragraphs, faded by every likely shift."""
    topic_weight: Tensor
    topic: Tensor
    """(B, S): the open topic as its level's transformer sees it."""
    topics: Tensor
    """(B, T, S): closed topics."""
    n_topics: Tensor
    gist_sum: Tensor
    """(B, S): the open topic's sentence vectors as they are, for comparison."""
    gist_weight: Tensor
    document_sum: Tensor
    """(B, S): closed topics."""
    document_weight: Tensor
    habits: Tensor
    """(B, 5): faded sums of the likeness to the sentence before, of its square, of the likeness to the topic, of its square, and the weight."""


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each field for one session."""
    S, narrow = config.sentence_width, (1,)
    rings = {
        "sentences": (config.sentence_reach, S + N_FLAGS),
        "paragraphs": (config.paragraph_reach, S),
        "topics": (config.topic_reach, S),
    }
    return {
        f.name: rings.get(f.name, (5,) if f.name == "habits" else narrow if f.name[:2] == "n_" or "weight" in f.name else (S,))
        for f in fields(Levels)
    }


def no_levels(config: ModelConfig, rows: int) -> Levels:
    """Levels of sessions that have not said anything."""
    return Levels(**{name: torch.zeros(rows, *shape) for name, shape in shapes(config).items()})


def choose(where: Tensor, yes: Levels, no: Levels) -> Levels:
    """Row by row; where: (B, 1) of 0 and 1."""
    chosen = {}
    for f in fields(Levels):
        a, b = getattr(yes, f.name), getattr(no, f.name)
        chosen[f.name] = torch.where(where.view(-1, *[1] * (a.ndim - 1)) > 0, a, b)
    return Levels(**chosen)


def mean(total: Tensor, weight: Tensor) -> Tensor:
    return total / weight.clamp_min(1e-6)


def last_sentence(levels: Levels, config: ModelConfig) -> Tensor:
    """(B, S), the vector of the sentence closed last."""
    return levels.sentences[:, -1, : config.sentence_width]


def push(ring: Tensor, member: Tensor) -> Tensor:
    """The ring (B, R, S) without its oldest member and with a new one (B, S)."""
    return torch.cat((ring[:, 1:], member[:, None]), dim=1)


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
    """A sentence from its tokens by attention, and from its words' own meanings."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.scores = nn.Linear(config.width, 1)
        self.project = nn.Linear(config.width + config.word_width, config.sentence_width)
        self.norm = nn.RMSNorm(config.sentence_width, eps=1e-5)
        self.meaning = nn.Linear(config.sentence_width, config.word_width, bias=False)

    def weights(self, hidden: Tensor) -> Tensor:
        """hidden: (N, C). Returns unnormalised weights, (N, 1)."""
        return torch.exp(SCORE_LIMIT * torch.tanh(self.scores(hidden) / SCORE_LIMIT))

    def sentence(self, hidden: Tensor, words: Tensor) -> Tensor:
        """hidden: (B, C), the weighted mean of hidden states; words: (B, W), the mean of word vectors. Returns (B, S)."""
        return self.norm(self.project(torch.cat((hidden, 4 * F.normalize(words, dim=-1)), dim=-1)))

    def meanings(self, sentence: Tensor) -> Tensor:
        """(..., S) to unit vectors (..., W) in the teacher's space: their products say how much sentences mean the same."""
        return F.normalize(self.meaning(sentence), dim=-1)


class LevelBlock(nn.Module):
    """A causal transformer block over one level: the newest member asks, it and those before it answer."""

    N_HEADS = 4

    def __init__(self, width: int, reach: int):
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.distance = nn.Parameter(torch.zeros(self.N_HEADS, reach + 1))
        self.feed_norm = nn.RMSNorm(width, eps=1e-5)
        self.up = nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, newest: Tensor, before: Tensor, count: Tensor) -> Tensor:
        """newest: (B, S); before: (B, R, S), of which the last min(count, R) are members; count: (B, 1). Returns (B, S)."""
        B, R, S = before.shape
        H = self.N_HEADS
        members = self.norm(torch.cat((before, newest[:, None]), dim=1))  # (B, R + 1, S)
        k, v = self.key_value(members).view(B, R + 1, 2, H, S // H).permute(2, 0, 3, 1, 4)  # (B, H, R + 1, D)
        q = self.query(members[:, -1]).view(B, H, S // H, 1)
        missing = torch.arange(R + 1) < R - count  # (B, R + 1)
        scores = (k @ q)[..., 0] * (S // H) ** -0.5 + self.distance  # (B, H, R + 1)
        weights = torch.softmax(scores.masked_fill(missing[:, None], -1e9), dim=-1)
        y = newest + self.output((weights[:, :, None] @ v).reshape(B, S))
        return y + self.down(F.silu(self.up(self.feed_norm(y))))


class Hierarchy(nn.Module):
    """Sentence vectors in order -> the levels above them."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        S = config.sentence_width
        self.config = config
        self.muted: frozenset[str] = frozenset()
        """Levels whose members do not see those before them (`sentence`, `paragraph`, `topic`), or that are not handed on (`document`,
        `memory`): for ablation."""
        self.pool = Pool(config)
        self.flags = nn.Linear(N_FLAGS, S, bias=False)
        self.sentence = LevelBlock(S, config.sentence_reach)
        self.sentence_score = nn.Linear(S, 1)
        self.paragraph = LevelBlock(S, config.paragraph_reach)
        self.paragraph_score = nn.Linear(S, 1)
        self.topic = LevelBlock(S, config.topic_reach)
        self.topic_score = nn.Linear(S, 1)
        n_likeness = SIMILAR_TO + 1 + 2
        self.shift = nn.Sequential(nn.Linear(5 * S + N_FLAGS + n_likeness + 1, S), nn.SiLU(), nn.Linear(S, 1))
        self.remember = nn.ModuleList(nn.Linear(S, config.width, bias=False) for _ in range(config.n_sinks - MARKS))
        for layer in self.remember:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]

    def score(self, layer: nn.Module, x: Tensor) -> Tensor:
        return torch.exp(SCORE_LIMIT * torch.tanh(layer(x) / SCORE_LIMIT))

    # 1. what the levels say

    def open_paragraph(self, levels: Levels) -> Tensor:
        """The paragraph being read. (B, S)"""
        pooled = mean(levels.paragraph_sum, levels.paragraph_weight)
        return pooled if "paragraph" in self.muted else self.paragraph(pooled, levels.paragraphs, levels.n_paragraphs)

    def open_topic(self, levels: Levels) -> Tensor:
        """The topic being read, from its closed paragraphs and the open one. (B, S)"""
        paragraph = self.open_paragraph(levels)
        weight = self.score(self.paragraph_score, paragraph) * (levels.paragraph_weight > 0)
        pooled = mean(levels.topic_sum + weight * paragraph, levels.topic_weight + weight)
        return pooled if "topic" in self.muted else self.topic(pooled, levels.topics, levels.n_topics)

    def document(self, levels: Levels) -> Tensor:
        """Everything so far, from the closed topics and the open one. (B, S)"""
        if "document" in self.muted:
            return torch.zeros_like(levels.topic)
        weight = self.score(self.topic_score, levels.topic)
        return mean(levels.document_sum + weight * levels.topic, levels.document_weight + weight)

    def remembered(self, levels: Levels) -> tuple[Tensor, Tensor, Tensor]:
        """What is kept of the levels for the token window: document, topic, and the open paragraph's sentences. (B, S) each"""
        return self.document(levels), levels.topic, mean(levels.paragraph_sum, levels.paragraph_weight)

    def memory(self, document: Tensor, topic: Tensor, paragraph: Tensor) -> Tensor:
        """What the token window is given of the levels when it is cut. (B, S) each; returns (B, 3, C)."""
        found = torch.stack([layer(x) for layer, x in zip(self.remember, (document, topic, paragraph), strict=True)], dim=1)
        return torch.zeros_like(found) if "memory" in self.muted else found

    # 2. what changes them

    def close_paragraph(self, levels: Levels, closes: Tensor) -> Levels:
        """Rows where `closes` is 1 (B, 1) end their paragraph before the next sentence."""
        paragraph = self.open_paragraph(levels)
        weight = self.score(self.paragraph_score, paragraph)
        closed = replace(
            levels,
            topic_sum=levels.topic_sum + weight * paragraph,
            topic_weight=levels.topic_weight + weight,
            paragraphs=push(levels.paragraphs, _stored(self, mean(levels.paragraph_sum, levels.paragraph_weight))),
            n_paragraphs=levels.n_paragraphs + 1,
            paragraph_sum=torch.zeros_like(levels.paragraph_sum),
            paragraph_weight=torch.zeros_like(levels.paragraph_weight),
        )
        return choose(closes * (levels.paragraph_weight > 0), closed, levels)

    def contexts(self, units: Tensor, before: Tensor, count: Tensor) -> Tensor:
        """Sentences as their level sees them. units: (B, S + N_FLAGS), before: (B, R, S + N_FLAGS), count: (B, 1). Returns (B, S)."""
        S = self.config.sentence_width
        newest = units[..., :S] + self.flags(units[..., S:])
        if "sentence" in self.muted:
            return newest
        return self.sentence(newest, before[..., :S] + self.flags(before[..., S:]), count)

    def advance(self, levels: Levels, sentence: Tensor, flags: Tensor, context: Tensor | None = None) -> tuple[Levels, Tensor]:
        """One more sentence per row: new levels, and the logit that it starts a new topic.

        sentence: (B, S); flags: (B, N_FLAGS); context: contexts() of it when that is known already. Returns levels and (B,).
        """
        unit = torch.cat((_stored(self, sentence), _stored(self, flags)), dim=-1)
        S = self.config.sentence_width
        sentence = unit[:, :S]
        if context is None:
            context = self.contexts(unit, levels.sentences, levels.n_sentences)
        context = _stored(self, context)
        # 1. does it belong to the topic?
        gist = mean(levels.gist_sum, levels.gist_weight)
        likeness = self._likeness(levels, sentence, gist)
        last = last_sentence(levels, self.config)
        seen = (context, sentence, levels.topic, sentence * last, sentence * gist, *likeness, levels.gist_weight.log1p(), flags)
        logit = self.shift(torch.cat(seen, dim=-1))[:, 0]
        shifts = torch.sigmoid(logit)[:, None]
        stays = 1 - shifts
        # 2. what ends with the topic before: it is added to the document, and is a member of its level when a shift is likely
        has_topic = (levels.gist_weight > 0).float()
        weight = self.score(self.topic_score, levels.topic) * shifts * has_topic
        ended = ((shifts > 0.5) & (levels.gist_weight > 0)).float()
        topics = torch.where(ended[..., None] > 0, push(levels.topics, _stored(self, levels.topic)), levels.topics)
        # 3. what goes on
        own = self.score(self.sentence_score, context)
        after = replace(
            levels,
            sentences=push(levels.sentences, unit),
            n_sentences=levels.n_sentences + 1,
            context=context,
            paragraph_sum=stays * levels.paragraph_sum + own * context,
            paragraph_weight=stays * levels.paragraph_weight + own,
            topic_sum=stays * levels.topic_sum,
            topic_weight=stays * levels.topic_weight,
            topics=topics,
            n_topics=levels.n_topics + ended,
            gist_sum=stays * levels.gist_sum + sentence,
            gist_weight=stays * levels.gist_weight + 1,
            document_sum=levels.document_sum + weight * levels.topic,
            document_weight=levels.document_weight + weight,
            habits=self._habits(levels, likeness),
        )
        return replace(after, topic=_stored(self, self.open_topic(after))), logit

    def _likeness(self, levels: Levels, sentence: Tensor, gist: Tensor) -> list[Tensor]:
        """Cosines with the sentences before and with the topic, and how unusual two of them are in this session. (B, 1) each."""
        S, pool = self.config.sentence_width, self.pool
        means = pool.meanings(sentence)  # (B, W)
        known = (torch.arange(SIMILAR_TO) < levels.n_sentences).flip(1)  # (B, 4)
        cosines = (pool.meanings(levels.sentences[:, -SIMILAR_TO:, :S]) @ means[..., None])[..., 0] * known
        topic = (pool.meanings(gist) * means).sum(-1, keepdim=True) * (levels.gist_weight > 0)
        found = [*cosines.unbind(1), topic[:, 0]]
        count = levels.habits[:, 4:] + 2  # two sentences of what is usual anywhere
        unusual = []
        for n, value in enumerate((found[SIMILAR_TO - 1], topic[:, 0])):
            average = (levels.habits[:, 2 * n] + 2 * 0.25) / count[:, 0]
            square = (levels.habits[:, 2 * n + 1] + 2 * 0.1) / count[:, 0]
            unusual.append((value - average) * torch.rsqrt((square - average * average).clamp_min(1e-2)))
        return [x[:, None] for x in (*found, *unusual)]

    def _habits(self, levels: Levels, likeness: list[Tensor]) -> Tensor:
        last, topic = likeness[SIMILAR_TO - 1], likeness[SIMILAR_TO]
        counts = (levels.n_sentences > 0).float()
        return FADE * levels.habits + counts * torch.cat((last, last * last, topic, topic * topic, torch.ones_like(last)), dim=-1)


def _stored(module: nn.Module, x: Tensor) -> Tensor:
    """As a session's state keeps it, in half precision; in training as it is."""
    return x if module.training else x.half().float()
