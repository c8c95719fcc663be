"""Log template miner: a message's masked text -> its group, online and without settings per system.

Masking does most of the work: lines of one kind have one text. Groups then absorb words at their <*>, and merge where one place
or two hold many words. A group's id is the hash of its first text and stays when the text generalises. Everything here depends on
the lines of one session alone, in order. Knows texts; leaves what is a value to masking.py, severity and anomalies to log_model.py.
Source of the group search: He et al. 2017 (Drain), in spirit. Next: models/log_model.py
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import ne

import msgspec

from models.masking import HOLE, mask

MAX_TOKENS = 64
MAX_GROUPS = 512
MAX_TEXT_BYTES = 48_000
"""Of all texts of a session together: bounds its row."""
MAX_FILLED = 2
"""Words that may stand in holes for a line to belong to a group; at least twice as many tokens must be equal."""
SIBLINGS = 8
"""So many texts that differ in one place only are one group with a hole there; fewer may be an enumeration that matters."""
PAIRS = 24
"""So many that differ in the same two places only are one group with two holes."""
LOOK_AT = 64
"""Groups that are compared with a new text, of those under one head: bounds the cost of a flood of new texts."""


class Group(msgspec.Struct, frozen=True, gc=False):
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


class Mined(msgspec.Struct, frozen=True, gc=False):
    """What one message was found to be."""

    group_id: str
    group: Group
    parameters: list[str]
    is_new: bool
    merged: tuple[str, ...] = ()
    """Ids of groups that this message showed to be one with group_id."""
    text: str = ""
    """The message's own masked text; the group's may have holes where this has words."""


Row = tuple[bytes, str, int]
"""Id, text and count of a group in the session's row."""
Ids = tuple[str, ...]
"""Group ids, ascending: what is found does not depend on when groups came back from a row."""


