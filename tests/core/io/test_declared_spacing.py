"""Which axis gets which number of a declared spacing."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from e2miseg_core.io import open_volume
from e2miseg_core.io.declared_spacing import declared_spacing


@pytest.mark.parametrize(
    ("axes", "numbers", "spacing"),
    [
        ("zyx", [3, 2, 1.5], (3, 2, 1.5)),
        ("xyz", [4, 5, 40], (40, 5, 4)),
        ("zyxc", [3, 2, 1.5, 7], (3, 2, 1.5)),
        ("zyxc", [3, 2, 1.5, 0], (3, 2, 1.5)),  # along channels nothing is asked
        ("zyxc", [3, 2, 1.5], (3, 2, 1.5)),
        ("xyzc", [3, 2, 1.5], (3, 2, 1.5)),  # by convention, not by its axes
        ("xyzc", [1.5, 2, 3, 0], (3, 2, 1.5)),
        ("tczyx", [9, 9, 3, 2, 1.5], (3, 2, 1.5)),
        ("cyx", [9, 2, 1.5], (1, 2, 1.5)),
        ("zyx", [2, 1.5], (1, 2, 1.5)),
        ("xyz", [2, 1.5], (1, 2, 1.5)),
        ("yx", [3, 2, 1.5], (3, 2, 1.5)),
        ("zyx", [3, 2, 0], (1, 1, 1)),
        ("zyx", [5], (1, 1, 1)),
        ("zyx", [1, 2, 3, 4], (1, 1, 1)),
    ],
)
def test_numbers_go_to_the_axes_that_they_are_of(axes, numbers, spacing) -> None:
    found, unit, notes = declared_spacing({"spacing": numbers}, axes)
    assert (found, unit) == (spacing, "mm")
    is_reordered = "xyz" in axes and len(numbers) == len(axes)
    assert not is_reordered or "along x, y, z" in notes[0]


def test_units_follow_their_numbers() -> None:
    stated = {"spacing": [1500, 2, 3], "units": ["nm", "um", "um"]}
    assert declared_spacing(stated, "xyz")[:2] == ((3e3, 2e3, 1.5e3), "nm")


def test_hdf5_with_channels_last(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        raw = file.create_dataset("raw", data=np.zeros((5, 6, 7, 2), "u1"))
        raw.attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in "zyxc"]})
        raw.attrs["spacing"] = [3.0, 2.0, 1.0, 1.0]
    assert open_volume(tmp_path / "s.h5").geometry.spacing == (3, 2, 1)


def test_zarr_whose_first_axis_is_x(tmp_path: Path) -> None:
    array = zarr.create_array(
        str(tmp_path / "a.zarr"),
        shape=(7, 6, 5),
        dtype="u1",
        dimension_names=("x", "y", "z"),
    )
    array.attrs["resolution"] = [4, 5, 40]
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.geometry.shape == (5, 6, 7)
    assert volume.geometry.spacing == (40, 5, 4)
    assert any("x, y, z" in note for note in volume.notes)
