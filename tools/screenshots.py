"""Take the pictures of the documentation: before, during and after a prediction.

Run it where there is a display, or under a virtual one::

    xvfb-run -a -s "-screen 0 1600x1000x24" python tools/screenshots.py docs/images

The real window is driven with the bundled phantom, the only data to be shown.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Another user's settings would change the pictures.
_SETTINGS = tempfile.TemporaryDirectory()
os.environ["NAPARI_CONFIG"] = str(Path(_SETTINGS.name) / "settings.yaml")

import napari  # noqa: E402
from qtpy.QtWidgets import QApplication  # noqa: E402

from e2miseg_napari.controller import Phase  # noqa: E402
from e2miseg_napari.demo import open_demo  # noqa: E402
from e2miseg_napari.panels.predict import PredictPanel  # noqa: E402

_SIZE = (1500, 950)
_LONGEST_S = 1800.0


def wait(seconds: float) -> None:
    """Let the window work for some time."""
    until(lambda: False, seconds)


def until(condition: Callable[[], bool], seconds: float = _LONGEST_S) -> bool:
    """Let the window work until something is the case."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.02)
    return condition()


def shoot(viewer: napari.Viewer, path: Path) -> None:
    """Save a picture of the whole window."""
    wait(0.6)
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    print(path)


def show_lesion(viewer: napari.Viewer, panel: PredictPanel) -> None:
    """Go to the slice with the largest part of a lesion so far."""
    prediction = panel.shown
    if prediction is not None and prediction.labels is not None:
        areas = (prediction.labels.data[:] > 0).sum(axis=(1, 2))
        if areas.any():
            viewer.dims.set_current_step(0, int(areas.argmax()))


def take(folder: Path, model: str) -> None:
    """Drive the window through a prediction."""
    viewer, panel = open_demo()
    viewer.window.resize(*_SIZE)
    if model and not panel.model.choose(model):
        sys.exit(f"error: no model {model!r}")
    state = lambda: panel.controller.state  # noqa: E731
    until(lambda: panel.controller.client.info is not None, 120)
    shoot(viewer, folder / "before.png")
    panel.button.click()
    until(
        lambda: state().phase == Phase.IDLE or 3 * state().done > 2 * state().total > 0
    )
    show_lesion(viewer, panel)
    shoot(viewer, folder / "during.png")
    if not until(lambda: state().phase == Phase.IDLE):
        sys.exit("error: the prediction takes too long")
    show_lesion(viewer, panel)
    shoot(viewer, folder / "window.png")
    viewer.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="", help="instead of the demo's")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    take(arguments.folder, arguments.model)


if __name__ == "__main__":
    main()
