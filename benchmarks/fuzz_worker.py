"""The child of `benchmarks.fuzz`: damages an image, opens it, says what came of it.

One JSON object a line: requests on its input, outcomes on its output.
"""

import contextlib
import json
import logging
import os
import shutil
import sys
import time
import traceback
import warnings
import zlib
from pathlib import Path
from typing import Any

import dask
import numpy as np

from benchmarks.fuzz_mutations import damage
from benchmarks.fuzz_samples import TOGETHER
from e2miseg_core.errors import E2MISegError
from e2miseg_core.io import open_volume

BOUND = 128 << 20  # bytes above what is honest to ask for
_WHOLE = 8 << 20  # an image of at most so many bytes is read wholly
_PLANE = 32 << 20  # and so large a slice


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not look like an answer
    logging.disable(logging.CRITICAL)
    dask.config.set(scheduler="synchronous")
    seen: set[str] = set()
    for line in sys.stdin:
        asked = json.loads(line)
        sample = Path(asked["sample"])
        if asked["sample"] not in seen:  # loads the libraries, starts their threads
            seen.add(asked["sample"])
            sound = open_and_read(sample)
            if sound["outcome"] != "opened":
                sound["outcome"] = "unsound"
                print(json.dumps(sound), file=answers, flush=True)
                continue
        path = prepare(sample, Path(asked["folder"]), asked["seed"], asked["index"])
        print(json.dumps(open_and_read(path)), file=answers, flush=True)


def prepare(sample: Path, folder: Path, seed: int, index: int) -> Path:
    """Copy a sample with all its files into an empty folder, and damage it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / sample.name
    if sample.is_dir():
        shutil.copytree(sample, path)
    else:
        stem = sample.name.split(".")[0]
        pattern = "*" if sample.parent.name == TOGETHER else f"{stem}.*"
        for file in sample.parent.glob(pattern):
            if file.is_file():
                shutil.copy(file, folder / file.name)
    name = f"{sample.parent.name}/{sample.name}".encode()
    damage(path, np.random.default_rng([seed, zlib.crc32(name), index]))
    return path


def open_and_read(path: Path) -> dict[str, Any]:
    """Open an image, read its middle slice and, of a small one, everything."""
    started = time.monotonic()
    found: dict[str, Any] = {"outcome": "opened", "detail": ""}
    with limited_memory(), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            read(path)
        except E2MISegError as error:
            text = str(error)
            is_line = "\n" not in text and "; needed: " in text and len(text) < 2000
            found["outcome"] = "one line" if is_line else "not one line"
            found["detail"] = text[:400]
        except MemoryError:
            found["outcome"], found["detail"] = "memory", traceback.format_exc()
        except Exception as error:  # noqa: BLE001 - what is looked for
            found["outcome"] = f"traceback {type(error).__name__}"
            found["detail"] = traceback.format_exc()
    own = [warning for warning in warned if "e2miseg_core" in warning.filename]
    found["warned"] = [f"{warning.filename}: {warning.message}" for warning in own]
    found["seconds"] = time.monotonic() - started
    return found


def read(path: Path) -> None:
    volume = open_volume(path)
    level = volume.levels[-1]
    for data in {id(volume.data): volume.data, id(level): level}.values():
        middle = data[0, data.shape[1] // 2]
        if middle.nbytes > _PLANE:  # as large as it likes to be: look at a corner
            middle = middle[:16, :16]
        np.asarray(middle)
    if volume.nbytes <= _WHOLE:
        np.asarray(volume.data)


@contextlib.contextmanager
def limited_memory() -> Any:
    """Let this process take no more than `BOUND` and an honest image above what it has.

    Only where the system keeps such a limit.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    status = Path("/proc/self/status").read_text(encoding="ascii")
    used = int(status.partition("VmData:")[2].split()[0]) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (used + BOUND + _WHOLE + _PLANE, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


if __name__ == "__main__":
    main()
