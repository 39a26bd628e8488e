import bz2
import gzip
import itertools
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK

from e2miseg_core.errors import E2MISegError, ReadError
from e2miseg_core.io import open_labels, open_volume, write_labels
from e2miseg_core.volume import Volume

SHARED = Path(__file__).parents[4] / "shared" / "data"
SIZES = (5, 4, 3)
ARRAY = np.arange(60, dtype=np.int16).reshape(SIZES[::-1])  # (Z, Y, X)
HEADER = {
    "type": "int16",
    "dimension": "3",
    "sizes": "5 4 3",
    "endian": "little",
    "encoding": "raw",
    "space": "left-posterior-superior",
    "space directions": "(0.5,0,0) (0,2,0) (0,0,3)",
    "space origin": "(10,20,30)",
}


def write(path, content=None, *, lines=(), magic="NRRD0004", **changes):
    """Write a header and voxels by hand; None leaves a field out."""
    fields = {**HEADER, **{k.replace("_", " "): v for k, v in changes.items()}}
    text = [magic, *(f"{k}: {v}" for k, v in fields.items() if v is not None), *lines]
    content = ARRAY.astype("<i2").tobytes() if content is None else content
    path.write_bytes("\n".join(text).encode() + b"\n\n" + content)
    return path


def refused(path, *words):
    with pytest.raises(E2MISegError) as caught:
        open_volume(path).data.compute()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_the_place_of_a_voxel_by_hand(tmp_path):
    volume = open_volume(write(tmp_path / "a.nrrd"))
    assert volume.source.geometry.orientation == "SPL"
    assert volume.geometry.spacing == (3, 2, 0.5)
    # Left 10 + 0.5, posterior 20 + 2 * 2, superior 30 + 3.
    np.testing.assert_array_equal(volume.geometry.world((1, 2, 1)), (-10.5, -24, 33))
    assert volume.data[0, 1, 2, 1].compute() == ARRAY[1, 2, 1]
    assert volume.notes == ()


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("LAS", (-1, 1, 1)),
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPST", (-1, -1, 1)),
        ("right-anterior-superior-time", (1, 1, 1)),
    ],
)
def test_spaces(tmp_path, space, signs):
    volume = open_volume(write(tmp_path / "a.nrrd", space=space))
    world = volume.source.geometry.world((0, 0, 0))
    np.testing.assert_array_equal(world, np.array(signs) * (10, 20, 30))
    assert volume.notes == ()


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", None])
def test_spaces_that_name_no_body_axes_are_taken_as_itk_takes_them(tmp_path, space):
    path = write(tmp_path / "a.nrrd", space=space)
    if space is None:
        text = path.read_bytes().decode("latin-1")
        text = text.replace("space directions", "space dimension: 3\nspace directions")
        path.write_bytes(text.encode("latin-1"))
    volume = open_volume(path)
    assert any("left, posterior, superior" in note for note in volume.notes)
    image = SimpleITK.ReadImage(str(path))
    for index in itertools.product((0, 4), (0, 3), (0, 2)):
        point = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        np.testing.assert_allclose(
            volume.source.geometry.world(index[::-1]), point, atol=1e-9
        )


@pytest.mark.parametrize(
    ("lines", "spacing", "note"),
    [
        (["spacings: 0.5 2 3"], (3, 2, 0.5), ""),
        (["spacings: 0.5 2 nan"], (1, 2, 0.5), "taken as 1"),
        ([], (1, 1, 1), "taken as 1"),
    ],
)
def test_spacing_without_a_space(tmp_path, lines, spacing, note):
    bare = {"space": None, "space_directions": None, "space_origin": None}
    path = write(tmp_path / "a.nrrd", lines=lines, **bare)
    volume = open_volume(path)
    assert volume.geometry.spacing == spacing
    assert any(note in one for one in volume.notes)
    assert volume.source.geometry.orientation == "SPL"


