"""A virtual image of 100 GB: opening it, its slices, and scrubbing through it.

An OME-Zarr pyramid of 3072 x 4096 x 4096 voxels of uint16 whose files are not there
(they read as zeros), but for one column of chunks: once with a file for each chunk of
64^3, once with files of 256^3. Each store is measured in processes of its own.

From Python: open, then compute the middle slice of the finest level along each axis.
In the viewer, opened by the plugin's reader, with napari's asynchronous slicing and
without: how long opening blocks the event loop, and how long each of 60 steps does, by
the beats of a timer of 10 ms (see `benchmarks.stall`), with the whole slice in view and
at one voxel a pixel.

Needs a display for the second table:
``xvfb-run -a -s "-screen 0 1600x1000x24" python -m benchmarks.huge``.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import OwnMemory, in_child, machine
from e2miseg_core.downsample import level_steps
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import create_store, open_volume

SHAPE = (3072, 4096, 4096)
CHUNK = 64
STORES = {"files of 64^3": 1, "files of 256^3": 4}
BARE = "planes in memory"  # what napari itself costs here
STEPS = 60
STEP_S = 0.15


def make_store(path: Path, shard: int) -> None:
    """Make the pyramid, with one column of chunks written."""
    geometry = Geometry.from_spacing(SHAPE, (0.5, 0.5, 0.5), "um")
    store = create_store(
        path,
        geometry,
        np.uint16,
        kind="image",
        steps=level_steps(SHAPE, geometry.spacing),
        shard=shard,
    )
    rng = np.random.default_rng(0)
    edge = CHUNK * shard
    y, x = (slice(size // 2, size // 2 + edge) for size in SHAPE[1:])
    block = rng.integers(0, 4000, (edge, edge, edge)).astype(np.uint16)
    for z in range(0, SHAPE[0], edge):
        store[z : z + edge, y, x] = block


def slices(path: str) -> dict[str, Any]:
    """Open, and compute the middle slice along each axis."""
    import dask.array  # noqa: F401 - not to be measured

    found: dict[str, Any] = {}
    with OwnMemory() as memory:
        start = time.perf_counter()
        volume = open_volume(path)
        found["open"] = time.perf_counter() - start, memory.most
    for axis, name in enumerate("ZYX", start=1):
        index = [slice(None)] * 4
        middle = volume.data.shape[axis] // 2
        index[0], index[axis] = slice(0, 1), slice(middle, middle + 1)
        with OwnMemory() as memory:
            start = time.perf_counter()
            plane = volume.data[tuple(index)].compute(scheduler="threads")
            seconds = time.perf_counter() - start
        found[name] = seconds, memory.most
        found[f"{name} bytes"] = plane.nbytes
    return found


def scrub(path: str, asynchronous: str) -> dict[str, Any]:
    """Open in the viewer and step through slices."""
    import napari
    from napari.settings import get_settings

    from benchmarks.stall import Heart, pump

    get_settings().experimental.async_ = asynchronous == "async"
    viewer = napari.Viewer()
    viewer.window.resize(1400, 900)
    heart = Heart()
    pump(2)
    heart.start()
    start = time.perf_counter()
    if path == BARE:
        layer = viewer.add_image(bare_levels(), scale=(0.5,) * 3, units=("um",) * 3)
        layer.contrast_limits = (0, 4000)
    else:
        [layer] = viewer.open(path, plugin="e2miseg-napari")
    pump(60, lambda: layer.loaded)
    found: dict[str, Any] = {"shown": time.perf_counter() - start}
    pump(0.1)
    found["open"] = max(heart.stop())
    for view in ("whole", "full"):
        if view == "full":
            size = layer.scale[-1]
            viewer.scene.camera.center = [at * size / 2 for at in SHAPE]
            viewer.scene.camera.zoom = 1 / size  # a voxel a pixel
            pump(3, lambda: layer.loaded)
        pump(1)
        blocked, heart = [], Heart()
        for number in range(STEPS):
            heart.start()
            viewer.dims.set_current_step(0, SHAPE[0] // 2 + number)
            pump(STEP_S)
            blocked.append(max(heart.stop(), default=0.0))
        found[view] = blocked
        found[f"{view} level"] = int(layer.data_level)
    viewer.close()
    return found


def bare_levels() -> list[np.ndarray[Any, Any]]:
    """A pyramid of the same shape in memory, all of whose planes are one."""
    rng = np.random.default_rng(0)
    levels, shape = [], SHAPE
    for step in ((1, 1, 1), *level_steps(SHAPE, (0.5, 0.5, 0.5))):
        z, y, x = (-(-n // by) for n, by in zip(shape, step, strict=True))
        shape = (z, y, x)
        plane = rng.integers(0, 4000, shape[1:]).astype(np.uint16)
        levels.append(np.broadcast_to(plane, shape))
    return levels


def python_table(stores: dict[str, Path]) -> Table:
    shown = Table(title=f"{np.prod(SHAPE) * 2 / 1e9:.0f} GB, from Python: s (MiB more)")
    for column in ("store", "open", "slice Z", "slice Y", "slice X"):
        shown.add_column(column, justify="left" if column == "store" else "right")
    for name, path in stores.items():
        found = in_child("benchmarks.huge", "slices", path)
        cells = [
            f"{found[key][0]:.3f} ({found[key][1] / 2**20:.0f})"
            for key in ("open", "Z", "Y", "X")
        ]
        shown.add_row(name, *cells)
    return shown


def viewer_table(stores: dict[str, Path]) -> Table:
    shown = Table(title="In napari: how long the event loop is blocked, ms")
    for column in ("store", "slicing", "opening", "shown after", "view", "p50", "p95"):
        shown.add_column(column)
    shown.add_column("max")
    for name, path in {BARE: BARE, **stores}.items():
        for slicing in ("async", "sync"):
            with tempfile.TemporaryDirectory() as home:
                settings = {
                    "HOME": home,
                    "NAPARI_CONFIG": str(Path(home) / "settings.yaml"),
                }
                found = in_child("benchmarks.huge", "scrub", path, slicing, **settings)
            if "failed" in found:
                shown.add_row(name, slicing, found["failed"])
                continue
            opening = f"{found['open']:.0f}", f"{1000 * found['shown']:.0f}"
            for view in ("whole", "full"):
                p50, p95 = np.percentile(found[view], [50, 95])
                shown.add_row(
                    *((name, slicing, *opening) if view == "whole" else [""] * 4),
                    f"{view}, level {found[view + ' level']}",
                    f"{p50:.1f}",
                    f"{p95:.1f}",
                    f"{max(found[view]):.1f}",
                )
    return shown


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] in (["slices"], ["scrub"]):
        function = slices if arguments[0] == "slices" else scrub
        print(json.dumps(function(*arguments[1:])))
        return
    console = Console(width=120)
    console.print(machine())
    with tempfile.TemporaryDirectory() as name:
        stores = {}
        for what, shard in STORES.items():
            stores[what] = Path(name) / f"huge{shard}.ome.zarr"
            make_store(stores[what], shard)
        console.print(python_table(stores))
        console.print(viewer_table(stores))


if __name__ == "__main__":
    main()
