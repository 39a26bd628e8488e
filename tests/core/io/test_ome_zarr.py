import itertools
import json
import shutil
import warnings

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.errors import GeometryError, ReadError, WriteError
from e2miseg_core.geometry import AxisTransform, Geometry
from e2miseg_core.io import (
    create_store,
    open_labels,
    open_volume,
    write_image,
    write_labels,
)
from e2miseg_core.volume import Volume

seeds = st.integers(0, 2**32 - 1)


def foreign(path, arrays, axes, transforms, *, version=3, extra=None):
    """Write an image as other programs do, without our attributes."""
    multiscales = {
        "axes": axes,
        "datasets": [
            {"path": str(level), "coordinateTransformations": steps}
            for level, steps in enumerate(transforms)
        ],
        **(extra or {}),
    }
    ome = {"version": "0.5" if version == 3 else "0.4", "multiscales": [multiscales]}
    attributes = {"ome": ome} if version == 3 else ome
    group = zarr.create_group(str(path), zarr_format=version, attributes=attributes)
    for level, array in enumerate(arrays):
        stored = group.create_array(
            str(level), shape=array.shape, dtype=array.dtype, chunks=(2,) * array.ndim
        )
        stored[...] = array
    return path


def space(*names, unit="micrometer"):
    return [{"name": name, "type": "space", "unit": unit} for name in names]


def scale(*factors):
    return {"type": "scale", "scale": list(factors)}


@given(seed=seeds, unit=st.sampled_from(["mm", "um", "nm"]))
def test_the_exact_grid_comes_back(make_geometry, tmp_path_factory, seed, unit):
    folder = tmp_path_factory.mktemp("zarr")
    geometry = make_geometry(seed, (3, 4, 5)).in_unit(unit)
    array = np.random.default_rng(seed).normal(size=(3, 4, 5)).astype(np.float32)
    volume = Volume.from_array(array, geometry)
    out = write_image(volume.data[0], folder / "image.ome.zarr", like=volume)
    again = open_volume(out)
    np.testing.assert_array_equal(again.source.geometry.affine, geometry.affine)
    assert again.geometry.unit == unit
    np.testing.assert_array_equal(again.data, volume.data)
    np.testing.assert_array_equal(again.as_source(again.data[0]), array)


@pytest.mark.parametrize("channels", [(), ("T1", "FLAIR")])
@pytest.mark.parametrize("kind", ["labels", "image"])
def test_our_metadata_is_valid(tmp_path, make_geometry, channels, kind):
    geometry = make_geometry(1, (4, 5, 6))
    path = tmp_path / "image.ome.zarr"
    names = {1: "tumour"} if kind == "labels" else None
    create_store(path, geometry, np.uint8, kind=kind, channels=channels, names=names)
    with warnings.catch_warnings():
        # The models' own use of zarr and pydantic is not what is tested.
        warnings.simplefilter("ignore")
        from ome_zarr_models.v05 import Image, ImageLabel

        group = zarr.open_group(path, mode="r")
        model = (ImageLabel if kind == "labels" else Image).from_zarr(group)
    multiscale = model.attributes.ome.multiscales[0]
    assert [axis.name for axis in multiscale.axes][-3:] == ["z", "y", "x"]
    assert multiscale.axes[-1].unit == "millimeter"
    steps = multiscale.datasets[0].coordinateTransformations
    np.testing.assert_allclose(steps[0].scale[-3:], geometry.spacing)
    if kind == "labels":
        own = json.loads((path / "zarr.json").read_text())["attributes"]["e2miseg"]
        assert own["labels"] == {"1": "tumour"}


def test_a_canonical_store_means_the_same_to_others(tmp_path):
    """Scale and translation alone give the grid, where it is not oblique."""
    affine = np.array(
        [[0, 0, -1, 10], [0, -2, 0, 20], [3, 0, 0, 30], [0, 0, 0, 1]], float
    )
    geometry = Geometry(shape=(4, 5, 6), affine=affine)
    path = tmp_path / "image.ome.zarr"
    create_store(path, geometry, np.uint8)
    group = zarr.open_group(path)
    del group.attrs["e2miseg"]
    volume = open_volume(path)
    assert volume.geometry.matches(geometry)
    assert volume.notes == ()  # RFC-4 says how they lie
    assert volume.is_oriented
    ome = group.attrs["ome"]
    for axis in ome["multiscales"][0]["axes"]:
        del axis["orientation"]
    group.attrs["ome"] = ome
    volume = open_volume(path)
    assert volume.geometry.matches(geometry)
    assert volume.notes == ("axes z, y, x taken as superior, posterior, left",)
    assert not volume.is_oriented


