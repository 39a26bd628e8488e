"""Names and places of images that are told by an address."""

from pathlib import Path

import pytest

from e2miseg_core.io.address import Address
from e2miseg_core.io.naming import (
    absolute,
    exists,
    label_suffix,
    same_place,
    short_name,
    suggested_name,
)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("a/scan.nii.gz", "scan"),
        ("a/scan.ome.zarr/", "scan"),
        ("scan.nii.gz#frame=3", "scan_frame3"),
        ("a/folder.v2#part=2", "folder.v2_2"),
        ("a/store.zarr#part=/raw/left eye", "store_raw_left_eye"),
        ("https://host.org/data/em.ome.zarr?token=secret#part=labels/x", "em_labels_x"),
        ("https://host.org", "host.org"),
        ("pet.nii.gz#part=channels:PET=|CT=ct.nii.gz", "pet"),
    ],
)
def test_a_name_is_that_of_the_file_and_of_the_part(address: str, name: str) -> None:
    assert suggested_name(address) == name


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/scan.h5#part=/raw", "scan.h5 (/raw)"),
        ("/data/study/", "study"),
        ("s3://bucket/em.zarr?token=secret", "em.zarr"),
        ("pet.nii.gz#part=channels:PET=|CT=ct.nii.gz", "pet.nii.gz"),
    ],
)
def test_a_short_name_tells_what_a_user_called_it(address: str, name: str) -> None:
    assert short_name(address) == name


def test_an_address_is_made_absolute_with_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = absolute("sub/../scan.h5#part=/raw&frame=2")
    assert found == Address(str(tmp_path / "scan.h5"), "/raw", 2)
    assert absolute(found) == found
    url = "s3://bucket/em.zarr#part=0"
    assert str(absolute(url)) == url


def test_two_parts_of_a_file_are_two_images(tmp_path: Path) -> None:
    (tmp_path / "a.h5").touch()
    (tmp_path / "link.h5").symlink_to(tmp_path / "a.h5")
    assert same_place(f"{tmp_path}/a.h5#part=x", f"{tmp_path}/link.h5#x")
    assert not same_place(f"{tmp_path}/a.h5#part=x", f"{tmp_path}/a.h5#part=y")
    assert not same_place("https://a.org/x.zarr", "https://b.org/x.zarr")


def test_only_opening_tells_whether_a_url_is_there(tmp_path: Path) -> None:
    assert exists(tmp_path)
    assert exists("https://nowhere.invalid/x.zarr")
    assert not exists(tmp_path / "no.nii#part=2")


@pytest.mark.parametrize(
    ("image", "suffix"),
    [
        ("a.nii", ".nii"),
        ("A.NII.GZ#frame=2", ".nii.gz"),
        ("b.zarr#part=left", ".ome.zarr"),
        ("b.zarr/left", ".ome.zarr"),
        ("folder", ".nii.gz"),
        ("scan.h5#part=/raw", ".nii.gz"),
    ],
)
def test_labels_get_a_suffix_that_can_be_written(image: str, suffix: str) -> None:
    assert label_suffix(image) == suffix


def test_two_sizes_of_voxels_are_two_grids() -> None:
    one, other = "em.npy#spacing=50,4,4&unit=nm", "em.npy#spacing=50,8,8&unit=nm"
    assert same_place(one, one)
    assert not same_place(one, other)
    assert not same_place(one, "em.npy")
