import itertools
import zlib

import numpy as np
import pytest
import SimpleITK

from e2miseg_core.errors import E2MISegError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_volume, write_image, write_labels
from e2miseg_core.volume import Volume

ARRAY = np.arange(60, dtype=np.int16).reshape(3, 4, 5)  # (Z, Y, X)
HEADER = {
    "ObjectType": "Image",
    "NDims": "3",
    "DimSize": "5 4 3",
    "ElementType": "MET_SHORT",
    "ElementSpacing": "0.5 2 3",
    "Offset": "10 20 30",
    "ElementDataFile": "LOCAL",
}


def write(path, content=None, *, names=(), **changes):
    """Write a header and voxels by hand; None leaves a field out."""
    data = changes.pop("ElementDataFile", HEADER["ElementDataFile"])
    fields = {**HEADER, **changes}
    fields.pop("ElementDataFile")
    lines = [f"{k} = {v}" for k, v in fields.items() if v is not None]
    if data is not None:
        lines.append(f"ElementDataFile = {data}")
    content = ARRAY.astype("<i2").tobytes() if content is None else content
    path.write_bytes("\n".join([*lines, *names]).encode() + b"\n" + content)
    return path


def refused(path, *words):
    with pytest.raises(E2MISegError) as caught:
        open_volume(path).data.compute()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_the_place_of_a_voxel_by_hand(tmp_path):
    volume = open_volume(write(tmp_path / "a.mha"))
    assert volume.geometry.spacing == (3, 2, 0.5)
    np.testing.assert_array_equal(volume.geometry.world((1, 2, 1)), (-10.5, -24, 33))
    assert volume.data[0, 1, 2, 1].compute() == ARRAY[1, 2, 1]
    assert volume.notes == ()


def test_the_matrix_holds_one_axis_after_another(tmp_path):
    """The first axis goes to posterior, the second to superior, the third to left."""
    path = write(tmp_path / "a.mha", TransformMatrix="0 1 0 0 0 1 1 0 0")
    volume = open_volume(path)
    world = volume.source.geometry.world
    np.testing.assert_array_equal(world((0, 0, 1)) - world((0, 0, 0)), (0, -0.5, 0))
    np.testing.assert_array_equal(world((0, 1, 0)) - world((0, 0, 0)), (0, 0, 2))
    np.testing.assert_array_equal(world((1, 0, 0)) - world((0, 0, 0)), (-3, 0, 0))
    image = SimpleITK.ReadImage(str(path))
    for index in itertools.product((0, 4), (0, 3), (0, 2)):
        point = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        np.testing.assert_allclose(world(index[::-1]), point)


@pytest.mark.parametrize("matrix", ["TransformMatrix", "Orientation", "Rotation"])
@pytest.mark.parametrize("origin", ["Offset", "Origin", "Position"])
@pytest.mark.parametrize("spacing", ["ElementSpacing", "ElementSize"])
def test_other_names_of_fields(tmp_path, matrix, origin, spacing):
    names = {"Offset": None, "ElementSpacing": None}
    names.update({matrix: "0 1 0 1 0 0 0 0 1", origin: "1 2 3", spacing: "4 5 6"})
    geometry = open_volume(write(tmp_path / "a.mha", **names)).source.geometry
    assert geometry.spacing == (6, 5, 4)
    np.testing.assert_array_equal(geometry.world((0, 0, 0)), (-1, -2, 3))
    np.testing.assert_array_equal(geometry.world((0, 1, 0)), (-6, -2, 3))


def test_letters_never_win_over_the_matrix(tmp_path):
    assert (
        open_volume(write(tmp_path / "a.mha", AnatomicalOrientation="RAI")).notes == ()
    )
    volume = open_volume(write(tmp_path / "b.mha", AnatomicalOrientation="LPS"))
    assert volume.source.geometry.orientation == "SPL"
    assert any("LPS" in note and "RAI" in note for note in volume.notes)
    assert (
        open_volume(write(tmp_path / "c.mha", AnatomicalOrientation="???")).notes == ()
    )


