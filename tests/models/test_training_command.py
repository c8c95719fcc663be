"""`python -m models.training` says what it was given and what it wants, and stops so that it can go on."""

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models import checkpoint
from models.checkpoint import SHIPPED, TextModel
from models.config import ModelConfig
from models.heads import LABELS, Calibration
from models.tokenizer import load_tokenizer
from models.training import inputs, rolling
from models.training.__main__ import left_out, main, parser
from models.training.data import CHAT_SETS, language_stream
from models.training.inputs import FILES
from models.training.sampling import SHARES
from tests.models.small_text_model import small_checkpoint

ROOT = Path(__file__).resolve().parents[2]
WORDS = "The harbour lay still under the morning fog and nobody walked down to the pier. "


def jsonl(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def data(tmp_path) -> Path:
    """As little data of the right layout as stage one can read."""
    folder = tmp_path / "data"
    for split_rows in FILES:
        rows: list[dict] = []
        for n, split in enumerate(("train", "dev")):
            turns = [{"role": ("user", "agent")[t % 2], "speaker": "", "text": WORDS * 3} for t in range(20)]
            row = {"id": f"{n}", "split": split, "paragraphs": [WORDS * 20], "sentences": [WORDS] * 20, "turns": turns}
            rows.append(row)
        jsonl(folder / split_rows, rows)
    with gzip.open(folder / "plain/wikitext2_valid.txt.gz", "wt") as file:
        file.write((WORDS * 20 + "\n") * 10)
    return folder


def test_the_command_passes_its_flags_and_the_exit_status_on(tmp_path):
    flags = ["--steps-language", "3", "--steps-levels", "2", "--without", "tiage", "--device", "cpu", "--threads", "1", "--eager"]
    command = [sys.executable, "-m", "deploy.cli", "train", "--data", str(tmp_path / "no"), "--out", str(tmp_path / "out"), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no: is not there; wanted a folder with plain/, text/, chat/" in done.stderr
    assert "Traceback" not in done.stderr


def test_stage_one_reads_dialogues_but_none_of_the_labelled_chat_sets(data):
    tokenizer = load_tokenizer(SHIPPED / "tokenizer.json")
    for file in FILES[-7:]:
        rows = [
            {"id": split, "split": split, "turns": [{"role": "user", "text": f"xylophone {Path(file).name} " * 9}]}
            for split in ("train", "dev")
        ]
        jsonl(data / file, rows)
    for split in ("train", "dev"):
        _, chat = language_stream(data, tokenizer, split, 0)
        text = tokenizer.decode(chat.tolist())
        assert {name for name in CHAT_SETS if name in text} == set()
        assert all(name in text for name in ("qmsum_meetings", "mts_dialog", "aci_bench"))


def told(capsys, *arguments: str) -> tuple[int, str]:
    status = main(list(arguments))
    return status, capsys.readouterr().err


def test_a_folder_that_is_not_there_or_laid_out_otherwise_is_refused_with_what_was_seen(data, tmp_path, capsys):
    run = ("--out", str(tmp_path / "out"), "--run-folder", str(tmp_path / "run"), "--device", "cpu")
    status, said = told(capsys, "--data", str(tmp_path / "nowhere"), *run)
    assert status == 2
    assert "nowhere: is not there; wanted a folder with plain/, text/, chat/" in said
    status, said = told(capsys, "--data", str(data / "chat"), *run)
    assert status == 2
    assert "holds dialseg711.jsonl.gz, " in said
    assert f"lacks {len(FILES)} of {len(FILES)} files: plain/standardebooks.jsonl.gz" in said
    (data / "chat/tiage.jsonl.gz").unlink()
    status, said = told(capsys, "--data", str(data), *run)
    assert status == 2
    assert f"holds chat/, plain/, text/; lacks 1 of {len(FILES)} files: chat/tiage.jsonl.gz" in said
    assert not (tmp_path / "run").exists()


def test_an_unknown_set_is_refused_and_a_known_one_takes_its_text_form_along(data, tmp_path, capsys):
    status, said = told(capsys, "--data", str(data), "--out", str(tmp_path / "o"), "--without", "tiage,tyage")
    assert status == 2
    assert "--without tyage: no such set; wanted some of dialseg711" in said
    assert left_out("sgd_multi") == {"sgd_multi", "sgd_multi as text"}
    assert left_out(" dialseg711, tiage ") == {"dialseg711", "tiage"}
    assert left_out("") == set()
    assert left_out(",".join(SHARES)) == set(SHARES)


@pytest.mark.parametrize("flags", [["--steps-language", "0"], ["--steps-levels", "many"], ["--device", "tpu"], []])
def test_wrong_usage_has_status_2(flags):
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args([*(["--data", "d", "--out", "o"] if flags else []), *flags])


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(ValueError, match=r"--resume: .*settings\.json is not there"):
        inputs.begin(run, {"seed": 0}, resume=True)
    inputs.begin(run, {"seed": 0}, resume=False)
    inputs.begin(run, {"seed": 0}, resume=True)
    inputs.begin(run, {"seed": 1}, resume=False)  # nothing was saved yet: begun anew
    rolling.save(run, "language", rolling.Saved({}, {}, {"step": 1}))
    with pytest.raises(ValueError, match="holds a run already; go on with it"):
        inputs.begin(run, {"seed": 1}, resume=False)
    with pytest.raises(ValueError, match="seed was 1, now 2"):
        inputs.begin(run, {"seed": 2}, resume=True)
    (run / "settings.json").write_text('{"seed"')
    with pytest.raises(ValueError, match="not readable"):
        inputs.begin(run, {"seed": 1}, resume=True)


def test_data_that_changed_is_named_by_its_file(data):
    before = inputs.data_hashes(data)
    jsonl(data / "text/mts_dialog.jsonl.gz", [])
    after = inputs.data_hashes(data)
    assert {name for name in before if before[name] != after[name]} == {"text/mts_dialog.jsonl.gz"}


def test_interrupted_it_saves_says_how_to_go_on_and_goes_on(data, tmp_path):
    """Ctrl-C is a SIGINT to the process, which `strata train` turns into this one."""
    made = small_checkpoint()
    checkpoint.save(tmp_path / "words", TextModel(ModelConfig(labels=LABELS), ("harbour", "fog")), made.tokenizer, Calibration(), "# card")
    command = [
        sys.executable, "-m", "models.training", "--words", str(tmp_path / "words"),
        "--data", str(data), "--out", str(tmp_path / "out"), "--run-folder", str(tmp_path / "run"),
        "--steps-language", "500", "--device", "cpu", "--eager",
    ]  # fmt: skip
    environ = os.environ | {"COLUMNS": "200"}
    for resume, least in (([], 1), (["--resume"], 2)):
        process = subprocess.Popen([*command, *resume], cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "step" in line and " of 500" in line and "tokens/s" in line:
                process.send_signal(signal.SIGINT)
                break
        said += process.stderr.readlines()
        assert process.wait() == 1, said
        last = said[-1]
        assert "stopped after step" in last
        assert "go on with the same command and --resume" in last
        step = int(rolling.steps(tmp_path / "run", "language")[-1].name)
        assert f"after step {step} of 500" in last
        assert step >= least
    assert any("goes on after step" in line for line in said)
