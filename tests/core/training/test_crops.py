"""Crops: what counts in them, on which grid, and what they cost."""

import tracemalloc
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.boxes import Box, box_slices, make_box
from e2miseg_core.errors import ReadError, WriteError
from e2miseg_core.geometry import Geometry
from e2miseg_core.preprocess import ModelView, Normalization
from e2miseg_core.training.classes import class_box
from e2miseg_core.training.crops import (
    CropSampler,
    KnownCase,
    centred_box,
    crop_size,
    cut_crop,
    load_crop,
    save_crop,
)
from e2miseg_core.training.patches import sample_generator
from e2miseg_core.volume import Volume

PATCH = (8, 16, 12)
PLAIN = Normalization(scheme="clipped", mean=0.0, std=1.0)


def known_case(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    seed: int = 0,
) -> tuple[KnownCase, np.ndarray, np.ndarray]:
    """A case seen at 1 mm; its image says where each voxel lies."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 2, 7], np.uint8), size=shape)
    authority = (rng.random(shape) < 0.3).astype(np.uint8)
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    volume = Volume.from_array(image, spacing=spacing)
    case = KnownCase(
        name="a",
        view=ModelView(volume, (1.0, 1.0, 1.0), (PLAIN,)),
        labels=labels,
        authority=authority,
        values=(0, 2, 7),
    )
    return case, labels, authority


def test_a_crop_shows_image_classes_and_what_is_known() -> None:
    case, labels, authority = known_case((20, 30, 25))
    crop = cut_crop(case, ((-3, 9), (10, 34), (2, 20)))
    inside = (slice(3, 12), slice(0, 20), slice(0, 18))
    part = (slice(0, 9), slice(10, 30), slice(2, 20))
    np.testing.assert_array_equal(
        np.array([0, 2, 7])[crop.classes[inside]], labels[part]
    )
    np.testing.assert_array_equal(crop.valid[inside], authority[part] > 0)
    assert crop.valid.sum() == (authority[part] > 0).sum()  # nothing outside
    np.testing.assert_array_equal(
        crop.image[0][inside], np.arange(20 * 30 * 25).reshape(20, 30, 25)[part]
    )


def test_a_crop_within_a_box_and_without_hidden_ones() -> None:
    case, _, authority = known_case((20, 30, 25))
    box: Box = ((4, 13), (5, 14), (6, 15))
    hidden: Box = ((8, 11), (0, 30), (10, 30))
    whole = make_box((0, 0, 0), (20, 30, 25))
    within = cut_crop(case, whole, within=box).valid
    without = cut_crop(case, whole, hidden=[hidden]).valid
    expected = authority > 0
    assert within is not None
    assert without is not None
    np.testing.assert_array_equal(within[4:13, 5:14, 6:15], expected[4:13, 5:14, 6:15])
    assert within.sum() == expected[4:13, 5:14, 6:15].sum()
    expected[8:11, :, 10:] = False
    np.testing.assert_array_equal(without, expected)


@pytest.mark.parametrize("spacing", [(2.0, 0.5, 1.0), (0.7, 1.3, 3.0)])
def test_on_another_grid_a_voxel_is_known_where_its_nearest_is(
    spacing: tuple[float, float, float],
) -> None:
    case, _, authority = known_case((12, 30, 9), spacing)
    place = make_box((0, 0, 0), case.view.shape)
    box: Box = ((3, 8), (6, 20), (2, 7))
    valid = cut_crop(case, place, hidden=[box]).valid
    assert valid is not None
    for index in np.ndindex(*case.view.shape):
        source = tuple(
            min(int((i + 0.5) * n / m), n - 1)
            for i, n, m in zip(index, case.shape, case.view.shape, strict=True)
        )
        out = not all(lo <= s < hi for s, (lo, hi) in zip(source, box, strict=True))
        assert valid[index] == (authority[source] > 0 and out)


def test_labels_are_resampled_as_for_training() -> None:
    case, labels, _ = known_case((12, 30, 9), (2.0, 0.5, 1.0))
    whole = class_box(
        lambda box: labels[box_slices(box)],
        (0, 2, 7),
        labels.shape,
        case.view.shape,
        make_box((0, 0, 0), case.view.shape),
    )
    place: Box = ((4, 16), (3, 11), (1, 9))
    crop = cut_crop(case, place)
    np.testing.assert_array_equal(crop.classes, whole[4:16, 3:11, 1:9])


def test_boxes_go_to_the_models_grid_and_stay_centred() -> None:
    case, _, _ = known_case((12, 30, 9), (2.0, 0.5, 1.0))
    assert case.view.shape == (24, 15, 9)
    assert case.to_model(((3, 5), (10, 20), (0, 9))) == ((6, 10), (5, 10), (0, 9))
    assert centred_box(((6, 10), (5, 10), (0, 9)), (8, 9, 3)) == (
        (4, 12),
        (3, 12),
        (3, 6),
    )


def test_crops_come_back_from_disk(tmp_path: Path) -> None:
    case, _, _ = known_case((20, 30, 25))
    crop = cut_crop(case, make_box((0, 0, 0), crop_size(PATCH)))
    save_crop(tmp_path / "crops" / "a.npz", crop)
    again = load_crop(tmp_path / "crops" / "a.npz")
    for name in ("image", "classes", "valid"):
        np.testing.assert_array_equal(getattr(again, name), getattr(crop, name))
    assert [p.name for p in (tmp_path / "crops").iterdir()] == ["a.npz"]
    whole = (tmp_path / "crops" / "a.npz").read_bytes()
    for length in (0, 10, len(whole) // 2):
        (tmp_path / "crops" / "a.npz").write_bytes(whole[:length])
        with pytest.raises(ReadError, match="no usable crop"):
            load_crop(tmp_path / "crops" / "a.npz")


def test_a_full_disk_leaves_no_crop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(file: Any, **_: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fill)
    case, _, _ = known_case((20, 30, 25))
    with pytest.raises(WriteError, match="No space left"):
        save_crop(tmp_path / "a.npz", cut_crop(case, ((0, 9), (0, 9), (0, 9))))
    assert not list(tmp_path.iterdir())


@given(patch=st.tuples(*[st.integers(1, 70)] * 3))
def test_the_middle_of_a_crop_lies_well_inside_every_patch(
    patch: tuple[int, int, int],
) -> None:
    for crop, edge in zip(crop_size(patch), patch, strict=True):
        assert (crop - edge) % 2 == 0
        room = crop - edge  # a patch begins at 0 to `room`
        assert room if edge > 2 else not room
        middle = crop / 2
        assert middle - room >= (0.375 * edge if edge > 7 else 0.5)
        assert middle <= (0.625 * edge if edge > 7 else edge - 0.5)


@pytest.mark.parametrize("patch", [PATCH, (1, 16, 12), (2, 5, 16)])
def test_patches_are_cut_from_anywhere_in_the_crop_and_not_changed(
    tmp_path: Path, patch: tuple[int, int, int]
) -> None:
    case, _, _ = known_case((20, 30, 25))
    crop = cut_crop(case, make_box((4, 3, 5), crop_size(patch)))
    save_crop(tmp_path / "a.npz", crop)
    sampler = CropSampler([tmp_path / "a.npz"], patch)
    starts = set()
    for step in range(200):
        sample = sampler.sample(sample_generator(1, step, 0))
        assert sample.image.shape == (1, *patch)
        (start,) = np.argwhere(crop.image[0] == sample.image[0, 0, 0, 0])
        starts.add(tuple(start.tolist()))
        part = box_slices(make_box(start, patch))
        for name in ("classes", "valid"):
            whole, cut = getattr(crop, name), getattr(sample, name)
            np.testing.assert_array_equal(cut, whole[part])
        np.testing.assert_array_equal(sample.image[0], crop.image[0][part])
    rooms = [n - p for n, p in zip(crop_size(patch), patch, strict=True)]
    for axis, room in enumerate(rooms):
        assert {start[axis] for start in starts} == set(range(room + 1))


def test_memory_is_that_of_the_crop_whatever_the_volume() -> None:
    """A crop of a volume of 128 GB, which is never made."""
    shape = (4000, 4000, 4000)
    lazy = da.zeros((1, *shape), chunks=(1, 64, 64, 64), dtype=np.float32)
    volume = Volume(
        levels=(lazy,),
        geometry=Geometry.from_spacing(shape, (1.0, 1.0, 1.0)),
        channels=("MR",),
    )

    class Endless:
        def __init__(self) -> None:
            self.shape = shape
            self.read = 0

        def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
            size = [s.stop - s.start for s in key]
            self.read += int(np.prod(size))
            return np.ones(size, np.uint8)

    labels, authority = Endless(), Endless()
    case = KnownCase(
        name="big",
        view=ModelView(volume, (1.0, 1.0, 1.0), (PLAIN,)),
        labels=labels,
        authority=authority,
        values=(0, 1),
    )
    tracemalloc.start()
    crop = cut_crop(case, make_box((2000, 2000, 2000), (48, 72, 48)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert crop.valid.all()
    assert labels.read == authority.read == crop.classes.size
    assert peak < 64 << 20
