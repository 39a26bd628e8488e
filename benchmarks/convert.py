"""`convert` of a 4 GB volume: memory, speed beside a plain copy, kills survived.

The volume is like a CT: smooth, with noise of 12 units, int16, in one plain NIfTI file.
Each conversion runs in a process of its own; its peak is the memory of its own beyond
its imports, without pages of the mapped source. The plain copy reads and writes the
same bytes in pieces of 8 MiB; neither it nor the conversion waits for the disk at the
end. The pyramid is then checked with ome-zarr-models and by a reader of a few lines
that knows nothing but zarr and the NGFF metadata: at random places each level must hold
what the source has there.

    python -m benchmarks.convert [GIGABYTES] [KILLS]
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import OwnMemory, in_child, machine
from e2miseg_core.io import open_volume

GIGABYTES, KILLS = 4.0, 20
PLANE = (1024, 1024)
SPACING = (1.0, 0.6, 0.6)
BUFFER = 8 << 20
KILLED_PLANES = 128  # of the volume that is killed: 256 MiB


def write_source(path: Path, n_planes: int) -> None:
    """Write a smooth volume with noise, plane by plane."""
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((PLANE[1], PLANE[0], n_planes))
    affine = np.diag([*SPACING[::-1], 1.0])
    header.set_sform(affine, code=1)
    header.set_zooms(SPACING[::-1])
    header["vox_offset"], header["magic"] = 352, b"n+1"
    rng = np.random.default_rng(0)
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in PLANE)
    noise = rng.normal(0, 12, (64, *PLANE)).astype(np.float32)
    with path.open("wb") as file:
        file.write(header.binaryblock + b"\0" * 4)
        for z in range(n_planes):
            waves = np.sin(9 * x + z / 40)[None] * np.cos(7 * y - z / 60)[:, None]
            body = (x[None] ** 2 + y[:, None] ** 2) < 0.8
            plane = np.where(body, 300 * waves, -1000)
            shifted = np.roll(noise[z % 64], 17 * (z // 64), axis=1)
            file.write((plane + shifted).astype("<i2").tobytes())


def convert_here(source: str, output: str, workers: str) -> dict[str, float]:
    """Convert in this process, and tell what it took."""
    from e2miseg_core.conversion import ConversionOptions, convert

    options = ConversionOptions(workers=int(workers), resume=True)
    with OwnMemory() as memory:
        start = time.perf_counter()
        convert(source, output, options)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak": memory.most}


def copy_seconds(source: Path, target: Path) -> float:
    """Seconds of a plain copy of the same bytes."""
    start = time.perf_counter()
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, BUFFER)
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


def kills_survived(folder: Path, kills: int) -> tuple[int, int]:
    """Kill at random moments, so often; returns stores that equal, and stores."""
    source = folder / "killed.nii"
    write_source(source, KILLED_PLANES)
    (folder / "whole").mkdir()
    whole = folder / "whole" / "a.ome.zarr"
    took = in_child("benchmarks.convert", "run", source, whole, 2)["seconds"]
    chance, done, equal, stores = random.Random(0), 0, 0, 0
    while done < kills:
        output = folder / "a.ome.zarr"
        while not output.exists():
            command = ["benchmarks.convert", "run", str(source), str(output), "2"]
            child = subprocess.Popen(
                [sys.executable, "-m", *command], stdout=subprocess.DEVNULL
            )
            try:
                # Imports take a second or two: nothing is written before.
                child.wait(1.0 + chance.random() * took)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
                done += 1
        stores += 1
        equal += same_files(whole, output)
        shutil.rmtree(output)
    return equal, stores


def same_files(one: Path, other: Path) -> bool:
    """Whether two folders hold the same bytes under the same names."""
    names = [
        {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
        for root in (one, other)
    ]
    return names[0] == names[1] and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names[0]
    )


def independent_check(source: Path, store: Path) -> str:
    """Read the pyramid with zarr and the NGFF metadata alone; says what was found."""
    import zarr

    group = zarr.open_group(store, mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the models' own use of zarr
        from ome_zarr_models.v05 import Image

        Image.from_zarr(group)
    truth = open_volume(source)
    stored = truth.as_source(truth.data)[0]
    multiscales = group.attrs["ome"]["multiscales"][0]
    rng, worst, first = np.random.default_rng(1), 0.0, None
    for dataset in multiscales["datasets"]:
        level = group[dataset["path"]]
        scale, shift = (
            np.array(step[step["type"]])
            for step in dataset["coordinateTransformations"]
        )
        first = (scale, shift) if first is None else first
        for index in (rng.integers(0, level.shape) for _ in range(20)):
            ends = [
                ((shift + scale * (index + side) - first[1]) / first[0] + 0.5)
                for side in (-0.5, 0.5)
            ]
            box = tuple(
                slice(round(low), min(round(high), size))
                for low, high, size in zip(*ends, stored.shape, strict=True)
            )
            mean = float(np.asarray(stored[box]).mean())
            worst = max(worst, abs(mean - float(level[tuple(index)])))
    return (
        f"{len(multiscales['datasets'])} levels, valid for ome-zarr-models; read with "
        f"zarr and the NGFF metadata, the farthest of 20 voxels a level is {worst:.2f} "
        "units from the mean of the source's voxels there"
    )


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"]:
        print(json.dumps(convert_here(*arguments[1:])))
        return
    gigabytes = float(arguments[0]) if arguments else GIGABYTES
    kills = int(arguments[1]) if len(arguments) > 1 else KILLS
    console = Console(width=120)
    console.print(machine())
    n_planes = round(gigabytes * 1e9 / (2 * PLANE[0] * PLANE[1]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source.nii"
        write_source(source, n_planes)
        megabytes = source.stat().st_size / 1e6
        shown = Table(title=f"{n_planes} x 1024 x 1024 voxels, {megabytes:.0f} MB")
        for column in ("what", "s", "MB/s", "of a copy", "peak, MiB", "on disk, MB"):
            shown.add_column(column, justify="left" if column == "what" else "right")
        copy = min(copy_seconds(source, folder / "copy") for _ in range(2))
        shown.add_row("plain copy", f"{copy:.1f}", f"{megabytes / copy:.0f}", "1.00")
        for workers in (1, 2):
            output = folder / f"{workers}.ome.zarr"
            found = in_child("benchmarks.convert", "run", source, output, workers)
            size = sum(p.stat().st_size for p in output.rglob("*") if p.is_file())
            shown.add_row(
                f"convert, {workers} worker{'s' * (workers > 1)}",
                f"{found['seconds']:.1f}",
                f"{megabytes / found['seconds']:.0f}",
                f"{copy / found['seconds']:.2f}",
                f"{found['peak'] / 2**20:.0f}",
                f"{size / 1e6:.0f}",
            )
        console.print(shown)
        console.print(independent_check(source, output))
        if kills:
            equal, stores = kills_survived(folder, kills)
            console.print(
                f"killed {kills} times or more at random moments and resumed: "
                f"{equal} of {stores} stores equal an uninterrupted one in every byte"
            )


if __name__ == "__main__":
    main()