@pytest.mark.parametrize(("stated", "unit"), [("um", "um"), ("mm", "mm"), ("?", "mm")])
def test_units(tmp_path, stated, unit):
    geometry = open_volume(write(tmp_path / "a.mha", DistanceUnits=stated)).geometry
    assert (geometry.unit, geometry.spacing) == (unit, (3, 2, 0.5))


def test_no_voxel_size_is_told(tmp_path):
    volume = open_volume(write(tmp_path / "a.mha", ElementSpacing=None))
    assert volume.geometry.spacing == (1, 1, 1)
    assert any("taken as 1" in note for note in volume.notes)


@pytest.mark.parametrize("key", ["BinaryDataByteOrderMSB", "ElementByteOrderMSB"])
def test_big_endian(tmp_path, key):
    content = ARRAY.astype(">i2").tobytes()
    path = write(tmp_path / "a.mha", content, **{key: "True"})
    np.testing.assert_array_equal(open_volume(path).data[0].compute(), ARRAY)


@pytest.mark.parametrize("detached", [True, False])
def test_compressed(tmp_path, detached):
    packed = zlib.compress(ARRAY.astype("<i2").tobytes())
    (tmp_path / "a.zraw").write_bytes(packed)
    path = write(
        tmp_path / "a.mhd",
        b"" if detached else packed,
        CompressedData="True",
        CompressedDataSize=len(packed),
        ElementDataFile="a.zraw" if detached else "LOCAL",
    )
    np.testing.assert_array_equal(open_volume(path).data[0].compute(), ARRAY)


@pytest.mark.parametrize(("size", "skipped"), [("3", b"xyz"), ("-1", b"what ever")])
def test_voxels_behind_other_bytes(tmp_path, size, skipped):
    (tmp_path / "v.raw").write_bytes(skipped + ARRAY.astype("<i2").tobytes())
    path = write(tmp_path / "a.mhd", b"", HeaderSize=size, ElementDataFile="v.raw")
    np.testing.assert_array_equal(open_volume(path).data[0].compute(), ARRAY)


@pytest.mark.parametrize(
    ("data", "names"),
    [("LIST", ["s1.raw", "s2.raw", "s3.raw"]), ("s%d.raw 1 3 1", [])],
)
def test_a_file_a_slice(tmp_path, data, names):
    for number, plane in enumerate(ARRAY, start=1):
        (tmp_path / f"s{number}.raw").write_bytes(plane.astype("<i2").tobytes())
    path = write(tmp_path / "a.mhd", b"", ElementDataFile=data, names=names)
    np.testing.assert_array_equal(open_volume(path).data[0].compute(), ARRAY)
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))), ARRAY
    )


@pytest.mark.parametrize("name", ["50 % dose %d.raw", "LISTENING.raw", "LOCAL.raw"])
def test_unusual_names_of_files(tmp_path, name):
    (tmp_path / name).write_bytes(ARRAY.astype("<i2").tobytes())
    path = write(tmp_path / "a.mhd", b"", ElementDataFile=name)
    np.testing.assert_array_equal(open_volume(path).data[0].compute(), ARRAY)


@pytest.mark.parametrize("size", [100, 16_200, 16_380, 70_000])
def test_long_headers(tmp_path, size):
    path = write(tmp_path / "a.mha", Comment="x" * size)
    np.testing.assert_array_equal(open_volume(path).data[0].compute(), ARRAY)


def test_long_lists_of_files(tmp_path):
    planes = np.arange(400, dtype="<i2").reshape(400, 1, 1)
    names = [f"{'long_' * 40}{number}.raw" for number in range(400)]
    for name, plane in zip(names, planes, strict=True):
        (tmp_path / name).write_bytes(plane.tobytes())
    sizes = {"DimSize": "1 1 400", "ElementDataFile": "LIST"}
    path = write(tmp_path / "a.mhd", b"", names=names, **sizes)
    assert path.stat().st_size > 64 << 10
    np.testing.assert_array_equal(open_volume(path).data[0].compute(), planes)


