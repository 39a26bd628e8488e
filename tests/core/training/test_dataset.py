"""Finding the cases of a data set."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from e2miseg_core.errors import DatasetError
from e2miseg_core.io import write_image, write_labels
from e2miseg_core.training.case_files import open_case, origin_of
from e2miseg_core.training.dataset import find_dataset, pair_folders
from e2miseg_core.volume import Volume


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


def make_set(
    folder: Path, suffix: str, make_image: Callable[..., Volume], n_channels: int = 1
) -> Path:
    """Three cases in imagesTr and labelsTr, the channels in files of their own."""
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir()
    for number in range(3):
        volume = make_image(number, (6, 8, 7))
        labels = np.zeros(volume.geometry.shape, np.uint8)
        labels[2:4, 3:6, 1:5] = 1
        image = np.asarray(volume.data[0])
        for channel in range(n_channels):
            name = f"case_{number}_{channel:04d}{suffix}"
            path = folder / "imagesTr" / name
            write_image(image + channel, path, like=volume)
        write_labels(
            labels, folder / "labelsTr" / f"case_{number}{suffix}", like=volume
        )
    return folder


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".ome.zarr"])
def test_files_of_a_case_are_its_channels_in_any_format(
    tmp_path: Path, make_image: Callable[..., Volume], suffix: str
) -> None:
    folder = make_set(tmp_path, suffix, make_image, n_channels=2)
    found = find_dataset(folder, label_names={1: "box"})
    assert found.channels == ("channel 0", "channel 1")
    assert [len(case.images) for case in found.cases] == [2, 2, 2]
    image, labels = open_case(found.cases[1])
    one, two = np.asarray(image.data)
    np.testing.assert_allclose(two, one + 1, atol=1e-4)
    assert np.asarray(labels.data).sum() == 2 * 3 * 4
    description = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "box": 1},
        "file_ending": suffix,
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    (folder / "imagesTr" / "notes_0000.vtk").write_text("of another ending")
    assert find_dataset(folder).channels == ("T1", "FLAIR")


def test_a_missing_channel_is_named(
    tmp_path: Path, make_image: Callable[..., Volume]
) -> None:
    folder = make_set(tmp_path, ".nrrd", make_image, n_channels=3)
    (folder / "imagesTr" / "case_1_0001.nrrd").unlink()
    with pytest.raises(DatasetError, match=r"case_1_0000, case_1_0002.*case_1_0001"):
        find_dataset(folder)
    (folder / "imagesTr" / "case_1_0002.nrrd").rename(
        folder / "imagesTr" / "case_1_0001.nrrd"
    )
    told = "2 image files for the case case_1: case_1_0002 is missing"
    with pytest.raises(DatasetError, match=told):
        find_dataset(folder)


def test_partners_of_names_that_end_like_channels_are_named_whole(
    dataset_folder: Path, tmp_path: Path
) -> None:
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        for number in range(4):
            source = dataset_folder / kind / f"case_{number}.nii.gz"
            shutil.copy(source, tmp_path / kind / f"scan_{number:04d}.nii.gz")
    (tmp_path / "labels" / "scan_0003.nii.gz").unlink()
    with pytest.raises(
        DatasetError, match=r"1 image without a label file \(scan_0003\)"
    ):
        find_dataset(tmp_path)
    (tmp_path / "images" / "scan_0003.nii.gz").unlink()
    (tmp_path / "images" / "scan_0001.nii.gz").unlink()
    (tmp_path / "images" / "scan_0002.nii.gz").unlink()
    told = r"2 label files without an image \(scan_0001, scan_0002\)"
    with pytest.raises(DatasetError, match=told):
        find_dataset(tmp_path)


def test_one_file_may_hold_all_channels(
    tmp_path: Path, make_image: Callable[..., Volume]
) -> None:
    """As in the Decathlon's brain tumours, whose images have four axes."""
    folder = make_set(tmp_path, ".nii.gz", make_image)
    for number, path in enumerate(sorted((folder / "imagesTr").iterdir())):
        volume = make_image(number, (6, 8, 7))
        both = np.concatenate([np.asarray(volume.data)] * 2)
        write_image(both, path, like=volume, overwrite=True)
    assert len(find_dataset(folder).channels) == 2
    names = {"modality": {"0": "FLAIR", "1": "T1w"}, "labels": {"0": "-", "1": "box"}}
    (folder / "dataset.json").write_text(json.dumps(names))
    found = find_dataset(folder)
    assert found.channels == ("FLAIR", "T1w")
    assert open_case(found.cases[0])[0].n_channels == 2


