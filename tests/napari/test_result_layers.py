import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Image

from e2miseg_core.geometry import Geometry
from e2miseg_core.io import create_store
from e2miseg_core.model_card import LabelInfo
from e2miseg_napari.case_layers import meets_view
from e2miseg_napari.convert import check_grid, geometry_of
from e2miseg_napari.images import ImageChoice, describe_image, iter_images
from e2miseg_napari.result_layers import (
    error_colormap,
    label_colors,
    label_features,
    make_error_layer,
)

SHAPE = (12, 14, 16)
CLASSES = (
    LabelInfo(value=1, name="liver", color="#ff8000"),
    LabelInfo(value=3, name="tumour", color="#0000ff"),
)


@pytest.fixture
def image() -> Image:
    return Image(
        np.zeros(SHAPE, np.float32),
        scale=(3.0, 2.0, 1.0),
        translate=(10.0, -5.0, 2.0),
        units=("mm",) * 3,
        axis_labels=("z", "y", "x"),
    )


@pytest.fixture
def error_map(image, tmp_path):
    geometry = Geometry.from_spacing(SHAPE, (3, 2, 1))
    array = create_store(tmp_path / "error_map.ome.zarr", geometry, np.uint8)
    return make_error_layer(image, array, {"title": "ct"})


def test_the_error_map_lies_exactly_over_its_image(image, error_map):
    for corner in ((0, 0, 0), (11, 13, 15)):
        np.testing.assert_array_equal(
            error_map.data_to_world(corner), image.data_to_world(corner)
        )
    assert error_map.units == image.units
    assert error_map.axis_labels == image.axis_labels


def test_labels_have_the_cards_colours_and_names():
    colors = label_colors(CLASSES).color_dict
    np.testing.assert_allclose(colors[1], (1, 128 / 255, 0, 1), atol=1e-6)
    np.testing.assert_allclose(colors[3], (0, 0, 1, 1))
    assert colors[0][3] == 0
    assert colors[None][3] == 1  # a label that the card does not know is seen
    features = label_features(CLASSES)
    assert features["index"] == [0, 1, 3]
    assert features["name"] == ["background", "liver", "tumour"]


@pytest.mark.parametrize(
    ("chance", "alpha"), [(0.0, 0.0), (0.049, 0.0), (0.051, 0.35), (0.6, 0.9)]
)
def test_the_error_map_hides_what_is_certain(chance, alpha):
    color = error_colormap().map(np.array([chance / 0.6]))[0]
    assert color[3] == pytest.approx(alpha, abs=0.01)


def test_the_error_maps_top_colour_is_at_sixty_per_cent(error_map):
    assert tuple(error_map.contrast_limits) == (0, 0.6 * 255)
    assert tuple(error_map.contrast_limits_range) == (0, 255)


def test_another_writers_voxels_are_seen_after_a_refresh(error_map, tmp_path):
    """What the worker writes must not hide behind a cache."""
    viewer = ViewerModel()
    viewer.add_layer(error_map)
    viewer.dims.set_current_step(0, 5)
    assert not np.asarray(error_map._slice.image.raw).any()
    other = zarr.open_array(str(tmp_path / "error_map.ome.zarr"), path="0", mode="r+")
    other[4:7] = 77
    error_map.refresh()
    assert (np.asarray(error_map._slice.image.raw) == 77).all()


def test_results_are_no_images_to_predict(image, error_map):
    viewer = ViewerModel()
    for layer in (image, error_map):
        viewer.add_layer(layer)
    assert [choice.layer for choice in iter_images(viewer.layers)] == [image]


@pytest.mark.parametrize(
    ("order", "step", "box", "meets"),
    [
        ((0, 1, 2), (5, 0, 0), ((5, 6), (0, 14), (0, 16)), True),
        ((0, 1, 2), (5, 0, 0), ((6, 12), (0, 14), (0, 16)), False),
        ((0, 1, 2), (5, 0, 0), ((0, 5), (0, 14), (0, 16)), False),
        ((1, 0, 2), (0, 13, 0), ((0, 1), (13, 14), (0, 1)), True),
        ((1, 0, 2), (0, 13, 0), ((0, 1), (0, 13), (0, 1)), False),
    ],
)
def test_only_blocks_in_the_slice_are_redrawn(image, order, step, box, meets):
    viewer = ViewerModel()
    viewer.add_layer(image)
    viewer.dims.order = order
    viewer.dims.current_step = step
    assert meets_view(image, box, viewer) == meets


def test_a_block_is_judged_beside_a_layer_with_more_axes(image):
    viewer = ViewerModel()
    viewer.add_layer(image)
    viewer.add_image(
        np.zeros((2, *SHAPE)), scale=(1, 3, 2, 1), translate=(0, 10, -5, 2)
    )
    viewer.dims.set_current_step(1, 5)
    assert meets_view(image, ((5, 6), (0, 14), (0, 16)), viewer)
    assert not meets_view(image, ((6, 9), (0, 14), (0, 16)), viewer)


def test_a_layer_from_elsewhere_is_described_by_its_scale(image):
    geometry = geometry_of(image)
    assert geometry.shape == SHAPE
    assert geometry.spacing == pytest.approx((3, 2, 1))
    facts, remarks = describe_image(ImageChoice(title="a", layer=image))
    assert facts.startswith("12 × 14 × 16 voxels of 3 × 2 × 1 mm")
    assert "not from a file" in remarks


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((5, 6), {}),
        ((2, 5, 6, 7), {}),
        ((4, 5, 6, 3), {"rgb": True}),
        ((4, 5, 6), {"rotate": (10, 0, 0)}),
        ((4, 5, 6), {"shear": (0.1, 0, 0)}),
        ((4, 5, 6), {"affine": [[0, 1, 0], [1, 0, 0], [0, 0, 1]]}),
    ],
    ids=["plane", "series", "rgb", "rotated", "sheared", "permuted"],
)
@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_what_is_no_upright_volume_is_refused_in_one_line(shape, options):
    layer = Image(np.zeros(shape, np.uint8), **options)
    with pytest.raises(ValueError, match="needed: ") as told:
        check_grid(layer)
    assert "\n" not in str(told.value)


def test_a_moved_and_stretched_layer_is_welcome():
    check_grid(
        Image(np.zeros((4, 5, 6)), translate=(3, 2, 1), affine=np.diag([2, 3, 4]))
    )
