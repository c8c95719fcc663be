"""`python -m models.training --data DIR --out DIR`: the shared data -> a checkpoint with its model card.

Next: models/training/data.py
"""

import argparse
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from models import checkpoint
from models.checkpoint import SHIPPED, Checkpoint, TextModel
from models.config import ModelConfig
from models.heads import LABELS, Calibration
from models.memory import keep_freed_memory
from models.tokenizer import CHAT, TEXT, WordTokenizer, load_tokenizer, train_tokenizer
from models.training import calibrate, card
from models.training.data import all_texts, chat_documents, language_stream, text_documents, visit_documents
from models.training.language import pretrain
from models.training.multitask import train_levels
from models.transformer import StreamingHierarchicalTransformer

LANGUAGE_SHARE = 0.58
"""Of the minutes, for stage one."""
SGD_LIMIT = 240
"""SGD dev dialogues that are played."""


def tell(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


def tokenizer_of(path: Path | None, data: Path) -> WordTokenizer:
    return load_tokenizer(path) if path else train_tokenizer(all_texts(data), ModelConfig().vocab_size)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with plain/, text/ and chat/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint to write")
    parser.add_argument("--minutes", type=float, default=26, help="time of one core for both training stages (a busy machine takes longer)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path(".training"), help="folder for what later stages start from")
    parser.add_argument("--tokenizer", type=Path, default=SHIPPED / "tokenizer.json", help="tokenizer.json to keep; 'new' learns one")
    parser.add_argument("--trunk", type=Path, help="skip stage one: trunk.safetensors of an earlier run")
    parser.add_argument("--levels", type=Path, help="skip stages one and two: model.safetensors of an earlier run")
    parser.add_argument("--eager", action="store_true", help="do not compile (no C++ compiler needed; half as fast)")
    parser.add_argument("--history", default="", help="a sentence for the model card")
    a = parser.parse_args(arguments)
    torch.set_num_threads(a.threads)
    keep_freed_memory()
    a.work.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(None if str(a.tokenizer) == "new" else a.tokenizer, a.data)
    config = replace(ModelConfig(vocab_size=tokenizer.vocab_size), labels=LABELS)
    torch.manual_seed(a.seed)
    model = TextModel(config)

    # 1. the trunk, as a language model
    if a.trunk:
        model.trunk.load_state_dict(load_file(a.trunk))
    elif not a.levels:
        tell("reading the texts")
        streams = {split: dict(zip((TEXT, CHAT), language_stream(a.data, tokenizer, split, a.seed))) for split in ("train", "dev")}

        def keep(trunk: torch.nn.Module) -> None:
            save_file(trunk.state_dict(), a.work / "trunk.safetensors")

        minutes = a.minutes * LANGUAGE_SHARE
        model.trunk = pretrain(config, streams["train"], streams["dev"], minutes, a.seed, tell, keep, compiled=not a.eager)

    # 2. the levels and heads
    if a.levels:
        model.load_state_dict(load_file(a.levels))
    else:
        tell("reading the documents")
        numbers = {label: n for n, label in enumerate(LABELS)}
        documents = [
            *chat_documents(a.data, tokenizer, "train", numbers),
            *visit_documents(a.data, tokenizer, "train", numbers),
            *text_documents(a.data, tokenizer, "train", numbers, 20),
        ]
        train_levels(model, documents, a.minutes * (1 if a.trunk else 1 - LANGUAGE_SHARE), a.seed, tell, compiled=not a.eager)
        save_file(model.state_dict(), a.work / "model.safetensors")

    # 3. calibration and figures, on the model as it will run
    model.eval().requires_grad_(False).half().float()
    running = StreamingHierarchicalTransformer(Checkpoint(model, tokenizer, Calibration(), "training"))
    played = list(calibrate.dev_documents(a.data, {"sgd_multi": SGD_LIMIT}))
    calibrate.play(running, played, tell)
    calibration = calibrate.fit(played[::2], LABELS)
    figures = calibrate.figures(played[1::2], calibration, LABELS)
    language = calibrate.language_figures(running, a.data, 400_000)
    run = {
        "parameters": sum(p.numel() for p in model.parameters()), "seed": a.seed, "sgd_limit": SGD_LIMIT, "history": a.history,
        "command": f"python -m models.training --minutes {a.minutes:g}",
    }  # fmt: skip
    checkpoint.save(a.out, model, tokenizer, calibration, card.write(config, calibration, run, figures, language))
    tell(f"{checkpoint.load(a.out).version} written to {a.out}; calibration {asdict(calibration)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
