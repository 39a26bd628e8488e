"""Every format: does it open lazily, what does the middle slice cost, is it in place?

One oblique int16 volume of 256 MiB is written in each format. A child process opens a
tiny volume of the same format first, so that imports do not count, and then the large
one: bytes asked of files while it opens, and until the middle slice across Z is there
(pages of mapped files count too; reads of guarded child processes do not); the most
memory of its own meanwhile; and how far any corner of the grid lies from where it was
meant to be. The cache of unpacked copies begins empty; of what is unpacked at once the
bytes say so.

    python -m benchmarks.formats [MEBIBYTES]
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.format_samples import SAMPLES, make_geometry, make_volume
from benchmarks.measuring import (
    OwnMemory,
    bytes_read,
    in_child,
    machine,
    mapped_bytes,
)
from e2miseg_core.io import open_volume
from e2miseg_core.volume import Volume

MEBIBYTES = 256
TINY = (8, 40, 48)
LAZY = 0.05  # share of the file that may be read to open it


def write(what: str, folder: str, depth: str) -> dict[str, Any]:
    """Write the tiny and the large volume of a format."""
    found = {}
    shapes = {"tiny": TINY, "large": (int(depth), 512, 512)}
    for name, shape in shapes.items():
        place = Path(folder) / name
        place.mkdir(parents=True)
        found[name] = str(SAMPLES[what][0](make_volume(shape), place))
    return found


def measure(tiny: str, large: str) -> dict[str, Any]:
    """Open a volume and show its middle slice."""
    first = open_volume(tiny)
    np.asarray(first.data[0, 1])
    with OwnMemory() as memory:
        before, start = _touched(), time.perf_counter()
        volume = open_volume(large)
        opened, seconds = _touched() - before, time.perf_counter() - start
        np.asarray(volume.data[0, volume.geometry.shape[0] // 2])
        sliced, shown = _touched() - before, time.perf_counter() - start
    return {
        "opened": opened,
        "open_s": seconds,
        "sliced": sliced,
        "shown_s": shown,
        "peak": memory.most,
        "off": _off(volume),
    }


def _touched() -> int:
    return bytes_read() + mapped_bytes()


def _off(volume: Volume) -> float:
    """Largest distance, in mm, of a corner from where one was meant to be."""
    source = volume.source
    shape = volume.geometry.shape if source is None else source.geometry.shape
    found = volume.geometry.corners()
    meant = make_geometry(shape).corners()
    return max(float(np.linalg.norm(found - m, axis=1).min()) for m in meant)


def size_of(path: Path) -> int:
    """Bytes of a file, its companion with the voxels, or a folder."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return sum(p.stat().st_size for p in path.parent.glob(f"{path.stem}.*"))


def row(what: str, depth: int) -> list[str]:
    """Write, measure and clean up one format."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = in_child("benchmarks.formats", "write", what, folder, depth)
        if "failed" in made:
            return [what, "not written: " + made["failed"], *[""] * 5]
        size = size_of(Path(made["large"]))
        cache = {"E2MISEG_CACHE_DIR": str(folder / "cache")}
        found = in_child(
            "benchmarks.formats", "measure", made["tiny"], made["large"], **cache
        )
    if "failed" in found:
        return [what, "not read: " + found["failed"], *[""] * 5]
    lazily = "yes" if found["opened"] <= max(LAZY * size, 1 << 20) else "no"
    off = f"{found['off']:.1e}" if SAMPLES[what][1] else "no affine"
    return [
        what,
        f"{size / 2**20:.0f}",
        f"{lazily} ({found['opened'] / 2**20:.2f}, {1000 * found['open_s']:.0f} ms)",
        f"{found['sliced'] / 2**20:.2f}",
        f"{1000 * found['shown_s']:.0f}",
        f"{found['peak'] / 2**20:.0f}",
        off,
    ]


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] in (["write"], ["measure"]):
        function = write if arguments[0] == "write" else measure
        print(json.dumps(function(*arguments[1:])))
        return
    mebibytes = int(arguments[0]) if arguments else MEBIBYTES
    depth = max(8, mebibytes * 2**20 // (512 * 512 * 2))
    print(machine())
    print()
    head = [
        "format",
        "on disk, MiB",
        "opens lazily (MiB read, time)",
        "MiB read until the middle slice",
        "ms until it",
        "peak memory, MiB",
        "affine error, mm",
    ]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for what in SAMPLES:
        print("| " + " | ".join(row(what, depth)) + " |", flush=True)


if __name__ == "__main__":
    main()
