"""Boundaries: does a new sentence or paragraph begin at this gap between two words? What is certain, by rule.

Knows one gap at a time: the words before it, its white space, the word after it (whole) and, when that is not enough, one word more:
blank lines, titles, list markers, CJK terminators; and what is remembered of the text before. Leaves the other gaps to
boundary_scorer.py, and where words come from and what they become to reader.py. Pure.
Next: models/boundary_scorer.py
"""

import json
import re
from functools import cache, lru_cache
from pathlib import Path

import msgspec

SPACE, LINE, BLANK, NOTHING = 1, 2, 3, 0
"""White space of a gap: blanks only, one line break, a blank line, none at all (after a CJK terminator)."""

CJK_TERMINATORS = "。！？｡"
CLOSERS = "\"'”’»)]}」』）】》〉"
OPENERS = "\"'“‘„«‹([{¿¡「『（【《〈-–—"
FOREIGN_TERMINATORS = "؟۔।॥።။։"
TERMINATORS = ".!?…" + FOREIGN_TERMINATORS + CJK_TERMINATORS
BULLETS = "•⁃⁄◦▪‣●○■"
SLIGHT = BULLETS + ".…"
LONE = frozenset((".", ",", "?", "!", ";", ":", ")", "]", "}", "?!", "!!", "??", "%", "’", "”", "»"))
"""Words that always go with what is before them, in text with spaced punctuation ('hi , martha .')."""

STARTERS = frozenset(
    ("how", "the", "he", "she", "it", "they", "we", "i", "you", "what", "why", "when", "where", "this", "that", "these", "those", "there",
     "in", "on", "but", "and", "if", "a", "an", "my", "our", "his", "her", "it's", "i'm", "mr.", "mrs.", "dr.")
)  # fmt: skip
"""Words that begin a sentence when capitalised after an abbreviation."""

ENGLISH = frozenset(
    ("the", "of", "and", "that", "with", "this", "have", "from", "are", "you", "not", "your", "they", "his", "her", "were", "which", "has",
     "had", "for", "be", "it", "it's", "is", "as", "if", "but", "what", "when", "would", "can", "there", "their", "she",
     "i'm", "please", "thanks", "our", "who", "how", "why", "then", "just", "about", "get", "want", "know")
)  # fmt: skip
"""Words that tell English from other languages: a quarter of its words. The model was trained on English only."""

FEW_ENGLISH = 10
LINKS = ("http:", "https:", "www.")
VOWELS = frozenset("aeiouyáéíóúýàèìòùâêîôûäëïöüąęåæøœãõăěůőűаеёиоуыэюяіїєαεηιουωάέήίόύώ")
ELLIPSIS = re.compile(r"(?:\.\.|…|(?:^| )\. \.)$")
INITIALS = re.compile(r"(?:[^\W\d_]\.){2,}$")
YEAR = re.compile(r"[\d IVX]\s[rw]\.(?: (?:p\.)?n\.e\.)?$")
ORDINAL = re.compile(r"(?:^|[ \n])\d\d?\.$")
ROMAN = re.compile(r"[IVXLC]{2,}(?!\w)")
ADVERBIAL = frozenset(("w", "we", "po", "od", "do", "na", "około", "podczas", "przed", "pod", "za", "jeszcze", "już", "dopiero"))
"""Polish words that begin a sentence with its time: a year's abbreviation right after them ends nothing."""

CLOSED = re.compile(r"[.!?…][\"'”’)\]»]+$")

SPEECH = frozenset("とっはがのをと")
"""Kana that carry a quotation on after its closing bracket."""


WEIGHTS = Path(__file__).parent / "weights"


