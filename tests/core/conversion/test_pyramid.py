"""What a pyramid holds."""

import itertools
import json
import warnings

import dask.array as da
import numpy as np
import pytest
import zarr

from e2miseg_core.conversion import ConversionOptions, convert
from e2miseg_core.conversion.pyramid_plan import make_plan
from e2miseg_core.downsample import coarse_shape, level_steps, mean, most_frequent
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_volume, write_image, write_labels
from e2miseg_core.volume import Volume

# Small cells: 16 voxels a chunk and 64 a cell make many of a small volume.
SMALL = {"chunk": 16, "workers": 2}


@pytest.fixture
def image_file(tmp_path, make_geometry):
    """An image of odd size on an oblique grid, and its voxels as stored."""
    geometry = make_geometry(3, (70, 97, 131))
    voxels = np.random.default_rng(0).integers(-900, 900, geometry.shape)
    volume = Volume.from_array(voxels.astype(np.int16), geometry)
    path = write_image(volume.data[0], tmp_path / "ct.nii.gz", like=volume)
    return path, voxels.astype(np.int16)


def stored_levels(path):
    volume = open_volume(path)
    return [volume.as_source(level).compute() for level in volume.levels]


def as_scaled(geometry, transforms):
    """World place of a level's first voxel and its voxels' sizes, by the metadata."""
    scale, shift = (t[t["type"]][-3:] for t in transforms)
    return np.array(scale), np.array(shift)


def test_levels_of_an_image_are_means_of_means(tmp_path, image_file):
    path, voxels = image_file
    options = ConversionOptions(n_levels=3, **SMALL)
    result = convert(path, tmp_path / "ct.ome.zarr", options)
    source, volume = open_volume(path), open_volume(result.output)
    assert volume.source.geometry.matches(source.source.geometry)
    np.testing.assert_array_equal(
        volume.source.geometry.affine, source.source.geometry.affine
    )
    levels = stored_levels(result.output)
    np.testing.assert_array_equal(levels[0][0], voxels)
    steps = level_steps(voxels.shape, source.source.geometry.spacing, 3)
    expected = voxels
    for step, level in zip(steps, levels[1:], strict=True):
        expected = mean(expected, step)
        np.testing.assert_array_equal(level[0], expected)
    assert result.kind == "image"
    assert result.dtype == "int16"
    assert result.shapes == tuple((1, *level.shape[1:]) for level in levels)


def test_levels_of_labels_hold_the_most_frequent(tmp_path, make_geometry):
    geometry = Geometry.from_spacing((40, 70, 65), (1, 1, 1))
    labels = np.random.default_rng(0).choice([0, 3, 700], geometry.shape)
    labels[:, 35:] = 0
    volume = Volume.from_array(labels.astype(np.uint16), geometry)
    path = write_labels(volume.data[0], tmp_path / "l.nii.gz", like=volume)
    options = ConversionOptions(kind="labels", n_levels=4, **SMALL)
    output = convert(path, tmp_path / "l.ome.zarr", options).output
    levels = stored_levels(output)
    for fine, coarse in itertools.pairwise(levels):
        np.testing.assert_array_equal(coarse[0], most_frequent(fine[0], (2, 2, 2)))
        assert coarse.dtype == np.uint16
        assert set(np.unique(coarse)) <= {0, 3, 700}
    assert open_volume(output).source.details["kind"] == "labels"


def test_planes_far_apart_wait_and_every_level_lies_where_it_should(tmp_path):
    geometry = Geometry.from_spacing((20, 200, 160), (3.0, 0.5, 0.6), "um")
    z, y, x = np.indices(geometry.shape)
    blob = np.exp(-((z - 8.3) ** 2 / 9 + (y - 90) ** 2 / 200 + (x - 70) ** 2 / 150))
    volume = Volume.from_array(blob.astype(np.float32) * 100, geometry)
    path = write_image(volume.data[0], tmp_path / "blob.nii", like=volume)
    output = convert(
        path, tmp_path / "b.ome.zarr", ConversionOptions(n_levels=4, **SMALL)
    ).output
    attributes = json.loads((output / "zarr.json").read_text())["attributes"]
    multiscales = attributes["ome"]["multiscales"][0]
    assert {axis["unit"] for axis in multiscales["axes"]} == {"micrometer"}
    centres = []
    for level, dataset in zip(
        stored_levels(output), multiscales["datasets"], strict=True
    ):
        scale, shift = as_scaled(geometry, dataset["coordinateTransformations"])
        voxels = level[0].astype(float)
        index = [(voxels * at).sum() / voxels.sum() for at in np.indices(voxels.shape)]
        centres.append((shift + scale * index, scale))
    assert [tuple(np.round(scale, 3)) for _, scale in centres] == [
        (3.0, 0.5, 0.6),
        (3.0, 1.0, 1.2),
        (3.0, 2.0, 2.4),
        (6.0, 4.0, 4.8),
    ]
    for centre, scale in centres[1:]:
        assert (np.abs(centre - centres[0][0]) < scale / 2).all()


