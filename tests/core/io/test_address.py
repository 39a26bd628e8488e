"""The text form of an address, and opening by it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.errors import GeometryError, ReadError
from e2miseg_core.io import Address, open_volume, write_image
from e2miseg_core.volume import Volume


@given(
    part=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=9),
    frame=st.none() | st.integers(0, 99),
)
def test_text_form_restores_the_address(part: str, frame: int | None) -> None:
    address = Address("folder/scan.h5", part, frame)
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
