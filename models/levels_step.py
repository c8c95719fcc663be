"""The levels of one session, one sentence further, without an operation's overhead: what a walk asks of them again and again.

Knows which weights the compiled arithmetic takes; leaves the arithmetic to levels_kernel.py, of which hierarchy.py is the oracle.
Next: models/walk.py
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from models import levels_kernel as kernel
from models import levels_parts
from models.heads import Heads
from models.hierarchy import FADE, N_FLAGS, SIMILAR_TO, Hierarchy
from models.levels_row import NAMES, empty_row, places
from models.vectors import check_processor


class LevelsStep:
    """Hierarchy.advance, close_paragraph and what is said of a topic, for one session's row (levels_row.py) at a time."""

    def __init__(self, hierarchy: Hierarchy, heads: Heads):
        """Compiles at the first start of a version, some seconds; the code is kept (machine_code.py)."""
        check_processor()
        assert not hierarchy.muted & {"sentence", "paragraph", "topic"}, "the compiled step mutes nothing"
        c, blocks = hierarchy.config, (hierarchy.sentence, hierarchy.paragraph, hierarchy.topic)
        where = places(c)
        self._at = np.array([where[name].start for name in NAMES])
        self._shape = np.array([c.sentence_width, where["sentences"].stop // c.sentence_reach, c.sentence_reach, c.paragraph_reach, c.topic_reach])  # fmt: skip
        self._flags = _columns(hierarchy.flags)
        norms = np.stack([np.stack([_numbers(b.norm.weight), _numbers(b.feed_norm.weight)]) for b in blocks])
        layers = ("query", "key_value", "output", "up", "down")
        self._blocks = (norms, *(np.stack([_columns(getattr(b, name)) for b in blocks]) for name in layers))
        self._distances = tuple(_numbers(b.distance) for b in blocks)
        pooling = (hierarchy.sentence_score, hierarchy.paragraph_score, hierarchy.topic_score)
        self._scores = np.stack([_numbers(s.weight)[0] for s in pooling]), np.array([s.bias.item() for s in pooling], np.float32)
        self._shift, self._head = _two_layers(hierarchy.shift), _two_layers(heads.topic)
        pool = hierarchy.pool
        self._meaning = _columns(pool.meaning)
        self._sentence = c.width + 1, c.word_width, _columns(pool.project), _numbers(pool.project.bias), _numbers(pool.norm.weight)
        row, sums = empty_row(c), np.zeros(c.width + c.word_width + 2, np.float32)
        self.add(sums, np.ones(1, np.float32), np.zeros((1, c.width), np.float32), np.zeros((1, c.word_width + 1), np.float32))
        row, _, _ = self.advance(row, sums, [0.0] * N_FLAGS)  # now, and not in a session's first sentence
        self.close_paragraph(row)
        softmax(self.topic(row)[0])

    def add(self, sums: np.ndarray, pooling: np.ndarray, hidden: np.ndarray, words: np.ndarray) -> None:
        """Add tokens and words to an open sentence, `sums` changed in place (see advance). pooling: (T,), hidden: (T, C), words: (words, W + 1)."""
        kernel.add_tokens(sums, pooling, hidden)
        kernel.add_rows(sums[hidden.shape[1] + 1 :], words)

    def advance(self, row: np.ndarray, sums: np.ndarray, flags: Sequence[float]) -> tuple[np.ndarray, float, float]:
        """The row after a sentence, the logit that it starts a new topic, and how much it weighs in its paragraph.

        sums: float32 (C + W + 2,), of the sentence's weighted hidden states and their weight, of its word vectors and how many;
        flags: N_FLAGS numbers of hierarchy.unit_flags.
        """
        after = row.copy()
        logit, weight = kernel.advance(
            after, self._at, self._shape, SIMILAR_TO, np.float32(FADE), kernel.sentence_of(sums, *self._sentence), np.array(flags, np.float32),
            self._flags, self._blocks, self._distances, self._scores, self._shift, self._meaning,
        )  # fmt: skip
        return after, float(logit), float(weight)

    def close_paragraph(self, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The row after the end of the open paragraph, and that paragraph, float32 (S,)."""
        after = row.copy()
        paragraph: np.ndarray = kernel.close_paragraph(after, self._at, self._shape, self._blocks, self._distances, self._scores)
        return after, paragraph

    def topic(self, row: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the topic being read: logits (classes,), and what its sentences and the last of them mean, (W,) each, of length 1."""
        found: tuple[np.ndarray, np.ndarray, np.ndarray] = kernel.topic_of(row, self._at, self._shape, self._head, self._meaning)
        return found


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits, float32 (classes,)."""
    found: np.ndarray = levels_parts.softmax(logits)
    return found


def _numbers(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())


def _columns(layer: nn.Linear) -> np.ndarray:
    """Weights as (in, out), the bits of half precision, as a checkpoint has them: three megabytes would be read for each sentence, and are half as many."""
    return _numbers(layer.weight.t()).astype(np.float16).view(np.uint16)


def _two_layers(layers: nn.Module) -> tuple[np.ndarray, ...]:
    first, last = layers[0], layers[2]  # type: ignore[index]
    return _columns(first), _numbers(first.bias), _columns(last), _numbers(last.bias)
