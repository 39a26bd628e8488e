"""The outline is drawn around its box, on its slices, and nowhere else."""

import numpy as np
import pytest
from napari.layers import Labels

from e2miseg_napari.aim import aim_at, is_at
from e2miseg_napari.edge_outline import attach_outline, detach_outline, world_bounds

SHAPE = (12, 40, 50)
BOX = ((3, 6), (10, 16), (20, 28))
CENTRE = (4, 13, 24)
BLACK, WHITE = 0, 255


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


def add_volume(viewer, value: int):
    grey = np.full(SHAPE, value, np.uint8)
    return viewer.add_image(
        grey, contrast_limits=(0, 255), scale=(3, 1, 2), translate=(5, -7, 11)
    )


def outlined(viewer, layer):
    outline = attach_outline(viewer)
    aim_at(viewer, layer, BOX, CENTRE)
    outline.enclose(world_bounds(layer, BOX))
    return outline


def picture(viewer, qtbot) -> np.ndarray:
    qtbot.wait(50)
    return viewer.screenshot(flash=False)[..., :3].astype(int)


def edges_of_box(viewer, layer) -> tuple[list[int], list[int]]:
    """Rows and columns of the picture where the box begins and ends."""
    start, stop = np.array(world_bounds(layer, BOX))
    shown = list(viewer.dims.displayed)
    scale, size = viewer.scene.camera.zoom, np.array(viewer.canvas.size)
    centre = np.array(viewer.scene.camera.center)[-2:]
    low, high = (
        np.round((corner[shown] - centre) * scale + size / 2).astype(int)
        for corner in (start, stop)
    )
    return [low[0], high[0]], [low[1], high[1]]


def test_bounds_are_the_outer_faces_in_the_world(viewer):
    layer = add_volume(viewer, 0)
    start, stop = world_bounds(layer, BOX)
    # voxel 3 along Z reaches from 2.5 to 3.5; (2.5, 9.5, 19.5) * scale + translate
    assert start == (12.5, 2.5, 50.0)
    assert stop == (21.5, 8.5, 66.0)


def test_a_flipped_layer_has_bounds_in_order(viewer):
    with np.errstate(all="ignore"):
        layer = viewer.add_image(np.zeros(SHAPE), scale=(1, -1, 1))
    start, stop = world_bounds(layer, BOX)
    assert (start[1], stop[1]) == (-15.5, -9.5)


@pytest.mark.parametrize("value", [0, 255], ids=["dark", "bright"])
def test_it_is_seen_on_dark_and_bright_and_hides_no_voxel(viewer, qtbot, value):
    layer = add_volume(viewer, value)
    outlined(viewer, layer)
    seen = picture(viewer, qtbot)
    (top, bottom), (left, right) = edges_of_box(viewer, layer)
    inside = seen[top + 1 : bottom - 1, left + 1 : right - 1]
    assert (inside == value).all()
    middle = (top + bottom) // 2
    across = seen[middle, left - 6 : left + 1].mean(axis=-1)
    assert across.min() == BLACK
    assert across.max() == WHITE
    assert {BLACK, WHITE} <= set(seen[top - 6 : top + 1, (left + right) // 2].ravel())
    far = seen[middle, : left - 8]
    assert (far == value).all()


def test_its_lines_are_as_thin_at_every_zoom(viewer, qtbot):
    layer = add_volume(viewer, 0)
    outlined(viewer, layer)
    white = []
    for _ in range(2):
        seen = picture(viewer, qtbot)
        (top, bottom), (left, _) = edges_of_box(viewer, layer)
        row = seen[(top + bottom) // 2, left - 8 : left + 1].mean(axis=-1)
        white.append(int((row > 128).sum()))
        viewer.scene.camera.zoom /= 2
    assert white == [2, 2]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_it_is_drawn_on_the_slices_of_the_box_only(viewer, qtbot, order):
    layer = add_volume(viewer, 0)
    viewer.dims.order = order
    outlined(viewer, layer)
    axis = order[0]
    first, stop = BOX[axis]
    for index in (first - 1, first, stop - 1, stop):
        viewer.dims.set_current_step(axis, index)
        drawn = bool((picture(viewer, qtbot) == WHITE).any())
        assert drawn is (first <= index < stop)
        assert is_at(viewer, layer, BOX) is drawn


def test_in_three_dimensions_its_twelve_edges_are_drawn(viewer, qtbot):
    layer = add_volume(viewer, 0)
    outlined(viewer, layer)
    viewer.dims.ndisplay = 3
    viewer.scene.camera.angles = (10, 20, 30)
    assert (picture(viewer, qtbot) > 200).any()
    assert is_at(viewer, layer, BOX)
    viewer.dims.set_current_step(0, 11)
    viewer.dims.ndisplay = 2
    viewer.dims.set_current_step(0, 11)
    assert not (picture(viewer, qtbot) == WHITE).any()


def test_axes_before_the_last_three_do_not_count(viewer, qtbot):
    layer = add_volume(viewer, 0)
    viewer.add_image(np.zeros((7, 3, 3, 3), np.uint8), contrast_limits=(0, 255))
    outlined(viewer, layer)
    assert (picture(viewer, qtbot) == WHITE).any()
    viewer.dims.order = (1, 2, 0, 3)  # the first axis is displayed: no plane of ours
    aim_at(viewer, layer, BOX, CENTRE)
    assert not (picture(viewer, qtbot) == WHITE).any()


def test_without_a_volume_there_is_nothing_to_aim_at(viewer):
    layer = add_volume(viewer, 0)
    outlined(viewer, layer)
    viewer.layers.remove(layer)
    assert viewer.dims.ndim == 2
    assert not is_at(viewer, layer, BOX)
    before = viewer.scene.camera.center
    aim_at(viewer, layer, BOX, CENTRE)
    assert viewer.scene.camera.center == before


def test_it_does_not_catch_the_mouse(viewer, qtbot):
    image = add_volume(viewer, 0)
    labels = viewer.add_labels(
        np.zeros(SHAPE, np.uint8), scale=image.scale, translate=image.translate
    )
    outlined(viewer, labels)
    assert [type(layer) for layer in viewer.layers] == [type(image), Labels]
    assert viewer.layers.selection.active is labels


def test_each_viewer_has_one_which_goes_without_a_trace(viewer, qtbot):
    layer = add_volume(viewer, 0)
    outline = outlined(viewer, layer)
    assert attach_outline(viewer) is outline
    listening = len(viewer.scene.camera.events.zoom.callbacks)
    picture(viewer, qtbot)
    detach_outline(viewer)
    detach_outline(viewer)
    assert not (picture(viewer, qtbot) == WHITE).any()
    assert len(viewer.scene.camera.events.zoom.callbacks) == listening - 1
    outlined(viewer, layer)  # and may come again
    assert (picture(viewer, qtbot) == WHITE).any()