@pytest.mark.parametrize("centering", ["cell", "node"])
def test_axis_minima_as_itk_reads_them(tmp_path, centering):
    bare = {"space": None, "space_directions": None, "space_origin": None}
    more = ["spacings: 0.5 2 3", "axis mins: 7 8 9"]
    more.append("centerings: " + " ".join([centering] * 3))
    path = write(tmp_path / "a.nrrd", lines=more, **bare)
    origin = np.array(SimpleITK.ReadImage(str(path)).GetOrigin()) * (-1, -1, 1)
    found = open_volume(path).source.geometry.world((0, 0, 0))
    np.testing.assert_allclose(found, origin)


@pytest.mark.parametrize(
    ("units", "unit", "factor"),
    [
        ('"mm" "mm" "mm"', "mm", 1),
        ('"um" "um" "um"', "um", 1),
        ('"nm" "nm" "nm"', "nm", 1),
        ('"microns" "microns" "microns"', "um", 1),
        ('"cm" "cm" "cm"', "mm", 10),
    ],
)
def test_units(tmp_path, units, unit, factor):
    geometry = open_volume(
        write(tmp_path / "a.nrrd", lines=[f"space units: {units}"])
    ).geometry
    assert geometry.unit == unit
    np.testing.assert_allclose(geometry.spacing, np.array((3, 2, 0.5)) * factor)


def test_big_endian_and_windows_line_ends(tmp_path):
    path = tmp_path / "a.nrrd"
    write(path, ARRAY.astype(">i2").tobytes(), endian="big")
    content = path.read_bytes()
    header, _, voxels = content.partition(b"\n\n")
    path.write_bytes(header.replace(b"\n", b"\r\n") + b"\r\n\r\n" + voxels)
    np.testing.assert_array_equal(open_volume(path).data[0].compute(), ARRAY)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("gz", gzip.compress), ("bzip2", bz2.compress)],
)
@pytest.mark.parametrize("detached", [False, True])
def test_compressed_voxels(tmp_path, encoding, pack, detached):
    packed = pack(ARRAY.astype("<i2").tobytes())
    if detached:
        (tmp_path / "voxels").write_bytes(packed)
        path = write(
            tmp_path / "a.nhdr", b"", encoding=encoding, lines=["data file: voxels"]
        )
    else:
        path = write(tmp_path / "a.nrrd", packed, encoding=encoding)
    np.testing.assert_array_equal(open_volume(path).data[0].compute(), ARRAY)


@pytest.mark.parametrize("ends", [True, False])
def test_a_header_alone_needs_no_end(tmp_path, ends):
    (tmp_path / "voxels.raw").write_bytes(ARRAY.astype("<i2").tobytes())
    path = write(tmp_path / "a.nhdr", b"", lines=["data file: voxels.raw"])
    if not ends:
        path.write_bytes(path.read_bytes().rstrip())
    np.testing.assert_array_equal(open_volume(path).data[0].compute(), ARRAY)


@pytest.mark.parametrize(
    "naming",
    [
        ["data file: s%02d.raw 8 12 2"],
        ["data file: LIST", "s08.raw", "s10.raw", "s12.raw"],
    ],
)
def test_a_file_a_slice(tmp_path, naming):
    for number, plane in zip((8, 10, 12), ARRAY, strict=True):
        content = plane.astype("<i2").tobytes()
        (tmp_path / f"s{number:02d}.raw").write_bytes(content)
    path = write(tmp_path / "a.nhdr", b"", lines=naming)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.data[0].compute(), ARRAY)
    np.testing.assert_array_equal(
        volume.data[0, 1:3, 2:4, 1].compute(), ARRAY[1:3, 2:4, 1]
    )
    (tmp_path / "s10.raw").write_bytes(b"12")
    refused(path, "s10.raw is cut off")
    (tmp_path / "s10.raw").unlink()
    refused(path, "no file")


