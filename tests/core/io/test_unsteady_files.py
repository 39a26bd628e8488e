"""Files that are cut off, swapped or out of reach while a volume is open."""

import errno
import gzip
import os
import subprocess
import sys
from contextlib import suppress
from itertools import product
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import tifffile

from e2miseg_core.errors import ReadError
from e2miseg_core.io import open_files, open_volume, write_image
from e2miseg_core.io.metaimage import image as metaimage
from e2miseg_core.io.raw import pixels as raw
from e2miseg_core.io.raw import plain as plain_module
from e2miseg_core.io.raw import unpack_copy, unpack_memory
from e2miseg_core.io.raw.plain import PlainArray
from e2miseg_core.io.raw.unchanged import stamp_of
from e2miseg_core.volume import Volume

SHAPE = (24, 32, 33)
KINDS = ["nii", "npy", "mha", "tif", "packed.tif", "h5"]


def voxels():
    return np.random.default_rng(0).integers(1, 99, SHAPE).astype(np.float32)


def save(folder, kind, number=0):
    path, array = folder / f"{number}.{kind}", voxels() + number
    if kind == "npy":
        np.save(path, array)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["raw"] = array
    elif kind.endswith("tif"):
        packing = "zlib" if kind.startswith("packed") else None
        tifffile.imwrite(path, array, photometric="minisblack", compression=packing)
    else:
        write_image(array, path, like=Volume.from_array(array, spacing=(1, 1, 1)))
    return path


CHILD = """
import os, sys
from e2miseg_core.errors import ReadError
from e2miseg_core.io import open_volume
for path in sys.argv[1:]:
    volume = open_volume(path)
    volume.data[0, 0, 0, 0].compute()
    os.truncate(path, 4096)
    try:
        volume.data.sum().compute()
    except ReadError as error:
        print(error)
"""


def test_a_file_that_is_cut_off_under_an_open_volume_is_told(tmp_path):
    paths = [str(save(tmp_path, kind)) for kind in KINDS]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *paths],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert len(lines) == len(KINDS)
    assert all("has changed" in line for line in lines)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_swapped_is_told_and_the_new_one_opens(tmp_path, kind):
    path = save(tmp_path, kind)
    volume = open_volume(path)
    first = volume.data[0, 0].compute()
    save(tmp_path, kind, 1).replace(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ReadError, match="has changed since it was opened"):
        volume.data[0, 0].compute()
    np.testing.assert_array_equal(open_volume(path).data[0, 0], first + 1)


def test_a_file_that_gets_shorter_while_it_is_read_is_told(tmp_path, monkeypatch):
    path = save(tmp_path, "npy")
    volume = open_volume(path)
    real = plain_module.fill

    def fill(file, target):
        os.truncate(path, 4096)
        real(file, target)

    monkeypatch.setattr(plain_module, "fill", fill)
    with pytest.raises(ReadError, match=r"cut off \(it ends \d+ bytes too early"):
        volume.data.compute()


@pytest.mark.parametrize("gap", [0, 50, 1 << 20])
@pytest.mark.parametrize("piece", [1, 90, 1000, 1 << 20])
def test_boxes_are_equal_however_they_are_cut(tmp_path, monkeypatch, gap, piece):
    monkeypatch.setattr(plain_module, "_GAP_BYTES", gap)
    monkeypatch.setattr(plain_module, "_PIECE_BYTES", piece)
    array = np.arange(2 * 5 * 6 * 7, dtype=">u2").reshape(2, 5, 6, 7)
    path = tmp_path / "a"
    path.write_bytes(b"head" + array.tobytes())
    plain = PlainArray(
        path=path,
        stamp=stamp_of(path.stat()),
        offset=4,
        shape=array.shape,
        dtype=array.dtype,
    )
    ends = [[slice(0, n), slice(1, 2), slice(n - 3, n - 1)] for n in (5, 6, 7)]
    for box in product([slice(0, 2), slice(1, 2), slice(1, 1)], *ends):
        np.testing.assert_array_equal(plain[box], array[box])


def test_more_volumes_than_files_may_be_open(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(open_files, "_MOST_IDLE", 4)
    paths = [save(tmp_path, kind, n) for kind in KINDS for n in range(20)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    volumes = [open_volume(path) for path in paths]
    for volume in volumes[::20]:
        volume.data[0, 0, 0, 0].compute()  # what loads libraries
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 12, before[1]))
        sums = [float(volume.data[0, 0].sum()) for volume in volumes]
        again = [float(volume.data[0, 0].sum()) for volume in volumes]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert sums == again == [float(v.data[0, 0].sum()) for v in volumes]


