"""Raw voxels are the same whatever mechanism reads them; damage is told."""

import bz2
import gzip
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import tracemalloc
import zlib

import numpy as np
import pytest

from e2miseg_core.errors import Cancelled, ReadError
from e2miseg_core.io.cache import keeping as cache
from e2miseg_core.io.cache.entry import discard, entries_folder
from e2miseg_core.io.raw import pixels as raw
from e2miseg_core.io.raw import unpack_chunks, unpack_memory
from e2miseg_core.io.raw.pixels import RawLayout, RawPixels, reading_once
from e2miseg_core.io.raw.unpack import most_bytes

PACK = {
    "": bytes,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bz2": bz2.compress,
}
WAYS = ["held", "indexed", "copied"]
SHAPE = (2, 9, 7, 5)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("E2MISEG_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def take(monkeypatch):
    """Choose a way of reading compressed files, which their size chooses else."""

    def take(way):
        monkeypatch.setattr(raw, "_HELD_BYTES", 1 << 30 if way == "held" else 0)
        monkeypatch.setattr(raw, "_INDEXED_BYTES", 1 << 30 if way == "indexed" else 0)
        # Slabs of a few planes, chunks of a few rows.
        monkeypatch.setattr(unpack_chunks, "_SLAB_BYTES", 300)
        monkeypatch.setattr(unpack_chunks, "_SIDE", 3)

    return take


def voxels(shape=SHAPE, dtype="<i2"):
    return np.random.default_rng(0).integers(0, 99, shape).astype(dtype)


def save(path, stored, compression, *, before=b"", skipped=b"", after=b""):
    packed = PACK[compression](skipped + stored.tobytes() + after)
    path.write_bytes(before + packed)
    return path


def layout(path, array, compression, **options):
    return RawLayout(
        path=path,
        shape=array.shape,
        dtype=array.dtype,
        compression=compression,
        **{"offset": 0, **options},
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("compression", list(PACK))
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", ["<i2", ">f4"])
def test_every_way_reads_the_same(
    tmp_path, take, way, compression, channels_last, dtype
):
    take(way)
    array = voxels(dtype=dtype)
    stored = np.moveaxis(array, 0, -1) if channels_last else array
    path = save(
        tmp_path / "a.raw",
        np.ascontiguousarray(stored),
        compression,
        before=b"header",
        skipped=b"skip" if compression else b"",
    )
    pixels = RawPixels(
        layout(
            path,
            array,
            compression,
            offset=6,
            skip=4 if compression else 0,
            channels_last=channels_last,
        )
    )
    assert pixels.dtype == array.dtype.newbyteorder("=")
    for box in (
        (slice(0, 2), slice(0, 9), slice(0, 7), slice(0, 5)),
        (slice(1, 2), slice(4, 5), slice(2, 6), slice(1, 2)),
        (slice(0, 1), slice(3, 3), slice(0, 7), slice(0, 5)),
        (slice(0, 2), slice(7, 9), slice(6, 7), slice(4, 5)),
    ):
        block = pixels.read(box)
        assert block.dtype == pixels.dtype
        np.testing.assert_array_equal(block, array[box])
    again = pickle.loads(pickle.dumps(pixels))
    np.testing.assert_array_equal(again.read((slice(0, 2),) * 4), array[:2, :2, :2, :2])
    np.testing.assert_array_equal(everything(again), array)
    is_copied = compression in ("zlib", "bz2") and way != "held"
    is_copied |= compression == "gzip" and way == "copied"
    assert (pixels.preparation is not None) == is_copied
    assert len(cache.list_entries()) == is_copied
    assert tuple(map(sum, pixels.chunks)) == array.shape


def test_scaling_is_applied_to_any_way(tmp_path, take):
    take("copied")
    array = voxels()
    path = save(tmp_path / "a.gz", array, "gzip")
    pixels = RawPixels(layout(path, array, "gzip", slope=0.5, intercept=-3))
    read = pixels.read(tuple(slice(0, size) for size in SHAPE))
    np.testing.assert_array_equal(read, (array * 0.5 - 3).astype(np.float32))


def test_what_scaling_makes_too_large_is_infinite(tmp_path):
    array = np.full((1, 1, 1, 2), [-7, 1e300])
    path = save(tmp_path / "a", array, "")
    pixels = RawPixels(layout(path, array, "", slope=1e200))
    assert everything(pixels).ravel().tolist() == [-np.inf, np.inf]


def everything(pixels):
    block = pixels.read(tuple(slice(0, size) for size in pixels.shape))
    if pixels.preparation is not None:
        pixels.preparation.wait()  # until the copy has its name
    return block


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("compression", ["gzip", "zlib", "bz2"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_cut_off_streams_are_found(tmp_path, take, way, compression, kept):
    take(way)
    array = voxels((1, 40, 9, 8))
    path = save(tmp_path / "a", array, compression)
    content = path.read_bytes()
    path.write_bytes(content[: max(30, int(len(content) * kept))])
    with pytest.raises(ReadError, match="cut off") as caught:
        everything(RawPixels(layout(path, array, compression)))
    assert "\n" not in str(caught.value)
    assert cache.list_entries() == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("compression", ["gzip", "zlib", "bz2"])
def test_streams_with_too_few_voxels_are_found(tmp_path, take, way, compression):
    take(way)
    array = voxels()
    path = save(tmp_path / "a", array[:, :-1], compression)
    with pytest.raises(ReadError, match="damaged or cut off"):
        everything(RawPixels(layout(path, array, compression)))


@pytest.mark.parametrize("way", ["held", "copied"])
@pytest.mark.parametrize("compression", ["gzip", "zlib"])
def test_a_wrong_checksum_is_found_and_nothing_is_kept(
    tmp_path, take, way, compression
):
    take(way)
    array = voxels()
    path = save(tmp_path / "a", array, compression)
    content = bytearray(path.read_bytes())
    content[-6 if compression == "gzip" else -2] ^= 1
    path.write_bytes(content)
    pixels = RawPixels(layout(path, array, compression))
    for _ in range(2):
        with pytest.raises(ReadError, match="damaged"):
            everything(pixels)
    assert cache.list_entries() == []


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_changes_after_opening_is_not_read(tmp_path, take, way):
    take(way)
    array = voxels()
    path = save(tmp_path / "a", array, "gzip")
    pixels = RawPixels(layout(path, array, "gzip"))
    save(path, array + 1, "gzip", after=b"longer")
    with pytest.raises(ReadError, match="has changed"):
        everything(pixels)
    fresh = RawPixels(layout(path, array, "gzip"))
    np.testing.assert_array_equal(everything(fresh), array + 1)
    assert fresh.name("x") != pixels.name("x")


@pytest.mark.parametrize("compression", list(PACK))
def test_lying_headers_are_refused_or_cost_what_is_there(tmp_path, compression):
    path = save(tmp_path / "a", np.zeros(1 << 16, np.uint8), compression)
    huge = (1, 1 << 20, 1 << 14, 1 << 14)
    with pytest.raises(ReadError, match="is cut off: it has"):
        RawPixels(
            RawLayout(
                path=path,
                offset=0,
                shape=huge,
                dtype=np.dtype("f8"),
                compression=compression,
            )
        )
    # As much as so few bytes can hold, but do not.
    room = min(most_bytes(compression, path.stat().st_size), 60 << 20)
    shape = (1, room, 1, 1)
    tracemalloc.start()
    pixels = RawPixels(
        RawLayout(
            path=path,
            offset=0,
            shape=shape,
            dtype=np.dtype("u1"),
            compression=compression,
        )
    )
    if compression:
        with pytest.raises(ReadError, match="cut off"):
            pixels.read((slice(0, 1), slice(0, 1), slice(0, 1), slice(0, 1)))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_what_is_held_stays_below_its_limit(tmp_path, take, monkeypatch):
    take("held")
    monkeypatch.setattr(unpack_memory, "_HELD", unpack_memory._Held())
    array = voxels()
    monkeypatch.setattr(unpack_memory, "_HELD_TOTAL", 2 * array.nbytes)
    pixels = []
    for number in range(4):
        path = save(tmp_path / f"{number}", array + number, "bz2")
        pixels.append(RawPixels(layout(path, array, "bz2")))
    for _ in range(2):
        for number, one in enumerate(pixels):
            np.testing.assert_array_equal(everything(one), array + number)
    held = unpack_memory._HELD._held
    assert sum(map(len, held.values())) == 2 * array.nbytes


def test_no_copy_is_made_to_compare_what_was_written(tmp_path, take):
    take("copied")
    array = voxels()
    path = save(tmp_path / "a.gz", array, "gzip")
    with reading_once():
        pixels = RawPixels(layout(path, array, "gzip"))
    assert pixels.preparation is None
    np.testing.assert_array_equal(everything(pixels), array)
    assert cache.list_entries() == []


class Gate:
    """Holds unpacking up after some slabs."""

    def __init__(self, monkeypatch, after):
        self.opened, self.reached = threading.Event(), threading.Event()
        self.passed = 0
        real = raw.unpacking_of.__globals__["fill"]

        def fill(file, target):
            if self.passed >= after:
                self.reached.set()
                assert self.opened.wait(30)
            self.passed += 1
            real(file, target)

        monkeypatch.setitem(raw.unpacking_of.__globals__, "fill", fill)


def test_planes_are_read_while_the_rest_is_unpacked(tmp_path, take, monkeypatch):
    take("copied")
    array = voxels((1, 9, 7, 5))
    path = save(tmp_path / "a.gz", array, "gzip")
    gate = Gate(monkeypatch, after=2)  # slabs of three planes
    pixels = RawPixels(layout(path, array, "gzip"))
    work = pixels.preparation
    assert (work.done, work.total) == (0, array.nbytes)
    work.start()
    assert gate.reached.wait(30)
    first = (slice(0, 1), slice(2, 6), slice(0, 7), slice(0, 5))
    np.testing.assert_array_equal(pixels.read(first), array[first])
    assert work.done == array[:, :6].nbytes
    assert cache.list_entries() == []
    steps = []
    timer = threading.Timer(0.3, gate.opened.set)
    timer.start()
    work.wait(steps.append)
    timer.join()
    assert (steps[0].done, steps[-1].done) == (array[:, :6].nbytes, array.nbytes)
    np.testing.assert_array_equal(everything(pixels), array)
    assert len(cache.list_entries()) == 1


def test_cancelling_ends_the_waiting_and_the_next_read_begins_again(
    tmp_path, take, monkeypatch
):
    take("copied")
    array = voxels((1, 9, 7, 5))
    path = save(tmp_path / "a.gz", array, "gzip")
    gate = Gate(monkeypatch, after=1)
    pixels = RawPixels(layout(path, array, "gzip"))
    caught = []

    def read():
        try:
            everything(pixels)
        except Cancelled as error:
            caught.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    assert gate.reached.wait(30)
    timer = threading.Timer(0.2, gate.opened.set)
    timer.start()
    pixels.preparation.cancel()
    reader.join(10)
    timer.join()
    assert len(caught) == 1
    assert cache.list_entries() == []
    assert cache.find_unfinished("*") is None
    np.testing.assert_array_equal(everything(pixels), array)


def test_who_cancels_stops_nobody_else(tmp_path, take, monkeypatch):
    take("copied")
    array = voxels((1, 9, 7, 5))
    path = save(tmp_path / "a.gz", array, "gzip")
    gate = Gate(monkeypatch, after=1)
    one, other, third = (RawPixels(layout(path, array, "gzip")) for _ in range(3))
    got, caught = [], []

    def wait():
        with pytest.raises(Cancelled):
            one.preparation.wait()
        caught.append(True)

    threads = [
        threading.Thread(target=lambda: got.append(everything(other))),
        threading.Thread(target=wait),
    ]
    for thread in threads:
        thread.start()
    third.preparation.start()
    assert gate.reached.wait(30)
    one.preparation.cancel()
    third.preparation.cancel()
    threads[1].join(10)
    assert caught == [True]
    gate.opened.set()
    threads[0].join(10)
    np.testing.assert_array_equal(got[0], array)
    np.testing.assert_array_equal(everything(one), array)


def test_a_copy_counts_only_while_it_is_there(tmp_path, take, monkeypatch):
    """Missing chunks read as 0."""
    array = voxels((1, 9, 7, 5)) + 1
    box = tuple(slice(0, size) for size in array.shape)
    unpack_chunks.create_copy(tmp_path, array.shape, array.dtype)[:] = array
    np.testing.assert_array_equal(unpack_chunks.read_copy(tmp_path, box), array)
    real = unpack_chunks.zarr.open_array

    class Vanishing:
        def __init__(self, again):
            self.again = again

        def __getitem__(self, box):
            (tmp_path / "voxels").rename(tmp_path / "gone")
            shutil.rmtree(tmp_path / "gone")
            if self.again:  # made anew meanwhile, and read before it was whole
                unpack_chunks.create_copy(tmp_path, array.shape, array.dtype)
            return np.zeros(array.shape, array.dtype)

    for again in (True, False):
        opening = lambda *_args, again=again, **_options: Vanishing(again)  # noqa: E731
        monkeypatch.setattr(unpack_chunks.zarr, "open_array", opening)
        assert unpack_chunks.read_copy(tmp_path, box) is None
    monkeypatch.setattr(unpack_chunks.zarr, "open_array", real)
    assert unpack_chunks.read_copy(tmp_path, box) is None


EXIT = """
import sys, threading, time
import numpy as np
from pathlib import Path
from e2miseg_core.io.raw import pixels as raw
from e2miseg_core.io.raw import unpack_chunks, unpack_copy
from e2miseg_core.io.raw.pixels import RawLayout, RawPixels
raw._HELD_BYTES = raw._INDEXED_BYTES = 0
unpack_chunks._SLAB_BYTES, unpack_chunks._SIDE = 300, 3
real = unpack_copy.fill
def fill(file, target):
    time.sleep(0.01)
    real(file, target)
unpack_copy.fill = fill
pixels = RawPixels(RawLayout(path=Path(sys.argv[1]), offset=0, shape=(1, 9000, 7, 5),
    dtype=np.dtype("<i2"), compression="gzip"))
def read():
    try:
        pixels.read((slice(0, 1), slice(8999, 9000), slice(0, 7), slice(0, 5)))
    except BaseException as error:
        print(type(error).__name__)
if sys.argv[2] == "reading":
    threading.Thread(target=read).start()
else:
    pixels.preparation.start()
time.sleep(0.4)
if sys.argv[2] == "interrupted":
    raise SystemExit(3)
"""


@pytest.mark.parametrize("how", ["reading", "started", "interrupted"])
def test_a_process_may_end_while_it_unpacks(tmp_path, how):
    path = save(tmp_path / "a.gz", voxels((1, 9000, 7, 5)), "gzip")
    ended = subprocess.run(
        [sys.executable, "-c", EXIT, str(path), how],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stderr == ""
    assert ended.stdout == ("Cancelled\n" if how == "reading" else "")
    assert ended.returncode == (3 if how == "interrupted" else 0)
    assert list((tmp_path / "cache" / "making").iterdir()) == []


def test_a_copy_that_vanishes_is_made_again(tmp_path, take):
    take("copied")
    array = voxels()
    path = save(tmp_path / "a.bz2", array, "bz2")
    pixels = RawPixels(layout(path, array, "bz2"))
    everything(pixels)
    (entry,) = cache.list_entries()
    assert discard(entries_folder() / entry.key)
    np.testing.assert_array_equal(everything(pixels), array)
    assert len(cache.list_entries()) == 1


def test_a_second_opening_unpacks_nothing(tmp_path, take, monkeypatch):
    take("copied")
    array = voxels()
    path = save(tmp_path / "a.bz2", array, "bz2")
    everything(RawPixels(layout(path, array, "bz2")))
    Gate(monkeypatch, after=0)
    again = RawPixels(layout(path, array, "bz2"))
    assert again.preparation.done == array.nbytes
    np.testing.assert_array_equal(everything(again), array)


def test_a_cache_that_cannot_be_written_is_told(tmp_path, take, monkeypatch):
    take("copied")
    array = voxels()
    path = save(tmp_path / "a.bz2", array, "bz2")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("E2MISEG_CACHE_DIR", str(tmp_path / "file" / "cache"))
    pixels = RawPixels(layout(path, array, "bz2"))
    with pytest.raises(ReadError, match="the cache folder"):
        everything(pixels)
    monkeypatch.setenv("E2MISEG_CACHE_DIR", str(tmp_path / "cache"))
    np.testing.assert_array_equal(everything(pixels), array)


def test_a_disk_that_fills_up_is_told_and_leaves_nothing(tmp_path, take, monkeypatch):
    take("copied")
    monkeypatch.setattr(unpack_chunks, "_SIDE", 64)
    array = np.random.default_rng(0).normal(size=(1, 1, 1, 4000))
    path = save(tmp_path / "a.bz2", array, "bz2")
    pixels = RawPixels(layout(path, array, "bz2"))
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))  # bytes of any file
    try:
        with pytest.raises(ReadError, match=r"cannot be used .*too large.*free space"):
            everything(pixels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    cache.trim()  # a thread may have finished its chunk after the failure of another
    assert list((tmp_path / "cache" / "making").iterdir()) == []
    assert cache.list_entries() == []
    np.testing.assert_array_equal(everything(pixels), array)


CHILD = """
import sys
import numpy as np
from pathlib import Path
from e2miseg_core.io.raw import pixels as raw
from e2miseg_core.io.raw import unpack_chunks, unpack_copy
from e2miseg_core.io.raw.pixels import RawLayout, RawPixels
raw._HELD_BYTES = raw._INDEXED_BYTES = 0
unpack_chunks._SLAB_BYTES, unpack_chunks._SIDE = 300, 3
unpack_copy._REPORT_SECONDS = 0
real, count = unpack_copy.fill, 0
def fill(file, target):
    global count
    if count == 2:
        print("half", flush=True)
        sys.stdin.readline()
    count += 1
    real(file, target)
unpack_copy.fill = fill
pixels = RawPixels(RawLayout(path=Path(sys.argv[1]), offset=0, shape=(1, 9, 7, 5),
    dtype=np.dtype("<i2"), compression="gzip"))
pixels.preparation.wait()
print("whole", flush=True)
"""


@pytest.mark.parametrize("is_killed", [False, True])
def test_another_process_is_followed_and_outlived(tmp_path, take, is_killed):
    take("copied")
    array = voxels((1, 9, 7, 5))
    path = save(tmp_path / "a.gz", array, "gzip")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "half\n"
        pixels = RawPixels(layout(path, array, "gzip"))
        first = (slice(0, 1), slice(2, 6), slice(0, 7), slice(0, 5))
        np.testing.assert_array_equal(pixels.read(first), array[first])
        assert pixels.preparation.done == array[:, :6].nbytes
        assert cache.list_entries() == []
        if is_killed:
            child.send_signal(signal.SIGKILL)
        else:
            child.stdin.write("\n")
            child.stdin.flush()
        np.testing.assert_array_equal(everything(pixels), array)
        pixels.preparation.wait()
        assert len(cache.list_entries()) == 1
        assert list((tmp_path / "cache" / "making").iterdir()) == []
        assert is_killed or child.stdout.readline() == "whole\n"
    finally:
        child.kill()
        child.communicate()


def test_threads_read_one_index_and_one_copy_at_once(tmp_path, take):
    for way in WAYS:
        take(way)
        array = voxels((1, 40, 9, 8))
        path = save(tmp_path / way, array, "gzip")
        pixels = RawPixels(layout(path, array, "gzip"))
        wrong = []

        def read(number, pixels=pixels, array=array, wrong=wrong):
            for z in range(number, 40, 8):
                box = (slice(0, 1), slice(z, z + 1), slice(0, 9), slice(3, 7))
                if not np.array_equal(pixels.read(box), array[box]):
                    wrong.append(z)

        threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        np.testing.assert_array_equal(everything(pixels), array)
