import errno

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
import zarr

from e2miseg_core.errors import GeometryError, ReadError, WriteError
from e2miseg_core.io import (
    is_writable_suffix,
    known_suffixes,
    open_labels,
    open_volume,
    split_suffix,
    write_image,
    write_labels,
    writing,
)
from e2miseg_core.io.lazy import iter_slabs
from e2miseg_core.volume import Volume

SUFFIXES = (".nii", ".nii.gz", ".ome.zarr")


@pytest.fixture
def volume(make_geometry):
    """Oblique, flipped, and lopsided in its content."""
    array = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
    return Volume.from_array(array, make_geometry(7, (6, 5, 4)))


@pytest.fixture
def labels(volume):
    return np.random.default_rng(1).integers(0, 5, volume.geometry.shape)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr", "big-endian"])
def test_any_array_can_be_written(tmp_path, volume, labels, suffix, kind):
    given = {
        "numpy": lambda: labels,
        "dask": lambda: da.from_array(labels, chunks=2),
        "zarr": lambda: zarr.create_array({}, data=labels, chunks=(2, 2, 2)),
        "big-endian": lambda: labels.astype(">i4"),
    }[kind]()
    out = write_labels(given, tmp_path / f"out{suffix}", like=volume)
    assert list(tmp_path.iterdir()) == [out]  # nothing temporary is left
    again = open_labels(out)
    np.testing.assert_array_equal(again.data[0], labels)
    assert again.geometry.matches(volume.geometry)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("largest", "dtype"), [(1, "u1"), (255, "u1"), (256, "u2"), (65536, "u4")]
)
def test_labels_take_the_smallest_type(
    tmp_path, volume, labels, suffix, largest, dtype
):
    labels = labels % 2
    labels[0, 0, 0] = largest
    out = write_labels(labels, tmp_path / f"out{suffix}", like=volume)
    again = open_labels(out)
    assert again.data.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(again.data[0], labels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_masks_are_labels(tmp_path, volume, labels, suffix):
    out = write_labels(labels > 2, tmp_path / f"out{suffix}", like=volume)
    np.testing.assert_array_equal(open_labels(out).data[0], labels > 2)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "f4", "f8", "f2"])
def test_images_keep_values_and_channels(tmp_path, volume, suffix, dtype):
    shape = (2, *volume.geometry.shape)
    image = np.random.default_rng(2).uniform(0, 99, shape).astype(dtype)
    out = write_image(image, tmp_path / f"out{suffix}", like=volume)
    again = open_volume(out)
    assert again.dtype == (np.float32 if dtype[0] == "f" else np.dtype(dtype))
    np.testing.assert_array_equal(again.data, image.astype(again.dtype))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_values_survive(tmp_path, volume, suffix):
    image = np.full(volume.geometry.shape, np.nan, np.float32)
    image[1, 2, 3] = -np.inf
    out = write_image(image, tmp_path / f"out{suffix}", like=volume)
    np.testing.assert_array_equal(open_volume(out).data[0], image)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_existing_output_is_replaced_only_when_told(
    tmp_path, volume, labels, suffix
):
    path = tmp_path / f"out{suffix}"
    write_labels(labels, path, like=volume)
    with pytest.raises(WriteError, match="exists"):
        write_labels(labels * 0, path, like=volume)
    np.testing.assert_array_equal(open_labels(path).data[0], labels)
    write_labels(labels * 0, path, like=volume, overwrite=True)
    assert not open_labels(path).data.any()
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_image_is_never_replaced(tmp_path, volume, labels):
    for suffix in SUFFIXES:
        folder = tmp_path / f"folder{suffix}"
        folder.mkdir()
        (folder / "thesis.tex").write_text("years of work")
        with pytest.raises(WriteError, match="exists and is no"):
            write_labels(labels, folder, like=volume, overwrite=True)
        assert (folder / "thesis.tex").exists()
    (tmp_path / "file.ome.zarr").write_text("text")
    with pytest.raises(WriteError, match="exists and is no"):
        write_labels(labels, tmp_path / "file.ome.zarr", like=volume, overwrite=True)


def test_a_volume_may_replace_its_own_file(tmp_path, volume, labels):
    for suffix in SUFFIXES:
        path = write_labels(labels, tmp_path / f"out{suffix}", like=volume)
        opened = open_labels(path)
        write_labels(opened.data[0] + 1, path, like=opened, overwrite=True)
        np.testing.assert_array_equal(open_labels(path).data[0], labels + 1)