def test_parts_of_files_are_images_and_labels(tmp_path: Path) -> None:
    """As in HDF5 files that hold both, addressed by the folder and the part."""
    for number in range(3):
        with h5py.File(tmp_path / f"case_{number}.h5", "w") as file:
            file["image"] = np.full((4, 5, 6), number, np.float32)
            file["label"] = np.eye(5, 6, dtype=np.uint8)[None].repeat(4, 0)
    found = pair_folders(f"{tmp_path}#part=/image", f"{tmp_path}#part=/label")
    assert [label.value for label in found.labels] == [1]
    image, labels = open_case(found.cases[2])
    assert np.asarray(image.data).min() == 2
    assert np.asarray(labels.data).sum() == 4 * 5
    stamp = origin_of(found.cases[2])
    assert stamp == origin_of(found.cases[2])
    assert stamp[0] != stamp[1]


def test_flat_images_and_folders_of_slices_are_cases(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for number in range(3):
        picture = rng.integers(0, 255, (9, 11)).astype(np.uint8)
        labels = (picture > 128).astype(np.uint8)
        tifffile.imwrite(tmp_path / "images" / f"flat_{number}.tif", picture)
        tifffile.imwrite(tmp_path / "labels" / f"flat_{number}.tif", labels)
    for kind in ("images", "labels"):
        (tmp_path / kind / "stack").mkdir()
        for z in range(3):
            tifffile.imwrite(tmp_path / kind / "stack" / f"{z}.tif", labels)
    found = find_dataset(tmp_path)
    shapes = [open_case(case)[0].geometry.shape for case in found.cases]
    assert shapes == [(1, 9, 11)] * 3 + [(3, 9, 11)]
    before = origin_of(found.cases[3])
    tifffile.imwrite(tmp_path / "labels" / "stack" / "1.tif", labels * 0)
    assert origin_of(found.cases[3]) != before


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0, "whole": [1, 2]}, "regions are not supported"),
        ({"background": 0, "box": 1, "ignore": 2}, "label 'ignore'"),
    ],
)
def test_regions_and_ignored_voxels_are_refused(
    dataset_folder: Path, tmp_path: Path, labels: dict[str, object], message: str
) -> None:
    shutil.copytree(dataset_folder, tmp_path / "d")
    (tmp_path / "d" / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(DatasetError, match=message):
        find_dataset(tmp_path / "d")


def test_two_labels_of_one_name_are_refused(dataset_folder: Path) -> None:
    with pytest.raises(DatasetError, match="'box' for the labels 1 and 2"):
        find_dataset(dataset_folder, label_names={1: "box", 2: "box"})


def test_two_files_of_one_name_are_refused(
    dataset_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(dataset_folder, tmp_path / "d")
    images = tmp_path / "d" / "images"
    shutil.copy(images / "case_0.nii.gz", images / "case_0.nii")
    with pytest.raises(DatasetError, match="one image of a name"):
        find_dataset(tmp_path / "d")
    with pytest.raises(DatasetError, match="cannot be read"):
        pair_folders(tmp_path / "nowhere", images)


def test_labels_without_a_structure_are_refused(
    dataset_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(dataset_folder, tmp_path / "d")
    for path in sorted((tmp_path / "d" / "labels").iterdir()):
        empty = Volume.from_array(np.zeros((4, 5, 6), np.uint8), spacing=(1, 1, 1))
        write_labels(np.zeros((4, 5, 6), np.uint8), path, like=empty, overwrite=True)
    with pytest.raises(DatasetError, match="no label value above 0"):
        find_dataset(tmp_path / "d")


def test_one_label_of_several_is_kept_and_the_others_are_background(
    tmp_path: Path,
) -> None:
    labels = np.zeros((4, 6, 5), np.uint8)
    labels[1], labels[2] = 1, 5
    like = Volume.from_array(labels, spacing=(1.0, 1.0, 1.0))
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        write_labels(labels, tmp_path / part / "a.nii.gz", like=like)
    found = find_dataset(tmp_path, label_names={1: "liver", 5: "tumour"})
    before = origin_of(found.cases[0])
    for wanted in ("tumour", "Tumour", "5"):
        one = found.only(wanted)
        assert one.label_names == {5: "tumour"}
        truth = np.asarray(open_case(one.cases[0])[1].data[0])
        assert truth.dtype == np.uint8
        np.testing.assert_array_equal(truth, np.where(labels == 5, 5, 0))
        assert origin_of(one.cases[0]) != before  # prepared files are not mixed up
    with pytest.raises(DatasetError, match=r"one of 1 \(liver\), 5 \(tumour\)"):
        found.only("spleen")
