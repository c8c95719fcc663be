"""`python -m models.training --data DIR --out DIR`: the shared data -> a checkpoint with its model card.

Knows flags, the order of the stages and exit statuses (0 done, 2 wrong usage, 1 otherwise); leaves the loop to loop.py. Several GPUs are started
through torchrun, one process each. docs/training.md tells how to repeat, stop and resume a run. Next: models/training/data.py
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from torch import Tensor

from models import checkpoint, sealed
from models.checkpoint import SHIPPED, Checkpoint, TextModel
from models.config import ModelConfig, ModelConfigError
from models.heads import LABELS, Calibration
from models.memory import keep_freed_memory
from models.sealed import CheckpointError
from models.session_ngrams import SessionNgrams
from models.tokenizer import CHAT, TEXT, WordTokenizer, load_tokenizer, train_tokenizer
from models.training import calibrate, card, inputs, loop, meanings, ngram_weights, rolling, state, text_figures, word_table
from models.training.data import CHAT_SETS, Document, all_texts, documents_of, language_stream
from models.training.language import fresh_trunk, language_stage
from models.training.multitask import levels_stage
from models.training.played import dev_documents, held_out_texts, plain, play
from models.training.progress import Teller
from models.training.ranks import Ranks, join, leave
from models.training.sampling import SHARES
from models.training.targets import Targets
from models.training.teacher import NoTeacherError, Teacher
from models.transformer import StreamingHierarchicalTransformer
from models.words import WordTable

SGD_LIMIT = 240
"""SGD dev dialogues that are played."""
LANGUAGE_CHARACTERS = 400_000
"""Of dev text that surprise is measured on; as many behind it say how the session's n-grams are weighed."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m models.training", description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    p.add_argument("--data", type=Path, required=True, help="folder with plain/, text/ and chat/")
    p.add_argument("--out", type=Path, required=True, help="folder of the checkpoint to write")
    p.add_argument(
        "--run-folder", type=Path, default=Path(".training"), help="folder of training checkpoints, milestones and curves [.training]"
    )
    p.add_argument("--resume", action="store_true", help="go on with the run in --run-folder, to the bit as if it had not stopped")
    p.add_argument("--steps-language", type=_count, default=4000, metavar="N", help="steps of stage one [4000]")
    p.add_argument("--steps-levels", type=_count, default=2000, metavar="N", help="steps of stage two [2000]")
    p.add_argument("--seed", type=int, default=0, help="the same seed, steps and data give the same run [0]")
    p.add_argument("--without", default="", metavar="SET[,SET]", help=f"leave sets out of stage two: {', '.join(SHARES)}")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto takes CUDA where there is one [auto]")
    p.add_argument("--threads", type=_count, default=1, metavar="N", help="processor threads [1]")
    p.add_argument("--validate-every", type=int, default=0, metavar="N", help="steps [a twentieth of a stage]")
    p.add_argument("--save-every", type=int, default=0, metavar="N", help="steps between training checkpoints [a fortieth of a stage]")
    p.add_argument("--tokenizer", type=Path, default=SHIPPED / "tokenizer.json", help="tokenizer.json to keep; 'new' learns one")
    p.add_argument("--words", default=str(SHIPPED), help="checkpoint folder whose word table is kept; 'new' learns one from the teacher")
    p.add_argument("--trunk", type=Path, help="skip stage one: a milestone folder or trunk.safetensors of an earlier run")
    p.add_argument("--levels", type=Path, help="skip stages one and two: a milestone folder or model.safetensors of an earlier run")
    p.add_argument("--eager", action="store_true", help="do not compile (no C++ compiler needed; half as fast)")
    p.add_argument("--history", default="", help="a sentence for the model card")
    return p


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def settings_of(a: argparse.Namespace, ranks: Ranks, hashes: dict[str, str]) -> dict[str, str | int | bool]:
    """All that decides the weights; a resumed run must have the same."""
    decided: dict[str, str | int | bool] = {
        "seed": a.seed, "steps_language": a.steps_language, "steps_levels": a.steps_levels, "without": ",".join(sorted(left_out(a.without))),
        "threads": a.threads, "eager": a.eager, "device": ranks.device.type, "processes": ranks.world, "torch": torch.__version__,
        "tokenizer": inputs.content_of(a.tokenizer), "words": inputs.content_of(Path(a.words)), "trunk": inputs.content_of(a.trunk),
        "levels": inputs.content_of(a.levels),
    }  # fmt: skip
    return decided | {f"data {name}": digest for name, digest in hashes.items()}


