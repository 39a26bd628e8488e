"""The cache of chunks: numpy's indexing, memory, writing back."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from e2miseg_core.boxes import make_box
from e2miseg_core.errors import ReadError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import create_store
from e2miseg_core.project import CachedVolume
from e2miseg_core.project.levels import condense, count_levels, shrink_edit

SHAPE = (10, 13, 17)


def make_store(path: Path, values: NDArray[Any]) -> "zarr.Array[Any]":
    geometry = Geometry.from_spacing(values.shape, (1.0, 1.0, 1.0))
    store = create_store(path, geometry, values.dtype, chunks=(4, 5, 6))
    store[:] = values
    return store


@pytest.fixture
def values() -> NDArray[np.uint16]:
    found = np.random.default_rng(0).integers(0, 999, SHAPE).astype(np.uint16)
    found[4:8] = 5  # chunks of one value
    return found


@pytest.fixture
def volume(tmp_path: Path, values: NDArray[np.uint16]) -> CachedVolume:
    make_store(tmp_path / "a", values)
    return CachedVolume(
        tmp_path / "a" / "0", lock=threading.RLock(), writable=True, max_chunks=7
    )


KEYS: list[Any] = [
    3,
    -1,
    (2, 3, 4),
    ...,
    (..., 4),
    slice(2, 9),
    (slice(None), 5),
    (slice(3, 3), slice(0, 99), slice(-4, None)),
    (np.int64(2), slice(1, 5), slice(2, 16)),
    (np.array([1, 9]), np.array([0, 12]), np.array([16, 3])),
    ([1, 9], slice(None), 3),
    (np.array([-1]), np.array([0]), np.array([0])),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_keys_mean_what_they_mean_to_numpy(
    volume: CachedVolume, values: NDArray[np.uint16], key: Any
) -> None:
    found = volume[key]
    np.testing.assert_array_equal(np.asarray(found), values[key])
    assert np.shape(found) == values[key].shape
    assert np.asarray(found).dtype == np.uint16


def test_slices_of_slices_are_read_once(
    volume: CachedVolume, values: NDArray[np.uint16]
) -> None:
    tile = volume[:, 2:12, 3:15]
    assert (tile.shape, tile.ndim, tile.size, len(tile)) == ((10, 10, 12), 3, 1200, 10)
    for key in (4, (slice(1, 3), 2), (5, 2, -1), (slice(None), slice(1, 9, 2)), ...):
        np.testing.assert_array_equal(np.asarray(tile[key]), values[:, 2:12, 3:15][key])
    np.testing.assert_array_equal(np.asarray(volume), values)
    assert np.asarray(volume, dtype=np.int64).dtype == np.int64
    assert len(volume) == 10


@pytest.mark.parametrize("key", [10, (0, 0, 0, 0), slice(0, 9, 2), "a", 1.0])
def test_other_keys_are_refused(volume: CachedVolume, key: Any) -> None:
    with pytest.raises(IndexError):
        volume[key]


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_writes_agree_with_numpy(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    model = np.zeros(SHAPE, np.uint8)
    path = tmp_path_factory.mktemp("store") / "a"
    store = make_store(path, model)
    cached = CachedVolume(
        path / "0", lock=threading.RLock(), writable=True, max_chunks=3
    )
    for _ in range(6):
        start = [int(rng.integers(0, n)) for n in SHAPE]
        size = [
            int(rng.integers(0, n - s + 1)) for n, s in zip(SHAPE, start, strict=True)
        ]
        new = rng.integers(0, 3, size).astype(np.uint8)
        mask = rng.random(size) < 0.5 if rng.random() < 0.5 else None
        cached.put(make_box(start, size), new, mask)
        inside = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
        np.copyto(model[inside], new, where=True if mask is None else mask)
        if rng.random() < 0.3:
            for index in cached.dirty:
                cached.write_back(index, before=lambda: None)
            np.testing.assert_array_equal(store[:], model)
        np.testing.assert_array_equal(np.asarray(cached), model)


def test_memory_is_bounded_but_for_what_is_not_written(
    volume: CachedVolume, values: NDArray[np.uint16]
) -> None:
    np.asarray(volume)
    held = [i for i in np.ndindex(3, 3, 3) if volume.holds(i)]
    assert len(held) == 7
    volume.put(make_box((0, 0, 0), SHAPE), values + np.uint16(1))
    assert len(volume.dirty) == 27
    volume.forget((0, 0, 0))
    assert volume.holds((0, 0, 0))
    for index in volume.dirty:
        volume.write_back(index, before=lambda: None)
    assert volume.dirty == []
    np.testing.assert_array_equal(np.asarray(volume), values + 1)


def test_what_changes_while_it_is_written_stays_to_be_written(
    volume: CachedVolume,
) -> None:
    box = make_box((0, 0, 0), (1, 1, 1))
    volume.put(box, np.full((1, 1, 1), 1, np.uint16))
    volume.write_back(
        (0, 0, 0), before=lambda: volume.put(box, np.full((1, 1, 1), 2, np.uint16))
    )
    assert volume.dirty == [(0, 0, 0)]
    stored = zarr.open_array(str(volume.path), mode="r")
    assert stored[0, 0, 0] == 1
    volume.write_back((0, 0, 0), before=lambda: None)
    assert stored[0, 0, 0] == 2


def test_a_read_does_not_bring_back_what_was_replaced_meanwhile(
    volume: CachedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk is read; before it arrives it is changed, written and let go."""
    fetch = volume._files.read
    box = make_box((0, 0, 0), (1, 1, 1))

    def slow(missing: list[Any]) -> Any:
        old = fetch(missing)
        monkeypatch.setattr(volume._files, "read", fetch)
        volume.put(box, np.full((1, 1, 1), 77, np.uint16))
        volume.write_back((0, 0, 0), before=lambda: None)
        volume.forget((0, 0, 0))
        return old

    monkeypatch.setattr(volume._files, "read", slow)
    assert volume.read(box)[0, 0, 0] == 77