def test_files_may_hold_several_planes_or_volumes(tmp_path):
    series = np.arange(2 * 60, dtype="<i2").reshape(2, 3, 4, 5)
    fields = {
        "dimension": "4",
        "sizes": "5 4 3 2",
        "kinds": "domain domain domain time",
        "space_directions": HEADER["space directions"] + " none",
    }
    for count in (1, 2, 3, 6):
        for number, piece in enumerate(series.reshape(count, -1)):
            (tmp_path / f"{number}.raw").write_bytes(piece.tobytes())
        last = count - 1
        lines = [f"data file: %d.raw 0 {last} 1"]
        volume = open_volume(write(tmp_path / "a.nhdr", b"", lines=lines, **fields))
        np.testing.assert_array_equal(volume.data.compute(), series)
        np.testing.assert_array_equal(volume.data[1, 1:, 2].compute(), series[1, 1:, 2])
        assert volume.notes == ("4D: 2 frames taken as channels",)
    for number in range(4):
        (tmp_path / f"{number}.raw").write_bytes(bytes(400))
    lines = ["data file: %d.raw 0 3 1"]
    refused(
        write(tmp_path / "a.nhdr", b"", lines=lines, **fields), "4 files", "6 planes"
    )


@pytest.mark.parametrize("first", [True, False])
def test_vectors_first_or_last(tmp_path, first):
    colors = np.arange(3 * 60, dtype=np.uint8).reshape(3, 3, 4, 5)
    none, space = "none", HEADER["space directions"]
    stored = np.moveaxis(colors, 0, -1) if first else colors
    path = write(
        tmp_path / "a.nrrd",
        stored.tobytes(),
        type="uchar",
        dimension="4",
        sizes="3 5 4 3" if first else "5 4 3 3",
        space_directions=f"{none} {space}" if first else f"{space} {none}",
        kinds=("RGB-color " if first else "")
        + "domain " * 3
        + ("" if first else "RGB-color"),
    )
    volume = open_volume(path)
    assert volume.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(volume.data.compute(), colors)
    np.testing.assert_array_equal(volume.data[1, 2, 1:3].compute(), colors[1, 2, 1:3])


def test_four_axes_without_any_kind(tmp_path):
    path = tmp_path / "a.nrrd"
    series = np.arange(120, dtype=np.int16).reshape(2, 3, 4, 5)
    nrrd.write(str(path), series, {"encoding": "raw"}, index_order="C")
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.data.compute(), series)


def test_skipped_lines_and_bytes(tmp_path):
    voxels = ARRAY.astype("<i2").tobytes()
    (tmp_path / "v.raw").write_bytes(b"one\ntwo\nXYZ" + voxels)
    for lines in (["line skip: 2", "byte skip: 3"], ["byte skip: -1"]):
        path = write(tmp_path / "a.nhdr", b"", lines=["data file: v.raw", *lines])
        np.testing.assert_array_equal(open_volume(path).data[0].compute(), ARRAY)
    path = write(tmp_path / "a.nhdr", b"", lines=["line skip: 200", "data file: v.raw"])
    refused(path, "fewer lines")


def test_names_of_segments_survive(make_geometry, tmp_path):
    geometry = make_geometry(2, (3, 4, 5))
    volume = Volume.from_array(np.zeros((3, 4, 5), np.uint8), geometry)
    labels = np.random.default_rng(1).integers(0, 3, volume.geometry.shape)
    names = {0: "background", 1: "leber/foie", 2: "Gefäß"}
    for name in ("a.nrrd", "a.seg.nrrd"):
        path = write_labels(labels, tmp_path / name, like=volume, names=names)
        again = open_labels(path)
        assert again.segments.names == {1: "leber/foie", 2: "Gefäß"}
        _, header = nrrd.read(str(path))
        assert header["Segment1_LabelValue"] == "2"
        assert header["Segment1_Extent"].split()[::2] == ["0", "0", "0"]
        SimpleITK.ReadImage(str(path))
    assert open_volume(path).channels == ("image",)