def left_out(without: str) -> set[str]:
    """The sets named, and the same written out as text."""
    names = {name.strip() for name in without.split(",") if name.strip()}
    unknown = sorted(names - set(SHARES))
    if unknown:
        raise ModelConfigError(f"--without {', '.join(unknown)}: no such set; wanted some of {', '.join(SHARES)}")
    return names | {s for s in SHARES if s.removesuffix(" as text") in names}


def tokenizer_of(path: Path, data: Path, run: Path, ranks: Ranks) -> WordTokenizer:
    if str(path) != "new":
        return load_tokenizer(path)
    kept = run / "tokenizer.json"
    if ranks.is_first and not kept.exists():
        sealed.write_file(kept, train_tokenizer(all_texts(data), ModelConfig().vocab_size).tokenizer.to_str().encode())
    ranks.wait()
    return load_tokenizer(kept)


def weights_of(path: Path, module: str) -> dict[str, Tensor]:
    if not path.exists():
        raise ModelConfigError(
            f"--{'trunk' if module == 'trunk' else 'levels'} {path}: is not there; wanted a milestone folder or a .safetensors file"
        )
    return rolling.weights(path, module) if path.is_dir() else load_file(path)


def word_table_of(a: argparse.Namespace, tokenizer: WordTokenizer, config: ModelConfig, ranks: Ranks, tell: Teller) -> WordTable:
    """The word table of a checkpoint, or a new one, which the run folder keeps."""
    kept = a.run_folder / "words.safetensors"
    if a.words != "new":
        return checkpoint.load(Path(a.words)).model.words
    if ranks.is_first and not kept.exists():
        documents = documents_of(a.data, tokenizer, "train", set(CHAT_SETS) | {f"{name} as text" for name in CHAT_SETS})
        units, vectors = meanings.teach(documents, tokenizer, a.run_folder, tell)
        made = word_table.learn(Teacher(), units, vectors, tokenizer, config.word_width, tell)
        sealed.write_file(kept, save_tensors(made.state_dict()))
    ranks.wait()
    table = WordTable(Teacher().names(), config.word_width)
    table.load_state_dict(load_file(kept))
    return table


def taught(
    words: WordTable, documents: Sequence[Document], tokenizer: WordTokenizer, run: Path, tell: Teller
) -> dict[tuple[int, ...], np.ndarray]:
    """What the teacher says of the documents' units, in the word table's space."""
    units, vectors = meanings.teach(documents, tokenizer, run, tell)
    return dict(zip(units, words.taught(vectors)))


def trained(a: argparse.Namespace, tokenizer: WordTokenizer, ranks: Ranks, tell: Teller) -> TextModel:
    """Stages one and two, or what an earlier run made of them."""
    config = replace(ModelConfig(vocab_size=tokenizer.vocab_size), labels=LABELS)
    trunk = fresh_trunk(config, a.seed)
    words = word_table_of(a, tokenizer, config, ranks, tell)
    model = TextModel(config, words.pieces)
    model.trunk, model.words = trunk, words
    every = {"validate_every": a.validate_every, "save_every": a.save_every}
    if a.levels:
        model.load_state_dict(weights_of(a.levels, "model"))
        return model

    # 1. the trunk, as a language model
    if a.trunk:
        trunk.load_state_dict(weights_of(a.trunk, "trunk"))
    elif made := loop.finished(a.run_folder, "language", a.steps_language, tell):
        state.load_modules({"trunk": trunk}, made.modules)
    else:
        tell("reading the texts")
        streams = {split: dict(zip((TEXT, CHAT), language_stream(a.data, tokenizer, split, a.seed))) for split in ("train", "dev")}
        stage = language_stage(trunk, streams["train"], streams["dev"], a.steps_language, a.seed, ranks, compiled=not a.eager)
        loop.train(replace(stage, **every), a.run_folder, ranks, tell)

    # 2. the levels and heads
    if made := loop.finished(a.run_folder, "levels", a.steps_levels, tell):
        state.load_modules({"model": model}, made.modules)
    else:
        tell("reading the documents")
        without = left_out(a.without)
        documents, dev = (documents_of(a.data, tokenizer, split, without) for split in ("train", "dev"))
        if not ranks.is_first:
            ranks.wait()  # until the first has asked the teacher; the others read what it wrote
        targets = Targets(words, tokenizer, taught(words, (*documents, *dev), tokenizer, a.run_folder, tell))
        if ranks.is_first:
            ranks.wait()
        stage = levels_stage(model, documents, dev, targets, a.steps_levels, a.seed, ranks, compiled=not a.eager)
        loop.train(replace(stage, **every), a.run_folder, ranks, tell)
    return model


