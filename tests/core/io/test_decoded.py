"""Slices of chunked images: the same voxels, each chunk decoded once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2miseg_core.geometry import Geometry
from e2miseg_core.io import create_store, decoded, open_volume
from e2miseg_core.io.decoded import DecodedChunks
from e2miseg_core.io.lazy import pixels_behind

SHAPE = (2, 9, 10, 11)


class CountingDisk:
    """Voxels in memory, and what was asked of them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.voxels = rng.integers(0, 99, SHAPE).astype(np.int16)
        self.voxels[:, :4, :4, :4] = 7  # one chunk of one value
        self.shape, self.dtype = SHAPE, self.voxels.dtype
        self.reads = 0

    def read(self, box: Any) -> Any:
        self.reads += 1
        return self.voxels[box]


@given(
    bounds=st.tuples(
        *(st.lists(st.integers(0, n), min_size=2, max_size=2) for n in SHAPE)
    )
)
@settings(max_examples=60, deadline=None)
def test_any_box_is_the_disks(bounds: Any) -> None:
    disk = CountingDisk()
    held = DecodedChunks(disk, (4, 3, 5))
    box = tuple(slice(*sorted(pair)) for pair in bounds)
    np.testing.assert_array_equal(held.read(box), disk.voxels[box])
    np.testing.assert_array_equal(held.read(box), disk.voxels[box])


def test_next_plane_of_the_same_chunks_is_read_from_memory() -> None:
    disk = CountingDisk()
    held = DecodedChunks(disk, (4, 3, 5))
    plane = (slice(0, 1), slice(0, 1), slice(0, 10), slice(0, 11))
    held.read(plane)
    read = disk.reads
    assert read == 4  # rows of chunks along Y
    held.read((slice(0, 1), slice(3, 4), *plane[2:]))
    assert disk.reads == read
    held.read((slice(0, 1), slice(4, 5), *plane[2:]))
    assert disk.reads == 2 * read


def test_memory_is_bounded_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    room = decoded._Held(1000)
    monkeypatch.setattr(decoded, "_HELD", room)
    disk = CountingDisk()
    held = DecodedChunks(disk, (4, 3, 5))
    everything = tuple(slice(0, n) for n in SHAPE)
    np.testing.assert_array_equal(held.read(everything), disk.voxels)
    assert 0 < room.bytes <= 1000
    del held
    assert room.bytes == 0


def test_chunk_of_one_value_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    room = decoded._Held(1 << 20)
    monkeypatch.setattr(decoded, "_HELD", room)
    held = DecodedChunks(CountingDisk(), (4, 4, 4))
    held.read((slice(0, 1), slice(0, 4), slice(0, 4), slice(0, 4)))
    assert room.bytes == np.dtype(np.int16).itemsize


def test_flipped_store_is_decoded_by_its_own_chunks(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]]  # RAS: two axes are flipped
    geometry = Geometry(shape=SHAPE[1:], affine=affine)
    store = create_store(
        tmp_path / "a.ome.zarr", geometry, np.int16, chunks=(4, 3, 5), kind="image"
    )
    store[:] = CountingDisk().voxels[0]
    volume = open_volume(tmp_path / "a.ome.zarr")
    pixels = pixels_behind(volume.data)
    assert pixels is not None
    chunked = pixels.holding_chunks()
    assert chunked is not pixels
    expected = volume.data.compute()
    np.testing.assert_array_equal(chunked[:], expected)
    np.testing.assert_array_equal(chunked[0, 3], expected[0, 3])
    assert pixels_behind(volume.data[0]) is None