def test_segments_of_slicer(tmp_path):
    keys = [
        "Segment0_ID:=S_4",
        "Segment0_Name:=liver: left",
        "Segment0_LabelValue:=4",
        "Segment0_Layer:=0",
        "Segment0_Color:=0.5 1 0",
        "Segment1_ID:=S_9",
        "Segment1_LabelValue:=9",
        "Segment1_Layer:=0",
        "Segment1_Color:=oops",
        "Segment2_Name:=no value",
        "Segment2_LabelValue:=-3",
    ]
    volume = open_volume(write(tmp_path / "a.seg.nrrd", lines=keys))
    assert volume.segments.names == {4: "liver: left", 9: "S_9"}
    assert volume.segments.colors == {4: (128, 255, 0)}
    assert open_volume(write(tmp_path / "b.nrrd")).segments is None
    assert open_volume(write(tmp_path / "b.seg.nrrd")).segments is not None


@pytest.mark.parametrize("old", [False, True])
def test_layers_of_segments_become_channels(tmp_path, old):
    layers = np.random.default_rng(2).integers(0, 2, (2, 3, 4, 5)).astype(np.uint8)
    keys = ["Segment0_Name:=lung", "Segment1_Name:=tumour"]
    if not old:
        keys += ["Segment0_LabelValue:=1", "Segment0_Layer:=0"]
        keys += ["Segment1_LabelValue:=1", "Segment1_Layer:=1"]
    path = write(
        tmp_path / "a.seg.nrrd",
        np.moveaxis(layers, 0, -1).tobytes(),
        lines=keys,
        type="uchar",
        dimension="4",
        sizes="2 5 4 3",
        space_directions="none " + HEADER["space directions"],
        kinds="list domain domain domain",
    )
    volume = open_volume(path)
    assert volume.channels == ("layer 0: lung", "layer 1: tumour")
    assert volume.segments.names == {1: "lung / tumour"}
    assert any("2 layers" in note for note in volume.notes)
    np.testing.assert_array_equal(volume.data.compute(), layers)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"magic": "NRRD"}, ["starts with"]),
        ({"type": "block"}, ["type 'block'"]),
        ({"type": None}, ["type"]),
        ({"encoding": "ascii"}, ["'ascii'", "raw, gzip or bzip2"]),
        ({"encoding": "hex"}, ["'hex'"]),
        ({"endian": None}, ["endian"]),
        ({"endian": "middle"}, ["'middle'"]),
        ({"dimension": "4"}, ["dimension 4"]),
        ({"dimension": "three"}, ["'three'"]),
        ({"sizes": "5 4 0"}, ["at least 1"]),
        ({"sizes": "5 4 -3"}, ["at least 1"]),
        ({"sizes": "5 4 99999999999999999999999999"}, ["whole numbers"]),
        ({"sizes": "5 4 1000000000"}, ["sizes"]),
        ({"sizes": "5000 4000 3000"}, ["is cut off", "120000000"]),
        ({"sizes": "60", "dimension": "1"}, ["two or more"]),
        ({"space_directions": "(0.5,0,0) (0,2,0)"}, ["2 space directions for 3"]),
        ({"space_directions": "(a,0,0) (0,2,0) (0,0,3)"}, ["numbers"]),
        ({"space_directions": "(inf,0,0) (0,2,0) (0,0,3)"}, ["finite"]),
        ({"space_directions": "(1) (0,2,0) (0,0,3)"}, ["vector of 1"]),
        ({"space_directions": "none none (0,0,3)"}, ["1 axes of space"]),
        ({"space_directions": "1 0 0"}, ["vectors such as"]),
        ({"space_origin": "(1,2,x)"}, ["space origin"]),
        ({"lines": ["no colon"]}, ["'no colon'"]),
        ({"lines": ["type: float"]}, ["twice"]),
        ({"lines": ["kinds: domain"]}, ["1 kinds for 3 axes"]),
        ({"lines": ["byte skip: -5"]}, ["skips -5"]),
        ({"lines": ["byte skip: 1"]}, ["cut off"]),
        ({"lines": ["data file: LIST"]}, ["lists no files"]),
        ({"lines": ["data file: missing.raw"]}, ["no file"]),
        ({"lines": ["data file: " + "x" * 999]}, ["no file"]),
        ({"lines": ["data file: %d" + "x" * 999 + " 1 1 1"]}, ["no file"]),
        ({"lines": ["data file: ../a.raw"]}, ["outside of its folder"]),
        ({"lines": ["data file: sub/../../a.raw"]}, ["outside of its folder"]),
        ({"lines": ["data file: http://example.org/a.raw"]}, ["http"]),
        ({"lines": ["data file: /etc/hostname"]}, ["no file"]),
        ({"lines": ["data file: %d.raw 1 3"]}, ["first, last and step"]),
        ({"lines": ["data file: %d.raw 1 3 0"]}, ["by 0"]),
        ({"lines": ["data file: %s.raw 1 3 1"]}, ["%03d"]),
        ({"lines": ["data file: %d.raw 1 999999999 1"]}, ["999999999"]),
        ({"lines": ["data file: %99d%n.raw 1 3 1"]}, ["%03d"]),
        (
            {"dimension": "4", "sizes": "5 2 3 2", "lines": [
                "kinds: domain list domain domain"],
             "space_directions": "(1,0,0) none (0,1,0) (0,0,1)"},
            ["among those of space"],
        ),
    ],
)  # fmt: skip
def test_lying_headers_get_one_line(tmp_path, changes, words):
    refused(write(tmp_path / "a.nrrd", **changes), *words)


