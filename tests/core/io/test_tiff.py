"""TIFF: what tifffile writes comes back lazily, with spacing, channels and levels."""

import pickle

import numpy as np
import pytest
import tifffile

from e2miseg_core.errors import ChoiceError, ReadError
from e2miseg_core.io import open_volume


@pytest.fixture
def stack():
    return np.random.default_rng(0).integers(0, 60_000, (5, 24, 36), dtype=np.uint16)


def pages(path, stack):
    """Write pages one by one, their headers between them."""
    with tifffile.TiffWriter(path) as writer:
        for page in stack:
            writer.write(page, contiguous=False, metadata=None)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True, "byteorder": ">"},
        {"compression": "deflate", "predictor": True},
        {"tile": (16, 16), "compression": "deflate"},
        {"rowsperstrip": 5, "compression": "deflate"},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
    ],
)
def test_stacks_of_every_layout_are_equal_read_whole_or_by_slice(
    tmp_path, stack, options
):
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", **options)
    volume = open_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.data[0], stack)
    np.testing.assert_array_equal(volume.data[0, 3, 5:9], stack[3, 5:9])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume.data))[0], stack)
    assert volume.dtype == np.uint16
    assert "no spacing is stated: voxels taken as 1 mm" in volume.notes


def test_pages_with_headers_between_them_are_slices(tmp_path, stack):
    pages(tmp_path / "a.tif", stack)
    volume = open_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.data[0], stack)
    assert "5 pages taken as slices" in volume.notes
    (tmp_path / "cut.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-900])
    with pytest.raises(ReadError, match="cut off"):
        open_volume(tmp_path / "cut.tif")


def test_ome_spacing_units_and_channels(tmp_path):
    array = np.random.default_rng(0).integers(0, 9, (2, 5, 6, 7), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        array,
        metadata={
            "axes": "CZYX",
            "PhysicalSizeZ": 300,
            "PhysicalSizeZUnit": "nm",
            "PhysicalSizeY": 0.2,
            "PhysicalSizeX": 0.1,
            "Channel": {"Name": ["DAPI", "GFP"]},
        },
    )
    volume = open_volume(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(volume.data, array)
    np.testing.assert_allclose(volume.geometry.spacing, (0.3, 0.2, 0.1))
    assert volume.geometry.unit == "um"
    assert volume.channels == ("DAPI", "GFP")


def test_imagej_spacing_and_times(tmp_path):
    array = np.random.default_rng(0).integers(0, 9, (3, 5, 6, 7), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif",
        array,
        imagej=True,
        resolution=(4, 2),
        metadata={"axes": "TZYX", "spacing": 2.5, "unit": "um"},
    )
    volume = open_volume(tmp_path / "a.tif")
    assert (volume.geometry.spacing, volume.geometry.unit) == ((2.5, 0.5, 0.25), "um")
    assert volume.n_channels == 3
    np.testing.assert_array_equal(
        open_volume(tmp_path / "a.tif", frame=2).data[0], array[2]
    )


@pytest.mark.parametrize(
    ("unit", "spacing"), [(3, (0.2, 0.2, 0.1)), (2, (1, 1, 1)), (1, (1, 1, 1))]
)
def test_resolution_tags_count_in_centimetres_only(tmp_path, stack, unit, spacing):
    tifffile.imwrite(
        tmp_path / "a.tif",
        stack,
        resolution=(100, 50),
        resolutionunit=unit,
        metadata=None,
    )
    np.testing.assert_allclose(
        open_volume(tmp_path / "a.tif").geometry.spacing, spacing
    )


def test_times_without_slices_are_slices(tmp_path, stack):
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "TYX"})
    volume = open_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.data[0], stack)
    assert "no axis Z: 5 time points taken as slices" in volume.notes