@pytest.mark.parametrize("kind", ["image", "labels"])
def test_other_programs_find_a_valid_image(tmp_path, kind):
    geometry = Geometry.from_spacing((20, 40, 50), (1, 1, 1))
    voxels = np.random.default_rng(0).integers(0, 5, geometry.shape).astype(np.uint8)
    volume = Volume.from_array(voxels, geometry)
    path = write_image(volume.data[0], tmp_path / "v.nii", like=volume)
    options = ConversionOptions(kind=kind, n_levels=3, **SMALL)
    output = convert(path, tmp_path / "v.ome.zarr", options).output
    group = zarr.open_group(output, mode="r")
    with warnings.catch_warnings():
        # The models' own use of zarr and pydantic is not what is tested.
        warnings.simplefilter("ignore")
        from ome_zarr_models.v05 import Image, ImageLabel

        (ImageLabel if kind == "labels" else Image).from_zarr(group)
    assert group.attrs["ome"]["multiscales"][0]["name"] == "v.ome.zarr"


def test_channels_keep_their_names_and_are_not_mixed(tmp_path):
    geometry = Geometry.from_spacing((17, 33, 34), (1, 1, 1))
    voxels = np.random.default_rng(0).normal(size=(2, *geometry.shape))
    volume = Volume.from_array(
        voxels.astype(np.float32), geometry, channels=("ct", "pet")
    )
    first = write_image(volume.data, tmp_path / "a.ome.zarr", like=volume)
    output = convert(
        first, tmp_path / "b.ome.zarr", ConversionOptions(n_levels=2, **SMALL)
    ).output
    again = open_volume(output)
    assert again.channels == ("ct", "pet")
    np.testing.assert_array_equal(again.levels[0].compute(), voxels.astype(np.float32))
    for channel in range(2):
        np.testing.assert_array_equal(
            again.levels[1][channel].compute(),
            mean(voxels[channel].astype(np.float32), (2, 2, 2)),
        )


def test_files_are_shards_where_there_would_be_many(tmp_path):
    # 9^3 chunks of 16: sharded; 4^3: not.
    for edge, files in ((144, 27), (64, 64)):
        geometry = Geometry.from_spacing((edge,) * 3, (1, 1, 1))
        voxels = np.random.default_rng(0).integers(1, 9, geometry.shape)
        volume = Volume.from_array(voxels.astype(np.uint8), geometry)
        path = write_image(volume.data[0], tmp_path / f"{edge}.nii", like=volume)
        options = ConversionOptions(n_levels=2, **SMALL)
        output = convert(path, tmp_path / f"{edge}.ome.zarr", options).output
        assert sum(p.is_file() for p in (output / "0" / "c").rglob("*")) == files
        np.testing.assert_array_equal(stored_levels(output)[0][0], voxels)


def test_the_store_does_not_depend_on_workers_or_on_how_the_source_is_cut(
    tmp_path, image_file
):
    path, _ = image_file
    volume = open_volume(path)
    plain = write_image(volume.data[0], tmp_path / "ct.nii", like=volume)
    contents = []
    for source, workers in ((path, 1), (path, 3), (plain, 2)):
        output = tmp_path / f"{len(contents)}" / "ct.ome.zarr"
        output.parent.mkdir()
        convert(
            source, output, ConversionOptions(chunk=16, n_levels=3, workers=workers)
        )
        contents.append(
            {
                str(p.relative_to(output)): p.read_bytes()
                for p in output.rglob("*")
                if p.is_file()
            }
        )
    assert contents[0] == contents[1] == contents[2]


def test_zeros_take_no_room_and_minus_zero_is_kept(tmp_path):
    geometry = Geometry.from_spacing((20, 20, 20), (1, 1, 1))
    voxels = np.zeros(geometry.shape, np.float32)
    voxels[:, :, 16:] = -0.0
    volume = Volume.from_array(voxels, geometry)
    path = write_image(volume.data[0], tmp_path / "v.nii", like=volume)
    output = convert(path, tmp_path / "v.ome.zarr", ConversionOptions(chunk=16)).output
    names = {p.name for p in (output / "0" / "c").rglob("*") if p.is_file()}
    assert names == {"1"}
    assert np.signbit(stored_levels(output)[0][0, :, :, 16:]).all()


def test_a_shape_is_cut_into_cells_that_cover_it_once():
    geometry = Geometry.from_spacing((40, 300, 190), (1, 1, 1))
    data = da.zeros((2, 40, 300, 190), np.uint8, chunks=(1, 7, 300, 190))
    options = ConversionOptions(chunk=16, n_levels=4, workers=2)
    plan = make_plan(data, geometry, options, kind="image", channels=("a", "b"))
    assert plan.shapes[3] == coarse_shape(geometry.shape, (8, 8, 8))
    for level, shape in enumerate(plan.shapes):
        seen = np.zeros((2, *shape), int)
        for cell in plan.cells(level):
            seen[cell[1]][plan.region(cell)] += 1
            if level:
                assert all(plan.parent(child) == cell for child in plan.children(cell))
        assert (seen == 1).all()
    assert sorted(c for piece in plan.pieces() for c in piece) == sorted(plan.cells(0))
    # Each plane is read once: a piece is as wide as what the source stores together.
    assert plan.piece == (64, 320, 192)
