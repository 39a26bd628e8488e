"""HDF5: data sets by name, spacing by attributes, and nothing from outside."""

import pickle

import h5py
import numpy as np
import pytest

from e2miseg_core.errors import ChoiceError, ReadError
from e2miseg_core.io import open_volume


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 9, (4, 6, 8), dtype=np.uint8)


@pytest.fixture
def path(tmp_path, array):
    """A file with an image, labels and what is neither."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        image = array.astype(np.float32)
        stored = file.create_dataset(
            "image", data=image, chunks=(2, 3, 8), compression="gzip"
        )
        stored.attrs["element_size_um"] = [3.0, 0.5, 0.25]
        file.create_dataset("more/label", data=array)
        file.create_dataset("times", data=np.arange(5))
        file.create_dataset("text", data="hello")
    return tmp_path / "a.h5"


def test_one_is_opened_by_its_name_and_the_others_are_told(path, array):
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.data[0], array.astype(np.float32))
    np.testing.assert_array_equal(volume.data[0, 2, 1:3], array[2, 1:3])
    assert (volume.geometry.spacing, volume.geometry.unit) == ((3, 0.5, 0.25), "um")
    assert volume.notes[0] == "/image opened by its name; also there: /more/label"
    assert volume.segments is None
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume.data))[0], array)
    labels = open_volume(f"{path}#part=more/label")
    np.testing.assert_array_equal(labels.data[0], array)
    assert labels.segments is not None
    assert labels.source.uri == f"{path}#part=/more/label"
    assert "no spacing is stated: voxels taken as 1 mm" in labels.notes


def test_several_without_a_usual_name_are_listed(tmp_path, array):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["x/first"], file["second"] = array, array[0]
    with pytest.raises(ChoiceError, match="/second, 6 x 8, uint8; /x/first"):
        open_volume(tmp_path / "a.hdf5")
    assert open_volume(tmp_path / "a.hdf5", part="/second").data.shape == (1, 1, 6, 8)


@pytest.mark.parametrize("by", ["tags", "labels"])
def test_axes_by_their_labels(tmp_path, array, by):
    stored = np.stack([array, array + 1], axis=-1).transpose(2, 1, 0, 3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("raw", data=stored)
        if by == "tags":
            keys = ", ".join(f'{{"key": "{axis}"}}' for axis in "xyzc")
            data.attrs["axistags"] = f'{{"axes": [{keys}]}}'
        else:
            for dimension, axis in zip(data.dims, "xyzc", strict=True):
                dimension.label = axis
    volume = open_volume(tmp_path / "a.h5")
    np.testing.assert_array_equal(volume.data[1], array + 1)
    assert "2 frames or channels taken as channels" in volume.notes


def test_links_inside_are_followed_and_those_outside_are_not(tmp_path, path, array):
    with h5py.File(tmp_path / "links.h5", "w") as file:
        file["g/raw"] = array
        file["soft"] = h5py.SoftLink("/g/raw")
        file["near"] = h5py.SoftLink("g")
        file["circle"] = h5py.SoftLink("/circle")
        file["far"] = h5py.ExternalLink("a.h5", "/image")
        layout = h5py.VirtualLayout((4, 6, 8), np.uint8)
        layout[...] = h5py.VirtualSource(path, "more/label", (4, 6, 8))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset(
            "outside", (4, 6, 8), np.uint8, external=[("raw.bin", 0, 192)]
        )
    (tmp_path / "raw.bin").write_bytes(bytes(192))
    links = tmp_path / "links.h5"
    for part in ("soft", "/near/raw"):
        np.testing.assert_array_equal(open_volume(links, part=part).data[0], array)
    for part, message in {
        "far": "link to another file",
        "far/more": "link to another file",
        "circle": "circle",
        "virtual": "other files",
        "outside": "other files",
        "none": "no part",
        "g": "a group",
        "../g": "no part",
    }.items():
        with pytest.raises(ReadError, match=message):
            open_volume(links, part=part)


def test_damage_is_told_in_one_line(tmp_path, path, array):
    content = path.read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) // 2])
    (tmp_path / "other.h5").write_bytes(b"CDF\1" + bytes(999))
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    for name, message in {
        "cut.h5": "damaged or cut off",
        "other.h5": "no HDF5",
        "missing.h5": "missing",
        "empty.h5": "no data set",
    }.items():
        with pytest.raises(ReadError, match=message) as caught:
            open_volume(tmp_path / name)
        assert "\n" not in str(caught.value)
    with h5py.File(path) as file:
        at = file["image"].id.get_chunk_info(0).byte_offset
    damaged = bytearray(content)
    damaged[at : at + 8] = b"nonsense"
    (tmp_path / "chunk.h5").write_bytes(damaged)
    data = open_volume(tmp_path / "chunk.h5").data
    np.testing.assert_array_equal(data[0, 2:], array[2:])
    with pytest.raises(ReadError, match="damaged at z 0 to 1"):
        data[0, 0, :2].compute()


def test_sizes_that_are_not_believable_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", (10**7,) * 3, np.uint8, chunks=(2, 2, 2))
        file.create_dataset("thick", (10**4,) * 3, np.uint8, chunks=(1500,) * 3)
        file.create_dataset("sparse", (10**4,) * 3, np.uint8, chunks=(64,) * 3)
    for part, message in {"raw": "not believable", "thick": "too large"}.items():
        with pytest.raises(ReadError, match=message):
            open_volume(tmp_path / "a.h5", part=part)
    sparse = open_volume(tmp_path / "a.h5", part="sparse")
    assert not sparse.data[0, 5000, :9, :9].compute().any()


def test_real_files_equal_what_h5py_reads(shared_data):
    for path in sorted((shared_data / "acdc_h5").glob("*.h5"))[:2]:
        with h5py.File(path) as file:
            for part in ("image", "label", "scribble"):
                volume = open_volume(path, part=part)
                np.testing.assert_array_equal(volume.data[0], file[part][()])
                assert (volume.segments is None) == (part == "image")
