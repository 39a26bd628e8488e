"""Formats of other libraries: copied once, in a child, and then as lazy as any."""

import gzip
import importlib
import warnings

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from e2miseg_core.errors import ReadError
from e2miseg_core.io import open_labels
from e2miseg_core.io.address import Address
from e2miseg_core.io.foreign import image as foreign
from e2miseg_core.io.foreign.image import FOREIGN_SUFFIXES, read_foreign
from e2miseg_core.io.foreign.mgh import read_mgh
from e2miseg_core.io.formats import FORMATS

RNG = np.random.default_rng(0)
OBLIQUE = np.array(
    [[-1.9, 0.3, 0, 11], [0.3, 2.8, 0.5, 22], [0, -0.4, 4, 33], [0, 0, 0, 1]]
)


def call(function, request, folder, **_):
    """Do in this process what `run_guarded` does in a child; a second faster."""
    module, _, name = function.partition(":")
    with warnings.catch_warnings():
        try:
            return getattr(importlib.import_module(module), name)(request, folder)
        except (OSError, EOFError) as error:
            if isinstance(error, ReadError):
                raise
            raise ReadError(found=str(error), needed="", do="") from error


@pytest.fixture
def unguarded(monkeypatch):
    monkeypatch.setattr(foreign, "run_guarded", call)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Keep copies apart from those of other tests."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("E2MISEG_CACHE_DIR", str(folder))
    return folder


def opened(path):
    is_mgh = path.name.endswith((".mgh", ".mgz"))
    return (read_mgh if is_mgh else read_foreign)(Address(str(path)))


def refused(path, message):
    with pytest.raises(ReadError, match=message) as caught:
        opened(path)
    assert "\n" not in str(caught.value)


def assert_same(path, array_xyz, affine_xyz):
    """Voxels (X, Y, Z[, C]) and affine came through; returns the volume."""
    volume = opened(path)
    stored = volume.as_source(volume.data).compute()
    expected = array_xyz if array_xyz.ndim == 4 else array_xyz[..., None]
    np.testing.assert_array_equal(stored.T, expected)
    np.testing.assert_allclose(volume.source.geometry.affine_xyz, affine_xyz, atol=1e-5)
    return volume


def numbers(shape, dtype):
    return RNG.integers(0, 99, shape).astype(dtype)


def save_mgh(path, array):
    nib.save(nib.MGHImage(array, OBLIQUE), path)
    return path


def save_mif(path, array):
    """A file of a format that is copied; `array` of 8 bits."""
    return write_mif(path, array.T.tobytes(), "UInt8", array.shape, "+0,+1,+2")


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4"])
def test_freesurfer_is_read_as_nibabel_wrote_it(tmp_path, own_cache, dtype):
    array = numbers((5, 6, 7), dtype)
    image = nib.MGHImage(array, OBLIQUE)
    for name in ("a.mgh", "a.mgz"):
        nib.save(image, tmp_path / name)
        volume = assert_same(tmp_path / name, array, image.affine)
        assert volume.dtype == np.dtype(dtype)
        assert volume.is_oriented
    assert not list(own_cache.rglob("*"))  # no copy is made


def test_freesurfer_without_an_orientation_is_taken_as_coronal(tmp_path):
    path = save_mgh(tmp_path / "a.mgh", numbers((2, 4, 6), np.uint8))
    content = bytearray(path.read_bytes())
    content[28:30] = b"\0\0"
    path.write_bytes(content)
    volume = opened(path)
    assert not volume.is_oriented
    assert any("coronal" in note for note in volume.notes)
    # x to left, y to inferior, z to anterior, the middle at 0.
    expected = [[-1, 0, 0, 1], [0, 0, 1, -3], [0, -1, 0, 2], [0, 0, 0, 1]]
    np.testing.assert_array_equal(volume.source.geometry.affine_xyz, expected)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [(0, 2, "version 2"), (4, 0, "dimensions"), (4, -1, "dimensions"), (20, 9, "type")],
)
def test_freesurfer_headers_that_lie(tmp_path, at, value, message):
    path = save_mgh(tmp_path / "a.mgh", numbers((2, 3, 4), np.uint8))
    content = bytearray(path.read_bytes())
    content[at : at + 4] = np.array([value], ">i4").tobytes()
    path.write_bytes(content)
    refused(path, message)
    path.write_bytes(content[:200])
    refused(path, "no whole header")


