"""The text form of an address, and opening by it."""

from pathlib import Path
from urllib.parse import quote

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.errors import GeometryError, ReadError
from e2miseg_core.io import Address, open_volume, write_image, write_labels
from e2miseg_core.volume import Volume


@given(
    part=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=9),
    frame=st.none() | st.integers(0, 99),
    spacing=st.none() | st.tuples(*3 * [st.sampled_from([1.0, 4.6, 1e-9, 1e9])]),
    unit=st.sampled_from(["mm", "um", "nm"]),
)
def test_text_form_restores_the_address(
    part: str,
    frame: int | None,
    spacing: tuple[float, float, float] | None,
    unit: str,
) -> None:
    stated = (spacing, unit) if spacing is not None else (None, "mm")
    address = Address("folder/scan.h5", part, frame, *stated)
    assert Address.parse(str(address)) == address


def test_bare_fragment_is_the_part() -> None:
    assert Address.parse("a.h5#/raw/data") == Address("a.h5", "/raw/data")


def test_existing_name_with_a_number_sign_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "scan #2.nii"
    path.touch()
    assert Address.parse(path) == Address(str(path))
    assert Address.parse(f"{path}#frame=1") == Address(str(path), frame=1)


@pytest.mark.parametrize("text", ["a#frame=x", "a#frame=-1", "a#part=b&colour=c"])
def test_unknown_keys_and_frames_are_one_line(text: str) -> None:
    with pytest.raises(ReadError, match="address"):
        Address.parse(text)


def test_url_has_no_path() -> None:
    address = Address.parse("https://example.org/a.zarr#labels/b")
    assert address.is_remote
    assert address.part == "labels/b"
    with pytest.raises(ReadError, match=r"https://example\.org"):
        _ = address.path


@pytest.mark.parametrize("digits", ["9" * 5000, "\u00b2"])
def test_a_frame_of_no_number_is_one_short_line(digits: str) -> None:
    with pytest.raises(ReadError, match="whole number") as told:
        Address.parse(f"a.nii#frame={digits}")
    assert len(str(told.value)) < 500


def test_a_folder_of_no_user_is_missing_not_a_crash() -> None:
    for name in ("~no_such_user_here/scan.nii", "~no_such_user_here#frame=0"):
        with pytest.raises(ReadError, match=r"~no_such_user_here.*(missing|No such)"):
            open_volume(name)


@pytest.mark.parametrize(
    "fragment", ["frame=x", "part=1&q=2", "spacing=0", "part=channels:PET=|CT"]
)
def test_no_message_shows_a_password_or_signature(fragment: str) -> None:
    hidden = "https://user:geheim@h.example/a.nii?sig=GEHEIM"
    with pytest.raises(ReadError) as told:
        open_volume(f"{hidden}#{fragment}{quote(hidden, safe='')}")
    assert "geheim" not in str(told.value).lower()
    with pytest.raises(ReadError) as told:
        _ = Address(hidden).path
    assert "geheim" not in str(told.value).lower()


def test_frame_of_a_series(tmp_path: Path) -> None:
    frames = np.arange(3 * 2 * 3 * 4, dtype=np.int16).reshape(3, 2, 3, 4)
    like = Volume.from_array(frames, spacing=(1, 1, 1))
    path = write_image(frames, tmp_path / "series.nii", like=like)
    opened = open_volume(f"{path}#frame=2")
    assert opened.channels == ("channel 2",)
    np.testing.assert_array_equal(opened.data, frames[2:3])
    assert any("frame 2 of 3" in note for note in opened.notes)
    assert opened.source is not None
    np.testing.assert_array_equal(open_volume(opened.source.uri).data, frames[2:3])
    with pytest.raises(GeometryError, match="from 0 to 2"):
        open_volume(path, frame=3)


def test_stated_size_of_voxels_takes_the_place_of_the_assumed_one(
    tmp_path: Path,
) -> None:
    voxels = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    np.save(tmp_path / "em.npy", voxels)
    opened = open_volume(f"{tmp_path / 'em.npy'}#spacing=50,4.6,4.7&unit=nm")
    assert opened.geometry.unit == "nm"
    np.testing.assert_allclose(opened.geometry.spacing, (50, 4.6, 4.7))
    assert "voxel size 50 x 4.6 x 4.7 nm (Z, Y, X) as stated by you" in opened.notes
    assert not any("1 mm" in note for note in opened.notes)
    assert opened.source is not None
    again = open_volume(opened.source.uri)
    assert again.geometry.matches(opened.geometry)
    written = write_labels(voxels, tmp_path / "labels.nrrd", like=opened)
    assert open_volume(written).geometry.matches(opened.geometry, tolerance=1e-5)


def test_stated_size_goes_along_the_axes_that_are_shown(tmp_path: Path) -> None:
    # x grows to A, y to S, z to L: shown as (y, x turned, z).
    affine = [[0, 0, -3, 5], [2, 0, 0, 6], [0, 4, 0, 7], [0, 0, 0, 1]]
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    path = tmp_path / "turned.nii"
    nib.save(nib.Nifti1Image(voxels, np.array(affine)), path)
    plain = open_volume(path)
    opened = open_volume(f"{path}#spacing=8,4,6")
    np.testing.assert_array_equal(opened.data, plain.data)
    assert plain.geometry.spacing == (4, 2, 3)
    assert opened.geometry.spacing == (8, 4, 6)
    assert opened.source is not None
    # The first stored voxel stays where it is, and every step is twice as long.
    expected = np.array(affine) * [2, 2, 2, 1]
    np.testing.assert_allclose(opened.source.geometry.affine_xyz, expected)
    assert any("the file says 4 x 2 x 3 mm" in note for note in opened.notes)
    labels = np.zeros(opened.geometry.shape, np.uint8)
    written = write_labels(labels, tmp_path / "labels.nii.gz", like=opened)
    np.testing.assert_allclose(nib.load(written).affine, expected)


@pytest.mark.parametrize(
    "stated",
    ["spacing=1,2", "spacing=1,2,0", "spacing=1,2,nan", "spacing=1,2,x", "unit=nm"],
)
def test_unusable_size_of_voxels_is_one_line(stated: str) -> None:
    with pytest.raises(ReadError, match="voxel size"):
        Address.parse(f"a.npy#{stated}")
    with pytest.raises(ReadError, match="voxel size"):
        Address.parse("a.npy#spacing=1,2,3&unit=parsec")
