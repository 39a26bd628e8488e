"""Cases on the model's grid: what they hold, what they cost, and kills."""

import itertools
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from numpy.typing import NDArray

from e2miseg_core.boxes import whole_box
from e2miseg_core.errors import DatasetError, GeometryError, WriteError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import write_image, write_labels
from e2miseg_core.io.atomic import writing_to
from e2miseg_core.preprocess import (
    ModelView,
    Normalization,
    measure_normalization,
    resample_box,
)
from e2miseg_core.progress import Progress, run
from e2miseg_core.training import array_file, prepare
from e2miseg_core.training.case_files import open_case
from e2miseg_core.training.dataset import Case, find_dataset
from e2miseg_core.training.foreground import MAX_COORDINATES, sample_foreground
from e2miseg_core.training.prepare import (
    ModelGrid,
    prepare_case,
    prepare_volume,
)
from e2miseg_core.volume import Volume

VALUES = (2, 7, 4)
SHAPE = (23, 31, 18)


def case_of(
    shape: tuple[int, int, int] = SHAPE, n_channels: int = 2
) -> tuple[Volume, Volume]:
    """Noise, and labels in blocks of a few voxels."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(n_channels, *shape)).astype(np.float32)
    coarse = rng.choice([0, 0, 0, *VALUES], size=[-(-n // 5) for n in shape])
    labels = coarse.repeat(5, 0).repeat(5, 1).repeat(5, 2)
    z, y, x = shape
    spacing = (2.0, 0.7, 1.1)
    return (
        Volume.from_array(image, spacing=spacing),
        Volume.from_array(labels[:z, :y, :x].astype(np.uint16), spacing=spacing),
    )


def grid_of(spacing: tuple[float, float, float], n_channels: int = 2) -> ModelGrid:
    rules = (Normalization(), Normalization(nonzero=True))[:n_channels]
    return ModelGrid(values=VALUES, spacing=spacing, normalizations=rules)


def prepared_at_once(
    image: Volume, labels: Volume, grid: ModelGrid
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """What a case is by definition: everything in memory, every class a channel."""
    rules = run(measure_normalization(image.data, grid.normalizations))
    view = ModelView(image, grid.spacing, rules)
    stored = np.asarray(labels.data[0])
    masks = np.stack([stored == value for value in (0, *grid.values)])
    shares = resample_box(
        lambda box: masks[:, slice(*box[0]), slice(*box[1]), slice(*box[2])],
        stored.shape,
        view.shape,
        whole_box(view.shape),
    )
    return view.read(whole_box(view.shape)), shares.argmax(axis=0).astype(np.uint8)


@pytest.mark.parametrize(
    "spacing", [(2.0, 0.7, 1.1), (0.9, 1.3, 1.1), (4.6, 0.7, 3.0), (1.0, 0.4, 2.2)]
)
@pytest.mark.parametrize("block", [900, 7000, 1 << 22])
def test_block_by_block_a_case_is_what_it_is_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spacing: tuple[float, float, float],
    block: int,
) -> None:
    monkeypatch.setattr(prepare, "BLOCK_VOXELS", block)
    image, labels = case_of()
    grid = grid_of(spacing)
    steps: list[Progress] = []
    made = run(
        prepare_volume(
            "a", lambda: (image, labels), grid=grid, origin=[1], folder=tmp_path
        ),
        steps.append,
    )
    expected, classes = prepared_at_once(image, labels, grid)
    np.testing.assert_allclose(made.image, expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(made.classes, classes)
    assert made.image.dtype == np.float32
    blocks = [step for step in steps if step.stage == "preparing a"]
    assert (len(blocks) > 1) == (block < 1 << 22)
    assert [s.done for s in blocks] == list(range(len(blocks)))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.classes.npy",
        "a.foreground.npz",
        "a.image.npy",
        "a.json",
    ]
    for voxels, index in zip(made.foreground, (1, 2, 3), strict=True):
        np.testing.assert_array_equal(voxels, np.argwhere(classes == index))


def test_memory_does_not_grow_with_the_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 MiB of image that exist nowhere are prepared in blocks of 128 KiB."""
    monkeypatch.setattr(prepare, "BLOCK_VOXELS", 1 << 15)
    monkeypatch.setattr("e2miseg_core.preprocess.SLAB_BYTES", 1 << 17)
    monkeypatch.setattr("e2miseg_core.training.foreground.PIECE", 1 << 15)
    shape = (40, 128, 256)
    geometry = Geometry.from_spacing(shape, (1.0, 1.0, 1.0))
    rows = da.arange(shape[0], chunks=1, dtype=np.float32)[:, None, None]
    image = da.broadcast_to(rows, (1, *shape), chunks=(1, 1, *shape[1:]))  # type: ignore[no-untyped-call]
    labels = (image % 3).astype(np.uint8)
    volumes = (
        Volume.from_array(image, geometry),
        Volume.from_array(labels, geometry),
    )
    grid = ModelGrid(
        values=(1, 2), spacing=(1.0, 1.0, 2.0), normalizations=(Normalization(),)
    )
    job = prepare_volume("v", lambda: volumes, grid=grid, origin=[], folder=tmp_path)
    tracemalloc.start()
    made = run(job)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.shape == (40, 128, 128)
    assert peak < 3 << 20
    np.testing.assert_array_equal(made.classes[:, 3, 5], np.arange(40) % 3)
    assert all(len(found) <= MAX_COORDINATES for found in made.foreground)
    assert all(len(found) > 0.8 * MAX_COORDINATES for found in made.foreground)