@cache
def abbreviations() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Lower-case words whose full stop ends no sentence: when capitalised (titles), always (`e.g.`), before a number (`p. 55`)."""
    data = json.loads((WEIGHTS / "abbreviations.json").read_text(encoding="utf-8"))
    return tuple(frozenset(word for key, words in data[kind].items() if key != "what" for word in words) for kind in data)  # type: ignore[return-value]


class Context(msgspec.Struct, frozen=True):
    """What the open sentence and the session so far tell about the next gap; a few dozen bytes."""

    words: int = 0
    """Words of the open sentence, at most 99."""
    solid: bool = False
    """It has more than a list marker, bullets and dots."""
    depth: int = 0
    """Open round brackets, at most 9."""
    quoted: bool = False
    """An odd number of straight double quotes."""
    first: str = ""
    """Its first word in lower case, 10 characters."""
    ended: str = "-"
    """How the sentences before it ended: a mark for each of the last two, `w` a word, `,` `.` `)` a sign, small for long ones; `-` a blank line."""
    marker: str = ""
    """The list marker expected next in this session, as `2.)` after `1.)`."""
    line: int = 0
    """Characters of the open line, at most 999."""
    capitals: int = 0
    """Words with a capital among `counted`: old ones fade."""
    marks: int = 0
    """Words with a punctuation mark at an end, likewise."""
    counted: int = 0
    """Words that begin with a letter."""
    small: int = 2
    """Those in small letters or with a letter outside ASCII, the latter three times: names and dates tell no language."""
    english: int = 1
    """English function words among `small`."""


class Verdict(msgspec.Struct, frozen=True):
    """What a gap is; `kind` is empty (no boundary), sentence or paragraph."""

    kind: str
    confidence: float
    detected_by: str


NONE = Verdict("", 1.0, "rule")
WAIT = Verdict("wait", 0.0, "rule")
"""The word after the next one is needed."""
PARAGRAPH = Verdict("paragraph", 0.99, "rule")
SENTENCE = Verdict("sentence", 0.97, "rule")
LIKELY_SENTENCE = Verdict("sentence", 0.85, "rule")
LIKELY_PARAGRAPH = Verdict("paragraph", 0.85, "rule")


def rule(before: str, gap: int, indent: int, word: str, second: str | None, context: Context) -> Verdict | None:
    """The certain cases; None leaves the gap to the model."""
    if not before:
        return NONE
    if gap == BLANK:
        return PARAGRAPH
    last = before[-1]
    if gap == SPACE and word[0].islower() and (last.isalpha() or last == ",") and word != context.marker and not word.startswith(LINKS):
        return None if is_bare(context) and context.english * 6 >= context.small else NONE  # the net knows English
    if gap == NOTHING:
        return _judge_joined(before, word)
    if word in LONE and gap == SPACE:
        return _judge_lone(before, gap, word, second, context)
    if gap == LINE:
        verdict = _judge_line(before, indent, word, context)
        if verdict is not None:
            return verdict
    if not context.solid and gap != LINE:  # a list marker, bullet or ornament does not stand alone
        return NONE
    if word[0] in BULLETS:
        return LIKELY_SENTENCE
    if word == context.marker:
        return WAIT if second is None else LIKELY_SENTENCE if second else NONE
    verdict = _judge_full_stop(before, word, context) if last == "." else None
    if verdict is None and word[0].islower() and has_capitals(context) and CLOSED.search(before) and not word.startswith(LINKS):
        return NONE  # 'This is great.' she said
    if verdict is None and (is_foreign(context) or last in FOREIGN_TERMINATORS or (word[0] > "ʯ" and word[0].isalpha())):
        return _judge_foreign(before, word, second, context)
    return verdict


def _judge_foreign(before: str, word: str, second: str | None, context: Context) -> Verdict:
    """In a language the model does not know: after a terminator, before no small letter, unless it looks like an abbreviation."""
    bare = before.rstrip(CLOSERS)
    if not bare or (
        bare[-1] not in TERMINATORS and not (bare[-1] == ":" and "\u0530" < bare[-2:-1] < "\u0590")
    ):  # Armenian ends with a colon
        return NONE
    opening = word.lstrip(OPENERS)
    if not opening and second is None:
        return WAIT
    if (opening or (second or "").lstrip(OPENERS))[:1].islower():
        return NONE
    if len(bare) == len(before) and bare[-1] == ".":
        core = bare[:-1].replace("\n", " ").rpartition(" ")[2].lstrip(OPENERS)
        if len(core) == 1 or "." in core.rstrip("."):  # an initial; but 'w 1990 r.' and 'p.n.e.' can end a sentence
            return SENTENCE if core.islower() and opening[:1].isupper() and context.words > 3 else NONE
        if (core.isdecimal() and len(core) < 3) or (core.isascii() and core.isalpha() and VOWELS.isdisjoint(core.lower())):
            return NONE
    return SENTENCE


def _judge_full_stop(before: str, word: str, context: Context) -> Verdict | None:
    """After a full stop: abbreviations, initials and ellipses that go on."""
    if _never_ends(before, word, context):
        return NONE
    if ELLIPSIS.search(before[-4:]):
        if not word.strip(SLIGHT + CLOSERS):
            return NONE
        spaced = before[-2] == " "
        return NONE if spaced and (word.lower() in ("i", "i'm") or (word[0].islower() and has_capitals(context))) else None
    if context.words <= 10 and (context.first in ADVERBIAL or context.first[:1].isdecimal()) and YEAR.search(before[-12:]):
        return NONE  # 'W 1984 r. Geyer', '1 stycznia 49 r. p.n.e. Marek': no verb yet
    if ORDINAL.search(before[-4:]) and ROMAN.match(word):
        return NONE  # 'W latach 50. XIV w.'
    initials = INITIALS.search(before[-12:])
    if initials and word[0].islower() and has_capitals(context):
        return NONE
    if initials and word[0].isupper() and word.lower() in STARTERS:
        return NONE if initials.group().lower() in ("a.m.", "p.m.") and context.words <= 3 else LIKELY_SENTENCE
    return None


def has_capitals(context: Context) -> bool:
    """The text writes capitals: one word in twenty has one."""
    return (context.capitals + 1) * 20 >= context.counted + 2


def is_bare(context: Context) -> bool:
    """The text writes neither capitals nor punctuation, as a transcript of speech: none in its last sixty words or more."""
    return context.counted > 0 and not context.capitals and not context.marks


def is_foreign(context: Context) -> bool:
    """The text is probably not English: too few of its function words."""
    return context.english * FEW_ENGLISH < context.small


def advance(context: Context, before: str, gap: int, word: str, begins: bool) -> Context:
    """The context after a word; `begins` when a boundary was found before it."""
    line = min(999, (0 if gap >= LINE else context.line + (gap == SPACE)) + len(word))
    capitals, marks, counted, small, english = context.capitals, context.marks, context.counted, context.small, context.english
    if not (word[-1].isalnum() and word[0].isalnum()):
        marks += 1
    if word[0].isalpha():
        counted += 1
        capitals += word[0].isupper()
        if counted > 60:
            capitals, marks, counted = capitals >> 1, marks >> 1, counted >> 1
        if word[0].islower() or not word.isascii():
            small += 1 if word.replace("’", "'").isascii() else 3
            english += word in ENGLISH
            if small > 60:
                small, english = small >> 1, english >> 1
    words, solid, depth, quoted, first, marker = context.words, context.solid, context.depth, context.quoted, context.first, context.marker
    ended = context.ended
    if begins:
        sign = "w" if before[-1].isalnum() else "." if before[-1] in ".!?" else before[-1]
        sign += "0" if words < 3 else "1" if words < 7 else "2"
        ended = "-" + sign if gap >= BLANK else (ended + sign)[-4:]
        words, solid, depth, quoted = 0, False, 0, False
    if not solid:
        first, marker, solid = _start(words, word, first if words else "", marker)
    if not word.isalpha():
        depth = min(9, max(0, depth + word.count("(") - word.count(")")))
        quoted ^= bool(word.count('"') & 1)
    return Context(min(99, words + 1), solid, depth, quoted, first, ended, marker, line, capitals, min(99, marks), counted, small, english)


def _start(words: int, word: str, first: str, marker: str) -> tuple[str, str, bool]:
    """First word, expected marker and solidity after a word of a sentence that had only marks so far."""
    following = next_marker(word.lstrip(BULLETS))
    if following and (not words or not first.strip(BULLETS)):
        return first or word.lower()[:10], following, False
    return first or word.lower()[:10], marker, bool(word.strip(SLIGHT))


@lru_cache(maxsize=4096)
def next_marker(word: str) -> str:
    """The list marker that follows: 2.) after 1.), b. after a.; empty when the word is none."""
    core = word.rstrip(".)")
    tail = word[len(core) :]
    if not tail or len(tail) > 2 or len(core) > 3:
        return ""
    if core.isdecimal() and core.isascii():
        return f"{int(core) + 1}{tail}"
    if len(core) == 1 and "a" <= core < "z":
        return chr(ord(core) + 1) + tail
    return ""


def _judge_joined(before: str, word: str) -> Verdict:
    """A gap without white space: only after a CJK terminator and its closing brackets."""
    bare = before.rstrip(CLOSERS)
    if not bare or bare[-1] not in CJK_TERMINATORS or word[0] in CLOSERS:
        return NONE
    return NONE if len(bare) < len(before) and word[0] in SPEECH else SENTENCE


def _judge_lone(before: str, gap: int, word: str, second: str | None, context: Context) -> Verdict:
    """Before a lone punctuation mark: never, except that spaced dots after a full stop (`end. . . . Next`) open the next sentence."""
    if word == "?" and before[-1] in ".!-" and gap == SPACE:  # a bullet that a mail program could not write: 'questions. ? Best regards.'
        return WAIT if second is None else LIKELY_SENTENCE if second[:1].isupper() else NONE
    if word == "." and before[-1] == "." and before[-2:-1].isalpha() and context.solid:
        return WAIT if second is None else LIKELY_SENTENCE if second[:1] == "." and second.rpartition(" ")[2][0].isalpha() else NONE
    return NONE


def _judge_line(before: str, indent: int, word: str, context: Context) -> Verdict | None:
    """A single line break: a new line of a list, a heading, verse or a form; or only wrapped text (None: the words decide)."""
    if word[0] == "#" and not word.strip("#"):
        return LIKELY_PARAGRAPH
    if word[0] in BULLETS or word in ("-", "*", "+") or next_marker(word):
        return SENTENCE
    bare = before.rstrip(CLOSERS)
    if bare and bare[-1] in TERMINATORS and not _never_ends(before, word, context):
        return LIKELY_PARAGRAPH if indent >= 2 and context.line > 0 and not word[0].islower() else None if word[0].islower() else SENTENCE
    if context.line < 45 and not word[0].islower() and word[0].isalnum():
        return LIKELY_SENTENCE
    return None


def _never_ends(before: str, word: str, context: Context) -> bool:
    """The full stop before belongs to an abbreviation or an initial that goes on."""
    previous = before[-20:].replace("\n", " ").rpartition(" ")[2]
    core = previous[:-1].lstrip(OPENERS)
    titles, always, numbered = abbreviations()
    low = core.lower()
    if low in always or (low in titles and core[:1].isupper() and word.lower() not in STARTERS):
        return True
    letter = len(core) == 1 and low == core and low not in VOWELS
    if (letter or low in titles) and not word[0].isupper() and has_capitals(context):
        return True  # '5th st. near', 'w 1990 r. w'
    if core.isdecimal() and len(core) < 3 and word[0].islower() and has_capitals(context):
        return True  # an ordinal: 'lat 60. gospodarka', 'am 5. mai'
    if letter and context.words <= 3:
        return True  # 'W 1990 r. Polska'
    return low in numbered and (word[0].isdigit() or word[0] == "#")