def test_long_is_32_bits_as_in_metaio(tmp_path):
    content = ARRAY.astype("<i4").tobytes()
    path = write(tmp_path / "a.mha", content, ElementType="MET_LONG")
    np.testing.assert_array_equal(open_volume(path).data[0].compute(), ARRAY)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"NDims": None}, ["NDims ?"]),
        ({"NDims": "4"}, ["NDims 4"]),
        ({"NDims": "3.5"}, ["'3.5'"]),
        ({"NDims": "5", "DimSize": "5 4 3 1 1"}, ["two to four"]),
        ({"DimSize": "5 4 0"}, ["at least 1"]),
        ({"DimSize": "5 4"}, ["DimSize"]),
        ({"DimSize": "5000 4000 3000"}, ["cut off", "120000000"]),
        ({"DimSize": "5 4 1000000000000000000000000000000000"}, ["whole numbers"]),
        ({"ElementType": "MET_STRING"}, ["MET_STRING"]),
        ({"ElementType": None}, ["type"]),
        ({"ElementDataFile": None}, ["ElementDataFile"]),
        ({"ElementDataFile": ""}, ["names no file"]),
        ({"ElementDataFile": "LIST", "content": b""}, ["names no file"]),
        ({"ElementDataFile": "none.raw"}, ["no file"]),
        ({"ElementDataFile": "../none.raw"}, ["outside"]),
        ({"ElementDataFile": "https://example.org/x"}, ["https"]),
        ({"ElementDataFile": "s%d.raw 1"}, ["first, last and step"]),
        ({"ElementNumberOfChannels": "0"}, ["'0' channels"]),
        ({"ElementNumberOfChannels": "70000"}, ["70000 channels"]),
        ({"ElementSpacing": "1 2"}, ["2 numbers in ElementSpacing"]),
        ({"ElementSpacing": "1 2 x"}, ["ElementSpacing"]),
        ({"TransformMatrix": "1 0 0"}, ["TransformMatrix"]),
        ({"TransformMatrix": "nan " * 9, "ElementSpacing": "0 0 0"}, ["voxel sizes"]),
        ({"BinaryData": "False"}, ["as text"]),
        ({"ObjectType": "Scene"}, ["'Scene'"]),
        ({"HeaderSize": "-2"}, ["HeaderSize"]),
        ({"CompressedData": "True"}, ["damaged"]),
    ],
)
def test_lying_headers_get_one_line(tmp_path, changes, words):
    refused(write(tmp_path / "a.mha", **changes), *words)


@pytest.mark.parametrize("kept", [0, 3, 40, 200])
def test_cut_off_files(tmp_path, kept):
    path = write(tmp_path / "a.mha")
    path.write_bytes(path.read_bytes()[:kept])
    refused(path)


def test_other_content_under_the_name(tmp_path):
    path = tmp_path / "a.mha"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(999))
    refused(path, "needed: a MetaImage")


def test_labels_are_marked_named_and_coloured(tmp_path):
    geometry = Geometry.from_spacing((2, 3, 4), (1, 1, 1))
    volume = Volume.from_array(np.ones((2, 3, 4), np.uint8), geometry)
    path = tmp_path / "labels.mha"
    names, colors = {1: "Gefäß = links", 3: "node"}, {3: (255, 7, 0)}
    write_labels(volume.data[0], path, like=volume, names=names, colors=colors)
    segments = open_volume(path).segments
    assert (segments.names, segments.colors) == (names, colors)
    seen = SimpleITK.ReadImage(str(path))
    assert (SimpleITK.GetArrayFromImage(seen) == 1).all()
    assert seen.GetMetaData("E2MISegKind") == "labels"
    image = write_image(volume.data[0], tmp_path / "image.mha", like=volume)
    assert open_volume(image).segments is None