@pytest.mark.parametrize("kind", [*KINDS, "nii.gz"])
def test_too_many_open_files_are_no_damage(tmp_path, kind, monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(raw, "_HELD_BYTES", 0)  # an index, for .nii.gz
    path = save(tmp_path, kind)
    volume = open_volume(path)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(ReadError, match="open files") as caught:
            volume.data[0].compute()
        with pytest.raises(ReadError) as at_once:
            open_volume(path)
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for error in (caught.value, at_once.value):
        assert "damaged" not in str(error)
    assert volume.data.compute().sum() == voxels().sum()


@pytest.mark.parametrize("way", ["held", "indexed", "copied"])
def test_a_disk_that_fails_for_a_moment_makes_no_file_damaged(
    tmp_path, monkeypatch, way
):
    monkeypatch.setattr(raw, "_HELD_BYTES", 1 << 30 if way == "held" else 0)
    monkeypatch.setattr(raw, "_INDEXED_BYTES", 1 << 30 if way == "indexed" else 0)
    path = save(tmp_path, "nii.gz")
    volume = open_volume(path)
    module = unpack_copy if way == "copied" else unpack_memory
    name = {"held": "drain", "indexed": "fill", "copied": "fill"}[way]

    def failing(*_args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(module, name, failing)
        with pytest.raises(ReadError, match=r"cannot be read \(Input/output error\)"):
            volume.data.compute()
    assert volume.data.compute().sum() == voxels().sum()


def test_what_the_system_says_reaches_us_through_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "_HELD_BYTES", 0)
    path = save(tmp_path, "nii.gz")
    volume = open_volume(path)
    real = unpack_memory._LaterPart.readinto

    class Broken:
        def seek(self, _at):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        def close(self):
            pass

    def readinto(part, target):
        part._file = Broken()
        return real(part, target)

    with monkeypatch.context() as patch:
        patch.setattr(unpack_memory._LaterPart, "readinto", readinto)
        with pytest.raises(ReadError, match=r"cannot be read \(Input/output error\)"):
            volume.data.compute()
    assert volume.data.compute().sum() == voxels().sum()


@pytest.mark.parametrize("way", ["held", "indexed", "copied"])
@pytest.mark.parametrize("rest", [b"\1\2\3\4garbage", b"\0" * 600, b"\x1f", b"\0\0x"])
def test_bytes_behind_a_gzip_stream_are_passed_over(tmp_path, monkeypatch, way, rest):
    """nibabel reads such files too."""
    monkeypatch.setattr(raw, "_HELD_BYTES", 1 << 30 if way == "held" else 0)
    monkeypatch.setattr(raw, "_INDEXED_BYTES", 1 << 30 if way == "indexed" else 0)
    array = voxels()
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    whole = gzip.decompress(path.read_bytes())
    # In two parts, as programs write that pack in parallel.
    parts = gzip.compress(whole[:5000]) + b"\0\0" + gzip.compress(whole[5000:])
    for content in (path.read_bytes(), parts):
        path.write_bytes(content + rest)
        volume = open_volume(path)
        got = volume.as_source(volume.data)[0].compute()
        np.testing.assert_array_equal(got.T, array)


class Full:
    """A file on a disk that has room for so many bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, content):
        self.file.seek(0, os.SEEK_CUR)
        if self.file.tell() + memoryview(content).nbytes > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(content)


def test_a_full_disk_is_told_while_channels_are_written(tmp_path, monkeypatch):
    """A mapped file ends the process there."""
    array = np.random.default_rng(0).random((3, *SHAPE)).astype(np.float32)
    like = Volume.from_array(array[0], spacing=(1, 1, 1))
    monkeypatch.setattr(metaimage, "_BESIDE_BYTES", 9000)
    write_image(array, tmp_path / "a.mha", like=like)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.mha").data, array)
    real = Path.open

    def opening(path, *args, **options):
        return Full(real(path, *args, **options), array.nbytes // 2)

    monkeypatch.setattr(Path, "open", opening)
    with pytest.raises(OSError, match="No space left"):
        write_image(array, tmp_path / "b.mha", like=like)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mha"]
