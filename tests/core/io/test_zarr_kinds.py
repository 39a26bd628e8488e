"""Zarr beyond the single OME image: labels, collections, bare arrays, zips, lies."""

import asyncio
import json
import pickle
import zipfile

import numpy as np
import pytest
import zarr
from zarr.core import sync as zarr_sync

from e2miseg_core.errors import ChoiceError, ReadError
from e2miseg_core.io import open_volume

AXES = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]


def scaled(*factors):
    return [{"type": "scale", "scale": list(factors)}]


def multiscales(paths, scales, axes=AXES):
    datasets = [
        {"path": path, "coordinateTransformations": scaled(*scale)}
        for path, scale in zip(paths, scales, strict=True)
    ]
    return {"multiscales": [{"axes": axes, "datasets": datasets}]}


def image_group(parent, name, array, **extra):
    """Write an OME-Zarr 0.5 image of one level."""
    ome = {"version": "0.5", **multiscales(["0"], [(1,) * array.ndim]), **extra}
    group = parent.create_group(name, attributes={"ome": ome})
    group.create_array("0", data=array, chunks=(2,) * array.ndim)
    return group


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 9, (4, 6, 8), dtype=np.uint8)


def test_labels_are_listed_and_opened_with_names_and_colours(tmp_path, array):
    root = zarr.create_group(str(tmp_path / "all.zarr"), zarr_format=3)
    image = image_group(root, "image", array)
    labels = image.create_group("labels", attributes={"ome": {"labels": ["cells"]}})
    image_group(
        labels,
        "cells",
        array,
        **{
            "image-label": {
                "colors": [{"label-value": 1, "rgba": [255, 0, 7, 255]}, {"rgba": 3}],
                "properties": [{"label-value": 1, "class": "nucleus"}, "nonsense"],
            }
        },
    )
    path = tmp_path / "all.zarr" / "image"
    volume = open_volume(path)
    assert volume.segments is None
    assert "it has labels: part=labels/cells" in volume.notes
    cells = open_volume(path, part="labels/cells")
    assert cells.segments.names == {1: "nucleus"}
    assert cells.segments.colors == {1: (255, 0, 7)}
    again = open_volume(cells.source.uri)
    np.testing.assert_array_equal(again.data[0], array)


