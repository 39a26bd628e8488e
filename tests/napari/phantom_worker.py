"""A worker without a network: its labels are thresholds of the image, block by block.

It speaks the whole protocol and fills real stores, so that a test of the window knows
each voxel that has to be shown. `python phantom_worker.py SECONDS_PER_BLOCK`.
"""

import itertools
import json
import sys
import threading
import time
from pathlib import Path

import numpy as np

from e2miseg_core.errors import E2MISegError
from e2miseg_core.io import create_store, open_volume

STEP = 32
THRESHOLDS = (60.0, 90.0)  # per cent
ERROR = 128


def predicted(image: np.ndarray) -> np.ndarray:
    """Labels 0, 1, 2 of a whole image (Z, Y, X)."""
    edges = np.percentile(image, THRESHOLDS)
    return np.digitize(image, edges).astype(np.uint8)


def say(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


class Worker:
    def __init__(self, pause: float) -> None:
        self.pause = pause
        self.cancelled = threading.Event()

    def predict(self, job: dict) -> None:
        name = job["id"]
        say("started", id=name)
        try:
            self.fill(name, job)
        except E2MISegError as error:
            say("error", id=name, kind="user", message=str(error))

    def fill(self, name: str, job: dict) -> None:
        volume = open_volume(job["image"])
        labels = predicted(volume.data[0].compute())
        folder = Path(job["output"])
        paths = {part: folder / f"{part}.ome.zarr" for part in ("labels", "error_map")}
        stores = {
            part: create_store(path, volume.geometry, np.uint8)
            for part, path in paths.items()
        }
        places = {part: str(path) for part, path in paths.items()}
        say("progress", id=name, done=0, total=0, stage="reading intensities")
        say("stores", id=name, **places)
        starts = [range(0, size, STEP) for size in labels.shape]
        corners = list(itertools.product(*starts))
        for done, corner in enumerate(corners, start=1):
            if self.cancelled.wait(self.pause):
                say("cancelled", id=name)
                return
            ends = [
                min(c + STEP, size)
                for c, size in zip(corner, labels.shape, strict=True)
            ]
            box = tuple(slice(*pair) for pair in zip(corner, ends, strict=True))
            stores["labels"][box] = labels[box]
            stores["error_map"][box] = np.where(labels[box] == 1, ERROR, 0)
            say("block", id=name, box=[[part.start, part.stop] for part in box])
            left = (len(corners) - done) * self.pause
            say(
                "progress",
                id=name,
                done=done,
                total=len(corners),
                stage="predicting",
                seconds_left=left,
            )
        values, counts = np.unique(labels[labels > 0], return_counts=True)
        voxels = dict(zip(values.tolist(), counts.tolist(), strict=True))
        say("result", id=name, seconds=1.0, voxels=voxels, **places)

    def run(self) -> None:
        say("ready", version="0", device="cpu", protocol=2)
        for line in sys.stdin:
            message = json.loads(line)
            if message["command"] == "predict":
                self.cancelled.clear()
                threading.Thread(
                    target=self.predict, args=(message,), daemon=True
                ).start()
            elif message["command"] == "cancel":
                self.cancelled.set()
            elif message["command"] == "shutdown":
                break
        time.sleep(0.01)


if __name__ == "__main__":
    Worker(float(sys.argv[1])).run()
