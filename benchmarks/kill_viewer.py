"""A viewer in which somebody paints, killed at random moments: what is lost?

`python -m benchmarks.kill_viewer` needs a display. A child process shows a project and
paints strokes with events of the mouse; SIGKILL ends it, the project is opened again,
and the strokes are counted. Each child goes on where the one before was killed.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from rich.console import Console
from rich.table import Table

from e2miseg_core.boxes import Box, box_slices
from e2miseg_core.io import open_volume
from e2miseg_core.project import Project

MODEL = "phantom-lesions"
SHAPE = (40, 128, 160)
ROWS = 30  # strokes on a plane
BRUSH, FROM, TO, MOVES = 3, 10, 150, 8
PAUSE = 0.2  # seconds between two strokes
STARTING, STROKE = 60.0, 0.5  # seconds: limit of the first, about what the other takes


@dataclass(frozen=True, kw_only=True)
class Killed:
    """What one kill left.

    Attributes
    ----------
    finished : int
        Strokes whose mouse button had been released.
    saved : int
        Those of them that the viewer had shown as saved.
    found : int
        Those of `finished` that are whole in the project.
    begun : bool
        Whether another stroke was under way.
    part : float
        What is in the project of that stroke.
    """

    finished: int
    saved: int
    found: int
    begun: bool
    part: float


def stroke_box(number: int) -> Box:
    """Where a stroke goes: along a row of its own."""
    plane, row = divmod(number, ROWS)
    return (plane, plane + 1), (4 * row + 2, 4 * row + 5), (0, SHAPE[2])


def make_project(folder: Path) -> Path:
    scan = folder / "scan.nii"
    nib.save(nib.Nifti1Image(np.zeros(SHAPE[::-1], np.uint8), np.eye(4)), scan)
    project = Project.create(folder / "painted.e2m", model=MODEL)
    project.add_case(open_volume(scan))
    return project.path


def kill_once(project: Path, first: int, chance: random.Random) -> tuple[Killed, int]:
    """Paint from stroke `first` on until a random moment; returns the next stroke."""
    command = [sys.executable, "-m", __spec__.name, "--paint", str(project)]
    command += ["--first", str(first)]
    last = first + chance.randint(2, 8)
    with tempfile.TemporaryFile() as told:
        child = subprocess.Popen(command, stdout=told)
        try:
            _wait_for(child, lambda: f"begin {last} " in _content(told))
            time.sleep(chance.uniform(0, STROKE + PAUSE))
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        events = [line.split() for line in _content(told).splitlines(keepends=False)]
    begun = [int(event[1]) for event in events if event[0] == "begin"]
    ended = {int(event[1]): int(event[2]) for event in events if event[0] == "end"}
    saved = [int(event[1]) for event in events if event[0] == "saved"]
    with opened_labels(project) as labels:
        counts = {k: int(np.count_nonzero(labels(stroke_box(k)))) for k in begun}
    open_ones = [number for number in begun if number not in ended]
    part = sum(counts[k] for k in open_ones) / max(ended.values(), default=1)
    killed = Killed(
        finished=len(ended),
        saved=len(saved),
        found=sum(counts[k] == count for k, count in ended.items()),
        begun=bool(open_ones),
        part=part,
    )
    return killed, begun[-1] + 1


class opened_labels:  # noqa: N801 - used like a function
    """Gives a function that reads boxes of the labels of the first case."""

    def __init__(self, path: Path) -> None:
        self._project = Project.open(path)

    def __enter__(self) -> Callable[[Box], Any]:
        self._lock = self._project.lock()
        self._store = self._project.case(self._project.cases[0]).open_labels()
        return lambda box: np.asarray(self._store.levels[0][box_slices(box)])

    def __exit__(self, *_: object) -> None:
        self._store.close()
        self._lock.close()


def table(kills: int, seed: int) -> Table:
    """Kill a painting viewer several times, in one project."""
    shown = Table(title="SIGKILL of the viewer while painting")
    for column in (
        "kill",
        "strokes finished",
        "shown as saved",
        "found",
        "in progress",
    ):
        shown.add_column(column, justify="right")
    for number, killed in enumerate(kill_often(kills, seed), start=1):
        part = f"{killed.part:.0%} found" if killed.begun else "none"
        counts = (number, killed.finished, killed.saved, killed.found)
        shown.add_row(*map(str, counts), part)
    return shown


def kill_often(kills: int, seed: int) -> Iterator[Killed]:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        project, following = make_project(Path(folder)), 0
        for _ in range(kills):
            killed, following = kill_once(project, following, chance)
            yield killed


def paint(project: Path, first: int) -> None:
    """Show the project and paint, until killed."""
    import napari
    from qtpy.QtWidgets import QApplication

    from e2miseg_napari.project_session import ProjectSession

    viewer = napari.Viewer(ndisplay=2)
    session = ProjectSession(viewer)
    session.problem.connect(lambda problem: sys.exit(problem.line))
    session.open(project)

    def pump(until: Callable[[], bool], seconds: float = STARTING) -> None:
        deadline = time.monotonic() + seconds
        while not until() and time.monotonic() < deadline:
            QApplication.processEvents()
            time.sleep(0.002)

    def rest(seconds: float) -> None:
        pump(lambda: False, seconds)

    pump(lambda: session.labels_layer is not None)
    viewer.reset_view()
    rest(0.3)
    layer, store = session.labels_layer, session.store
    layer.mode, layer.brush_size, layer.selected_label = "paint", BRUSH, 1
    unsaved: dict[int, int] = {}
    for number in range(first, SHAPE[0] * ROWS):
        (plane, _), (top, _), _ = stroke_box(number)
        viewer.dims.set_current_step(0, plane)
        rest(PAUSE)
        for saved in [k for k, seq in unsaved.items() if seq <= store.saved_seq]:
            del unsaved[saved]
            tell("saved", saved)
        tell("begin", number)
        drag(viewer, layer, (plane, top + 1), rest)
        voxels = np.count_nonzero(layer.data[box_slices(stroke_box(number))])
        if voxels < TO - FROM:
            sys.exit(f"stroke {number} painted only {voxels} voxels")
        tell("end", number, voxels)
        unsaved[number] = store.seq


def drag(
    viewer: Any, layer: Any, row: tuple[int, int], rest: Callable[[float], None]
) -> None:
    """Draw a line along a row with the left button of the mouse."""
    from qtpy.QtCore import QEvent, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    canvas = viewer.window._qt_viewer.canvas.native
    camera = viewer.scene.camera
    kinds, left, none = QEvent.Type, Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton

    def send(kind: Any, column: float, button: Any, buttons: Any) -> None:
        _, y, x = layer.data_to_world((*row, column))
        place = QPointF(
            canvas.width() / 2 + (x - camera.center[-1]) * camera.zoom,
            canvas.height() / 2 + (y - camera.center[-2]) * camera.zoom,
        )
        screen = QPointF(canvas.mapToGlobal(place.toPoint()))
        modifiers = Qt.KeyboardModifier.NoModifier
        event = QMouseEvent(kind, place, screen, button, buttons, modifiers)
        QApplication.sendEvent(canvas, event)
        rest(STROKE / MOVES)

    send(kinds.MouseMove, FROM, none, none)
    send(kinds.MouseButtonPress, FROM, left, left)
    for column in np.linspace(FROM, TO, MOVES)[1:]:
        send(kinds.MouseMove, float(column), none, left)
    send(kinds.MouseButtonRelease, TO, left, none)


def tell(*words: object) -> None:
    print(*words, "", flush=True)


def _content(file: Any) -> str:
    return os.pread(file.fileno(), 1 << 24, 0).decode()


def _wait_for(child: "subprocess.Popen[bytes]", condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + STARTING
    while not condition():
        if child.poll() is not None or time.monotonic() > deadline:
            msg = "the painting viewer did not come as far as it should"
            raise RuntimeError(msg)
        time.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one line for each kill")
    parser.add_argument("--paint", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.paint is not None:
        paint(options.paint, options.first)
    elif options.json:
        for killed in kill_often(options.kills, options.seed):
            print(json.dumps(asdict(killed)), flush=True)
    else:
        Console().print(table(options.kills, options.seed))


if __name__ == "__main__":
    main()
