"""Walk through the whole loop in a real window, with mouse and keys, taking pictures.

Run it where there is a display, or under a virtual one::

    xvfb-run -a -s "-screen 0 1600x1000x24" python tools/walk.py docs/images

The bundled phantom is opened, predicted and reviewed: the brush corrects the first
three wrong edges after the phantom's exact truth, the script sets the others. The
window is closed and opened again, the model fine-tuned, and the phantom predicted again
if a new version was kept. What happened is printed.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

# Another user's settings and projects would change the pictures.
_HOME = tempfile.TemporaryDirectory()
os.environ["HOME"] = _HOME.name
os.environ["NAPARI_CONFIG"] = str(Path(_HOME.name) / "settings.yaml")

import numpy as np  # noqa: E402
from qtpy.QtCore import QEvent, QPointF, Qt  # noqa: E402
from qtpy.QtGui import QMouseEvent  # noqa: E402
from qtpy.QtTest import QTest  # noqa: E402
from qtpy.QtWidgets import QApplication, QPushButton  # noqa: E402

from e2miseg_core.io import open_labels  # noqa: E402
from e2miseg_core.project import Edge  # noqa: E402
from e2miseg_core.samples import sample_labels_path  # noqa: E402
from e2miseg_napari.demo import open_demo  # noqa: E402
from e2miseg_napari.finetune_state import FinetunePhase  # noqa: E402
from e2miseg_napari.predicting import Phase  # noqa: E402

if TYPE_CHECKING:
    import napari

    from e2miseg_napari.panels.main import MainPanel

_SIZE = (1500, 950)
_LONGEST_S = 1800.0
_CORRECTED, _REVIEWED = 3, 16  # edges corrected with the brush, edges reviewed in all


def wait(seconds: float) -> None:
    """Let the window work for some time."""
    until(lambda: False, seconds)


def until(condition: Callable[[], bool], seconds: float = _LONGEST_S) -> bool:
    """Let the window work until something is the case."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)
    return condition()