def test_foreground_voxels_are_even_over_a_structure() -> None:
    """Also where its width divides the distance between chosen ones."""
    classes = np.zeros((3, 1000, 50), np.uint8)
    classes[1, :, 10:35] = 2  # 25000 voxels, one of every 6
    classes[2, 5, 6] = 3
    found = sample_foreground(classes, 3)
    assert len(found) == 2
    assert classes[tuple(found[0].T)].min() == 2
    assert len(np.unique(found[0], axis=0)) == len(found[0])
    assert len(found[0]) == pytest.approx(25000 / 6, abs=1)
    columns = np.bincount(found[0][:, 2], minlength=50)[10:35]
    assert columns.min() > 0.7 * columns.mean()
    np.testing.assert_array_equal(found[1], [[2, 5, 6]])


def test_preparing_is_not_repeated_and_notices_changes(
    dataset_folder: Path, tmp_path: Path
) -> None:
    dataset = find_dataset(dataset_folder)
    case = dataset.cases[0]

    def make(spacing: float) -> prepare.PreparedCase:
        grid = (spacing, spacing, spacing)
        return run(prepare_case(case, dataset, grid, [Normalization()], tmp_path))

    first = make(1.0)
    written = (tmp_path / f"{case.name}.image.npy").stat().st_mtime_ns
    again = make(1.0)
    assert (tmp_path / f"{case.name}.image.npy").stat().st_mtime_ns == written
    for one, other in zip(first.foreground, again.foreground, strict=True):
        np.testing.assert_array_equal(one, other)
    coarser = make(2.0)
    assert coarser.classes.size < first.classes.size / 4
    assert coarser.classes.any()


def test_labels_without_a_name_are_refused(
    dataset_folder: Path, tmp_path: Path
) -> None:
    dataset = find_dataset(dataset_folder, label_names={3: "other"})
    for spacing in ((1, 1, 1), (3, 2, 2)):
        with pytest.raises(DatasetError, match=r"label values \[1\] in .*case_0"):
            run(
                prepare_case(
                    dataset.cases[0], dataset, spacing, [Normalization()], tmp_path
                )
            )
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, labels = case_of()
    grid = grid_of((2.0, 0.7, 1.1))
    writes = itertools.count()
    write = array_file.ArrayFile.write

    def fill(self: array_file.ArrayFile, *args: object) -> None:
        if next(writes) > 4:
            with writing_to(tmp_path / "a.image.npy"):
                raise OSError(28, "No space left on device")
        write(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(prepare, "BLOCK_VOXELS", 3000)
    monkeypatch.setattr(array_file.ArrayFile, "write", fill)

    def make() -> prepare.PreparedCase:
        return run(
            prepare_volume(
                "a", lambda: (image, labels), grid=grid, origin=[], folder=tmp_path
            )
        )

    with pytest.raises(WriteError, match="No space left"):
        make()
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert make().classes.any()


def test_a_stopped_job_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "BLOCK_VOXELS", 3000)
    job = prepare_volume(
        "a", case_of, grid=grid_of((2.0, 0.7, 1.1)), origin=[], folder=tmp_path
    )
    assert any(step.stage == "preparing a" and step.done == 3 for step in job)
    assert list(tmp_path.iterdir())
    job.close()
    assert not list(tmp_path.iterdir())


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import test_prepare as t
t.prepare.BLOCK_VOXELS = 3000
job = t.prepare_volume(
    "a", t.case_of, grid=t.grid_of((0.5, 0.5, 0.5)), origin=[], folder=Path(sys.argv[2])
)
print("ready", flush=True)
if sys.argv[3:]:
    sys.stdin.readline()