@pytest.mark.parametrize("suffix", [".mgh", ".mgz"])
def test_freesurfer(tmp_path, suffix):
    array = numbers((5, 6, 7, 2), np.int16)
    volume = assert_same(save_mgh(tmp_path / f"a{suffix}", array), array, OBLIQUE)
    assert volume.dtype == np.int16
    assert "2.83 degrees" in volume.notes[0]
    assert volume.notes[1] == "4D: 2 frames taken as channels"
    assert volume.source.format == "foreign"
    assert volume.geometry.orientation == "SPL"


def test_labels_come_as_labels(tmp_path):
    path = save_mgh(tmp_path / "aseg.mgz", numbers((5, 6, 7), np.int32))
    volume = opened(path)
    assert volume.dtype == np.int32
    np.testing.assert_array_equal(open_labels(path).data, volume.data)


def test_nothing_is_converted_twice_unless_it_changed(tmp_path, monkeypatch):
    runs = []

    def counted(*args, **kwargs):
        runs.append(1)
        return call(*args, **kwargs)

    monkeypatch.setattr(foreign, "run_guarded", counted)
    path = save_mif(tmp_path / "a.mif", np.zeros((2, 3, 4), np.uint8))
    names = [opened(path).data.name for _ in range(3)]
    assert len(runs) == 1
    assert len(set(names)) == 1
    save_mif(path, np.ones((2, 3, 5), np.uint8))
    changed = opened(path)
    assert len(runs) == 2
    assert changed.data.name != names[0]
    assert changed.data.sum().compute() == 30


def test_a_refused_file_leaves_nothing_in_the_cache(tmp_path, own_cache):
    path = save_mif(tmp_path / "a.mif", numbers((5, 6, 7), np.uint8))
    path.write_bytes(path.read_bytes()[:450])
    refused(path, "450 bytes, and needs 610")
    assert not [file for file in own_cache.rglob("*") if file.suffix == ".raw"]
    assert not list((own_cache / "making").iterdir())


@pytest.mark.parametrize("packed", [False, True])
def test_a_lying_header_makes_no_copy(tmp_path, packed):
    content = bytearray(
        save_mgh(tmp_path / "a.mgh", numbers((5, 6, 7), np.uint8)).read_bytes()
    )
    content[4:16] = np.array([30000, 30000, 30000], ">i4").tobytes()
    path = tmp_path / ("lying.mgz" if packed else "lying.mgh")
    path.write_bytes(gzip.compress(content) if packed else content)
    refused(path, "is cut off")


def test_every_suffix_is_registered_and_nobody_elses():
    registered = [suffix for known in FORMATS for suffix in known.suffixes]
    assert set(FOREIGN_SUFFIXES) <= set(registered)
    assert len(registered) == len(set(registered))


def test_missing_files_and_halves(tmp_path):
    refused(tmp_path / "none.mgz", "no such file")
    (tmp_path / "a+orig.HEAD").write_text("x")
    refused(tmp_path / "a+orig.HEAD", r"second file; needed: a\+orig.BRIK")
    (tmp_path / "garbage.mgz").write_bytes(b"garbage")
    refused(tmp_path / "garbage.mgz", "cannot be read")


def write_afni(folder, array, factors):
    """Only what nibabel needs; RAI axes, so x and y run to the left and back."""
    head = {
        "DATASET_DIMENSIONS": ("integer", [*array.shape[:3], 0, 0]),
        "DATASET_RANK": ("integer", [3, array.shape[3], 0, 0]),
        "BRICK_TYPES": ("integer", [1] * array.shape[3]),
        "BRICK_FLOAT_FACS": ("float", factors),
        "ORIENT_SPECIFIC": ("integer", [0, 3, 4]),
        "ORIGIN": ("float", [-10, -20, 30]),
        "DELTA": ("float", [2, 3, 4]),
        "IJK_TO_DICOM_REAL": ("float", [2, 0, 0, -10, 0, 3, 0, -20, 0, 0, 4, 30]),
        "SCENE_DATA": ("integer", [0, 2, 0]),
        "TYPESTRING": ("string", "3DIM_HEAD_ANAT"),
        "BYTEORDER_STRING": ("string", "LSB_FIRST"),
    }
    text = ""
    for name, (kind, value) in head.items():
        is_text = kind == "string"
        body = f"'{value}~" if is_text else " " + " ".join(map(str, value))
        count = len(value) + is_text
        text += f"\ntype = {kind}-attribute\nname = {name}\ncount = {count}\n{body}\n"
    (folder / "a+orig.HEAD").write_text(text)
    (folder / "a+orig.BRIK").write_bytes(array.T.astype("<i2").tobytes())
    return folder / "a+orig.HEAD"