def test_a_plate_lists_its_wells_and_opens_one_field(tmp_path, array):
    plate = {"plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}}
    root = zarr.create_group(
        str(tmp_path / "plate.zarr"), zarr_format=2, attributes=plate
    )
    for number, well in enumerate(("A/1", "B/2")):
        group = root.create_group(
            well, attributes={"well": {"images": [{"path": "0"}]}}
        )
        field = group.create_group("0", attributes=multiscales(["0"], [(1, 1, 1)]))
        field.create_array("0", data=array + number)
    with pytest.raises(ChoiceError, match=r"2 images.*B/2") as caught:
        open_volume(tmp_path / "plate.zarr")
    assert [choice.part for choice in caught.value.choices] == ["A/1", "B/2"]
    volume = open_volume(f"{tmp_path / 'plate.zarr'}#part=B/2")
    np.testing.assert_array_equal(volume.data[0], array + 1)
    assert volume.source.uri.endswith("#part=B/2/0")


def test_a_converted_file_of_one_series_opens_of_several_asks(tmp_path, array):
    layout = {"ome": {"bioformats2raw.layout": 3}}
    path = tmp_path / "one.zarr"
    root = zarr.create_group(str(path), zarr_format=3, attributes=layout)
    image_group(root, "0", array)
    np.testing.assert_array_equal(open_volume(path).data[0], array)
    image_group(root, "1", array[::-1])
    with pytest.raises(ChoiceError, match="0 = series 0; 1 = series 1"):
        open_volume(path)
    np.testing.assert_array_equal(open_volume(path, part="1").data[0], array[::-1])


def test_bare_arrays_take_axes_and_spacing_from_attributes(tmp_path, array):
    root = zarr.create_group(str(tmp_path / "em.zarr"), zarr_format=2)
    raw = root.create_array("volumes/raw", data=array)
    raw.attrs.update(resolution=[40, 4, 8], offset=[0, 0, 0])
    root.create_array("times", data=np.arange(3.0))  # no image
    volume = open_volume(tmp_path / "em.zarr")
    assert (volume.geometry.spacing, volume.geometry.unit) == ((40, 4, 8), "nm")
    assert any("'resolution'" in note for note in volume.notes)
    root.create_array("volumes/labels", data=array)
    with pytest.raises(ChoiceError, match="volumes/labels, 4 x 6 x 8, uint8"):
        open_volume(tmp_path / "em.zarr")
    named = zarr.create_array(
        str(tmp_path / "named.zarr"),
        data=np.stack([array, array + 1]),
        dimension_names=("c", "x", "y", "z"),
    )
    named.attrs["element_size_um"] = [3, 2, 1]
    volume = open_volume(tmp_path / "named.zarr")
    assert volume.geometry.spacing == (3, 2, 1)
    np.testing.assert_array_equal(volume.data[1], (array + 1).transpose(2, 1, 0))


def test_levels_of_any_factor_and_one_that_does_not_fit(tmp_path, array):
    path = tmp_path / "image.zarr"
    scales = [(1, 1, 1), (1, 2, 4), (3, 3, 3), (2, 6, 8)]
    ome = {"version": "0.5", **multiscales(["a", "b", "c", "d"], scales)}
    root = zarr.create_group(str(path), zarr_format=3, attributes={"ome": ome})
    for name, level in {
        "a": array,
        "b": array[:, ::2, ::4],
        "c": array[:1, :1, :1],  # of another place, by its scale
        "d": array[::2, :1, :1],
    }.items():
        root.create_array(name, data=level)
    volume = open_volume(path)
    shapes = [level.shape[1:] for level in volume.levels]
    assert shapes == [(4, 6, 8), (4, 3, 2), (2, 1, 1)]
    assert any("level c left out" in note for note in volume.notes)


def test_channel_names_and_times(tmp_path, array):
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}, *AXES]
    omero = {"omero": {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}}
    attributes = {**multiscales(["0"], [(1,) * 5], axes), **omero}
    root = zarr.create_group(
        str(tmp_path / "t.zarr"), zarr_format=2, attributes=attributes
    )
    root.create_array("0", data=np.zeros((2, 2, 3, 4, 5), np.uint8))
    channels = open_volume(tmp_path / "t.zarr").channels
    assert channels == ("DAPI, time 0", "GFP, time 0", "DAPI, time 1", "GFP, time 1")


@pytest.mark.parametrize("inside", ["", "scan.ome.zarr/"])
def test_zipped_stores_open_and_travel(tmp_path, array, inside):
    root = zarr.create_group(str(tmp_path / "root.zarr"), zarr_format=3)
    image_group(root, "image", array)
    folder = tmp_path / "root.zarr" / "image"
    with zipfile.ZipFile(tmp_path / "scan.ozx", "w") as archive:
        for file in folder.rglob("*"):
            if file.is_file():
                archive.write(file, inside + file.relative_to(folder).as_posix())
    volume = open_volume(tmp_path / "scan.ozx")
    again = pickle.loads(pickle.dumps(volume.data))
    np.testing.assert_array_equal(again[0], array)
    (tmp_path / "cut.ozx").write_bytes((tmp_path / "scan.ozx").read_bytes()[:-30])
    with pytest.raises(ReadError, match="damaged"):
        open_volume(tmp_path / "cut.ozx")


def test_shards_are_read_by_their_inner_chunks(tmp_path):
    array = np.random.default_rng(0).integers(0, 99, (8, 16, 16), dtype=np.uint16)
    stored = zarr.create_array(
        str(tmp_path / "sharded.zarr"),
        shape=array.shape,
        dtype=array.dtype,
        chunks=(2, 4, 4),
        shards=(8, 16, 16),
    )
    stored[...] = array
    np.testing.assert_array_equal(open_volume(tmp_path / "sharded.zarr").data[0], array)


