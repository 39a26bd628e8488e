"""Real processes: killed at any time, or training together, they give the same."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks processes")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folders of the runs, and what was printed."""
    folder = tmp_path_factory.mktemp("runs")
    for number in range(4):
        random = np.random.default_rng(number)
        classes = np.zeros((14, 20, 20), np.uint8)
        z, y, x = random.integers(2, 6, 3)
        classes[z : z + 6, y : y + 9, x : x + 8] = 1
        image = random.normal(0, 0.3, classes.shape).astype(np.float32) + 2 * classes
        np.save(folder / f"{number}.image.npy", image[None].astype(np.float32))
        np.save(folder / f"{number}.classes.npy", classes)
    script = Path(__file__).with_name("run_processes.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def tensors(run: Path) -> dict[str, torch.Tensor]:
    """Weights, optimiser, moving average and best weights."""
    return load_file(run / "checkpoint.safetensors")


def test_a_run_killed_at_any_time_ends_as_one_that_was_not(
    runs: tuple[Path, str],
) -> None:
    folder, said = runs
    assert said.count("killed -9\n") == 3
    assert "ended 0\n" in said
    whole, killed = tensors(folder / "whole"), tensors(folder / "killed")
    assert {name.split(".")[0] for name in whole} == {
        "network",
        "best",
        "average",
        "optimizer",
    }
    assert whole.keys() == killed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, killed[name]), name
    first, second = (
        list(csv.DictReader((folder / name / "history.csv").read_text().splitlines()))
        for name in ("whole", "killed")
    )
    for old, new in zip(first, second, strict=True):
        for column in ("epoch", "learning_rate", "loss", "smoothed", "average_dice"):
            assert old[column] == new[column]


def test_processes_make_the_same_batches(runs: tuple[Path, str]) -> None:
    assert "made 0\n" in runs[1]


@pytest.mark.parametrize("name", ["two", "changing"])
def test_processes_together_train_what_one_trains(
    runs: tuple[Path, str], name: str
) -> None:
    """Also with a batch that does not divide, and with another number on resuming."""
    folder, _ = runs
    one, other = tensors(folder / "one"), tensors(folder / name)
    assert one.keys() == other.keys()
    for key, tensor in one.items():
        torch.testing.assert_close(other[key], tensor, rtol=0, atol=1e-5, msg=key)
    begun = torch.cat([t.flatten() for k, t in one.items() if k.startswith("network")])
    assert begun.abs().max() > 0.1
