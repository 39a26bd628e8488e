"""A conversion that is stopped, dies or meets damage."""

import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from e2miseg_core.conversion import (
    ConversionOptions,
    conversion_job,
    convert,
    pyramid,
    pyramid_plan,
)
from e2miseg_core.conversion.workplace import workplace_of
from e2miseg_core.errors import Cancelled, ReadError, WriteError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import write_image
from e2miseg_core.progress import run
from e2miseg_core.project.lock import ProjectInUse
from e2miseg_core.volume import Volume

OPTIONS = {"chunk": 16, "n_levels": 3, "workers": 2}

# Dies without a word in the middle of writing its n-th cell.
DYING = """
import os, signal, sys
from e2miseg_core.conversion import ConversionOptions, convert, pyramid, pyramid_plan

pyramid_plan._SHARDED_FROM = 8
source, output, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
write, count = pyramid._write, 0

def dying(place, cell, voxels):
    global count
    count += 1
    if count == at:
        next(place.files(cell)).parent.mkdir(parents=True, exist_ok=True)
        next(place.files(cell)).write_bytes(b"half a file")
        os.kill(os.getpid(), signal.SIGKILL)
    return write(place, cell, voxels)

pyramid._write = dying
convert(source, output, ConversionOptions(chunk=16, n_levels=3, workers=2, resume=True))
"""


