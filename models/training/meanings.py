"""What the teacher says of the units of the training documents: asked once, kept in the run folder.

Knows which units are worth asking about; leaves the teacher's arithmetic to teacher.py and what is learned from it to multitask.py.
Next: models/training/targets.py
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from models import sealed
from models.tokenizer import WordTokenizer
from models.training.data import Document
from models.training.targets import words_of
from models.training.teacher import Teacher

MOST = {
    "sgd_multi": 25_000, "qmsum_meetings": 12_000, "qmsum_meetings as text": 5_000, "sgd_multi as text": 8_000, "peps": 12_000,
    "standardebooks": 12_000, "visits": 8_000, "visits as text": 6_000,
}  # fmt: skip
"""Different units asked about per set; of the others all."""


def asked(documents: Sequence[Document], seed: int = 0) -> list[tuple[int, ...]]:
    """Token ids of the units to ask about, each once: whole documents of each set until there are enough."""
    by_source: dict[str, list[Document]] = {}
    for document in documents:
        by_source.setdefault(document.source, []).append(document)
    found: dict[tuple[int, ...], None] = {}
    for source, mine in by_source.items():
        random.Random(seed).shuffle(mine)
        before = len(found)
        for document in mine:
            found |= dict.fromkeys(ids for unit in document.units if (ids := words_of(unit)))
            if len(found) - before >= MOST.get(source, len(found)):
                break
    return list(found)


def teach(
    documents: Sequence[Document],
    tokenizer: WordTokenizer,
    folder: Path,
    tell: Callable[[str], None],
    teacher: Callable[[], Teacher] = Teacher,
) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """Units and the teacher's vectors, float16 (n, 384); read from the folder where the same units were asked about before."""
    units = asked(documents)
    digest = hashlib.sha256(b"".join(np.array(ids, np.uint16).tobytes() + b"|" for ids in units)).hexdigest()[:16]
    path = folder / f"teacher-{digest}.safetensors"
    if path.exists():
        return units, load_file(path)["vectors"]
    tell(f"asking the teacher about {len(units):,} sentences and utterances")
    vectors = teacher().embed([tokenizer.decode(ids).strip() for ids in units], tell).astype(np.float16)
    folder.mkdir(parents=True, exist_ok=True)
    sealed.write_file(path, save({"vectors": vectors}))
    return units, vectors