class FullDiskError(OSError):
    def __init__(self):
        super().__init__(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (FullDiskError(), WriteError),
        (ReadError(found="a", needed="b", do="c"), ReadError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RuntimeError("bug"), RuntimeError),
    ],
)
def test_a_failure_leaves_nothing_behind(
    tmp_path, volume, labels, suffix, overwrite, fault, expected, monkeypatch
):
    path = tmp_path / f"out{suffix}"
    if overwrite:
        write_labels(labels, path, like=volume)
    monkeypatch.setattr("e2miseg_core.io.lazy._WRITE_BYTES", 1)  # plane by plane
    slabs = []

    def fail_in_the_middle(data):
        for slab in iter_slabs(data):
            slabs.append(slab)
            yield slab
            if len(slabs) == 2:
                raise fault

    for module in ("nifti.image", "ome.writer"):
        monkeypatch.setattr(f"e2miseg_core.io.{module}.iter_slabs", fail_in_the_middle)
    with pytest.raises(expected) as caught:
        write_labels(labels.astype("u1") * 0, path, like=volume, overwrite=overwrite)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == ([path] if overwrite else [])
    if overwrite:
        np.testing.assert_array_equal(open_labels(path).data[0], labels)
    if expected is WriteError:
        assert "No space left on device" in str(caught.value)
        assert path.name in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_alters_voxels_is_found_out(
    tmp_path, volume, labels, suffix, monkeypatch
):
    path = tmp_path / f"out{suffix}"

    def alter(plan, part, *rest):
        if part.is_dir():
            stored = zarr.open_array(part / "0")
            stored[1, 2, 3] = 99
        else:
            content = bytearray(part.read_bytes())
            content[-20] ^= 0x55
            part.write_bytes(content)
        verify(plan, part, *rest)

    verify = writing._verify
    monkeypatch.setattr(writing, "_verify", alter)
    with pytest.raises(WriteError, match="after reading the written file back"):
        write_labels(labels, path, like=volume)
    assert list(tmp_path.iterdir()) == []


def test_a_grid_that_reads_back_differently_is_found_out(
    tmp_path, volume, labels, monkeypatch
):
    def shifted(header, geometry):
        affine = geometry.affine_xyz.copy()
        affine[0, 3] += 0.01
        header.set_sform(affine, code=1)

    monkeypatch.setattr("e2miseg_core.io.nifti.image._set_geometry", shifted)
    with pytest.raises(WriteError, match="another grid"):
        write_labels(labels, tmp_path / "out.nii", like=volume)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_slabs_put_together_are_the_whole(
    tmp_path, volume, labels, suffix, monkeypatch
):
    monkeypatch.setattr("e2miseg_core.io.lazy._WRITE_BYTES", 1)  # plane by plane
    image = np.random.default_rng(3).normal(size=(2, *labels.shape)).astype("f4")
    out = write_image(image, tmp_path / f"out{suffix}", like=volume)
    np.testing.assert_array_equal(open_volume(out).data, image)


def test_slabs_are_no_larger_than_allowed(monkeypatch):
    monkeypatch.setattr("e2miseg_core.io.lazy._WRITE_BYTES", 3 * 5 * 7 * 2)
    array = np.arange(2 * 8 * 5 * 7, dtype=np.int16).reshape(2, 8, 5, 7)
    slabs = list(iter_slabs(da.from_array(array, chunks=4)))
    assert [slab.shape[0] for _, slab in slabs] == [3, 3, 2, 3, 3, 2]
    assert slabs[4][0] == (1, slice(3, 6))
    joined = b"".join(slab.tobytes() for _, slab in slabs)
    assert joined == array.tobytes()
    # Whole chunks of a store, where there is room for them.


@pytest.mark.parametrize(
    ("budget", "thickness"),
    [(150, [128, 72]), (20, [64, 64, 64, 8]), (15, [15] * 13 + [5])],
)
def test_slabs_are_whole_chunks_where_there_is_room(monkeypatch, budget, thickness):
    """Up to four times the budget, rather than unpack a chunk several times."""
    monkeypatch.setattr("e2miseg_core.io.lazy._WRITE_BYTES", budget)
    data = da.zeros((200, 1, 1), dtype="u1")
    assert [slab.shape[0] for _, slab in iter_slabs(data)] == thickness


def test_what_cannot_be_labels_is_refused(tmp_path, volume, labels):
    path = tmp_path / "out.nii"
    with pytest.raises(WriteError, match="float64"):
        write_labels(labels / 2, path, like=volume)
    with pytest.raises(WriteError, match="from -1 to"):
        write_labels(labels - 1, path, like=volume)
    with pytest.raises(WriteError, match="4294967295"):
        write_labels(labels + 2**32, path, like=volume)
    with pytest.raises(GeometryError, match="grid of the volume"):
        write_labels(labels[1:], path, like=volume)
    with pytest.raises(GeometryError, match="grid of the volume"):
        write_image(labels[None, None], path, like=volume)
    with pytest.raises(WriteError, match="complex128"):
        write_image(labels * 1j, path, like=volume)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written_are_refused(tmp_path, volume, labels):
    for name in ("out.txt", "out", ".nii", "out.tif"):
        with pytest.raises(WriteError, match="output name"):
            write_labels(labels, tmp_path / name, like=volume)
    with pytest.raises(WriteError, match="no folder"):
        write_labels(labels, tmp_path / "none" / "out.nii", like=volume)


