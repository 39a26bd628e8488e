"""Folders of slices: natural order, one size and type, damage told when read."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from e2miseg_core.errors import ChoiceError, ReadError
from e2miseg_core.io import open_volume


@pytest.fixture
def stack():
    return np.random.default_rng(0).integers(0, 255, (11, 6, 8), dtype=np.uint8)


def save(folder, stack, suffix="png", first=0):
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(stack, start=first):
        Image.fromarray(image).save(folder / f"slice {number}.{suffix}")
    return folder


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_slices_come_in_natural_order(tmp_path, stack, suffix, dtype):
    stack = stack.astype(dtype) * (1 if dtype == np.uint8 else 250)
    folder = save(tmp_path / "stack", stack, suffix)
    (folder / "notes.txt").write_text("of the microscope")
    (folder / ".hidden.png").write_bytes(b"")
    volume = open_volume(folder)
    np.testing.assert_array_equal(volume.data[0], stack)
    np.testing.assert_array_equal(volume.data[0, 10, 2:4], stack[10, 2:4])
    assert volume.dtype == dtype
    assert f"11 slices, from slice 0.{suffix} to slice 10.{suffix}" in volume.notes


def test_colours_and_bits(tmp_path, stack):
    colours = np.stack([stack, stack // 2, 255 - stack], axis=-1)
    volume = open_volume(save(tmp_path / "colours", colours))
    np.testing.assert_array_equal(np.moveaxis(volume.data.compute(), 0, -1), colours)
    bits = save(tmp_path / "bits", stack[:2] > 99)
    save(bits, (stack[2:4] > 99).astype(np.uint8) * 255, first=2)
    np.testing.assert_array_equal(open_volume(bits).data[0], (stack[:4] > 99) * 255)


def test_spacing_of_the_slices_is_taken(tmp_path, stack):
    (tmp_path / "stack").mkdir()
    for number in range(3):
        tifffile.imwrite(
            tmp_path / "stack" / f"{number}.tif",
            stack[number],
            imagej=True,
            resolution=(4, 2),
            metadata={"unit": "um"},
        )
    geometry = open_volume(tmp_path / "stack").geometry
    assert (geometry.spacing, geometry.unit) == ((0.5, 0.5, 0.25), "um")


def test_several_folders_are_listed_and_one_is_opened(tmp_path, stack):
    save(tmp_path / "raw", stack)
    np.testing.assert_array_equal(open_volume(tmp_path).data[0], stack)
    save(tmp_path / "labels", stack[::-1])
    with pytest.raises(ChoiceError, match="labels, 11 slices; raw, 11 slices"):
        open_volume(tmp_path)
    labels = open_volume(f"{tmp_path}#part=labels")
    np.testing.assert_array_equal(labels.data[0], stack[::-1])
    with pytest.raises(ReadError, match="inside"):
        open_volume(tmp_path, part="../x")


def test_slices_that_do_not_belong_together_are_refused(tmp_path, stack):
    size = save(tmp_path / "size", stack)
    save(size, stack[:1, :5], first=5)
    with pytest.raises(ReadError, match=r"slice 5.png is 5 x 8"):
        open_volume(size)
    kind = save(tmp_path / "kind", stack)
    save(kind, stack[:2], "tif")
    with pytest.raises(ReadError, match="11 PNG, 2 TIFF"):
        open_volume(kind)
    many = save(tmp_path / "pages", stack, "tif")
    tifffile.imwrite(many / "slice 4.tif", stack)
    with pytest.raises(ReadError, match="11 pages"):
        open_volume(many)


def test_damaged_slices_are_named(tmp_path, stack):
    folder = save(tmp_path / "stack", stack)
    whole = (folder / "slice 3.png").read_bytes()
    (folder / "slice 3.png").write_bytes(whole[:60])
    data = open_volume(folder).data
    np.testing.assert_array_equal(data[0, 4], stack[4])
    with pytest.raises(ReadError, match=r"slice 3\.png is damaged"):
        data[0, 3].compute()
    lies = whole[:16] + (1 << 15).to_bytes(4, "big") * 2 + whole[24:]
    (folder / "slice 0.png").write_bytes(lies)
    with pytest.raises(ReadError, match="32768 x 32768"):
        open_volume(folder)
    (folder / "slice 0.png").write_bytes(b"")
    with pytest.raises(ReadError, match="does not start"):
        open_volume(folder)


def test_a_real_stack_equals_its_slices(shared_data):
    folder = shared_data / "em_drosophila_vnc" / "stack1"
    with pytest.raises(ChoiceError, match="5 folders of slices"):
        open_volume(folder)
    raw = open_volume(folder, part="raw")
    files = sorted((folder / "raw").glob("*.tif"))
    np.testing.assert_array_equal(
        raw.data[0], [tifffile.imread(file) for file in files]
    )