def finish(a: argparse.Namespace, model: TextModel, tokenizer: WordTokenizer, tell: Teller) -> None:
    """Stage three: calibration and figures, on the model as it will run."""
    model.cpu().eval().requires_grad_(False).half().float()
    running = StreamingHierarchicalTransformer(Checkpoint(model, tokenizer, Calibration(), "training"))
    played = list(dev_documents(a.data, {"sgd_multi": SGD_LIMIT}))
    play(running, played, tell)
    without = left_out(a.without)
    figures = text_figures.figures(text_figures.cross_fitted(played, LABELS, without), LABELS)
    calibration = calibrate.fit([d for d in played if d.source not in without], LABELS)
    texts = held_out_texts(a.data, LANGUAGE_CHARACTERS, behind=LANGUAGE_CHARACTERS)
    calibration = replace(calibration, ngram_weights=ngram_weights.fit(running, plain(texts), tell))
    running.readout.ngrams = SessionNgrams(calibration.ngram_weights)
    language = text_figures.language_figures(running, a.data, LANGUAGE_CHARACTERS)
    run = {
        "parameters": sum(p.numel() for p in model.parameters()), "seed": a.seed, "sgd_limit": SGD_LIMIT, "history": a.history, "without": a.without,
        "command": f"python -m models.training --steps-language {a.steps_language} --steps-levels {a.steps_levels}"
        + (f" --without {a.without}" if a.without else ""),
    }  # fmt: skip
    checkpoint.save(a.out, model, tokenizer, calibration, card.write(model.config, calibration, run, figures, language))
    tell(f"{checkpoint.load(a.out).version} written to {a.out}; calibration {asdict(calibration)}")


def _repeat_exactly(a: argparse.Namespace) -> None:
    """Let sums be made in the same order every time; on one thread of a CPU they are anyway."""
    torch.set_num_threads(a.threads)
    keep_freed_memory()
    if a.device != "cpu" or a.threads > 1:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with it
        torch.use_deterministic_algorithms(a.threads > 1 or torch.cuda.is_available(), warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    a = parser().parse_args(arguments)
    if a.device != "cpu" and torch.cuda.device_count() > 1 and "RANK" not in os.environ:  # one process a GPU
        starter = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={torch.cuda.device_count()}", "-m", "models.training"]
        os.execv(sys.executable, [sys.executable, *starter, *arguments])
    _repeat_exactly(a)
    compiler = os.environ.get("CXX", "g++")
    no_compiler = not a.eager and shutil.which(compiler) is None
    a.eager = a.eager or no_compiler
    ranks, tell = Ranks(), Teller()
    go_on = f"go on with the same command and --resume (run folder {a.run_folder})"
    try:
        left_out(a.without)
        hashes = inputs.data_hashes(a.data)
        ranks = join(a.device, os.environ)
        tell = Teller(silent=not ranks.is_first)
        if ranks.is_first:
            inputs.begin(a.run_folder, settings_of(a, ranks, hashes), a.resume)
        ranks.wait()
        if no_compiler:
            tell(f"no C++ compiler ({compiler}): training is not compiled and takes twice as long; install one, or name it in CXX")
        if a.resume and not rolling.holds_a_run(a.run_folder):
            tell(f"{a.run_folder} has no training checkpoint yet: from the first step")
        tokenizer = tokenizer_of(a.tokenizer, a.data, a.run_folder, ranks)
        model = trained(a, tokenizer, ranks, tell)
        if ranks.is_first:
            finish(a, model, tokenizer, tell)
        return 0
    except loop.StoppedError as stopped:
        tell(f"{stopped}; {go_on}")
        return 1
    except KeyboardInterrupt:
        tell(f"interrupted; nothing newer than the last training checkpoint is kept; {go_on}")
        return 1
    except (CheckpointError, loop.DivergedError) as problem:
        tell(f"error: {problem}")
        return 1
    except (ModelConfigError, NoTeacherError) as problem:
        tell(f"error: {problem}")
        return 2
    finally:
        leave(ranks)


if __name__ == "__main__":
    sys.exit(main())