def test_damage_is_told(tmp_path: Path, values: NDArray[np.uint16]) -> None:
    make_store(tmp_path / "a", values)
    (tmp_path / "a" / "0" / "c" / "0" / "0" / "0").write_bytes(b"damaged")
    cached = CachedVolume(tmp_path / "a" / "0", lock=threading.RLock())
    assert cached[9, 12, 16] == values[9, 12, 16]
    with pytest.raises(ReadError, match="is damaged"):
        cached[0, 0, 0]
    with pytest.raises(ReadError, match="missing or damaged"):
        CachedVolume(tmp_path / "b" / "0", lock=threading.RLock())


def test_levels_go_down_to_256() -> None:
    assert [count_levels((5, n, 7)) for n in (1, 256, 257, 512, 513, 2048)] == [
        1,
        1,
        2,
        2,
        3,
        4,
    ]


def test_an_edit_at_the_next_level_by_hand() -> None:
    mask = np.zeros((1, 2, 3), bool)
    mask[0, 1] = [False, True, True]
    labels = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    box, edited, chosen = shrink_edit(((3, 4), (6, 8), (1, 4)), mask, labels)
    assert box == ((1, 2), (3, 4), (0, 2))
    assert edited.tolist() == [[[False, True]]]
    assert chosen[0, 0, 1] == 5  # voxels 2 and 3 along X make block 1


def test_condensing_by_hand() -> None:
    labels = np.zeros((2, 2, 5), np.uint8)
    labels[0, :, 0:2] = 3  # four of eight: the larger label
    labels[0, 0, 2:4] = 3  # two of eight
    labels[:, :, 4] = 9  # the last column alone
    human = np.zeros(labels.shape, bool)
    coarse, spoken = condense(labels, human)
    assert coarse.tolist() == [[[3, 0, 9]]]
    assert not spoken.any()
    human[0, 0, 2] = True
    coarse, spoken = condense(labels, human)
    assert coarse.tolist() == [[[3, 3, 9]]]
    assert spoken.tolist() == [[[False, True, False]]]