def test_a_pyramid_in_sub_ifds_becomes_levels(tmp_path):
    fine = np.random.default_rng(0).integers(0, 255, (4, 64, 96), dtype=np.uint8)
    coarse = fine[:, ::2, ::2].copy()
    options = {"tile": (32, 32), "compression": "deflate", "photometric": "minisblack"}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(fine, subifds=1, metadata={"axes": "ZYX"}, **options)
        writer.write(coarse, subfiletype=1, **options)
    volume = open_volume(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(volume.levels[0][0], fine)
    np.testing.assert_array_equal(volume.levels[1][0], coarse)


def test_colours_and_several_series(tmp_path, stack):
    colours = np.random.default_rng(0).integers(0, 255, (5, 24, 36, 3), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(stack)
        writer.write(colours, photometric="rgb")
    with pytest.raises(ChoiceError, match="2 series"):
        open_volume(tmp_path / "a.tif")
    volume = open_volume(tmp_path / "a.tif", part="1")
    assert volume.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(np.moveaxis(volume.data.compute(), 0, -1), colours)
    with pytest.raises(ReadError, match="no series"):
        open_volume(tmp_path / "a.tif", part="2")


def test_what_cannot_be_read_is_told_in_one_line(tmp_path, stack):
    (tmp_path / "none.tif").write_bytes(b"MZ no image")
    tifffile.imwrite(tmp_path / "a.tif", stack)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: len(content) // 2])
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        at = tif.pages[0].tags["Compression"].valueoffset
    unknown = (60123).to_bytes(2, "little")
    (tmp_path / "unknown.tif").write_bytes(content[:at] + unknown + content[at + 2 :])
    for name, message in (
        ("none.tif", "no TIFF"),
        ("cut.tif", "cut off"),
        ("missing.tif", "missing"),
        ("unknown.tif", "60123"),
    ):
        with pytest.raises(ReadError, match=message) as caught:
            open_volume(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compression", ["lzw", "zstd", "jpeg2000"])
def test_common_codecs_are_read(tmp_path, stack, compression):
    data = np.kron(stack, np.ones((1, 8, 8))).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, compression=compression)
    volume = open_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.data[0], data)


def test_a_header_that_announces_a_terabyte_is_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((8, 8), np.uint8), compression="deflate"
    )
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        for name in ("ImageWidth", "ImageLength"):
            at = tif.pages[0].tags[name].valueoffset
            content[at : at + 4] = (1 << 20).to_bytes(4, "little")
    (tmp_path / "lies.tif").write_bytes(content)
    with pytest.raises(ReadError):
        open_volume(tmp_path / "lies.tif").data[0, 0, :4, :4].compute()


def test_damaged_pixels_are_told_when_they_are_read(tmp_path, stack):
    tifffile.imwrite(tmp_path / "a.tif", stack, compression="deflate")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        at = tif.pages[2].dataoffsets[0]
    content[at : at + 8] = b"nonsense"
    (tmp_path / "a.tif").write_bytes(content)
    data = open_volume(tmp_path / "a.tif").data
    np.testing.assert_array_equal(data[0, 1], stack[1])
    with pytest.raises(ReadError, match="damaged at z 2 to 3"):
        data[0, 2].compute()


@pytest.mark.parametrize("bigtiff", [False, True])
def test_directories_that_lead_nowhere_are_refused(tmp_path, stack, bigtiff):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack[:2], bigtiff=bigtiff, contiguous=False, metadata=None)
    with tifffile.TiffFile(path) as tif:
        first = tif.pages[0].offset
        n_entries = len(tif.pages[0].tags)
        count = tif.pages[0].tags["StripOffsets"]
        where = count.offset + 4
    step, size, lead = (20, 8, 8) if bigtiff else (12, 4, 2)
    content = bytearray(path.read_bytes())
    link = first + lead + step * n_entries
    for at, value, message in (
        (link, first, "met twice"),
        (link, len(content), "is empty"),
        (where, 1 << 30, "announces 1073741824"),
    ):
        damaged = bytearray(content) + bytes(64)
        damaged[at : at + size] = value.to_bytes(size, "little")
        (tmp_path / "b.tif").write_bytes(damaged)
        with pytest.raises(ReadError, match=message):
            open_volume(tmp_path / "b.tif")