@pytest.mark.usefixtures("unguarded")
def test_afni_with_a_factor_for_each_frame(tmp_path):
    array = numbers((4, 5, 6, 2), np.int16)
    path = write_afni(tmp_path, array, [0.5, 0.25])
    affine = [[-2, 0, 0, 10], [0, -3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]]
    scaled = (array * [0.5, 0.25]).astype(np.float32)
    volume = assert_same(path, scaled, affine)
    assert "stored values scaled, as float32" in volume.notes
    np.testing.assert_array_equal(opened(tmp_path / "a+orig.BRIK").data, volume.data)
    plain = assert_same(write_afni(tmp_path, array, [0, 0]), array, affine)
    assert plain.dtype == np.int16


def write_minc(path, array):
    """As MINC 2 has it: axes (time, z, y, x), values over their range."""
    names = ["time", "zspace", "yspace", "xspace"]
    with h5py.File(path, "w") as file:
        root = file.create_group("minc-2.0")
        for name, step, size in zip(names, (1, 4, 3, 2), array.shape, strict=True):
            axis = root.create_dataset(f"dimensions/{name}", data=0)
            axis.attrs.update({"start": 10.0, "step": float(step), "length": size})
            axis.attrs["spacing"] = np.bytes_(b"regular__")
        image = root.create_dataset("image/0/image", data=array)
        image.attrs["dimorder"] = np.bytes_(",".join(names).encode())
        image.attrs["valid_range"] = [0.0, 255.0]
        for name, value in (("image-min", 0.0), ("image-max", 510.0)):
            limit = root.create_dataset(f"image/0/{name}", data=value)
            limit.attrs["dimorder"] = np.bytes_(b"")


@pytest.mark.usefixtures("unguarded")
def test_minc_has_time_first(tmp_path):
    array = numbers((2, 4, 5, 6), np.uint8)  # (t, z, y, x)
    write_minc(tmp_path / "a.mnc", array)
    # nibabel keeps the order of the axes: the first one is z.
    affine = [[0, 0, 2, 10], [0, 3, 0, 10], [4, 0, 0, 10], [0, 0, 0, 1]]
    volume = assert_same(
        tmp_path / "a.mnc", np.moveaxis(array, 0, -1) * np.float32(2), affine
    )
    assert volume.source.geometry.orientation == "RAS"
    np.testing.assert_array_equal(
        volume.data[:, 3, ::-1, ::-1],
        2.0 * array[:, 3],  # S, P and L
    )


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize(
    ("suffix", "vector", "unit"),
    [
        (".gipl", False, "mm"),
        (".gipl.gz", False, "mm"),
        (".vtk", False, "mm"),
        (".vtk", True, "mm"),
        (".mrc", False, "nm"),
    ],
)
def test_simpleitk(tmp_path, suffix, vector, unit):
    shape = (4, 5, 6, 3) if vector else (4, 5, 6)
    array = numbers(shape, np.int16)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array), isVector=vector)
    image.SetSpacing((2, 3, 4))
    if suffix != ".mrc":  # has no origin
        image.SetOrigin((10, 20, 30))
    path = tmp_path / f"a{suffix}"
    SimpleITK.WriteImage(image, path)
    volume = opened(path)
    stored = volume.as_source(volume.data).compute()
    expected = np.moveaxis(array, -1, 0) if vector else array[None]
    np.testing.assert_array_equal(stored, expected)
    assert volume.geometry.unit == unit
    factor = 0.1 if unit == "nm" else 1
    np.testing.assert_allclose(
        volume.geometry.spacing,
        [4 * factor, 3 * factor, 0.2 if unit == "nm" else 2],
        rtol=1e-6,
    )
    if suffix != ".mrc":
        np.testing.assert_allclose(
            volume.source.geometry.world((0, 0, 0)), [-10, -20, 30], atol=1e-5
        )