@dataclass(slots=True)
class Miner:
    """The groups of one session, least recently used first. `copy` before `learn` where the old state must stay."""

    groups: dict[str, Group] = field(default_factory=dict)
    text_bytes: int = 0
    by_text: dict[str, str] = field(default_factory=dict)
    """Text -> id; made again from groups, as the next two are."""
    by_head: dict[tuple[int, str], Ids] = field(default_factory=dict)
    with_holes: dict[tuple[int, str], Ids] = field(default_factory=dict)
    """Those of by_head that have a hole, and so may take a word."""

    def copy(self) -> "Miner":
        return Miner(self.groups.copy(), self.text_bytes, self.by_text.copy(), self.by_head.copy(), self.with_holes.copy())

    def learn(self, message: str) -> Mined:
        """Find or make the message's group, and count it."""
        masked, values = mask(message)
        group_id = self.by_text.get(masked)
        merged: tuple[str, ...] = ()
        is_new = False
        if group_id is None:
            tokens = tuple(masked.split(" ", MAX_TOKENS)[:MAX_TOKENS])
            text = " ".join(tokens)
            group_id = self.by_text.get(text) or self._holding(tokens)
            if group_id is None:
                group_id, merged, is_new = self._new(text, tokens)
        known = self.groups.pop(group_id)
        group = self.groups[group_id] = Group(known.text, known.tokens, known.count + 1)  # to the end: used last
        return Mined(group_id, group, values, is_new, merged, masked)

    def _holding(self, tokens: tuple[str, ...]) -> str | None:
        """The group with the fewest holes that take words of these tokens, all else being equal."""
        best, fewest = None, MAX_FILLED + 1
        for head in {head_of(tokens), (len(tokens), HOLE)}:
            for group_id in self.with_holes.get(head, ())[:LOOK_AT]:
                filled = holes_filled(self.groups[group_id].tokens, tokens)
                if filled < fewest or (filled == fewest and best is not None and group_id < best):
                    best, fewest = group_id, filled
        return best

    def _new(self, text: str, tokens: tuple[str, ...]) -> tuple[str, tuple[str, ...], bool]:
        """A group of its own; or, with enough others that differ in the same place or two only, one group for all of them."""
        places, siblings = self._siblings(tokens)
        if not places:
            group_id = blake2b(text.encode(), digest_size=8).hexdigest()
            if group_id in self.groups:  # its first text, which its general one takes no more
                return group_id, (), False
            self._put(group_id, Group(text, tokens, 0))
            return group_id, (), True
        kept = max(siblings, key=lambda sibling: (self.groups[sibling].count, sibling))
        general = list(tokens)
        for place in places:
            general[place] = HOLE + (tokens[place][-1:] if tokens[place][-1:] in ",;:." else "")
        text = " ".join(general)
        kept = self.by_text.get(text, kept)  # two groups never have one text
        count = sum(self._take(sibling) for sibling in {kept, *siblings})
        self._put(kept, Group(text, tuple(general), count))
        return kept, tuple(sorted(set(siblings) - {kept})), False

    def _siblings(self, tokens: tuple[str, ...]) -> tuple[tuple[int, ...], list[str]]:
        """Where enough groups under the same head differ from `tokens`, nowhere else, and their ids; no place where they are too few."""
        found: dict[tuple[int, ...], list[str]] = {}
        for group_id in self.by_head.get(head_of(tokens), ())[:LOOK_AT]:
            places = differences(self.groups[group_id].tokens, tokens)
            if places:
                found.setdefault(places, []).append(group_id)
        enough = {places: ids for places, ids in found.items() if len(ids) + 1 >= (SIBLINGS if len(places) == 1 else PAIRS)}
        return max(enough.items(), key=lambda item: (-len(item[0]), len(item[1]), [-place for place in item[0]]), default=((), []))

    def _put(self, group_id: str, group: Group) -> None:
        """Add a group, and let go of the longest unused ones beyond the bounds."""
        self.groups[group_id] = group
        self.text_bytes += len(group.text.encode())
        self.by_text[group.text] = group_id
        for index in self._indexes(group):
            index[group.head] = with_id(index.get(group.head, ()), group_id)
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
        for index in self._indexes(group):
            index[group.head] = without_id(index[group.head], group_id)
            if not index[group.head]:
                del index[group.head]
        return group.count

    def _indexes(self, group: Group) -> tuple[dict[tuple[int, str], Ids], ...]:
        return (self.by_head, self.with_holes) if HOLE in group.text else (self.by_head,)

    def rows(self) -> list[Row]:
        """For the session's row: what `restored` needs, least recently used first."""
        return [(bytes.fromhex(group_id), group.text, group.count) for group_id, group in self.groups.items()]

    @classmethod
    def restored(cls, rows: Sequence[Row]) -> "Miner":
        miner = cls()
        heads, holes = dict[tuple[int, str], list[str]](), dict[tuple[int, str], list[str]]()
        for key, text, count in rows:
            group_id, group = key.hex(), Group(text, tuple(text.split(" ")), count)
            miner.groups[group_id] = group
            miner.text_bytes += len(text.encode())
            heads.setdefault(group.head, []).append(group_id)
            if HOLE in text:
                holes.setdefault(group.head, []).append(group_id)
        miner.by_head = {head: tuple(sorted(ids)) for head, ids in heads.items()}
        miner.with_holes = {head: tuple(sorted(ids)) for head, ids in holes.items()}
        miner.by_text = {group.text: group_id for group_id, group in miner.groups.items()}
        return miner


def with_id(ids: Ids, group_id: str) -> Ids:
    at = bisect_left(ids, group_id)
    return (*ids[:at], group_id, *ids[at:])


def without_id(ids: Ids, group_id: str) -> Ids:
    at = bisect_left(ids, group_id)
    return (*ids[:at], *ids[at + 1 :])


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


def differences(left: Sequence[str], right: Sequence[str]) -> tuple[int, ...]:
    """The one or two places where two equally long texts differ; none where there are more, or too little is equal for a kind of line."""
    differ = list(map(ne, left, right))
    n = sum(differ)
    if n == 1 or (n == 2 and len(differ) >= 6):
        return tuple([place for place, is_other in enumerate(differ) if is_other])
    return ()
