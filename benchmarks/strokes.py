"""Brush stamps and undo in a project of 2048 x 2048 x 2048 labels: the data part.

`python -m benchmarks.strokes`. No window: what is timed is what the label store does
between the mouse's event and the next one, journal and chunks being written meanwhile
in their threads. The image is a store without chunks, so the disk needs some MB only.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from e2miseg_core.boxes import Box, grow_box, make_box
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import create_store, open_volume
from e2miseg_core.project import LabelStore, Project

MODEL = "phantom-lesions"
RADIUS = 10
STROKE = 150  # stamps
STEP = 3  # voxels between two stamps
PAUSE = 1 / 60  # seconds: about as fast as a mouse tells where it is
Stamp = tuple[Box, NDArray[np.bool_]]


@contextmanager
def opened_labels(size: int) -> Iterator[LabelStore]:
    """The labels of a new project whose image has `size` voxels along each axis."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        geometry = Geometry.from_spacing((size,) * 3, (1.0, 1.0, 1.0))
        create_store(folder / "image.ome.zarr", geometry, np.uint8, kind="image")
        project = Project.create(folder / "strokes.e2m", model=MODEL)
        case = project.add_case(open_volume(folder / "image.ome.zarr"))
        with project.lock(), case.open_labels() as store:
            yield store


def ball(radii: tuple[int, int, int]) -> NDArray[np.bool_]:
    """The brush: a ball, or a disk where a radius is 0."""
    z, y, x = np.ogrid[tuple(slice(-r, r + 1) for r in radii)]
    parts = (a.astype(float) / max(r, 1) for a, r in zip((z, y, x), radii, strict=True))
    inside: NDArray[np.bool_] = sum(part**2 for part in parts) <= 1
    return inside


def path(
    size: int, radii: tuple[int, int, int], seed: int, stamps: int
) -> Iterator[Stamp]:
    """Stamps along a random walk that turns slowly, as a hand does."""
    rng = np.random.default_rng(seed)
    mask = ball(radii)
    moves = np.array(radii) > 0
    place = rng.uniform(size / 4, 3 * size / 4, 3)
    heading = rng.normal(size=3) * moves
    for _ in range(stamps):
        heading = heading / np.linalg.norm(heading) + 0.3 * rng.normal(size=3) * moves
        place = place + STEP * heading / np.linalg.norm(heading)
        place = np.clip(place, RADIUS, size - 1 - RADIUS)
        voxel = make_box([round(float(p)) for p in place], (1, 1, 1))
        yield grow_box(voxel, radii), mask


def milliseconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return 1e3 * (time.perf_counter() - start)


def draw(store: LabelStore, stamps: Iterator[Stamp], pause: float) -> list[float]:
    """Draw one stroke as a brush does; the time of each stamp."""
    times = []
    with store.stroke("brush"):
        for box, mask in stamps:
            times.append(milliseconds(lambda b=box, m=mask: store.paint(b, m, 1)))
            time.sleep(pause)
    return times


def table(
    size: int = 2048, stamps: int = 450, repeats: int = 9, pause: float = PAUSE
) -> Table:
    """Time stamps and undo in a new project, which is removed again."""
    shown = Table(title=f"Strokes on {size} x {size} x {size} labels, radius {RADIUS}")
    for name in ("what", "times", "median, ms", "p95, ms", "slowest, ms"):
        shown.add_column(name, justify="left" if name == "what" else "right")

    def show(what: str, times: list[float]) -> None:
        figures = (statistics.median(times), np.percentile(times, 95), max(times))
        shown.add_row(what, str(len(times)), *(f"{ms:.2f}" for ms in figures))

    with opened_labels(size) as store:
        for what, radii in (
            ("stamp, 3D", (RADIUS,) * 3),
            ("stamp, 2D", (0, RADIUS, RADIUS)),
        ):
            strokes = [
                draw(store, path(size, radii, seed, STROKE), pause)
                for seed in range(-(-stamps // STROKE))
            ]
            show(what, [ms for stroke in strokes for ms in stroke])
            for count in (1, STROKE):
                undone = []
                for seed in range(repeats):
                    draw(store, path(size, radii, 100 + seed, count), pause)
                    store.flush()  # undo reads the journal from the disk
                    undone.append(milliseconds(store.undo))
                show(f"undo of {count}, {what[-2:]}", undone)
    shown.caption = (
        f"{machine()}; a stamp every {1e3 * pause:.0f} ms, "
        "journal and chunks written meanwhile"
    )
    return shown


def machine() -> str:
    """What this computer is, in words."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--stamps", type=int, default=450, help="of each kind")
    parser.add_argument("--repeats", type=int, default=9, help="of each undo")
    parser.add_argument("--pause", type=float, default=PAUSE, help="seconds")
    options = parser.parse_args()
    Console().print(table(options.size, options.stamps, options.repeats, options.pause))


if __name__ == "__main__":
    main()
