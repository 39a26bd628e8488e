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
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import skimage.io
import tensorboardX
import torch
import torch._dynamo

from e2miseg_core.networks import preset_config
from e2miseg_core.progress import Progress
from e2miseg_core.training.batches import (
    BatchMaker,
    batches_by_processes,
    recipe_augmentation,
)
from e2miseg_core.training.checkpoint import RunState, read_state
from e2miseg_core.training.distributed import joined_team
from e2miseg_core.training.patches import PatchSampler
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.run import TrainingRun
from e2miseg_core.training.run_folder import CHECKPOINT

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
    cubic=True,
)
END = time.monotonic() + 240  # when the processes are given up
RUNNING: set[int] = set()
# Where a run is killed, as (stage or "writing", step or epoch), and the workers of
# each sitting: in the second epoch, while validating after it, and while the state
# after the fourth is given its name.
KILLS = ((("training", 3), 1), (("validating", 4), 2), (("writing", 4), 3))
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
    folder: Path,
    cases: list[PreparedCase],
    recipe: Recipe,
    stop: int | None = None,
    workers: int | None = None,
) -> Iterator[Progress]:
    """Train, going on where a run was begun; up to `stop` epochs of this sitting."""
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    with joined_team(CPU) as team:
        assert team.copy_text(f"äöü {team.rank}", CPU) == "äöü 0"
        training = TrainingRun(
            folder, CONFIG, recipe, device="cpu", precision="float32", team=team
        )
        if training.checkpoint.exists():
            training.resume()
        else:
            training.begin_with(None)
        team.wait()
        job = training.train(cases[:3], cases[3:], workers=workers)
        for step in job:
            yield step
            if (
                stop is not None
                and step.stage == "training"
                and step.done > stop * recipe.iterations
            ):
                job.close()


def whole(
    folder: Path, cases: list[PreparedCase], recipe: Recipe, stop: int | None = None
) -> None:
    """Train without being killed."""
    for _ in train(folder, cases, recipe, stop):
        pass


def train_until_killed(
    folder: Path, cases: list[PreparedCase], place: tuple[str, int], workers: int
) -> None:
    """Train to a place of the run, and be killed there by the system."""
    stage, number = place
    written = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        """Notice when the checkpoint is about to be replaced."""
        nonlocal written
        if event == "os.rename" and Path(arguments[1]).name == CHECKPOINT:
            written += 1
            if stage == "writing" and begun + written == number:
                os.kill(os.getpid(), signal.SIGKILL)

    begun = 0
    if (folder / CHECKPOINT).exists():
        begun = read_state(folder / CHECKPOINT, RunState).epoch
    sys.addaudithook(watch)
    done = 0
    for step in train(folder, cases, KILLED, workers=workers):
        if step.stage == "training":
            done = step.done
        if step.stage == stage and done == number:
            os.kill(os.getpid(), signal.SIGKILL)


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
    RUNNING.add(process)
    return process


def wait(process: int) -> int:
    """Exit code of a process, minus the signal that killed it."""
    while time.monotonic() < END:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            RUNNING.discard(process)
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    sys.exit("a process did not end in time")


def give_up() -> None:
    """Kill what is still running, if anything is."""
    for process in RUNNING:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


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
        whole(folder, cases, TOGETHER, stop)

    processes = [fork(partial(work, rank)) for rank in range(ranks)]
    codes = [wait(process) for process in processes]
    if any(codes):
        sys.exit(f"exit codes {codes}")


def killed(folder: Path, cases: list[PreparedCase]) -> None:
    """Train to the end through kills, with other workers each time."""
    for place, workers in KILLS:
        process = fork(partial(train_until_killed, folder, cases, place, workers))
        print("killed", wait(process))  # noqa: T201 - for the test
    code = wait(fork(lambda: whole(folder, cases, KILLED)))
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
    try:
        print("made", wait(fork(lambda: made_by_processes(cases))))  # noqa: T201
        wait(fork(lambda: whole(output / "whole", cases, KILLED)))
        killed(output / "killed", cases)
        wait(fork(lambda: whole(output / "one", cases, TOGETHER)))
        together(output / "two", cases, 2)
        together(output / "changing", cases, 2, stop=1)
        together(output / "changing", cases, 3)
    finally:
        give_up()


if __name__ == "__main__":
    main()
