"""Letters at the edges of the view, and planes that stand upright."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel

from e2miseg_napari.anatomical_view import AnatomicalView, edge_letters
from e2miseg_napari.convert import KEY, make_layer
from e2miseg_napari.panels.plane_bar import PlaneBar
from e2miseg_napari.readers import read_layers


@pytest.fixture
def viewer(qtbot: Any) -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def view(viewer: ViewerModel) -> Iterator[AnatomicalView]:
    shown = AnatomicalView(viewer)
    yield shown
    shown.close()


def add_scan(viewer: ViewerModel, *, oriented: bool = True, shape: Any = (4, 5, 6)):
    metadata = {KEY: {"role": "image", "oriented": oriented}}
    return viewer.add_image(np.zeros(shape), metadata=metadata)


def letters(viewer: ViewerModel) -> str:
    overlays = viewer.canvas.overlays
    names = ("top_center", "bottom_center", "middle_left", "middle_right")
    shown = [overlays[f"e2miseg_{name}"] for name in names]
    assert all(one.visible == bool(one.text) for one in shown)
    return "".join(one.text for one in shown)


def test_letters_are_those_of_a_radiologist(
    viewer: ViewerModel, view: AnatomicalView
) -> None:
    add_scan(viewer)
    for plane, expected in (
        ("axial", "APRL"),
        ("coronal", "SIRL"),
        ("sagittal", "SIAP"),
    ):
        view.show_plane(plane)
        assert view.plane == plane
        assert letters(viewer) == expected


def test_superior_is_up_on_the_canvas(
    viewer: ViewerModel, view: AnatomicalView
) -> None:
    add_scan(viewer)
    view.show_plane("coronal")
    assert viewer.scene.camera.orientation2d == ("up", "right")
    view.show_plane("axial")
    assert viewer.scene.camera.orientation2d == ("down", "right")


def test_letters_follow_a_camera_that_the_user_turns(
    viewer: ViewerModel, view: AnatomicalView
) -> None:
    add_scan(viewer)
    viewer.scene.camera.orientation2d = ("up", "left")
    assert letters(viewer) == "PALR"


def test_plane_keeps_the_point(viewer: ViewerModel, view: AnatomicalView) -> None:
    add_scan(viewer)
    viewer.dims.set_point((0, 1, 2), (1, 2, 3))
    view.show_plane("sagittal")
    assert viewer.dims.point == (1, 2, 3)


def test_channel_axis_stays_a_slider(viewer: ViewerModel, view: AnatomicalView) -> None:
    add_scan(viewer, shape=(9, 4, 5, 6))
    view.show_plane("coronal")
    assert viewer.dims.displayed == (1, 3)
    viewer.dims.order = (1, 2, 0, 3)  # the channels are on show
    assert view.plane is None
    assert letters(viewer) == ""


def test_nothing_is_claimed_of_a_file_that_does_not_say(
    viewer: ViewerModel, view: AnatomicalView
) -> None:
    add_scan(viewer, oriented=False)
    view.show_plane("coronal")
    assert letters(viewer) == ""
    assert viewer.scene.camera.orientation2d == ("down", "right")


@pytest.mark.parametrize(
    ("name", "expected"), [("a.npy", ""), ("a.tif", ""), ("a.nii", "APRL")]
)
def test_letters_stand_only_where_the_file_itself_says_so(
    viewer: ViewerModel,
    view: AnatomicalView,
    tmp_path: Path,
    name: str,
    expected: str,
) -> None:
    voxels, path = np.zeros((4, 8, 9), np.uint8), tmp_path / name
    if path.suffix == ".npy":
        np.save(path, voxels)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, voxels, photometric="minisblack")
    else:
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    (data,) = read_layers(str(path))
    viewer.add_layer(make_layer(data))
    assert letters(viewer) == expected


def test_viewer_is_given_back(viewer: ViewerModel, view: AnatomicalView) -> None:
    viewer.scene.camera.orientation2d = ("up", "left")
    layer = add_scan(viewer)
    assert viewer.scene.camera.orientation2d == ("down", "right")
    viewer.layers.remove(layer)
    assert viewer.scene.camera.orientation2d == ("up", "left")
    assert letters(viewer) == ""
    add_scan(viewer)
    view.close()
    assert viewer.scene.camera.orientation2d == ("up", "left")
    assert not [name for name in viewer.canvas.overlays if "e2miseg" in str(name)]
    view.open()
    assert letters(viewer) == "APRL"


def test_no_letters_in_three_dimensions(
    viewer: ViewerModel, view: AnatomicalView
) -> None:
    add_scan(viewer)
    view.show_plane("coronal")
    viewer.dims.ndisplay = 3
    assert letters(viewer) == ""
    assert view.plane is None


def test_letters_of_every_plane_are_opposite() -> None:
    for up in (True, False):
        for right in (True, False):
            top, bottom, left, _ = edge_letters(0, 2, upwards=up, rightwards=right)
            assert {top, bottom} == {"S", "I"}
            assert (top == "S") == up
            assert (left == "R") == right


def test_buttons_show_and_tell_the_plane(
    viewer: ViewerModel, view: AnatomicalView, qtbot: Any
) -> None:
    bar = PlaneBar(view)
    qtbot.addWidget(bar)
    assert bar.isHidden()  # no volume yet
    add_scan(viewer, oriented=False)
    assert bar.buttons["coronal"].text() == "XZ"
    add_scan(viewer)
    assert [button.text() for button in bar.buttons.values()] == [
        "Axial",
        "Coronal",
        "Sagittal",
    ]
    bar.buttons["sagittal"].click()
    assert viewer.dims.displayed == (0, 1)
    assert bar.buttons["sagittal"].isChecked()
    viewer.dims.ndisplay = 3
    assert not any(button.isChecked() for button in bar.buttons.values())
