"""Text -> pieces as a live source would emit them: a word with the white space after it.

Knows white space only; the concatenation of the pieces is the text, and any split of the input gives the same pieces.
Next: deploy/replay.py, deploy/produce.py
"""

import re

PIECE = re.compile(r"\s*\S+\s*|\s+")


def cut_text(text: str) -> list[str]:
    """Pieces of a whole text; white space before the first word belongs to it."""
    return PIECE.findall(text)


class PieceCutter:
    """Cuts text that arrives in parts. The last word is held back until it is known to be complete."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> list[str]:
        """The pieces that `text` completes."""
        pieces = cut_text(self._held + text)
        self._held = pieces.pop() if pieces else ""
        return pieces

    def finish(self) -> list[str]:
        """What is left."""
        rest, self._held = self._held, ""
        return [rest] if rest else []