@pytest.mark.parametrize("permutation", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(False, True, False), (True, False, True)])
def test_axes_that_lie_otherwise_are_known_to_others(tmp_path, permutation, flips):
    """By the orientation of each axis (RFC-4), with the place of the first voxel."""
    affine = np.array(
        [[0, 0, -1, 10], [0, -2, 0, 20], [3, 0, 0, 30], [0, 0, 0, 1]], float
    )
    turn = AxisTransform(permutation=permutation, flips=flips)
    geometry = turn.apply_geometry(Geometry(shape=(4, 5, 6), affine=affine))
    path = tmp_path / "image.ome.zarr"
    create_store(path, geometry, np.uint8, channels=("T1", "T2"))
    group = zarr.open_group(path)
    del group.attrs["e2miseg"]
    volume = open_volume(path)
    assert volume.source.geometry.matches(geometry)
    assert volume.geometry.orientation == "SPL"


def test_orientation_is_written_in_the_words_of_the_specification(tmp_path):
    path = tmp_path / "image.ome.zarr"
    geometry = Geometry.from_spacing((4, 5, 6), (3, 2, 1))
    create_store(path, geometry, np.uint8, channels=("T1",))
    axes = zarr.open_group(path).attrs["ome"]["multiscales"][0]["axes"]
    assert [axis.get("orientation") for axis in axes] == [
        None,
        {"type": "anatomical", "value": "inferior-to-superior"},
        {"type": "anatomical", "value": "anterior-to-posterior"},
        {"type": "anatomical", "value": "right-to-left"},
    ]


@pytest.mark.parametrize(
    "value", ["left-to-right", "dorsal-to-ventral", "", None, 3, ["left-to-right"]]
)
def test_orientations_that_place_nothing_are_passed_over(tmp_path, value):
    """Twice the same direction, and words that are none of those of R, A, S."""
    path = tmp_path / "image.ome.zarr"
    create_store(path, Geometry.from_spacing((4, 5, 6), (3, 2, 1)), np.uint8)
    group = zarr.open_group(path)
    del group.attrs["e2miseg"]
    ome = group.attrs["ome"]
    ome["multiscales"][0]["axes"][0]["orientation"]["value"] = value
    group.attrs["ome"] = ome
    volume = open_volume(path)
    assert not volume.is_oriented
    assert volume.geometry.spacing == (3, 2, 1)


def test_a_store_is_filled_chunk_by_chunk(tmp_path):
    geometry = Geometry.from_spacing((70, 10, 130), (1, 1, 1))
    path = tmp_path / "labels.ome.zarr"
    store = create_store(path, geometry, np.uint8)
    assert (store.shape, store.chunks) == ((70, 10, 130), (64, 10, 64))
    store[:64, :, 64:128] = 7
    labels = open_labels(path)
    assert int(labels.data.sum()) == 7 * 64 * 10 * 64
    assert int(labels.data[0, 63, 9, 127]) == 7
    assert int(labels.data[0, 64, 9, 127]) == 0
    again = zarr.open_array(path / "0", mode="r+")
    again[69, 9, 129] = 3
    assert int(open_labels(path).data[0, 69, 9, 129]) == 3


def test_a_store_is_never_made_over_another(tmp_path):
    geometry = Geometry.from_spacing((4, 5, 6), (1, 1, 1))
    create_store(tmp_path / "a.zarr", geometry, np.uint8)
    with pytest.raises(WriteError, match="exists"):
        create_store(tmp_path / "a.zarr", geometry, np.uint8)
    with pytest.raises(WriteError, match="no folder"):
        create_store(tmp_path / "none" / "a.zarr", geometry, np.uint8)


