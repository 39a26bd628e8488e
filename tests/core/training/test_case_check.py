"""Cases that cannot be used are found before training, by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from e2miseg_core.errors import DatasetError, ReadError
from e2miseg_core.io import write_image, write_labels
from e2miseg_core.progress import run
from e2miseg_core.training.case_check import check_cases
from e2miseg_core.training.dataset import find_dataset
from e2miseg_core.volume import Volume

MakeImage = Callable[..., Volume]


@pytest.fixture
def folder(tmp_path: Path, make_image: MakeImage) -> Path:
    """Three cases of two channels."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for number in range(3):
        volume = make_image(number, (6, 8, 7))
        for channel in range(2):
            name = f"scan_{number:04d}_{channel:04d}.nii.gz"
            write_image(volume.data, tmp_path / "images" / name, like=volume)
        write(tmp_path, number, volume, 1)
    return tmp_path


def write(folder: Path, number: int, volume: Volume, value: int) -> None:
    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[2:4, 3:6, 1:5] = value
    path = folder / "labels" / f"scan_{number:04d}.nii.gz"
    write_labels(labels, path, like=volume, overwrite=True)


def check(folder: Path) -> None:
    dataset = find_dataset(folder, label_names={1: "box"})
    run(check_cases(dataset, dataset.cases))


def test_whole_cases_pass(folder: Path) -> None:
    check(folder)


def test_a_missing_last_channel_is_named(folder: Path) -> None:
    (folder / "images" / "scan_0001_0001.nii.gz").unlink()
    told = r"1 of 2 channels in the case scan_0001: scan_0001_0001 is missing"
    with pytest.raises(DatasetError, match=told):
        check(folder)


def test_another_grid_and_another_label_are_named(
    folder: Path, make_image: MakeImage
) -> None:
    write(folder, 2, make_image(2, (6, 8, 7)), 9)
    with pytest.raises(DatasetError, match=r"label values \[9\] in scan_0002"):
        check(folder)
    write(folder, 2, make_image(2, (6, 8, 9)), 1)
    with pytest.raises(DatasetError, match=r"scan_0002: image and labels on different"):
        check(folder)


def test_damaged_labels_are_found(folder: Path) -> None:
    path = folder / "labels" / "scan_0002.nii.gz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ReadError, match="scan_0002"):
        check(folder)


def test_damaged_images_of_unseen_cases_are_found(folder: Path) -> None:
    path = folder / "images" / "scan_0002_0001.nii.gz"
    path.write_bytes(path.read_bytes()[:-30])
    check(folder)  # of the others the images are read when they are prepared
    dataset = find_dataset(folder, label_names={1: "box"})
    with pytest.raises(ReadError, match="scan_0002"):
        run(check_cases(dataset, dataset.cases, {"scan_0002"}))


def test_channels_in_one_file_are_counted(folder: Path) -> None:
    dataset = find_dataset(folder, label_names={1: "box"})
    one = tuple(replace(case, images=case.images[:1]) for case in dataset.cases)
    with pytest.raises(DatasetError, match=r"1 channels in scan_0000; needed: 2"):
        run(check_cases(replace(dataset, cases=one), one))
