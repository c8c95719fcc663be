"""Log template miner: a message -> its masked text -> its group, online and without settings per system.

Masking does most of the work: what looks like a value (numbers, ids, paths, addresses, times, key=value) becomes <*>, so
lines of one kind have one text. Groups then absorb words at their <*> and merge where one place holds many words.
A group's id is the hash of its first text and stays when the text generalises. Everything here depends on the lines of
one session alone, in order. Knows text; leaves severity and anomalies to models/log_model.py.
Source of the group search: He et al. 2017 (Drain), in spirit. Next: models/log_model.py
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

HOLE = "\x00"
"""Stands for <*> inside a text; no other NUL gets in."""
MAX_CHARS = 1024
"""Characters of a message that are read: what differs only after them is one group."""
MAX_TOKENS = 64
MAX_GROUPS = 512
MAX_TEXT_BYTES = 48_000
"""Of all texts of a session together: bounds its row."""
MAX_FILLED = 2
"""Words that may stand in holes for a line to belong to a group; at least twice as many tokens must be equal."""
SIBLINGS = 8
"""So many texts that differ in one place only are one group with a hole there; fewer may be an enumeration that matters."""
LOOK_AT = 64
"""Groups under one head that are compared for siblings when a new text comes: bounds the cost of a flood of new texts."""

_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_BRACES = r"\{[^{}=]*+(?:\{[^{}=]*+(?:\{[^{}=]*+\}[^{}=]*+)*+\}[^{}=]*+)*+\}"
_VALUES = re.compile(
    rf"""(
  \b(?:{_DAY},?\s+)?(?:{_MONTH}\s+\d{{1,2}}|\d{{1,2}}\s+{_MONTH})[\s,]+(?:\d{{4}}\s+)?\d\d:\d\d(?::\d\d)?(?:\s[A-Z]{{3,4}})?(?:\s\d{{4}})?\b  # Sat Jun 11 03:28:22 2005
| (?<==)\s?(?:"[^"]*"?|'[^']*'?|(?![\w.]+\s?=)[^\s,;()\[\]{{}}"']+(?:{_BRACES})?)    # key=value
| {_BRACES}                                                                          # {{...}} without keys
| \[[^\[\]]*,[^\[\]]*(?:\]|$)                                                        # [a, b]
| (?:(?<![\w.])[A-Za-z]:\\|(?<![\w<])\.{{0,2}}/|\b[a-z]+://)[^\s,;()\[\]{{}}"'<>]*     # paths and addresses of resources
| (?<![\w.$-])[A-Za-z_$][\w$-]*(?:\.[\w$-]+){{2,}}(?:[/:\#@][^\s,;()\[\]{{}}"'=]*)?     # dotted names of three parts or more
| (?<=\buser\s)[\w.@-]+ | (?<=\bhost\s)[\w.@-]+                                      # the word after "user"
| (?<![^\s,;:()\[\]{{}}"'=<>|.])[^\s,;:()\[\]{{}}"'=<>|.]*(?:\.[^\s,;:()\[\]{{}}"'=<>|.]+)*\d[^\s,;()\[\]{{}}"'=<>|]*(?:\s(?:[KMGTP]i?B|B|ms)\b)?  # anything with a digit, its unit
| \b(?:true|false|null)\b
| (?<=\()(?=\)) | (?<=\[)(?=\])                                                      # empty brackets hold an empty value
)""",
    re.VERBOSE,
)
_SEPARATORS = frozenset(" ,:;/|.-\\")


def mask(message: str) -> tuple[str, list[str]]:
    """Text with holes, white space made single; and what was in each hole. Neighbouring holes become one."""
    message = message[:MAX_CHARS].replace(HOLE, " ")
    if not message.isascii():
        message = message.encode("utf-8", "replace").decode()  # a lone surrogate cannot be packed
    parts = _VALUES.split(message)
    if len(parts) == 1:
        return " ".join(parts[0].split()), []
    text, values = [parts[0]], [parts[1]]
    for n in range(2, len(parts) - 1, 2):
        between = parts[n]
        if _SEPARATORS.issuperset(between):  # nothing but punctuation between two values: one value
            values[-1] += between + parts[n + 1]
        else:
            text.append(between)
            values.append(parts[n + 1])
    text.append(parts[-1])
    return " ".join(HOLE.join(text).split()), values


@dataclass(frozen=True, slots=True)
class Group:
    """Lines of one kind: their text with holes, how many there were."""

    text: str
    tokens: tuple[str, ...]
    count: int

    @property
    def shown(self) -> str:
        return self.text.replace(HOLE, "<*>")

    @property
    def head(self) -> tuple[int, str]:
        return head_of(self.tokens)


def head_of(tokens: Sequence[str]) -> tuple[int, str]:
    """Where a group is looked for: its number of tokens and its first, which names the kind of line."""
    return len(tokens), HOLE if HOLE in tokens[0] else tokens[0]


@dataclass(frozen=True, slots=True)
class Mined:
    """What one message was found to be."""

    group_id: str
    group: Group
    parameters: list[str]
    is_new: bool
    merged: tuple[str, ...] = ()
    """Ids of groups that this message showed to be one with group_id."""


Row = tuple[bytes, str, int]
"""Id, text and count of a group in the session's row."""


@dataclass(slots=True)
class Miner:
    """The groups of one session, least recently used first. `copy` before `learn` where the old state must stay."""

    groups: dict[str, Group] = field(default_factory=dict)
    text_bytes: int = 0
    by_text: dict[str, str] = field(default_factory=dict)
    """Text -> id; made again from groups, as by_head is."""
    by_head: dict[tuple[int, str], tuple[str, ...]] = field(default_factory=dict)
    """`head_of` -> ids, ascending: what is found does not depend on when groups came back from a row."""

    def copy(self) -> "Miner":
        return Miner(self.groups.copy(), self.text_bytes, self.by_text.copy(), self.by_head.copy())

    def learn(self, message: str) -> Mined:
        """Find or make the message's group, and count it."""
        text, values = mask(message)
        group_id = self.by_text.get(text)
        merged: tuple[str, ...] = ()
        is_new = False
        if group_id is None:
            tokens = tuple(text.split(" ", MAX_TOKENS)[:MAX_TOKENS])
            text = " ".join(tokens)
            group_id = self.by_text.get(text) or self._holding(tokens)
            if group_id is None:
                group_id, merged, is_new = self._new(text, tokens)
        known = self.groups.pop(group_id)
        group = self.groups[group_id] = Group(known.text, known.tokens, known.count + 1)  # to the end: used last
        return Mined(group_id, group, values, is_new, merged)

    def _holding(self, tokens: Sequence[str]) -> str | None:
        """The group with the fewest holes that take words of these tokens, all else being equal."""
        best, fewest = None, MAX_FILLED + 1
        for head in {head_of(tokens), (len(tokens), HOLE)}:
            for group_id in self.by_head.get(head, ()):
                filled = holes_filled(self.groups[group_id].tokens, tokens)
                if filled < fewest or (filled == fewest and best is not None and group_id < best):
                    best, fewest = group_id, filled
        return best

    def _new(self, text: str, tokens: tuple[str, ...]) -> tuple[str, tuple[str, ...], bool]:
        """A group of its own; or, with enough others that differ in one place only, one group for all of them."""
        place, siblings = self._siblings(tokens)
        if len(siblings) + 1 < SIBLINGS:
            group_id = blake2b(text.encode(), digest_size=8).hexdigest()
            if group_id in self.groups:  # its first text, which its general one takes no more
                return group_id, (), False
            self._put(group_id, Group(text, tokens, 0))
            return group_id, (), True
        kept = max(siblings, key=lambda sibling: (self.groups[sibling].count, sibling))
        punctuation = tokens[place][-1:] if tokens[place][-1:] in ",;:." else ""
        general = (*tokens[:place], HOLE + punctuation, *tokens[place + 1 :])
        text = " ".join(general)
        kept = self.by_text.get(text, kept)  # two groups never have one text
        count = sum(self._take(sibling) for sibling in {kept, *siblings})
        self._put(kept, Group(text, general, count))
        return kept, tuple(sorted(set(siblings) - {kept})), False

    def _siblings(self, tokens: Sequence[str]) -> tuple[int, list[str]]:
        """The place where most groups under the same head differ from `tokens` in that place only, and their ids."""
        found: dict[int, list[str]] = {}
        for group_id in self.by_head.get(head_of(tokens), ())[:LOOK_AT]:
            place = only_difference(self.groups[group_id].tokens, tokens)
            if place is not None:
                found.setdefault(place, []).append(group_id)
        return max(found.items(), key=lambda item: (len(item[1]), -item[0]), default=(0, []))

    def _put(self, group_id: str, group: Group) -> None:
        """Add a group, and let go of the longest unused ones beyond the bounds."""
        self.groups[group_id] = group
        self.text_bytes += len(group.text.encode())
        self.by_text[group.text] = group_id
        self.by_head[group.head] = tuple(sorted((*self.by_head.get(group.head, ()), group_id)))
        while len(self.groups) > MAX_GROUPS or (self.text_bytes > MAX_TEXT_BYTES and len(self.groups) > 1):
            self._take(next(iter(self.groups)))

    def _take(self, group_id: str) -> int:
        """Remove a group; returns its count, 0 when there is none."""
        group = self.groups.pop(group_id, None)
        if group is None:
            return 0
        self.text_bytes -= len(group.text.encode())
        if self.by_text.get(group.text) == group_id:
            del self.by_text[group.text]
        left = tuple(other for other in self.by_head[group.head] if other != group_id)
        if left:
            self.by_head[group.head] = left
        else:
            del self.by_head[group.head]
        return group.count

    def rows(self) -> list[Row]:
        """For the session's row: what `restored` needs, least recently used first."""
        return [(bytes.fromhex(group_id), group.text, group.count) for group_id, group in self.groups.items()]

    @classmethod
    def restored(cls, rows: Sequence[Row]) -> "Miner":
        miner, heads = cls(), dict[tuple[int, str], list[str]]()
        for key, text, count in rows:
            group_id, group = key.hex(), Group(text, tuple(text.split(" ")), count)
            miner.groups[group_id] = group
            miner.text_bytes += len(text.encode())
            heads.setdefault(group.head, []).append(group_id)
        miner.by_head = {head: tuple(sorted(ids)) for head, ids in heads.items()}
        miner.by_text = {group.text: group_id for group_id, group in miner.groups.items()}
        return miner


def holes_filled(template: Sequence[str], tokens: Sequence[str]) -> int:
    """Words of `tokens` that stand in a hole of the template; more than MAX_FILLED where they do not fit or too little is fixed."""
    filled = fixed = 0
    for known, token in zip(template, tokens):
        if known == token:
            fixed += HOLE not in known
        elif HOLE in known and filled < MAX_FILLED and fills(known, token):
            filled += 1
        else:
            return MAX_FILLED + 1
    return filled if fixed >= 2 * filled else MAX_FILLED + 1


def fills(known: str, token: str) -> bool:
    """Whether the token is the known one with its only hole filled: `id=<*>,` takes `id=x,`."""
    before, _, after = known.partition(HOLE)
    return HOLE not in after and len(token) >= len(known) and token.startswith(before) and token.endswith(after)


def only_difference(left: Sequence[str], right: Sequence[str]) -> int | None:
    """The one place where two equally long texts differ; None where there are more."""
    place = None
    for n, (a, b) in enumerate(zip(left, right)):
        if a != b:
            if place is not None:
                return None
            place = n
    return place