@pytest.mark.parametrize("version", [2, 3])
def test_foreign_images_of_both_versions(tmp_path, version):
    fine = np.random.default_rng(0).integers(0, 999, (2, 4, 5, 6), dtype=np.uint16)
    coarse = fine[:, ::2, ::2, ::2].copy()
    path = foreign(
        tmp_path / "image.zarr",
        [fine, coarse],
        [{"name": "c", "type": "channel"}, *space("z", "y", "x")],
        [
            [
                scale(1, 3, 2, 1),
                {"type": "translation", "translation": [0, 30, 20, 10]},
            ],
            [scale(1, 6, 4, 2)],
        ],
        version=version,
        extra={"coordinateTransformations": [scale(1, 2, 2, 2)]},
    )
    volume = open_volume(path)
    assert [level.shape for level in volume.levels] == [(2, 4, 5, 6), (2, 2, 3, 3)]
    np.testing.assert_array_equal(volume.data, fine)
    np.testing.assert_array_equal(volume.levels[1], coarse)
    assert volume.geometry.unit == "um"
    assert volume.geometry.spacing == (6, 4, 2)
    np.testing.assert_array_equal(volume.geometry.world((0, 0, 0)), [-20, -40, 60])


def test_axes_in_any_order_and_time(tmp_path):
    array = np.random.default_rng(0).integers(0, 9, (3, 5, 4, 2), dtype=np.uint8)
    axes = [{"name": "t", "type": "time"}, *space("y", "x", unit="nanometer")]
    axes.append({"name": "c", "type": "channel"})
    path = foreign(tmp_path / "odd.zarr", [array], axes, [[scale(1, 8, 4, 1)]])
    volume = open_volume(path)
    assert volume.data.shape == (6, 1, 5, 4)
    assert volume.geometry.spacing == (1, 8, 4)
    assert "time points taken as channels: 6 in all" in volume.notes
    for time in range(3):
        for channel in range(2):
            np.testing.assert_array_equal(
                volume.data[time * 2 + channel, 0], array[time, :, :, channel]
            )


def test_mixed_and_missing_units(tmp_path):
    array = np.zeros((2, 2, 2), np.uint8)
    mixed = [*space("z", unit="micrometer"), *space("y", "x", unit="nanometer")]
    path = foreign(tmp_path / "mixed.zarr", [array], mixed, [[scale(0.05, 4, 4)]])
    geometry = open_volume(path).geometry
    assert geometry.unit == "nm"
    np.testing.assert_allclose(geometry.spacing, (50, 4, 4))
    bare = [{"name": name, "type": "space"} for name in "zyx"]
    path = foreign(tmp_path / "bare.zarr", [array], bare, [[scale(3, 2, 1)]])
    volume = open_volume(path)
    assert (volume.geometry.unit, volume.geometry.spacing) == ("mm", (3, 2, 1))
    assert "taken as mm" in volume.notes[0]


def test_channel_names(tmp_path):
    array = np.zeros((2, 3, 4, 5), np.float32)
    volume = Volume.from_array(array, spacing=(1, 1, 1), channels=("T1", "FLAIR"))
    out = write_image(array, tmp_path / "image.ome.zarr", like=volume)
    assert open_volume(out).channels == ("T1", "FLAIR")