@pytest.fixture(scope="module", autouse=True)
def sharded():
    """Make shards of the small volumes of these tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pyramid_plan, "_SHARDED_FROM", 8)
        yield


def make_source(path, seed=0):
    voxels = np.random.default_rng(seed).integers(1, 99, (200, 66, 40))
    geometry = Geometry.from_spacing(voxels.shape, (1, 1, 1))
    volume = Volume.from_array(voxels.astype(np.uint8), geometry)
    return write_image(volume.data[0], path, like=volume, overwrite=True)


@pytest.fixture
def source(tmp_path):
    return make_source(tmp_path / "a.nii")


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory, sharded):
    """What an uninterrupted conversion makes."""
    folder = tmp_path_factory.mktemp("whole")
    source = make_source(folder / "a.nii")
    convert(source, folder / "a.ome.zarr", ConversionOptions(**OPTIONS))
    return files_of(folder / "a.ome.zarr")


def stop_after(source, output, steps, **options):
    """Convert, and stop after so many steps; returns how many there were."""
    taken = []
    job = conversion_job(source, output, ConversionOptions(**OPTIONS, **options))
    with pytest.raises(Cancelled):
        run(job, taken.append, cancelled=lambda: len(taken) == steps)
    return taken


def test_killed_twice_and_resumed_it_is_the_same_byte_for_byte(source, tmp_path, whole):
    output = tmp_path / "a.ome.zarr"
    for at in (2, 6):
        died = subprocess.run(
            [sys.executable, "-c", DYING, source, output, str(at)], check=False
        )
        assert died.returncode == -signal.SIGKILL
        assert not output.exists()
    # What zarr leaves where it dies while it writes a file.
    store = workplace_of(output) / output.name
    (store / "0" / "c" / "0.5f.partial").write_bytes(b"half")
    result = convert(source, output, ConversionOptions(**OPTIONS, resume=True))
    assert files_of(output) == whole
    assert not workplace_of(output).exists()
    [note] = [note for note in result.notes if note.startswith("continued")]
    assert int(note.split()[1]) >= 2


def test_cancelled_at_every_step_and_resumed_it_is_the_same(source, tmp_path, whole):
    output = tmp_path / "a.ome.zarr"
    options = ConversionOptions(**OPTIONS, resume=True)
    for limit in range(2, 99):
        steps = []
        job = conversion_job(source, output, options)
        try:
            run(job, steps.append, cancelled=lambda: len(steps) == limit)  # noqa: B023
        except Cancelled:
            assert not output.exists()
        else:
            break
    assert files_of(output) == whole


def test_what_is_finished_is_not_read_or_made_again(source, tmp_path, monkeypatch):
    output = tmp_path / "a.ome.zarr"
    made = []
    write = pyramid._write

    def noting(place, cell, voxels):
        made.append(cell)
        return write(place, cell, voxels)

    monkeypatch.setattr(pyramid, "_write", noting)
    stop_after(source, output, 5)
    before = list(made)
    assert before
    convert(source, output, ConversionOptions(**OPTIONS, resume=True))
    assert len(made) == len(set(made))


def test_without_resuming_it_begins_anew(source, tmp_path, whole):
    output = tmp_path / "a.ome.zarr"
    stop_after(source, output, 4)
    result = convert(source, output, ConversionOptions(**OPTIONS))
    assert any("could have been continued" in note for note in result.notes)
    assert files_of(output) == whole


@pytest.mark.parametrize("what", ["source", "options"])
def test_of_another_source_or_with_other_options_nothing_is_continued(
    source, tmp_path, what
):
    output = tmp_path / "a.ome.zarr"
    stop_after(source, output, 4)
    options = {**OPTIONS, "resume": True}
    if what == "source":
        make_source(source, seed=1)
    else:
        options["n_levels"] = 2
    result = convert(source, output, ConversionOptions(**options))
    assert any(note.startswith("begun anew") for note in result.notes)
    (tmp_path / "b").mkdir()
    del options["resume"]
    anew = convert(source, tmp_path / "b" / "a.ome.zarr", ConversionOptions(**options))
    assert files_of(output) == files_of(anew.output)


def test_a_file_that_was_cut_short_meanwhile_is_made_anew(source, tmp_path, whole):
    output = tmp_path / "a.ome.zarr"
    stop_after(source, output, 6)
    chunks = workplace_of(output) / output.name / "0" / "c"
    cut = next(path for path in sorted(chunks.rglob("*")) if path.is_file())
    cut.write_bytes(cut.read_bytes()[:-5])
    convert(source, output, ConversionOptions(**OPTIONS, resume=True))
    assert files_of(output) == whole


@pytest.mark.parametrize("resumed", [False, True])
def test_voxels_that_read_back_differently_are_an_error_and_nothing_is_left(
    source, tmp_path, monkeypatch, resumed
):
    output = tmp_path / "a.ome.zarr"
    if resumed:  # of the same length, so that only the voxels tell
        stop_after(source, output, 6)
        chunks = workplace_of(output) / output.name / "0" / "c"
        path = next(path for path in sorted(chunks.rglob("*")) if path.is_file())
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        write = pyramid._write

        def writing_another(place, cell, voxels):
            finished = write(place, cell, voxels)
            if cell == (2, 0, 0, 0, 0):
                place.arrays[2][place.index(cell)] = voxels + 1
            return finished

        monkeypatch.setattr(pyramid, "_write", writing_another)
    with pytest.raises(WriteError, match=r"reading .* back"):
        convert(source, output, ConversionOptions(**OPTIONS, resume=True))
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


def test_a_source_that_breaks_off_leaves_nothing(source, tmp_path):
    source.write_bytes(source.read_bytes()[:-1000])
    with pytest.raises(ReadError):
        convert(source, tmp_path / "a.ome.zarr", ConversionOptions(**OPTIONS))
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


def test_a_full_disk_is_told_and_what_is_finished_waits(
    source, tmp_path, whole, monkeypatch
):
    output = tmp_path / "a.ome.zarr"
    write, lock, count = pyramid._write, threading.Lock(), [0]

    def full(place, cell, voxels):
        with lock:
            count[0] += 1
        if count[0] > 3:
            with pyramid.writing_to(place.store):
                raise OSError(28, "No space left on device")
        return write(place, cell, voxels)

    with monkeypatch.context() as patched:
        patched.setattr(pyramid, "_write", full)
        with pytest.raises(WriteError, match=r"No space left.*--resume.*converting"):
            convert(source, output, ConversionOptions(**OPTIONS))
    assert not output.exists()
    result = convert(source, output, ConversionOptions(**OPTIONS, resume=True))
    assert any(note.startswith("continued") for note in result.notes)
    assert files_of(output) == whole


def test_two_at_once_do_not_disturb_each_other(source, tmp_path):
    output = tmp_path / "a.ome.zarr"
    job = conversion_job(source, output, ConversionOptions(**OPTIONS))
    next(job), next(job)
    with pytest.raises(ProjectInUse):
        convert(source, output, ConversionOptions(**OPTIONS, resume=True))
    run(job)
    assert output.is_dir()