MIF = """mrtrix image
dim: {dim}
vox: 2,3,4,{last}
layout: {layout}
datatype: {datatype}
comments: what a header of a patient says
{more}file: . 400
END
"""
TRANSFORM = """transform: 0,-1,0,10
transform: 1,0,0,20
transform: 0,0,1,30
"""
TURNED = np.array([[0, -3, 0, 10], [2, 0, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])


def write_mif(path, voxels, datatype, dim, layout, more=TRANSFORM):
    header = MIF.format(
        datatype=datatype,
        dim=",".join(map(str, dim)),
        last="1" if len(dim) > 3 else "",
        layout=layout,
        more=more,
    ).replace("4,\n", "4\n")
    content = header.encode().ljust(400, b" ") + voxels
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("suffix", [".mif", ".mif.gz"])
def test_mrtrix_axes_in_any_order(tmp_path, suffix):
    array = numbers((4, 5, 6, 2), np.int16)  # as its header counts them
    # The frames run fastest, then z backwards, y, x.
    stored = array[:, :, ::-1].astype(">i2").tobytes()
    path = tmp_path / f"a{suffix}"
    write_mif(path, stored, "Int16BE", array.shape, "+3,+2,-1,+0")
    volume = assert_same(path, array, TURNED)
    assert volume.dtype == np.int16
    assert "patient" not in str(volume.notes) + str(volume.source)


@pytest.mark.usefixtures("unguarded")
def test_mrtrix_masks_of_bits(tmp_path):
    array = numbers((4, 5, 6), np.uint8) % 2
    bits = np.packbits(array.ravel(order="F")).tobytes()
    path = write_mif(tmp_path / "a.mif", bits, "Bit", array.shape, "+0,+1,+2")
    assert_same(path, array, TURNED)


@pytest.mark.usefixtures("unguarded")
def test_mrtrix_scaling_and_no_transform(tmp_path):
    array = numbers((4, 5, 6), np.uint8)
    path = tmp_path / "a.mif"
    write_mif(
        path, array.T.tobytes(), "UInt8", array.shape, "+0,+1,+2", "scaling: 1,2\n"
    )
    volume = assert_same(path, (array * 2.0 + 1).astype("f4"), np.diag([2, 3, 4, 1]))
    assert "axes taken as right" in str(volume.notes)


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"mrtrix image", b"mrtrix track", "mrtrix track"),
        (b"END", b"AND", "no END"),
        (b"dim: 4,5,6", b"dim: 4,5,99", "room for"),
        (b"dim: 4,5,6", b"dim: 4,5,-6", "dimensions"),
        (b"dim: 4,5,6", b"dim: 4,5,x", "makes no sense"),
        (b"dim: 4,5,6", b"dim: 4,5", "dimensions"),
        (b"+0,+1,+2", b"+0,+1,+1", "layout"),
        (b"UInt8", b"CFloat32", "cfloat32|CFloat32"),
        (b". 400", b"../other 0", "in the file"),
        (b". 400", b". 1e400", "makes no sense"),
    ],
)
def test_mrtrix_headers_that_lie(tmp_path, old, new, message):
    voxels = bytes(120)
    path = write_mif(tmp_path / "a.mif", voxels, "UInt8", (4, 5, 6), "+0,+1,+2")
    path.write_bytes(path.read_bytes().replace(old, new))
    refused(path, message)


@pytest.mark.usefixtures("unguarded")
def test_a_copy_that_was_damaged_is_a_read_error(tmp_path, own_cache):
    volume = opened(save_mif(tmp_path / "a.mif", numbers((5, 6, 7), np.uint8)))
    (copy,) = own_cache.rglob("voxels.raw")
    copy.write_bytes(b"")
    with pytest.raises(ReadError, match=r"damaged or cut off|has changed"):
        volume.data.compute()


@pytest.mark.usefixtures("unguarded")
def test_the_copies_of_real_files_equal_what_their_library_says(shared_data):
    for name in ("afni_4d/example4d+orig.HEAD", "afni_scaled/scaled+tlrc.HEAD"):
        path = shared_data / "odd" / name
        image = nib.load(path)
        assert_same(path, np.asarray(image.dataobj).astype("f4"), image.affine)
