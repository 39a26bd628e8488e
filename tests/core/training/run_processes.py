"""Trains in processes that are killed, or that train together.

python run_processes.py CASES OUTPUT

CASES holds N.image.npy and N.classes.npy. Everything is imported once, and the
processes are forked before torch computes anything.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage.io
import tensorboardX
import torch
import torch._dynamo

from e2miseg_core.networks import preset_config
from e2miseg_core.progress import run
from e2miseg_core.training.batches import (
    BatchMaker,
    batches_by_processes,
    recipe_augmentation,
)
from e2miseg_core.training.distributed import joined_team
from e2miseg_core.training.patches import PatchSampler
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.run import TrainingRun

IMPORTED = (skimage.io, tensorboardX, torch._dynamo)  # else by every process anew
CONFIG = preset_config("tiny", patch_size=(8, 16, 16), in_channels=1, n_classes=2)
CPU = torch.device("cpu")
KILLED = Recipe(
    epochs=5,
    iterations=2,
    validate_every=2,
    weight_average=0.9,
    validation_patches=2,
    warm_up=4,
)
TOGETHER = Recipe(
    epochs=2,
    iterations=2,
    batch_size=3,  # shared out unevenly
    optimizer="sgd",
    learning_rate=0.01,
    batch_dice=True,
    validate_every=1,
    validation_patches=3,
)


def read_cases(folder: Path) -> list[PreparedCase]:
    cases = []
    for path in sorted(folder.glob("*.image.npy")):
        classes = np.load(path.with_name(path.name.replace("image", "classes")))
        cases.append(
            PreparedCase(
                name=path.name,
                image=np.load(path),
                classes=classes,
                foreground=(np.argwhere(classes == 1),),
            )
        )
    return cases


def train(
    folder: Path, cases: list[PreparedCase], recipe: Recipe, stop: int | None = None
) -> None:
    """Train, going on where a run was begun; up to `stop` epochs of this sitting."""
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    with joined_team(CPU) as team:
        training = TrainingRun(
            folder, CONFIG, recipe, device="cpu", precision="float32", team=team
        )
        if training.checkpoint.exists():
            training.resume()
        team.wait()
        job = training.train(cases[:3], cases[3:])
        if stop is None:
            run(job)
            return
        for step in job:
            if step.stage == "training" and step.done > stop * recipe.iterations:
                break
        job.close()


def fork(work: Callable[[], None]) -> int:
    """Do some work in a process; gives its number."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return process


def wait(process: int) -> int:
    """Exit code of a process, minus the signal that killed it."""
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def together(
    folder: Path, cases: list[PreparedCase], ranks: int, stop: int | None = None
) -> None:
    """Train with several processes, told as torchrun tells them."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]

    def work(rank: int) -> None:
        os.environ |= {
            "RANK": str(rank),
            "WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        train(folder, cases, TOGETHER, stop)

    processes = [fork(lambda rank=rank: work(rank)) for rank in range(ranks)]
    codes = [wait(process) for process in processes]
    if any(codes):
        sys.exit(f"exit codes {codes}")


def killed(folder: Path, cases: list[PreparedCase]) -> None:
    """Train to the end through three kills, each at some point of the next epochs."""
    checkpoint = folder / "checkpoint.safetensors"
    for delay in (0.0, 0.15, 0.3):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = fork(lambda: train(folder, cases, KILLED))
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
            time.sleep(0.005)
        time.sleep(delay)  # into the next epoch, its validation or its writing
        os.kill(process, signal.SIGKILL)
        print("killed", wait(process))  # noqa: T201 - for the test
    code = wait(fork(lambda: train(folder, cases, KILLED)))
    print("ended", code)  # noqa: T201


def made_by_processes(cases: list[PreparedCase]) -> None:
    """Compare the batches that processes make with those made here."""
    torch.set_num_threads(1)
    make = BatchMaker(
        sampler=PatchSampler(cases, CONFIG.patch_size, 2),
        augment=recipe_augmentation(KILLED, CONFIG.patch_size),
        seed=1,
        samples=range(2),
    )
    batches = batches_by_processes(make, range(3, 8), 2)
    for step, (image, classes) in zip(range(3, 7), batches, strict=False):
        expected_image, expected_classes = make(step)
        assert torch.equal(image, expected_image)
        assert torch.equal(classes, expected_classes)
    batches.close()


def main() -> None:
    cases, output = read_cases(Path(sys.argv[1])), Path(sys.argv[2])
    print("made", wait(fork(lambda: made_by_processes(cases))))  # noqa: T201
    wait(fork(lambda: train(output / "whole", cases, KILLED)))
    killed(output / "killed", cases)
    wait(fork(lambda: train(output / "one", cases, TOGETHER)))
    together(output / "two", cases, 2)
    together(output / "changing", cases, 2, stop=1)
    together(output / "changing", cases, 3)


if __name__ == "__main__":
    main()
