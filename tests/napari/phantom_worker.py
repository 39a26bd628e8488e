"""A worker without a network: its labels are thresholds of the image, block by block.

It speaks the protocol and fills a project's stores, so that a test of the window knows
each voxel that has to be shown. `python phantom_worker.py SECONDS_PER_BLOCK [HOLD]`:
after block HOLD it waits until it is cancelled.
"""

import itertools
import json
import shutil
import sys
import threading

import numpy as np

from e2miseg_core.boxes import clip_box, make_box
from e2miseg_core.errors import E2MISegError
from e2miseg_core.io import create_store
from e2miseg_core.project import (
    Edge,
    EdgeList,
    Project,
    complete_prediction,
    write_edges,
)

STEP = 32
THRESHOLDS = (60.0, 90.0)  # per cent
ERROR = 128
EDGES = 8
QUICK = 0.01  # seconds a block


def predicted(image: np.ndarray) -> np.ndarray:
    """Labels 0, 1, 2 of a whole image (Z, Y, X)."""
    edges = np.percentile(image, THRESHOLDS)
    return np.digitize(image, edges).astype(np.uint8)


def find_edges(labels: np.ndarray) -> EdgeList:
    """Boxes round voxels of class 1, evenly over the volume, with made-up numbers."""
    places = np.argwhere(labels == 1)
    places = places[:: max(1, len(places) // EDGES)][:EDGES].tolist()
    edges = tuple(
        Edge(
            number=number,
            box=clip_box(make_box([c - 4 for c in place], (9, 9, 9)), labels.shape),
            centre=tuple(place),
            expected_wrong=40.0 - 3 * number,
            gain=0.02 / number,
            classes=(1, 2),
        )
        for number, place in enumerate(places, start=1)
    )
    total = 2 * sum(edge.expected_wrong for edge in edges)
    return EdgeList(
        edges=edges, total_expected=total, temperature=1.0, bias=(), note="made up"
    )


def say(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


class Worker:
    def __init__(self, pause: float, hold: int = 0) -> None:
        self.pause, self.hold = pause, hold
        self.cancelled = threading.Event()

    def predict(self, job: dict) -> None:
        name = job["id"]
        say("started", id=name)
        try:
            self.fill(name, job)
        except (E2MISegError, OSError) as error:
            say("error", id=name, kind="user", message=str(error))

    def fill(self, name: str, job: dict) -> None:
        project = Project.open(job["project"])
        case = project.case(job["case"])
        volume = case.open_image()
        labels = predicted(volume.data[0].compute())
        folder = case.new_prediction_folder()
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
            holds = done == self.hold + 1 > 1
            if self.cancelled.wait(None if holds else self.pause):
                self.pause = QUICK  # it was slow in order to be caught
                shutil.rmtree(folder)
                say("cancelled", id=name)
                return
            self.block(name, labels, stores, corner)
            say(
                "progress",
                id=name,
                done=done,
                total=len(corners),
                stage="predicting",
                seconds_left=(len(corners) - done) * self.pause,
            )
        values, counts = np.unique(labels[labels > 0], return_counts=True)
        voxels = {
            str(v): n for v, n in zip(values.tolist(), counts.tolist(), strict=True)
        }
        edges = find_edges(labels)
        write_edges(folder / "edges.json", edges)
        complete_prediction(
            folder,
            version=project.version.number,
            figures={"voxels": voxels, "seconds": 1.0},
        )
        say(
            "result",
            id=name,
            seconds=1.0,
            voxels=voxels,
            prediction=int(folder.name),
            edges=len(edges.edges),
            **places,
        )

    def block(self, name: str, labels: np.ndarray, stores: dict, corner: tuple) -> None:
        box = tuple(
            slice(start, min(start + STEP, size))
            for start, size in zip(corner, labels.shape, strict=True)
        )
        stores["labels"][box] = labels[box]
        stores["error_map"][box] = np.where(labels[box] == 1, ERROR, 0)
        say("block", id=name, box=[[part.start, part.stop] for part in box])

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


if __name__ == "__main__":
    Worker(float(sys.argv[1]), *map(int, sys.argv[2:])).run()