@pytest.mark.parametrize("path", ["../secret", "/etc", "a/../../b", "C:\\x", "a//b"])
def test_paths_that_lead_out_are_refused(tmp_path, array, path):
    zarr.create_array(str(tmp_path / "secret"), data=array)
    store = tmp_path / "image.zarr"
    zarr.create_group(
        str(store), zarr_format=2, attributes=multiscales([path], [(1, 1, 1)])
    )
    with pytest.raises(ReadError):
        open_volume(store)
    if not path.startswith("/"):  # a part may begin as in HDF5
        with pytest.raises(ReadError):
            open_volume(store, part=path)


def stated(path, **changes):
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(json.dumps({**json.loads(text), **changes}))


def grid(*chunk):
    return {"name": "regular", "configuration": {"chunk_shape": list(chunk)}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [10**12] * 3}, "not believable"),
        ({"chunk_grid": grid(10**4, 10**4, 10**3)}, "too large"),
        ({"shape": [10**9, 6, 8], "chunk_grid": grid(1, 6, 8)}, "not believable"),
        ({"shape": [10**9, 1, 6, 8], "chunk_grid": grid(1, 1, 6, 8)}, "channels"),
        ({"shape": [0, 6, 8]}, "nothing in it"),
        ({"data_type": "complex64", "fill_value": [0, 0]}, "complex64"),
        ({"shape": [-3, 6, 8]}, "damaged"),
        ({"codecs": [{"name": "nonsense"}]}, "damaged"),
    ],
)
def test_lying_metadata_is_refused_before_anything_is_made_of_it(
    tmp_path, array, changes, message
):
    path = tmp_path / "lies.zarr"
    zarr.create_array(str(path), data=array, chunks=(4, 6, 8))
    stated(path, **changes)
    with pytest.raises(ReadError, match=message) as caught:
        open_volume(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_chunk_is_named_and_a_missing_one_is_empty(tmp_path, array):
    path = tmp_path / "image.zarr"
    zarr.create_array(str(path), data=array + 1, chunks=(2, 4, 8))
    (path / "c" / "0" / "0" / "0").unlink()
    (path / "c" / "1" / "1" / "0").write_bytes(b"garbage")
    data = open_volume(path).data
    assert not data[0, 1, :4].compute().any()
    np.testing.assert_array_equal(data[0, 2:, :4], array[2:, :4] + 1)
    with pytest.raises(ReadError, match=r"damaged at z 2 to 4, y 4 to 6, x 0 to 8"):
        data.compute()
    with pytest.raises(ReadError, match=r"damaged at z 3 to 4, y 5 to 6, x 0 to 2"):
        data[0, 3, 5, :2].compute()


def test_a_failure_leaves_no_tasks_to_be_reported_at_exit(tmp_path):
    path = tmp_path / "image.zarr"
    noise = np.random.default_rng(0).integers(0, 99, (16, 64, 64), dtype=np.uint8)
    zarr.create_array(str(path), data=noise, chunks=(4, 8, 8))
    (path / "c" / "0" / "0" / "0").write_bytes(b"garbage")
    with pytest.raises(ReadError):
        open_volume(path).data.compute()
    assert not asyncio.all_tasks(zarr_sync.loop[0])


def test_a_virtual_store_of_terabytes_opens_and_shows_a_slice(tmp_path):
    zarr.create_array(
        str(tmp_path / "huge.zarr"),
        shape=(20_000, 40_000, 60_000),
        chunks=(64, 64, 64),
        dtype=np.uint8,
        fill_value=7,
    )
    volume = open_volume(tmp_path / "huge.zarr")
    assert (volume.data[0, 10_000, :100, 59_000:59_050].compute() == 7).all()


@pytest.mark.parametrize("attributes", [7, "text", [1], None])
def test_attributes_that_are_no_mapping_end_nothing(tmp_path, array, attributes):
    zarr.create_array(tmp_path / "a.zarr", data=array, zarr_format=2)
    (tmp_path / "a.zarr" / ".zattrs").write_text(json.dumps(attributes))
    assert open_volume(tmp_path / "a.zarr").data.shape == (1, *array.shape)
    zarr.create_group(tmp_path / "group.zarr", zarr_format=2)
    (tmp_path / "group.zarr" / ".zattrs").write_text(json.dumps(attributes))
    with pytest.raises(ReadError):
        open_volume(tmp_path / "group.zarr")
