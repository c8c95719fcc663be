"""Clinical notes and visits as documents: real sections, joined where the set holds them one by one.

MTS-Dialog has one note section per short dialogue; two to four of them after each other make a visit whose topics are known. ACI-Bench's notes
have headings, which name theirs. Knows these two sets; leaves units to data.py.
Next: models/training/data.py
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

HEADINGS = {
    "CHIEF COMPLAINT": "CC", "HISTORY OF PRESENT ILLNESS": "GENHX", "HPI": "GENHX", "REVIEW OF SYSTEMS": "ROS", "PHYSICAL EXAM": "EXAM",
    "PHYSICAL EXAMINATION": "EXAM", "EXAM": "EXAM", "VITALS": "EXAM", "VITALS REVIEWED": "EXAM", "ASSESSMENT AND PLAN": "ASSESSMENT",
    "ASSESSMENT": "ASSESSMENT", "IMPRESSION": "ASSESSMENT", "PLAN": "PLAN", "INSTRUCTIONS": "DISPOSITION", "SOCIAL HISTORY": "FAM/SOCHX",
    "FAMILY HISTORY": "FAM/SOCHX", "MEDICATIONS": "MEDICATIONS", "CURRENT MEDICATIONS": "MEDICATIONS", "ALLERGIES": "ALLERGY",
    "MEDICAL HISTORY": "PASTMEDICALHX", "PAST MEDICAL HISTORY": "PASTMEDICALHX", "PAST HISTORY": "PASTMEDICALHX",
    "SURGICAL HISTORY": "PASTSURGICAL", "PROCEDURE": "PROCEDURES", "RESULTS": "LABS",
}  # fmt: skip
"""Heading in a note -> section class of MTS-Dialog. Of RESULTS the nearest: there is no class for all results."""
NAMES = {section: heading for heading, section in reversed(HEADINGS.items())}
"""Section -> a heading for it."""


@dataclass(frozen=True)
class Script:
    """A text in parts, and what each part is about."""

    name: str
    parts: tuple[str, ...]
    joint: str
    """Between parts."""
    topics: tuple[int, ...] | None
    """Parts that begin a topic; None unknown."""
    labels: tuple[str, ...]
    """One per part, "" unknown."""


def visits(records: Sequence[dict[str, Any]], seed: int) -> Iterator[dict[str, Any]]:
    """Dialogues of MTS-Dialog in groups of one to four, as records with turns, seg_end and topic; each dialogue is used once."""
    chance = random.Random(seed)
    order = list(records)
    chance.shuffle(order)
    while order:
        group = [order.pop() for _ in range(min(len(order), chance.randint(1, 4)))]
        turns = [t for r in group for t in r["turns"]]
        ends = [int(n == len(r["turns"]) - 1) for r in group for n in range(len(r["turns"]))]
        for n in range(1, len(group)):
            if group[n]["section"] == group[n - 1]["section"]:  # the same topic goes on
                ends[sum(len(r["turns"]) for r in group[:n]) - 1] = 0
        yield {
            "name": "+".join(r["name"] for r in group),
            "turns": turns,
            "seg_end": [*ends[:-1], 0],
            "topic": [r["section"] for r in group for _ in r["turns"]],
        }


def spoken(record: dict[str, Any], style: int) -> Script:
    """A dialogue written out, in one of six styles."""

    def line(turn: dict[str, Any]) -> str:
        speaker = str(turn.get("speaker") or turn["role"])
        name = (speaker, speaker.title(), "")[style % 3]
        return (f"{name}: " if name else "") + turn["text"].strip()

    ends = record.get("seg_end")
    topics = None if ends is None else (0, *(n for n, end in enumerate(ends, 1) if end))
    labels = tuple(str(t) for t in record["topic"]) if "topic" in record else tuple(str(record.get("section", "")) for _ in record["turns"])
    joint = ("\n\n", "\n", " ")[style // 2 % 3]
    return Script(str(record["name"]), tuple(line(t) for t in record["turns"]), joint, topics, labels)


def headed_note(record: dict[str, Any]) -> Script:
    """A note of ACI-Bench, its headings and their paragraphs as parts."""
    parts = [p.strip() for p in record["note"].split("\n\n") if p.strip()]
    topics, labels, label = [0], [], ""
    for n, part in enumerate(parts):
        heading = part.split("\n")[0].strip().rstrip(":")
        if heading in HEADINGS:
            if n and HEADINGS[heading] != label:
                topics.append(n)
            label = HEADINGS[heading]
        labels.append(label)
    return Script(str(record["name"]), tuple(parts), "\n\n", tuple(topics), tuple(labels))


def joined_notes(records: Sequence[dict[str, Any]], seed: int) -> Iterator[Script]:
    """Note sections of MTS-Dialog after each other, with headings in every other note."""
    chance = random.Random(seed)
    order = [r for r in records if r["note"].strip()]
    chance.shuffle(order)
    while order:
        group = [order.pop() for _ in range(min(len(order), chance.randint(1, 5)))]
        headed = chance.random() < 0.5
        parts = [(f"{NAMES[r['section']]}\n\n" if headed and r["section"] in NAMES else "") + r["note"].strip() for r in group]
        topics = [n for n, r in enumerate(group) if n == 0 or r["section"] != group[n - 1]["section"]]
        yield Script("+".join(r["name"] for r in group), tuple(parts), "\n\n", tuple(topics), tuple(r["section"] for r in group))
