"""Baselines beside every figure of the text model, measured on the same dev data: `python -m models.training.baselines --data DIR`.

Knows which rule stands beside which figure and how tables look; leaves rules to topic_rules.py, counts to ngrams.py, labels to
label_figures.py. All decide from the past alone; what has a number to choose chose it on train parts. Progress goes to stderr.
Next: models/training/topic_rules.py
"""

import argparse
import functools
import gzip
import hashlib
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.checkpoint import SHIPPED
from models.labels import Embed
from models.tokenizer import load_tokenizer
from models.training import label_figures, ngrams, topic_rules
from models.training.data import language_stream
from models.training.played import held_out_texts
from models.training.text_figures import compressor_figures

HELD_OUT_CHARACTERS = 400_000
"""As for the model card."""
ORDERS = (2, 3, 5)
"""Tokens of the longest n-gram. Fewer are smaller tables: a baseline of about a checkpoint's size, and the best."""
SENTENCE_SETS = {"EWT dev": ("ewt.jsonl.gz", "dev"), "English PUD": ("en_pud.jsonl", None), "Polish PUD": ("pl_pud.jsonl", None)}
"""Name -> file and split; PUD has none, and nobody here trains on it."""
RULE_END = re.compile(r"[.!?][\"'”’)\]]*(?=\s|\Z)|\S(?=\s*\n\s*\n)|\S(?=\s*\Z)")
KEPT_EVERY = 2000
"""Texts embedded between two writes of a cache."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Table:
    """Rows under a heading."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        return "\n".join([f"### {self.title}", "", *(f"| {' | '.join(line)} |" for line in lines)])