def test_suffixes():
    assert split_suffix("a/b.c.nii.gz") == ("b.c", ".nii.gz")
    assert split_suffix("B.OME.ZARR") == ("B", ".OME.ZARR")
    assert split_suffix("scan.txt") == ("scan.txt", "")
    assert split_suffix("a.seg.nrrd") == ("a", ".seg.nrrd")
    assert {".nii.gz", ".ome.zarr", ".nrrd", ".mha"} < set(
        known_suffixes(writable=True)
    )
    assert is_writable_suffix("a.nii.gz")
    assert not is_writable_suffix("a.gz")


def test_upper_case_names_work(tmp_path, volume, labels):
    for name in ("A.NII", "B.NII.GZ"):
        out = write_labels(labels, tmp_path / name, like=volume)
        np.testing.assert_array_equal(open_labels(out).data[0], labels)
        np.testing.assert_array_equal(
            np.asarray(nib.load(out).dataobj).T, volume.as_source(labels)
        )


def test_channels_of_real_series_come_back(shared_data, tmp_path):
    series = open_volume(shared_data / "odd/nifti_fmri_4d/fmri.nii.gz")
    for suffix in SUFFIXES:
        out = write_image(series.data, tmp_path / f"out{suffix}", like=series)
        again = open_volume(out)
        assert again.geometry.matches(series.geometry)
        np.testing.assert_array_equal(again.data, series.data)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".nrrd", ".mha"])
def test_a_name_with_a_number_sign_is_a_name(tmp_path, volume, labels, suffix):
    for name in ("a #1", "part #part=2", "a#frame=0"):
        path = tmp_path / f"{name}{suffix}"
        assert write_labels(labels, str(path), like=volume) == path
        assert split_suffix(path) == (name, suffix)
        np.testing.assert_array_equal(open_labels(path).data[0], labels)
        write_labels(labels * 0, path, like=volume, overwrite=True)
        assert not open_labels(path).data.any().compute()


@pytest.mark.parametrize("suffix", [".nii.gz", ".ome.zarr", ".mha"])
def test_a_name_as_long_as_the_system_takes_is_written(tmp_path, volume, suffix):
    labels = np.zeros(volume.geometry.shape, np.uint8)
    name = "a" * (255 - len(suffix)) + suffix
    path = write_labels(labels, tmp_path / name, like=volume)
    write_labels(labels, path, like=volume, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a" * 260 + ".nii", "a\0b.nii"])
def test_a_name_that_no_system_takes_is_one_line(tmp_path, volume, name):
    labels = np.zeros(volume.geometry.shape, np.uint8)
    with pytest.raises(WriteError, match="name"):
        write_labels(labels, tmp_path / name, like=volume)
    assert list(tmp_path.iterdir()) == []


def test_values_that_single_precision_cannot_hold_are_refused(tmp_path, volume):
    image = np.zeros(volume.geometry.shape)
    image[0, 0, 0] = 1e300
    with pytest.raises(WriteError, match=r"1e\+300"):
        write_image(image, tmp_path / "a.nii", like=volume)
    assert list(tmp_path.iterdir()) == []
    image[0, 0, 0] = np.inf  # as the image says
    path = write_image(image, tmp_path / "a.nii", like=volume)
    assert np.isinf(open_volume(path).data.max().compute())


@pytest.mark.parametrize(
    ("dtype", "value", "kept"),
    [
        ("i8", -5, "int32"),
        ("i8", 2**31, "uint32"),
        ("u8", 7, "int32"),
        ("?", True, "uint8"),
    ],
)
def test_long_integers_become_shorter_ones_that_hold_them(
    tmp_path, volume, dtype, value, kept
):
    image = np.full(volume.geometry.shape, value, dtype)
    read = open_volume(write_image(image, tmp_path / "a.nii", like=volume))
    assert read.dtype == kept
    assert np.all(read.data.compute() == value)


@pytest.mark.parametrize("values", [(-1, 2**31), (0, 2**32)])
def test_integers_beyond_32_bits_are_refused_with_their_range(tmp_path, volume, values):
    image = np.zeros(volume.geometry.shape, np.int64)
    image.flat[:2] = values
    with pytest.raises(WriteError, match=f"{values[0]} to {values[1]}"):
        write_image(image, tmp_path / "a.nii", like=volume)
