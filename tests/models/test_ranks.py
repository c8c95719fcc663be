"""Processes that train together hold the same weights: those of one process with all their batches."""

import os
import signal
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as processes
from safetensors.torch import load_file, save_file

from models.config import ModelConfigError
from models.training import rolling
from models.training.language import NextTokenLoss
from models.training.loop import StoppedError, train
from models.training.progress import Teller
from models.training.ranks import Ranks, join, leave
from tests.models.small_stage import equal, small_stage, weights

STEPS = 12


def one_rank(rank: int, world: int, folder: str, meeting: str, stop_at: int) -> None:
    """A process of a joint run; writes its weights. `stop_at`: the last rank alone is asked to stop in front of that step."""
    torch.set_num_threads(1)
    environ = {"RANK": str(rank), "WORLD_SIZE": str(world)}
    ranks = join("cpu", environ, f"file://{meeting}")

    def ask(n: int) -> None:
        if n == stop_at and rank == world - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    stage = small_stage(ranks, STEPS, dropout=0.0, before=ask)
    if rank:
        for p in stage.modules["model"].parameters():
            p.data += 1  # the first rank's weights are the ones that count
    try:
        train(stage, Path(folder), ranks, Teller(silent=True))
    except StoppedError:
        pass
    save_file(weights(stage), Path(folder) / f"rank-{rank}.safetensors")
    leave(ranks)


def together(folder: Path, world: int = 2, stop_at: int = -1) -> list[dict[str, torch.Tensor]]:
    folder.mkdir(exist_ok=True)
    meeting = folder / f"meeting-{len(list(folder.iterdir()))}"
    processes.spawn(one_rank, (world, str(folder), str(meeting), stop_at), world)
    return [load_file(folder / f"rank-{r}.safetensors") for r in range(world)]


def test_two_processes_train_the_weights_of_one_with_both_batches(tmp_path):
    first, second = together(tmp_path / "two")
    assert equal(first, second)
    alone = small_stage(steps=STEPS, dropout=0.0, joined=2)
    train(alone, tmp_path / "one", Ranks(), Teller(silent=True))
    for name, t in weights(alone).items():
        assert torch.allclose(first[name], t, atol=1e-5), name
    single = small_stage(steps=STEPS, dropout=0.0)
    train(single, tmp_path / "single", Ranks(), Teller(silent=True))
    assert not all(torch.allclose(first[name], t, atol=1e-3) for name, t in weights(single).items()), "the second's batches count"


def test_a_joint_run_that_one_process_was_asked_to_stop_goes_on_to_the_bit(tmp_path):
    whole, _ = together(tmp_path / "whole")
    together(tmp_path / "stopped", stop_at=6)
    assert int(rolling.steps(tmp_path / "stopped", "small")[-1].name) == 7
    first, second = together(tmp_path / "stopped")
    assert equal(first, second)
    assert equal(first, whole)


def two_losses(rank: int, world: int, folder: str, meeting: str) -> None:
    torch.set_num_threads(1)
    ranks = join("cpu", {"RANK": str(rank), "WORLD_SIZE": str(world)}, f"file://{meeting}")
    hidden, table, targets = token_batch()
    embedding = torch.nn.Parameter(table)
    half = slice(rank * 50, rank * 50 + 50)
    NextTokenLoss.apply(hidden[half], embedding, targets[half]).backward()
    lonely = torch.nn.Parameter(torch.ones(3))  # only the second rank meets it
    if rank == 1:
        (lonely * 2).sum().backward()
    never = torch.nn.Parameter(torch.ones(2))
    assert ranks.average([embedding, lonely, never], stop=False) is False
    assert never.grad is None
    assert embedding.grad is not None
    assert lonely.grad is not None
    assert ranks.average([], stop=rank == 1) is True
    save_file({"embedding": embedding.grad, "lonely": lonely.grad}, Path(folder) / f"{rank}.safetensors")
    leave(ranks)


def token_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(100, 8, generator=generator),
        torch.randn(30, 8, generator=generator),
        torch.randint(0, 30, (100,), generator=generator),
    )


def test_gradients_of_the_next_token_loss_are_averaged_over_processes(tmp_path):
    processes.spawn(two_losses, (2, str(tmp_path), str(tmp_path / "meeting")), 2)
    first, second = (load_file(tmp_path / f"{r}.safetensors") for r in range(2))
    assert equal(first, second)
    hidden, table, targets = token_batch()
    embedding = torch.nn.Parameter(table)
    NextTokenLoss.apply(hidden, embedding, targets).backward()
    assert embedding.grad is not None
    assert torch.allclose(first["embedding"], embedding.grad, atol=1e-6)
    assert torch.equal(first["lonely"], torch.ones(3))


def test_the_device_is_what_was_asked_for():
    assert join("cpu", {}).device == torch.device("cpu")
    assert join("auto", {}).device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ModelConfigError, match="sees no CUDA device"):
            join("cuda", {})
    assert join("cpu", {}).seed(4) != Ranks(rank=1, world=2).seed(4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_a_gpu_resumes_to_the_bit(tmp_path):
    ranks = join("cuda", {})
    ends = []
    for folder, stops in (("whole", ()), ("stopped", (5,))):
        for stop in (*stops, -1):
            stage = small_stage(ranks, STEPS, before=lambda n, stop=stop: signal.raise_signal(signal.SIGTERM) if n == stop else None)
            try:
                train(stage, tmp_path / folder, ranks, Teller(silent=True))
            except StoppedError:
                continue
            ends.append(weights(stage))
    assert equal(*ends)
