"""Byte-level BPE: words to token ids and back, losslessly, under a hard vocabulary cap.

Knows pre-tokens, byte symbols and the special marks; leaves the order in which streamed text becomes pre-tokens to
models/reader.py, which must cut any stream exactly as `split_words` cuts the whole text (a boundary that falls before a
word is settled before that word's ids are released).
Next: models/reader.py
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from zlib import crc32

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from models.config import MARKS

PRETOKEN = re.compile(
    r"'(?:[stmd]|re|ve|ll)"  # contractions
    r"| ?[^\W\d_]{1,24}"  # letters, with the space before them
    r"| ?\d{1,3}"
    r"| ?(?:[^\w\s]|_){1,8}"
    r"|\n{1,4}"
    r"|[^\S\n]{1,8}(?!\S)"  # white space before white space; the last one before a word goes with the word
    r"|\s"
)
"""GPT-2's pre-tokens with every run capped. A match from a settled place is settled itself once two more characters are known after it,
or none will come; so a reader never holds back more than 27 characters for the sake of words."""

SPECIALS = ("<pad>", "<bos>", "<text>", "<chat>", "<sink>", "<paragraph>", "<user>", "<agent>", "<s0>", "<s1>", "<s2>", "<s3>", "<eot>")
"""Marks outside the text; their ids are their places here. No text ever encodes to one of them."""

PAD, BOS, TEXT, CHAT, SINK, PARAGRAPH, USER, AGENT, SPEAKER_0, SPEAKER_1, SPEAKER_2, SPEAKER_3, END_OF_TURN = range(len(SPECIALS))
USER_NAMES = {"user", "customer", "patient", "client", "caller", "visitor", "human"}
AGENT_NAMES = {"agent", "assistant", "system", "bot", "doctor", "wizard", "operator", "ai", "clinician"}
N_SPEAKERS = 4


def sinks(mode: int, n_sinks: int) -> list[int]:
    """What stands in front of every window: two marks, then places for a memory."""
    return [BOS, mode, *[SINK] * (n_sinks - MARKS)]


def split_words(text: str) -> list[str]:
    """All pre-tokens of a whole text; joined they are the text."""
    return PRETOKEN.findall(text)


def speaker_mark(name: str, seen: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """The mark of who speaks, and the names met so far: known roles have their own, others are numbered as they appear."""
    name = name.strip().lower()[:32].encode("utf-8", "replace").decode()
    if name in USER_NAMES or name in AGENT_NAMES:
        return (USER if name in USER_NAMES else AGENT), seen
    if name not in seen and len(seen) < N_SPEAKERS:
        seen = (*seen, name)
    place = seen.index(name) if name in seen else crc32(name.encode()) % N_SPEAKERS
    return SPEAKER_0 + place, seen


def _byte_symbols() -> tuple[str, ...]:
    """One printable character per byte, as in GPT-2, so that BPE's alphabet has 256 symbols."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return tuple(chr(b) if b in printable else chr(256 + others.index(b)) for b in range(256))


SYMBOLS = _byte_symbols()
BYTES = {symbol: byte for byte, symbol in enumerate(SYMBOLS)}


def _symbols(word: str) -> str:
    return "".join(SYMBOLS[b] for b in word.encode("utf-8", "surrogatepass"))


class WordTokenizer:
    """Pre-tokens to ids, each word on its own: what comes before or after a word never changes its ids."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.vocab_size = tokenizer.get_vocab_size()
        model = tokenizer.model
        self.encode_word = lru_cache(maxsize=65536)(lambda word: tuple(token.id for token in model.tokenize(_symbols(word))))
        self._token_bytes = [self._bytes_of(i) for i in range(self.vocab_size)]

    def _bytes_of(self, token_id: int) -> bytes:
        return b"" if token_id < len(SPECIALS) else bytes(BYTES[c] for c in self.tokenizer.id_to_token(token_id) or "")

    def encode(self, text: str) -> list[int]:
        """Ids of a whole text."""
        return [token_id for word in split_words(text) for token_id in self.encode_word(word)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; marks are left out. Lone surrogates come back as they were, of a cut character only what is whole."""
        data = b"".join(self._token_bytes[i] for i in ids)
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return data.decode("utf-8", "ignore")

    def n_bytes(self, token_id: int) -> int:
        """UTF-8 bytes of a token's text; 0 for a mark."""
        return len(self._token_bytes[token_id])


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> WordTokenizer:
    """Learn merges; vocab_size counts marks and bytes too and is never exceeded."""

    def words() -> Iterator[str]:
        for text in texts:
            yield from map(_symbols, split_words(text))

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\0", "removed")  # words come already split
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIALS), initial_alphabet=list(SYMBOLS), min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(words(), trainer)
    return WordTokenizer(tokenizer)


def load_tokenizer(path: Path) -> WordTokenizer:
    return WordTokenizer(Tokenizer.from_file(str(path)))
