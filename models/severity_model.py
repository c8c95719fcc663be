"""Severity of a line that names none: a linear model over the words of its masked text, with a calibrated confidence.

Knows weights and one cache of texts it has met; leaves features to severity_features.py and headers to streams/log_lines.py.
The weights are learned from log statements of open source programs (training/severity.py, weights/SEVERITY_SOURCES.md); they give the
odds of a level, and what a stream usually holds is told apart from them, as a prior. Next: models/log_model.py
"""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from models.severity import LEVELS, SEVERITIES
from models.severity_features import READ_CHARS, ROWS, THROWN, WITH_DENIAL, features, signs

WEIGHTS = Path(__file__).parent / "weights" / "severity.npz"
CACHED = 8192
"""Texts whose severity is kept: a stream's templates, many times over; then the cache starts anew."""
CACHED_CHARS = 512
"""Longer texts are rare and not kept, so that a flood of them cannot fill the memory."""

Reading = tuple[int, float, str]
"""RFC 5424 number, how likely it is right, and what decided."""
FIRST = 2
"""The most severe level that is learned: programs hardly ever write the two above it, which a few words name."""
LEVELS_LEARNED = len(SEVERITIES) - FIRST

_FRONT = re.compile(r"\W{0,2}([A-Za-z]{3,})(?:\s?[:\]>|]|\s-\s)")
"""What a program puts before a message where it writes no header: ERROR: or [warn]."""
_SURE_OF_FRONT = 0.9
_WORST = re.compile(
    r"(?P<emergency>kernel panic|\bemerg(?:ency)?\b|system is unusable)|(?P<alert>^alert\b|\bimmediate(?:ly)? action\b)"
    r"|(?P<critical>\bsegmentation fault\b|\bsegfault\b|\bout of memory\b|\bunrecoverable\b|\buncorrectable\b)",
    re.IGNORECASE,
)
"""What is the end of a program or a machine, whatever else the message says."""
_SURE_OF_WORST = 0.6
_NUMBER = {name: n for n, name in enumerate(SEVERITIES)}


@dataclass(slots=True)
class SeverityModel:
    """Rows of INT8 weights, a column per level from FIRST on."""

    codes: np.ndarray
    """int8 (ROWS, LEVELS_LEARNED)."""
    learned: np.ndarray
    """bool (ROWS,): rows that training met often enough; a text's length counts these alone."""
    scales: np.ndarray
    """float32 (LEVELS_LEARNED,): a weight is its code times its column's scale."""
    bias: np.ndarray
    """float32 (LEVELS_LEARNED,): of a text without words, the stream's prior included."""
    slope: float
    """Calibration: logits are multiplied by it before they become a confidence."""
    lean: float
    """Added to the logit of level FIRST before the answer is chosen, not to its confidence: a level so rare is hardly ever the likeliest."""
    known: dict[tuple[str, int], Reading] = field(default_factory=dict)

    def logits(self, text: str, sign: int) -> np.ndarray:
        """float32 (LEVELS_LEARNED,) of a masked text and its signs."""
        rows = np.array(features(text, sign))
        rows = rows[self.learned[rows]]
        return self.codes[rows].sum(0, dtype=np.int32) * (self.scales / np.float32(max(1, len(rows))) ** 0.5) + self.bias

    def read(self, text: str, message: str) -> Reading:
        """The severity of a message, `text` being its masked text. The same input gives the same reading, whatever came before."""
        sign = signs(text, message)
        key = text, sign
        reading = self.known.get(key)
        if reading is None:
            reading = self._by_words(text, sign)
            if len(text) <= CACHED_CHARS:
                if len(self.known) >= CACHED:
                    self.known.clear()
                self.known[key] = reading
        return reading

    def _by_words(self, text: str, sign: int) -> Reading:
        """The level that stands in front, what is bad whatever else is said, else the one its words speak for."""
        front = _FRONT.match(text)
        if front and (named := LEVELS.get(front[1].lower())) is not None:
            return named, _SURE_OF_FRONT, "keyword"
        worst = None if sign & WITH_DENIAL else _WORST.search(text[:READ_CHARS])
        if worst:
            return _NUMBER[worst.lastgroup or ""], _SURE_OF_WORST, "keyword"
        if sign & THROWN:
            return _NUMBER["error"], _SURE_OF_WORST, "keyword"
        logits = self.logits(text, sign)
        best = 0 if logits[0] + self.lean > logits.max() else int(logits.argmax())
        confidence = 1.0 / float(np.exp((logits - logits[best]) * self.slope).sum())
        return best + FIRST, round(confidence, 4), "model"


@cache
def shipped() -> SeverityModel:
    """The model of models/weights, read once."""
    return load(WEIGHTS)


def load(path: Path) -> SeverityModel:
    with np.load(path) as file:
        model = SeverityModel(file["codes"], file["learned"], file["scales"], file["bias"], float(file["slope"]), float(file["lean"]))
    if model.codes.shape != (ROWS, LEVELS_LEARNED):
        raise ValueError(
            f"{path}: weights of shape {model.codes.shape}, wanted {(ROWS, LEVELS_LEARNED)}; train them anew with this version (python -m models.training.severity)"
        )
    return model
