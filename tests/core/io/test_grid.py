"""What a header says of the grid, and what is made of it, by hand."""

import h5py
import nibabel as nib
import numpy as np
import pytest
import zarr

from e2miseg_core.errors import GeometryError
from e2miseg_core.io import open_volume
from e2miseg_core.io.grid import resolve_grid

SOUND = np.array([[0, 0, 2, 1], [0, 3, 0, 2], [4, 0, 0, 3], [0, 0, 0, 1.0]])


def changed(where, value):
    affine = SOUND.copy()
    affine[where] = value
    return affine


def resolve(*placements, shape=(5, 6, 7), spacing=None):
    grid, notes, is_placed = resolve_grid(shape, placements, spacing, place="scan.x")
    assert is_placed == ("no usable orientation" not in " ".join(notes))
    return grid, notes


def test_the_first_usable_placement_counts():
    grid, notes = resolve(("first", SOUND), ("second", SOUND))
    np.testing.assert_array_equal(grid.affine, SOUND)
    assert notes == []


@pytest.mark.parametrize(
    "broken",
    [
        changed((0, 0), np.nan),
        changed((2, 3), np.inf),
        changed((slice(0, 3), 1), 0),
        changed((slice(0, 3), 1), [0, 0, 4]),  # two axes in one direction
        changed((0, 2), 1e300),
        np.zeros((4, 4)),
    ],
)
def test_an_unusable_placement_is_passed_over_with_its_numbers(broken):
    grid, notes = resolve(("first", broken), ("second", SOUND))
    np.testing.assert_array_equal(grid.affine, SOUND)
    (note,) = notes
    assert note.startswith("first [")
    assert "passed over" in note
    alone, notes = resolve(("first", broken), spacing=(4, -3, 2))
    assert alone.spacing == (4, 3, 2)
    assert alone.orientation == "SAR"
    assert len(notes) == 2


def test_disagreements_name_the_distance():
    moved = changed((0, 3), 1.5)
    grid, notes = resolve(("sform", SOUND), ("qform", moved))
    np.testing.assert_array_equal(grid.affine, SOUND)
    assert notes == ["sform used; qform lies up to 0.5 mm (0.25 voxels) away"]
    _, notes = resolve(("sform", SOUND), spacing=(4, 3, 2.5))
    assert notes == [
        "sform used, with voxels of 4 x 3 x 2 mm; the header's voxel sizes say "
        "4 x 3 x 2.5"
    ]


def test_shear_is_kept_and_told():
    tilted = changed((1, 0), -4 * np.tan(np.radians(10)))
    grid, notes = resolve(("direction", tilted))
    np.testing.assert_array_equal(grid.affine, tilted)
    assert "up to 10 degrees" in notes[0]


def test_an_axis_of_one_voxel_needs_no_length():
    flat = changed((slice(0, 3), 0), 0)
    grid, notes = resolve(("direction", flat), shape=(1, 6, 7))
    assert notes == []
    assert grid.spacing == (1, 3, 2)
    assert np.linalg.matrix_rank(grid.affine) == 4
    grid, _ = resolve(("direction", flat), shape=(1, 6, 7), spacing=(9, 3, 2))
    assert grid.spacing == (9, 3, 2)
    grid, _ = resolve(shape=(1, 6, 7), spacing=(0, 3, 2))
    assert grid.spacing == (1, 3, 2)


@pytest.mark.parametrize("spacing", [(0, 1, 1), (np.nan, 1, 1), (1, np.inf, 1)])
def test_without_any_usable_number_one_line_says_so(spacing):
    with pytest.raises(GeometryError, match=r"scan.x .* voxel sizes") as caught:
        resolve(("direction", np.full((4, 4), np.nan)), spacing=spacing)
    assert "\n" not in str(caught.value)


def test_no_spacing_at_all_is_taken_as_one():
    grid, notes = resolve()
    assert grid.spacing == (1, 1, 1)
    assert "taken as 1 mm" in notes[0]


def test_axes_without_orientation_are_right_anterior_superior():
    grid, _ = resolve(spacing=(4, 3, 2))
    assert grid.orientation[::-1] == "".join(nib.aff2axcodes(np.eye(4)))
    np.testing.assert_array_equal(grid.world((1, 1, 1)), [2, 3, 4])


def test_a_grid_that_makes_no_sense_is_told_with_its_file(tmp_path):
    levels = [
        {
            "path": "0",
            "coordinateTransformations": [{"type": "scale", "scale": [0, 1, 1]}],
        }
    ]
    axes = [{"name": axis, "type": "space"} for axis in "zyx"]
    stated = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": levels}]}
    root = zarr.create_group(str(tmp_path / "a.zarr"), attributes={"ome": stated})
    root.create_array("0", shape=(3, 4, 5), dtype="u1")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        raw = file.create_dataset("raw", data=np.zeros((3, 4, 5), "u1"))
        raw.attrs["spacing"] = [1e300, 1, 1]
    for name in ("a.zarr", "a.h5"):
        with pytest.raises(GeometryError, match=name):
            open_volume(tmp_path / name)