def test_a_bare_array_opens_with_a_note(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    zarr.create_array(str(tmp_path / "bare.zarr"), data=array)
    volume = open_volume(tmp_path / "bare.zarr")
    np.testing.assert_array_equal(volume.data[0], array)
    assert "without metadata" in volume.notes[0]
    zarr.create_array(str(tmp_path / "plane.zarr"), data=array[0])
    with pytest.raises(ReadError, match="shape"):
        open_volume(tmp_path / "plane.zarr")


def test_small_chunks_are_read_together(tmp_path, monkeypatch):
    monkeypatch.setattr("e2miseg_core.io.lazy._SLAB_BYTES", 16)
    array = np.random.default_rng(0).integers(0, 9, (4, 5, 6), dtype=np.uint8)
    path = foreign(
        tmp_path / "image.zarr", [array], space("z", "y", "x"), [[scale(1, 1, 1)]]
    )
    volume = open_volume(path)
    assert volume.data.chunks == ((1,), (4,), (2, 2, 1), (2, 2, 2))
    np.testing.assert_array_equal(volume.data[0], array)


def test_damaged_stores_are_refused_in_one_line(tmp_path):
    geometry = Geometry.from_spacing((4, 5, 6), (1, 1, 1))
    sound = tmp_path / "sound.ome.zarr"
    create_store(sound, geometry, np.uint8)[:] = np.arange(120).reshape(4, 5, 6)

    def damage(name, change):
        path = shutil.copytree(sound, tmp_path / f"{name}.ome.zarr")
        change(path)
        with pytest.raises((ReadError, GeometryError)) as caught:
            open_volume(path).data.compute()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def metadata(change):
        def apply(path):
            stored = json.loads((path / "zarr.json").read_text())
            change(stored["attributes"])
            (path / "zarr.json").write_text(json.dumps(stored))

        return apply

    damage("no_json", lambda path: (path / "zarr.json").write_text("{"))
    damage("no_level", lambda path: shutil.rmtree(path / "0"))
    damage("no_array", lambda path: (path / "0" / "zarr.json").write_text("[]"))
    for chunk in (b"", b"garbage"):
        damage(
            f"chunk{len(chunk)}",
            lambda path, chunk=chunk: (
                next((path / "0" / "c").rglob("0")).is_dir()
                and [
                    file.write_bytes(chunk)
                    for file in (path / "0" / "c").rglob("*")
                    if file.is_file()
                ]
            ),
        )
    damage("no_ome", metadata(lambda attributes: attributes.pop("ome")))
    damage("list", metadata(lambda attributes: attributes.update(ome=[])))
    damage(
        "axes",
        metadata(
            lambda a: a["ome"]["multiscales"][0].update(axes=space("a", "b", "c"))
        ),
    )
    damage(
        "scale",
        metadata(
            lambda a: (
                a.pop("e2miseg"),
                a["ome"]["multiscales"][0]["datasets"][0].update(
                    coordinateTransformations=[scale(0, 1, 1)]
                ),
            )
        ),
    )
    text = damage(
        "grid",
        metadata(lambda a: a["e2miseg"]["geometry"].update(shape=[4, 5, 7])),
    )
    assert "(4, 5, 6)" in text


def test_labels_from_zarr_to_zarr_on_stored_axes(tmp_path, make_geometry):
    geometry = make_geometry(5, (4, 5, 6))
    labels = np.random.default_rng(0).integers(0, 300, (4, 5, 6))
    volume = Volume.from_array(labels, geometry)
    out = write_labels(volume.data[0], tmp_path / "labels.ome.zarr", like=volume)
    stored = zarr.open_array(out / "0", mode="r")
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored[...], labels)


def test_levels_are_halves_that_cover_the_same_place(tmp_path):
    geometry = Geometry.from_spacing((5, 9, 130), (2.0, 1.0, 0.5))
    path = tmp_path / "labels.ome.zarr"
    store = create_store(path, geometry, np.uint8, n_levels=3, names={1: "node"})
    store[:] = 1
    assert store.shape == (5, 9, 130)
    volume = open_volume(path)
    assert [level.shape[1:] for level in volume.levels] == [
        (5, 9, 130),
        (3, 5, 65),
        (2, 3, 33),
    ]
    assert volume.geometry.matches(geometry)
    with warnings.catch_warnings():
        # The models' own use of zarr and pydantic is not what is tested.
        warnings.simplefilter("ignore")
        from ome_zarr_models.v05 import ImageLabel

        ImageLabel.from_zarr(zarr.open_group(path, mode="r"))
    attributes = json.loads((path / "zarr.json").read_text())["attributes"]
    scale, shift = attributes["ome"]["multiscales"][0]["datasets"][2][
        "coordinateTransformations"
    ]
    assert scale["scale"] == [8.0, 4.0, 2.0]
    # The first of four voxels is centred 1.5 voxels before the middle of all.
    assert shift["translation"] == [3.0, 1.5, 0.75]