t.run(job)
"""


def start(folder: Path, *options: str) -> "subprocess.Popen[str]":
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, here, str(folder), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
def test_a_killed_preparation_is_repeated_and_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    left = {path.name for path in tmp_path.iterdir()}
    assert left
    assert all(".partial." in name for name in left)  # nothing bears a final name
    grid = grid_of((0.5, 0.5, 0.5))

    def make() -> prepare.PreparedCase:
        job = prepare_volume("a", case_of, grid=grid, origin=[], folder=tmp_path)
        return run(job)

    made = make()
    np.testing.assert_array_equal(made.classes, prepared_at_once(*case_of(), grid)[1])
    assert left <= {path.name for path in tmp_path.iterdir()}  # maybe another's
    monkeypatch.setattr(array_file, "ABANDONED", -1.0)
    (tmp_path / "a.json").unlink()
    make()
    assert len(list(tmp_path.iterdir())) == 4


def test_two_processes_may_prepare_the_same_case(tmp_path: Path) -> None:
    pair = [start(tmp_path, "wait") for _ in range(2)]
    for process in pair:
        assert process.stdout is not None
        process.stdout.readline()
    for process in pair:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in pair:
        process.communicate(timeout=120)
        assert process.returncode == 0
    grid = grid_of((0.5, 0.5, 0.5))
    job = prepare_volume("a", case_of, grid=grid, origin=[], folder=tmp_path)
    image, classes = prepared_at_once(*case_of(), grid)
    made = run(job)
    np.testing.assert_allclose(made.image, image, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(made.classes, classes)
    assert len(list(tmp_path.iterdir())) == 4


def write_channels(
    folder: Path, make_image: Callable[..., Volume], *, shift: float = 0.0
) -> Case:
    """A case of two files: the second at twice the spacing, shifted along Z."""
    first = make_image(0, (12, 20, 22))
    z, y, x = first.geometry.shape
    fine = np.add.outer(np.add.outer(np.arange(z), np.arange(y)), np.arange(x))
    labels = (fine % 5 == 0).astype(np.uint8)
    coarse_grid = Volume.from_array(
        np.zeros((z // 2, y // 2, x // 2), np.float32),
        first.geometry.resampled(tuple(2 * s for s in first.geometry.spacing)),
    )
    coarse = fine.reshape(z // 2, 2, y // 2, 2, x // 2, 2).mean((1, 3, 5))
    write_image(fine.astype(np.float32), folder / "a_0000.nii.gz", like=first)
    write_image(coarse.astype(np.float32), folder / "a_0001.nii.gz", like=coarse_grid)
    write_labels(labels, folder / "a.nii.gz", like=first)
    return Case(
        name="a",
        images=(folder / "a_0000.nii.gz", folder / "a_0001.nii.gz"),
        labels=folder / "a.nii.gz",
    )


def test_files_of_a_case_become_channels_on_the_first_ones_grid(
    tmp_path: Path, make_image: Callable[..., Volume]
) -> None:
    case = write_channels(tmp_path, make_image)
    image, labels = open_case(case)
    assert image.n_channels == 2
    assert image.geometry.shape == labels.geometry.shape
    found = np.asarray(image.data)
    inner = (slice(1, -1),) * 3
    # the second shows the same ramp, at half the resolution
    np.testing.assert_allclose(found[1][inner], found[0][inner], atol=1e-3)
    swapped = Case(name="a", images=case.images[::-1], labels=case.labels)
    with pytest.raises(DatasetError, match="different grids"):
        open_case(swapped)


def test_a_wrong_number_of_channels_is_told(
    dataset_folder: Path, tmp_path: Path
) -> None:
    dataset = find_dataset(dataset_folder)
    rules = [Normalization(), Normalization()]
    with pytest.raises(GeometryError, match=r"1 channels.*2 channels"):
        run(prepare_case(dataset.cases[0], dataset, (1, 1, 1), rules, tmp_path))
