"""The parts of the comparison programs that can be wrong without being seen."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.ablation import BASE, table
from benchmarks.contender_small import Pace, fitted
from benchmarks.contest import Contest, mean_and_interval
from benchmarks.pet_tumour import thresholded
from e2miseg_core.training.dataset import find_dataset
from e2miseg_core.training.recipes import preset_recipe
from e2miseg_core.training.train import TrainingRequest
from tools.pet_dataset import lay_out


def test_threshold_is_of_the_largest_value_within_the_grown_box():
    image = np.zeros((5, 9, 9), np.float32)
    truth = np.zeros(image.shape, bool)
    truth[2, 4, 4] = True
    image[2, 4, 4], image[2, 4, 5] = 10.0, 4.09  # 41 % of 10 is 4.1
    image[2, 4, 3] = 4.1
    image[0, 4, 4] = 9.0  # 2 voxels of 4 mm up: inside of 10 mm, rounded up to 3
    image[2, 0, 4] = 100.0  # 4 voxels of 3 mm away: ceil(10 / 3) = 4, so inside
    found = thresholded(image, truth, (4.0, 3.0, 4.0))
    assert np.argwhere(found).tolist() == [[2, 0, 4]]

    image[2, 0, 4], image[2, 4, 8] = 0.0, 100.0  # 4 voxels of 4 mm: outside
    found = thresholded(image, truth, (4.0, 3.0, 4.0))
    assert np.argwhere(found).tolist() == [[0, 4, 4], [2, 4, 3], [2, 4, 4]]


def test_threshold_of_nothing_is_nothing():
    image = np.ones((3, 3, 3), np.float32)
    assert not thresholded(image, np.zeros(image.shape, bool), (1.0, 1.0, 1.0)).any()


def test_schedule_fits_the_budget(tmp_path):
    request = TrainingRequest(
        dataset=None,
        folder=tmp_path,
        preset="small",
        recipe=preset_recipe("small", epochs=64, iterations=50),
    )
    recipe = fitted(request, Pace(step=0.5, validation=4.0), 600).recipe
    # 594 s less 6 validations of 4 s leave 570 s: 22 epochs of 25 s.
    assert (recipe.epochs, recipe.validate_every) == (22, 4)
    assert fitted(request, Pace(step=9.0, validation=60.0), 60).recipe.epochs == 1


def test_contest_is_the_same_after_a_trip_through_json():
    contest = Contest(source=Path("a"), folder=Path("b"), fold=3, minutes=1.5)
    assert Contest.from_json(contest.to_json()) == contest


def test_mean_stands_before_its_interval():
    assert mean_and_interval([0.5, 0.5, 0.5], 2) == "0.50 (0.50 to 0.50)"
    assert mean_and_interval([0.25], 2) == "0.25"


def test_ablation_compares_seed_by_seed():
    def line(variant: str, seed: int, dice: list[float]) -> dict:
        return {
            "variant": variant,
            "seed": seed,
            "steps": 10,
            "seconds": 5.0,
            "parameters": 1000,
            "dice": dice,
            "hd95_mm": [1.0, 2.0],
            "nsd": [0.9, 0.7],
        }

    lines = [
        line(BASE, 2, [0.6, 0.8]),
        line(BASE, 1, [0.5, 0.7]),
        line("MFGA off", 1, [0.4, 0.6]),
        line("MFGA off", 2, [0.8, 1.0]),
    ]
    rows = table(lines).splitlines()
    assert rows[2].startswith(f"| {BASE} | 0.6000, 0.7000 | 1.50, 1.50 | 0.80")
    assert (
        "| -0.1000, +0.2000 | +0.0500 (+0.0500 to +0.0500) | 1,000 | 0.500 |" in rows[3]
    )
    assert len(rows) == 4  # variants without a run have no row


def test_pet_set_is_laid_out_by_patient(tmp_path):
    for patient in ("STS_002", "STS_001"):
        folder = tmp_path / "source" / patient
        folder.mkdir(parents=True)
        for name in ("PET_image", "PET_mask", "CT_image"):
            (folder / f"{name}.nii.gz").write_bytes(b"")
    assert lay_out(tmp_path / "source", tmp_path / "set") == 2
    assert lay_out(tmp_path / "source", tmp_path / "set") == 2  # once more
    found = find_dataset(tmp_path / "set")
    assert [case.name for case in found.cases] == ["STS_001", "STS_002"]
    assert found.channels == ("PET",)
    assert [(label.value, label.name) for label in found.labels] == [(1, "tumour")]
    assert found.cases[0].images[0].resolve().name == "PET_image.nii.gz"
    (tmp_path / "source" / "STS_001" / "PET_mask.nii.gz").unlink()
    with pytest.raises(FileNotFoundError):
        lay_out(tmp_path / "source", tmp_path / "set")