class KeptVectors:
    """An embedding that writes down what it has embedded, so that a run that was stopped goes on and another one is quick."""

    def __init__(self, path: Path, load: Callable[[], Embed], tell: Tell):
        self.path, self.tell = path, tell
        self.embed = functools.cache(load)
        self.known: dict[str, np.ndarray] = {}
        if path.exists():
            with np.load(path) as kept:
                self.known = dict(zip(kept["keys"].tolist(), kept["vectors"]))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (n, E)."""
        keys = [hashlib.sha1(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
        missing = list({key: text for key, text in zip(keys, texts) if key not in self.known}.items())
        for at in range(0, len(missing), KEPT_EVERY):
            part = missing[at : at + KEPT_EVERY]
            self.known.update(zip((key for key, _ in part), self.embed()([text for _, text in part])))
            self._write()
            self.tell(f"{self.path.stem}: {at + len(part)} of {len(missing)} texts embedded")
        return np.stack([self.known[key] for key in keys]).astype(np.float32)

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        half = self.path.with_suffix(".half.npz")
        np.savez(half, keys=np.array(list(self.known)), vectors=np.stack(list(self.known.values())))
        half.replace(self.path)


def topics(data: Path, teacher: Embed, tell: Tell) -> Table:
    """Where topics start: a row for each rule."""
    sets = topic_rules.topic_sets(data)
    found = {s.name: topic_rules.unlearned(s) for s in sets}
    tell("topics: rules without words done")
    words = topic_rules.by_likeness(sets, "cosine of words", topic_rules.word_counts)
    tell("topics: words done")
    whole = [s for s in sets if s.name != "wiki300"]  # an encoder takes minutes for all of it
    vectors = topic_rules.by_embedding(whole, "cosine of teacher", teacher)
    by_set = {s.name: {f.rule: f for f in (*found[s.name], *words[s.name], *vectors.get(s.name, ()))} for s in sets}
    rules = dict.fromkeys(rule for s in sets for rule in by_set[s.name])
    rows = [(rule, *(cell(by_set[s.name][rule], s.is_chat) if rule in by_set[s.name] else "" for s in sets)) for rule in rules]
    heading = "Topic shifts, online: Pk / WD / F1 / Score, and the number chosen; of articles also Pk x 100"
    return Table(heading, ("rule", *(f"{s.name} ({len(s.dev)} dev)" for s in sets)), tuple(rows))


def cell(f: topic_rules.Found, is_chat: bool) -> str:
    """Pk / WD / F1 / Score, as the published tables have them."""
    pk, wd, f1, score = (f"{f.score[name]:.3f}" for name in ("pk", "wd", "f1", "score"))
    share = "" if is_chat else f" ({100 * f.score['pk']:.1f})"
    return f"{pk}{share} / {wd} / {f1} / **{score}**" + (f", {f.chosen}" if f.chosen else "")


def labels(data: Path, embeddings: dict[str, Embed], tell: Tell) -> Table:
    """The nearest of the described labels, beside the label that is most common in the dev part itself."""
    found = {}
    for name, embed in embeddings.items():
        found[name] = label_figures.figures(data, embed, limit=topic_rules.SGD_DEV)
        tell(f"labels: {name} done")
    rows: list[tuple[str, ...]] = []
    for of in label_figures.SETS:
        figures = {name: by_set[of] for name, by_set in found.items()}
        any_figure = next(iter(figures.values()))
        rows.append((of, str(any_figure.n), "most common label", f"{any_figure.most_common:.3f}", ""))
        rows += [(of, str(f.n), f"nearest label, {name}", f"{f.accuracy:.3f}", f"{f.balanced:.3f}") for name, f in figures.items()]
    return Table("Labels", ("set", "n", "rule", "accuracy", "mean over labels"), tuple(rows))


def rule_ends(text: str) -> frozenset[int]:
    """Offsets of sentence ends: at `.!?`, and quotes and brackets behind it, before white space; before a blank line; at the end of the text."""
    return frozenset(match.end() for match in RULE_END.finditer(text))


def sentence_ends(data: Path) -> Table:
    """How often that rule is right."""
    rows = []
    for name, (file, split) in SENTENCE_SETS.items():
        counts: Counter[str] = Counter()
        for text, ends in _gold(data / "sentences" / file, split):
            told = rule_ends(text)
            counts.update(right=len(told & ends), told=len(told), gold=len(ends))
        p, r = counts["right"] / counts["told"], counts["right"] / counts["gold"]
        rows.append((name, ".!? before white space", f"{p:.3f}", f"{r:.3f}", f"{2 * p * r / max(p + r, 1e-9):.3f}"))
    return Table("Sentence ends", ("set", "rule", "precision", "recall", "F1"), tuple(rows))


def _gold(path: Path, split: str | None) -> Iterator[tuple[str, frozenset[int]]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for r in map(json.loads, lines):
            if split is None or r["split"] == split:
                yield r["text"], frozenset(r["sent_end"])


def language(data: Path, tell: Tell) -> Table:
    """Bits per byte of held-out text. The n-grams have read what stage one reads; compressors know nothing but the text itself."""
    tokenizer = load_tokenizer(SHIPPED / "tokenizer.json")
    texts = held_out_texts(data, HELD_OUT_CHARACTERS)
    encoded = "".join(texts).encode()
    found = compressor_figures(encoded)
    rows = [("gzip -9", "", f"{found['gzip']:.3f}"), ("xz -9e", "", f"{found['xz']:.3f}")]
    tell(f"language: {len(encoded)} bytes of {len(texts)} texts compressed")
    stream = np.concatenate(language_stream(data, tokenizer, "train", 0))
    tell(f"language: {len(stream)} train tokens read")
    for order in ORDERS:
        model = ngrams.fit(stream, tokenizer.vocab_size, order)
        size = sum(len(o.keys) for o in model.orders)
        tell(f"language: {size} n-grams of {order} tokens and fewer counted")
        bits = sum(model.code_length_bits(np.array(tokenizer.encode(text))) for text in texts)
        rows.append((f"{order}-grams of tokens, Kneser-Ney", f"{size / 1e6:.1f} M", f"{bits / len(encoded):.3f}"))
    return Table(
        f"Held-out plain text, {len(encoded):,} bytes of {len(texts)} texts", ("what", "n-grams kept", "bits per byte"), tuple(rows)
    )


PARTS = ("topics", "labels", "sentences", "language")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training.baselines", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with chat/, text/, plain/ and sentences/")
    parser.add_argument("--out", type=Path, help="write the tables here, too")
    parser.add_argument("--work", type=Path, default=Path(".training/baselines"), help="folder where the teacher's vectors are kept")
    parser.add_argument("--part", choices=PARTS, action="append", help="measure this alone; may be repeated")
    a = parser.parse_args(arguments)
    begin = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - begin:7.1f} s  {line}", file=sys.stderr, flush=True)

    # 1. measure
    teacher = KeptVectors(a.work / "teacher.npz", label_figures.EMBEDDINGS["teacher"], tell)
    measures: dict[str, Callable[[], Table]] = {
        "topics": lambda: topics(a.data, teacher, tell),
        "labels": lambda: labels(a.data, {"words": label_figures.hashed_words, "teacher": teacher}, tell),
        "sentences": lambda: sentence_ends(a.data),
        "language": lambda: language(a.data, tell),
    }
    # 2. print each as it comes
    tables = []
    for part in a.part or PARTS:
        tables.append(measures[part]().markdown())
        print(tables[-1], end="\n\n", flush=True)
    if a.out:
        a.out.write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