def test_unusable_directions_are_told(tmp_path):
    singular = "(1,0,0) (1,0,0) (0,0,3)"
    volume = open_volume(write(tmp_path / "a.nrrd", space_directions=singular))
    assert any("unusable and was passed over" in note for note in volume.notes)


@pytest.mark.parametrize("name", ["50 % dose %d.raw", "LISTENING.raw", "mein Bild.raw"])
def test_unusual_names_of_files(tmp_path, name):
    (tmp_path / name).write_bytes(ARRAY.astype("<i2").tobytes())
    path = write(tmp_path / "a.nhdr", b"", lines=[f"data file: {name}"])
    np.testing.assert_array_equal(open_volume(path).data[0].compute(), ARRAY)


@pytest.mark.parametrize("size", [100, 16_300, 16_400, 70_000])
def test_long_headers(tmp_path, size):
    path = write(tmp_path / "a.nrrd", lines=["key:=" + "x" * size])
    np.testing.assert_array_equal(open_volume(path).data[0].compute(), ARRAY)


def test_moved_voxels_are_found_beside_the_header(tmp_path):
    (tmp_path / "v.raw").write_bytes(ARRAY.astype("<i2").tobytes())
    for there in ("/home/somebody/v.raw", "C:\\scans\\v.raw"):
        path = write(tmp_path / "a.nhdr", b"", lines=[f"data file: {there}"])
        volume = open_volume(path)
        np.testing.assert_array_equal(volume.data[0].compute(), ARRAY)
        assert any("beside the header" in note for note in volume.notes)


@pytest.mark.parametrize("kept", [0, 3, 9, 60, 200])
def test_cut_off_files(tmp_path, kept):
    path = write(tmp_path / "a.nrrd")
    path.write_bytes(path.read_bytes()[:kept])
    refused(path)
    refused(tmp_path / "missing.nrrd", "missing.nrrd")


def test_damage_to_compressed_voxels_is_told(tmp_path):
    noise = np.random.default_rng(0).bytes(120)
    packed = gzip.compress(noise)
    for bad in (packed[:-20], packed[:30] + b"\xff" * 9 + packed[39:], packed[:4]):
        path = write(tmp_path / "a.nrrd", bad, encoding="gzip")
        with pytest.raises(ReadError):
            open_volume(path).data.compute()


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
def test_real_files_as_simpleitk_reads_them():
    for path in sorted([*SHARED.glob("odd/**/*.nrrd"), *SHARED.glob("odd/**/*.nhdr")]):
        image = SimpleITK.ReadImage(str(path))
        volume = open_volume(path)
        found = volume.as_source(volume.data)[0].compute()
        np.testing.assert_array_equal(found, SimpleITK.GetArrayFromImage(image))
        ends = [(0, size - 1) for size in image.GetSize()]
        for index in itertools.product(*ends):
            point = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
            world = volume.source.geometry.world(index[::-1])
            np.testing.assert_allclose(world, point, atol=1e-9)
