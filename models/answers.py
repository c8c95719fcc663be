"""What can be said of a session: the topic being read, that of the whole session, and the surprise since the last answer.

Knows what is counted of each sentence for that and how logits become calibrated probabilities of labels; leaves when to speak to walk.py
and names and scores of labels to labels.py. Only count_classes changes the copy.
Next: models/walk.py
"""

from typing import Any

import numpy as np
import torch

from models.heads import session_logits
from models.labels import unit
from models.levels_step import softmax
from models.steps import Answer
from models.working_copy import WorkingCopy


def topic_answer(copy: WorkingCopy, end: int, is_final: bool, whole: bool = False) -> Answer:
    """The most probable class with its calibrated probability; none of a session that has not said a word."""
    c, start = copy.above.calibration, 0 if whole else copy.topic_start
    output: dict[str, Any] = {"level": "document"} if whole else {}
    if not copy.n_sentences and not copy.n_tokens:
        return Answer("topic", start, end, is_final, output=output | {"probabilities": {}})
    labels = copy.above.labels
    if whole:
        meaning, head = unit(np.frombuffer(copy.session_meaning, np.float32)), document_logits(copy).numpy()
        p = labels.probabilities(meaning, head, c.document_scoring)
    else:
        gist = copy.topic_of(copy.open_row() if not is_final else copy.row)[1]
        p = labels.probabilities(gist, segment_logits(copy, not is_final), c.topics(copy.is_chat))
    best = max(range(len(p)), key=p.__getitem__)
    output["probabilities"] = {label: round(x, 6) for label, x in zip(labels.names, p)}
    return Answer("topic", start, end, is_final, labels.names[best], p[best], output=output)


def surprise_answer(copy: WorkingCopy, until: int, is_final: bool) -> Answer:
    """What the tokens since the last answer cost."""
    nats, n = copy.nats, copy.n_surprised
    return Answer("surprise", copy.covered, until, is_final, value=nats / max(n, 1), output={"nats": nats, "tokens": n})


def open_answers(copy: WorkingCopy) -> tuple[Answer, ...]:
    """What could be said now."""
    answers = [topic_answer(copy, copy.n_items, False)] if copy.n_items > copy.topic_start else []
    if not copy.is_chat and copy.n_surprised and copy.n_items > copy.covered:
        answers.append(surprise_answer(copy, copy.n_items, False))
    return tuple(answers)


def count_classes(copy: WorkingCopy, row: np.ndarray) -> None:
    """Add what the closed sentence says of its topic: a segment's last words alone (thanks, goodbye) mislead."""
    logits, _, meaning = copy.topic_of(row)
    for name, more in (("topic_logits", logits), ("session_classes", softmax(logits)), ("session_meaning", meaning)):
        before = copy.fields[name]
        copy.fields[name] = (np.frombuffer(before, np.float32) + more if before else more).tobytes()
    copy.fields["n_topic"] += 1


def segment_logits(copy: WorkingCopy, with_open: bool) -> np.ndarray:
    """(classes,), half the last sentence's, half the mean over the segment's: as quick as the one, as steady as the other.

    An open sentence counts where it belongs to the segment.
    """
    has_open = with_open and copy.n_tokens > 0
    now = copy.topic_of(copy.open_row() if has_open else copy.row)[0]
    total, n = np.frombuffer(copy.topic_logits, np.float32), copy.n_topic
    if has_open or not n:
        total, n = (total + now if n else now), n + 1
    half: np.ndarray = (now + total / np.float32(n)) / np.float32(2)
    return half


def document_logits(copy: WorkingCopy) -> torch.Tensor:
    """(classes,), of everything closed so far."""
    classes = np.frombuffer(copy.session_classes, np.float32) / np.float32(copy.n_sentences)
    levels = copy.level_tensors()
    document = copy.above.heads.document_logits(copy.above.hierarchy.document(levels), levels.topic, levels.context)[0]
    return session_logits(document, torch.from_numpy(classes))
