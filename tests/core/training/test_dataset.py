"""Finding the cases of a data set."""

import json
import shutil
from pathlib import Path

import pytest

from e2miseg_core.errors import DatasetError
from e2miseg_core.training.dataset import find_dataset, pair_folders


def test_plain_folders_are_paired_and_their_labels_found(dataset_folder: Path) -> None:
    found = find_dataset(dataset_folder)
    assert [case.name for case in found.cases] == [f"case_{i}" for i in range(10)]
    assert {label.value for label in found.labels} == {1}
    named = find_dataset(dataset_folder, label_names={1: "box"})
    assert named.labels[0].name == "box"


@pytest.mark.parametrize(
    ("description", "channel"),
    [
        # Decathlon and nnU-Net v1: names by value.
        ({"labels": {"0": "background", "1": "box"}, "modality": {"0": "CT"}}, "CT"),
        # nnU-Net v2: values by name, files numbered by channel.
        (
            {"labels": {"background": 0, "box": 1}, "channel_names": {"0": "T1"}},
            "T1",
        ),
    ],
)
def test_both_descriptions_are_understood(
    dataset_folder: Path, tmp_path: Path, description: dict[str, object], channel: str
) -> None:
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    tail = "_0000" if channel == "T1" else ""
    for number in range(3):
        name = f"case_{number}"
        image = tmp_path / "imagesTr" / f"{name}{tail}.nii.gz"
        shutil.copy(dataset_folder / "images" / f"{name}.nii.gz", image)
        shutil.copy(dataset_folder / "labels" / f"{name}.nii.gz", tmp_path / "labelsTr")
    (tmp_path / "imagesTr" / "._case_0.nii.gz").write_bytes(b"companion")
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    found = find_dataset(tmp_path)
    assert [case.name for case in found.cases] == ["case_0", "case_1", "case_2"]
    assert found.channels == (channel,)
    assert [(label.value, label.name) for label in found.labels] == [(1, "box")]


@pytest.mark.parametrize("name", ["scan_0123", "scan_0000"])
def test_a_case_name_that_ends_like_a_channel_is_kept(
    dataset_folder: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for kind in ("images", "labels"):
        source = dataset_folder / kind / "case_0.nii.gz"
        shutil.copy(source, tmp_path / kind / f"{name}.nii.gz")
    found = pair_folders(tmp_path / "images", tmp_path / "labels")
    assert [case.name for case in found.cases] == [name]


def test_lonely_files_are_named(dataset_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset_folder, tmp_path / "d")
    (tmp_path / "d" / "labels" / "case_4.nii.gz").unlink()
    with pytest.raises(DatasetError, match="case_4"):
        find_dataset(tmp_path / "d")


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="imagesTr and labelsTr"):
        find_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{not json")
    with pytest.raises(DatasetError, match="not readable JSON"):
        find_dataset(tmp_path)
