"""The parts of the comparison programs that can be wrong without being seen."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.ablation import BASE, table
from benchmarks.contender_small import EPOCH_STEPS, Pace, fitted, pace_of, timed
from benchmarks.contest import Contest, mean_and_interval, write_json
from benchmarks.dynunet import deep_loss, safe_precision, strides_of
from benchmarks.peers import is_over, verdict, words
from benchmarks.pet_tumour import thresholded
from benchmarks.tree_memory import TreeMemory
from e2miseg_core.errors import ConfigError, DatasetError
from e2miseg_core.evaluation import CaseScores, Report, evaluate_case
from e2miseg_core.progress import Progress
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


def request_in(folder: Path) -> TrainingRequest:
    return TrainingRequest(
        dataset=None,
        folder=folder,
        preset="small",
        recipe=preset_recipe("small", epochs=64, iterations=50),
    )


def test_schedule_fits_the_budget(tmp_path):
    pace = Pace(step=0.5, epoch_end=1.0, validation=4.0)
    recipe = fitted(request_in(tmp_path), pace, 600).recipe
    # 97 % are 582 s. 22 epochs of 26 s leave 10 s, for two looks; 21 leave 36 s, for
    # nine: they have six, after every fourth and the last.
    assert (recipe.epochs, recipe.validate_every) == (21, 4)
    assert pace.seconds(recipe) == 21 * 26 + 6 * 4
    slow = Pace(step=9.0, epoch_end=0.0, validation=60.0)
    assert fitted(request_in(tmp_path), slow, 60).recipe.epochs == 1


def test_pace_tells_steps_from_ends_of_epochs_and_looks():
    # The first steps are slow; a first end takes 3 s, a second 8 s with a look in it.
    times = [
        2.0 * step
        + 7.0 * min(step, 4)
        + 3.0 * (step >= EPOCH_STEPS)
        + 8.0 * (step >= 2 * EPOCH_STEPS)
        for step in range(2 * EPOCH_STEPS + 1)
    ]
    assert pace_of(times) == Pace(step=2.0, epoch_end=3.0, validation=5.0)


def test_training_is_timed_from_outside_with_its_checkpoints(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("benchmarks.contender_small.time.monotonic", lambda: clock[0])

    def job():
        for passed, stage in (
            (100, "preparing cases"),
            (2, "training"),
            (3, "validating"),
            (5, "training"),
            (7, "calibrating"),  # a checkpoint and curves before it
            (50, "validating"),
        ):
            clock[0] += passed
            yield Progress(done=1, total=1, stage=stage)
        return "result"

    assert timed(job()) == ("result", 2 + 3 + 5 + 7)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two cases, without anything in them."""
    folder = tmp_path / "data"
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
        for name in ("a", "b"):
            (folder / kind / f"{name}.nii.gz").write_bytes(b"")
    described = {"channel_names": {"0": "CT"}, "labels": {"one": 1}}
    write_json(folder / "dataset.json", described)
    return folder


def test_contest_is_the_same_after_a_trip_through_json():
    contest = Contest(source=Path("a"), folder=Path("b"), fold=3, normalization="ct")
    contest = replace(contest, groups=Path("groups.csv"))
    assert Contest.from_json(contest.to_json()) == contest


def test_results_of_one_folder_have_one_setting(data, tmp_path):
    first = Contest(source=data, folder=tmp_path / "out", minutes=2)
    first.keep_settings()
    replace(first, seed=7).keep_settings()  # seeds are compared within a folder
    for change in ({"fold": 0}, {"minutes": 3}, {"threads": 1}, {"channel": "MR"}):
        with pytest.raises(ConfigError, match=next(iter(change))):
            replace(first, **change).keep_settings()
    (data / "imagesTr" / "c.nii.gz").write_bytes(b"")
    (data / "labelsTr" / "c.nii.gz").write_bytes(b"")
    with pytest.raises(ConfigError, match="cases 3"):
        replace(first).keep_settings()


def test_results_of_unknown_settings_are_refused(data, tmp_path):
    contest = Contest(source=data, folder=tmp_path / "out")
    write_json(contest.result("small"), {})
    with pytest.raises(ConfigError, match=r"contest\.json"):
        contest.keep_settings()


def test_cases_of_several_channels_are_refused(data, tmp_path):
    described = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"one": 1}}
    write_json(data / "dataset.json", described)
    for path in list((data / "imagesTr").iterdir()):
        for number in (0, 1):
            copy = path.name.replace(".nii", f"_000{number}.nii")
            (path.parent / copy).write_bytes(b"")
        path.unlink()
    with pytest.raises(DatasetError, match="several channels"):
        _ = Contest(source=data, folder=tmp_path).dataset


def told(seconds: float) -> dict:
    return {"seconds": seconds}


def test_nothing_is_concluded_from_who_trained_for_too_long():
    def report(dice: float) -> Report:
        ones = np.ones((2, 2, 2), np.uint8)
        score = evaluate_case(ones, ones, (1.0, 1.0, 1.0), {1: "one"})
        cases = [
            CaseScores(
                case=name,
                predicted="",
                reference="",
                classes={1: replace(score[1], dice=dice)},
            )
            for name in "ab"
        ]
        return Report(cases=tuple(cases), label_names={1: "one"}, tolerance_mm=1.0)

    rows = {
        "small": (told(60.5), report(0.8)),
        "dynunet": (told(60.0), report(0.7)),
        "nnunet": (told(60.7), report(0.9)),
    }
    kept, over = verdict(rows, 1.0)
    assert (kept["valid"], over["valid"]) == (True, False)
    said = words([kept, over]).splitlines()
    assert said[0].endswith("not below the bar of -0.003")
    unsure = words([{**kept, "difference": 0.001, "interval": [-0.01, 0.02]}])
    assert "not below the bar of -0.003 by the mean; the interval holds both" in unsure
    assert "INVALID" in said[1]
    assert is_over(told(math.nan), 1.0)


def test_loss_is_per_sample_and_its_weights_sum_to_one():
    logits = torch.zeros(2, 2, 1, 1, 2)
    classes = torch.tensor([[1, 1], [0, 0]]).reshape(2, 1, 1, 1, 2)
    # Dice: 2 * 1 / (1 + 2) and 0 (per sample), which together would be 2 * 1 / (2 + 2).
    expected = math.log(2) + 1 - (2 / 3 + 0) / 2
    for levels in (1, 3):
        found = deep_loss(levels)([logits] * levels, classes)
        assert float(found) == pytest.approx(expected, abs=1e-4)


def test_bfloat16_is_left_where_a_stage_is_two_deep():
    halved = [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
    assert safe_precision("bfloat16", (8, 40, 40), halved) == "float32"
    assert safe_precision("bfloat16", (16, 40, 40), halved) == "bfloat16"
    assert safe_precision("bfloat16", (2, 40, 40), [[1, 1, 1]]) == "float32"


@pytest.mark.parametrize("patch", [(40, 56, 40), (64, 40, 40), (8, 96, 96)])
def test_no_stage_of_a_contest_is_two_deep(patch):
    strides = strides_of(patch, (1.0, 1.0, 1.0))
    assert safe_precision("bfloat16", patch, strides) == "bfloat16"


def test_memory_of_children_counts():
    code = "import time; kept = bytearray(80_000_000); print(flush=True); time.sleep(9)"
    with TreeMemory() as alone:
        pass
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        with TreeMemory() as both:
            pass
        child.kill()
    assert both.mib - alone.mib >= 70


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
            "groups": ["a", "b"],
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
