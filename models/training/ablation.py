"""What each level buys: `python -m models.training.ablation --data DIR [--model DIR]`.

One level at a time is silenced, the levels and heads are trained on without it for some steps, the trunk as it is, and what is lost on dev is put
beside the same number of steps with every level. Knows which parts can be silenced; leaves losses to multitask.py.
Next: docs/model.md
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from models import checkpoint
from models.checkpoint import SHIPPED
from models.memory import keep_freed_memory
from models.training import meanings
from models.training.data import Document, documents_of
from models.training.language import NextTokenLoss
from models.training.loop import TOKENS, Stage
from models.training.multitask import Batch, collate, levels_stage, memory_of, read
from models.training.progress import Teller
from models.training.ranks import Ranks
from models.training.targets import Targets

PARTS = ("nothing", "sentence", "paragraph", "topic", "document")
LONG_DOCUMENTS = 40
FIGURES = ("shift", "topic", "document")


def retrained(
    model: checkpoint.TextModel,
    documents: Sequence[Document],
    dev: Sequence[Document],
    targets: Targets,
    steps: int,
    part: str,
    tell: Teller,
) -> dict[str, float]:
    """Dev losses after `steps` of the levels and heads alone, with one part silenced."""
    model.hierarchy.muted = frozenset((part,))
    model.requires_grad_(False)
    for module in (model.hierarchy, model.heads):
        module.requires_grad_(True)
    stage: Stage = levels_stage(model, documents, dev, targets, steps, 11, Ranks(), compiled=False)
    optimizer = stage.optimizers["levels"]
    model.train()
    for n in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 5e-4 * (1 - n / steps)
        optimizer.zero_grad()
        losses = stage.step(n)
        torch.nn.utils.clip_grad_norm_([*model.hierarchy.parameters(), *model.heads.parameters()], 1.0)
        optimizer.step()
        tell(f"without {part}: step {n + 1} of {steps} " + " ".join(f"{k} {v:.3f}" for k, v in losses.items() if k != TOKENS))
    model.eval()
    with torch.no_grad():
        return stage.validate()


@torch.no_grad()
def remembering(model: checkpoint.TextModel, batches: Iterable[Batch], tell: Teller) -> tuple[float, float, int]:
    """Nats per token of windows behind a cut, without and with what their sinks remember, and the tokens counted."""
    model.eval()
    sums, count = [0.0, 0.0], 0
    for batch in batches:
        behind = batch.before >= 0
        if not behind.any():
            continue
        plain = model.trunk(batch.ids)
        memory = memory_of(model, batch, read(model, batch, plain))
        is_new = batch.is_new[:, 1:] & behind[:, None]
        wanted, table = batch.ids[:, 1:][is_new], model.trunk.embedding.weight
        for n, hidden in enumerate((plain, model.trunk(batch.ids, memory))):
            sums[n] += float(NextTokenLoss.apply(hidden[:, :-1][is_new], table, wanted)) * len(wanted)
        count += len(wanted)
        tell(f"memory: {count:,} tokens, {sums[0] / count:.4f} without, {sums[1] / count:.4f} with")
    return sums[0] / max(1, count), sums[1] / max(1, count), count


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m models.training.ablation", description=(__doc__ or "").splitlines()[0])
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--model", type=Path, default=SHIPPED, help="checkpoint folder [the shipped one]")
    p.add_argument("--run-folder", type=Path, default=Path(".training"), help="where the teacher's answers are kept [.training]")
    p.add_argument("--steps", type=int, default=40, help="of levels and heads, for each part [40]")
    a = p.parse_args(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    tell = Teller()
    tokenizer = checkpoint.load(a.model).tokenizer
    documents, dev = (documents_of(a.data, tokenizer, split, set()) for split in ("train", "dev"))
    units, vectors = meanings.teach((*documents, *dev), tokenizer, a.run_folder, tell)
    words, config = checkpoint.load(a.model).model.words, checkpoint.load(a.model).model.config
    targets = Targets(words, tokenizer, dict(zip(units, words.taught(vectors))))
    print("| silenced | " + " | ".join(f"{f}, nats" for f in FIGURES) + " |\n|---|" + "---|" * len(FIGURES))
    long = [d for d in dev if sum(len(u.ids) for u in d.units) > 2 * config.max_positions][:LONG_DOCUMENTS]
    for part in PARTS:
        found = retrained(checkpoint.load(a.model).model, documents, dev, targets, a.steps, part, tell)
        print(f"| {part} | " + " | ".join(f"{found[f]:.4f}" for f in FIGURES) + " |", flush=True)
    batches = (collate([(d, 0)], config.max_positions, 4, targets, config.n_sinks) for d in long)
    without, remembered, n = remembering(checkpoint.load(a.model).model, batches, tell)
    print(
        f"\nMemory in the sinks: {without:.4f} nats per token behind a cut without it, {remembered:.4f} with it ({n:,} tokens of {len(long)} documents)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