class Walk:
    """The window and the hand that moves in it.

    Parameters
    ----------
    folder : Path
        Where pictures go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.truth = np.asarray(open_labels(sample_labels_path()).data[0])
        self.viewer: napari.Viewer
        self.panel: MainPanel

    def open(self) -> None:
        """Open the window as `make demo` does."""
        self.viewer, self.panel = open_demo()
        self.viewer.window.resize(*_SIZE)
        until(lambda: self.panel.client.info is not None, 120)

    def shoot(self, name: str) -> None:
        """Save a picture of the whole window."""
        wait(0.6)
        path = self.folder / f"{name}.png"
        self.viewer.screenshot(str(path), canvas_only=False, flash=False)
        print(path, flush=True)

    def click(self, button: QPushButton) -> None:
        """Click a button with the mouse."""
        if not button.isEnabled():
            sys.exit(f"error: {button.text()!r} cannot be clicked: {button.toolTip()}")
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    def key(self, key: Qt.Key) -> None:
        """Press a key over the picture."""
        QTest.keyClick(self._canvas, key)
        wait(0.3)

    def predict(self, *, shots: tuple[str, str]) -> None:
        """Press Predict; a picture in the middle and one at the end."""
        self.panel.show_tab(self.panel.predict)
        self.click(self.panel.predict.button)
        self._follow(*shots)

    def _follow(self, middle: str, end: str) -> None:
        state = lambda: self.panel.predicting.state  # noqa: E731
        until(lambda: state().phase == Phase.RUNNING, 60)
        until(lambda: state().phase == Phase.IDLE or 2 * state().done > state().total)
        self.shoot(middle)
        if not until(lambda: state().phase == Phase.IDLE):
            sys.exit("error: the prediction takes too long")
        self.shoot(end)

    def review(self) -> None:
        """Look at the edges, correct some with the brush, accept the others."""
        corrected = 0
        for number in range(1, _REVIEWED + 1):
            entry = self.panel.reviewing.current
            if entry is None or entry.verdict is not None:  # else it came by itself
                self.key(Qt.Key.Key_Period)
            entry = self.panel.reviewing.current
            if entry is None:
                print(f"no more edges after {number - 1}", flush=True)
                return
            edge = entry.edge
            if number <= 2:
                self.shoot(f"edge-{number}")
            wrong = self._wrong_in(edge)
            painted = 0
            if wrong.any() and corrected < _CORRECTED:
                painted = self._paint(edge)
                corrected += 1
                self.shoot(f"corrected-{corrected}")
            elif wrong.any():
                self._set_truth(edge)
            left = int(self._wrong_in(edge).sum())
            print(
                f"edge {number}: expected {edge.expected_wrong:.0f} wrong, found "
                f"{int(wrong.sum())}, strokes {painted}, left {left}",
                flush=True,
            )
            self.key(Qt.Key.Key_C if wrong.any() else Qt.Key.Key_A)

    def close(self) -> Path:
        """Close the window; returns the project's path."""
        path = self.panel.session.project.path
        self.viewer.close()
        wait(0.5)
        return path

    def dice(self) -> float:
        """Dice of the labels on show against the exact truth."""
        mine = self._labels() > 0
        return float(
            2 * (mine & (self.truth > 0)).sum() / (mine.sum() + self.truth.sum())
        )

    def finetune(self) -> str:
        """Fine-tune to the end; returns the verdict."""
        panel = self.panel
        panel.show_tab(panel.finetune)
        sentences: list[str] = []
        panel.finetuning.ended.connect(lambda end: sentences.append(end.sentence))
        until(panel.finetune.start.isEnabled, 30)
        self.shoot("fine-tune-before")
        self.click(panel.finetune.start)
        state = lambda: panel.finetuning.state  # noqa: E731
        until(
            lambda: (
                2 * state().done > state().total > 0 and bool(panel.finetuning.points)
            )
        )
        self.shoot("fine-tune-during")
        if not until(lambda: state().phase == FinetunePhase.IDLE):
            sys.exit("error: the fine-tuning takes too long")
        self.shoot("fine-tune-after")
        return sentences[-1] if sentences else "no verdict"

    def _labels(self) -> np.ndarray:
        return np.asarray(self.panel.session.store.levels[0][:, :, :])

    def _wrong_in(self, edge: Edge) -> np.ndarray:
        box = tuple(slice(*bounds) for bounds in edge.box)
        return self._labels()[box] != self.truth[box]

    def _set_truth(self, edge: Edge) -> None:
        box = tuple(slice(*bounds) for bounds in edge.box)
        self.panel.session.store.set_truth(edge.box, self.truth[box])

    def _paint(self, edge: Edge) -> int:
        """Drag a fine brush over what is wrong, slice by slice; returns the strokes."""
        layer = self.panel.session.labels_layer
        layer.brush_size = 1
        strokes = 0
        (z0, z1), (y0, y1), (x0, x1) = edge.box
        for z in range(z0, z1):
            for value in (1, 0):
                part = self.truth[z, y0:y1, x0:x1] == value
                part &= self._labels()[z, y0:y1, x0:x1] != value
                for y in np.flatnonzero(part.any(axis=1)):
                    self.viewer.dims.set_current_step(0, z)
                    layer.selected_label = 1
                    layer.mode = "paint" if value else "erase"
                    for start, stop in _runs(part[y]):
                        self._drag((y0 + y, x0 + start), (y0 + y, x0 + stop - 1))
                        strokes += 1
        layer.mode = "pan_zoom"
        return strokes

    def _drag(self, start: tuple[int, int], stop: tuple[int, int]) -> None:
        """Press at one voxel of the slice on show, move to another, release."""
        path = [self._on_canvas(*at) for at in (start, stop, stop)]
        kinds = (
            (QEvent.Type.MouseMove, Qt.MouseButton.NoButton),
            (QEvent.Type.MouseButtonPress, Qt.MouseButton.LeftButton),
            (QEvent.Type.MouseMove, Qt.MouseButton.LeftButton),
            (QEvent.Type.MouseButtonRelease, Qt.MouseButton.NoButton),
        )
        for (kind, held), at in zip(kinds, (path[0], path[0], *path[1:]), strict=True):
            button = (
                Qt.MouseButton.NoButton
                if kind == QEvent.Type.MouseMove
                else Qt.MouseButton.LeftButton
            )
            where = QPointF(self._canvas.mapToGlobal(at.toPoint()))
            event = QMouseEvent(
                kind, at, where, button, held, Qt.KeyboardModifier.NoModifier
            )
            QApplication.sendEvent(self._canvas, event)
            QApplication.processEvents()

    def _on_canvas(self, y: int, x: int) -> QPointF:
        """Where a voxel of the slice on show lies on the canvas, in its pixels."""
        layer, camera = self.panel.session.labels_layer, self.viewer.scene.camera
        z = int(self.viewer.dims.current_step[0])
        world = layer.data_to_world((z, y, x))[1:]
        size = self._canvas.height(), self._canvas.width()
        place = [
            (w - c) * camera.zoom + n / 2
            for w, c, n in zip(world, camera.center[-2:], size, strict=True)
        ]
        return QPointF(place[1], place[0])

    @property
    def _canvas(self):
        return self.viewer.window._qt_viewer.canvas.native


def _runs(row: np.ndarray) -> list[tuple[int, int]]:
    """Starts and stops of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def take(folder: Path) -> None:
    """Walk."""
    walk = Walk(folder)
    walk.open()
    walk.shoot("open")
    walk.predict(shots=("predicting", "predicted"))
    print(f"Dice after the first prediction {walk.dice():.3f}", flush=True)
    walk.review()
    print(f"Dice after the corrections {walk.dice():.3f}", flush=True)
    before = walk._labels()
    project = walk.close()
    walk.open()
    walk.panel.project.open_asked.emit(project)
    until(lambda: walk.panel.session.labels_layer is not None, 60)
    walk.shoot("reopened")
    same = np.array_equal(before, walk._labels())
    print(f"labels after closing and reopening: {'equal' if same else 'NOT EQUAL'}")
    print(walk.finetune(), flush=True)
    again = walk.panel.finetune.outcome.button
    if again.isVisible():
        walk.click(again)
        walk._follow("predicting-again", "predicted-again")
        print(f"Dice after predicting again {walk.dice():.3f}", flush=True)
    walk.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    take(arguments.folder)


if __name__ == "__main__":
    main()
