"""Planes as radiologists know them: the head up, and letters at the edges of the view.

napari draws the first axis of a plane downwards, which would stand a patient on the
head in every plane but the axial one.
"""

from typing import Literal, TypeAlias, get_args

from napari.components import ViewerModel
from napari.components.overlays import TextOverlay
from napari.layers import Layer
from napari.utils.events import disconnect_events
from qtpy.QtCore import QObject, Signal

from e2miseg_napari.convert import own_metadata

__all__ = ["AnatomicalView", "Plane", "edge_letters", "is_anatomical"]

Plane: TypeAlias = Literal["axial", "coronal", "sagittal"]

# Axes Z, Y, X of a volume on show, and the two letters at their ends.
_ENDS = (("I", "S"), ("A", "P"), ("R", "L"))
_HIDDEN_AXIS: dict[Plane, int] = {"axial": 0, "coronal": 1, "sagittal": 2}
_POSITIONS = ("top_center", "bottom_center", "middle_left", "middle_right")
_VERTICAL_AXIS = 0  # superior goes up


def is_anatomical(layer: Layer) -> bool:
    """Whether a layer's file says how its axes lie in a patient."""
    own = own_metadata(layer)
    return bool(own.get("oriented")) and layer.ndim >= 3


def edge_letters(
    vertical: int, horizontal: int, *, upwards: bool, rightwards: bool
) -> tuple[str, str, str, str]:
    """Letters at the top, the bottom, the left and the right of a plane.

    Parameters
    ----------
    vertical, horizontal : int
        Axes on show, of 0 (Z), 1 (Y) and 2 (X), in canonical orientation.
    upwards, rightwards : bool
        Whether those axes grow towards the top, and towards the right.
    """
    bottom, top = _ENDS[vertical] if upwards else _ENDS[vertical][::-1]
    left, right = _ENDS[horizontal] if rightwards else _ENDS[horizontal][::-1]
    return top, bottom, left, right


class AnatomicalView(QObject):
    """Keeps a viewer upright and lettered while an anatomical volume is in it.

    Parameters
    ----------
    viewer : ViewerModel
        Its camera's orientation is given back by `close`, or with the last such volume.
    parent : QObject, optional
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._before: tuple[str, str] | None = None  # of the camera, before it was ours
        self._letters = [
            TextOverlay(position=position, font_size=11, box=False)
            for position in _POSITIONS
        ]
        self.open()

    def open(self) -> None:
        """Begin, or begin again after `close`."""
        viewer = self._viewer
        for letter, position in zip(self._letters, _POSITIONS, strict=True):
            viewer.canvas.overlays[f"e2miseg_{position}"] = letter
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._turn)
        dims = viewer.dims.events
        for event in (dims.order, dims.ndisplay, dims.ndim):
            event.connect(self._turn)
        viewer.scene.camera.events.orientation.connect(self._write)
        self._turn()

    @property
    def is_on(self) -> bool:
        """Whether there is an anatomical volume."""
        return any(is_anatomical(layer) for layer in self._viewer.layers)

    @property
    def has_volume(self) -> bool:
        """Whether there are three axes to choose a plane of."""
        return self._viewer.dims.ndim >= 3

    @property
    def plane(self) -> Plane | None:
        """The plane on show; None in three dimensions, or with a channel axis."""
        shown = self._shown()
        hidden = [axis for axis in range(3) if axis not in shown]
        if len(shown) != 2 or min(shown) < 0 or len(hidden) != 1:
            return None
        return next(name for name, axis in _HIDDEN_AXIS.items() if axis == hidden[0])

    def show_plane(self, plane: Plane) -> None:
        """Show a plane through the point where the viewer is."""
        dims = self._viewer.dims
        if not self.has_volume:
            return
        first = dims.ndim - 3
        hidden = _HIDDEN_AXIS[plane]
        axes = [hidden, *(axis for axis in range(3) if axis != hidden)]
        dims.ndisplay = 2
        dims.order = (*range(first), *(first + axis for axis in axes))

    def close(self) -> None:
        """Listen no more, and leave the viewer as it was."""
        disconnect_events(self._viewer.layers.events, self)
        disconnect_events(self._viewer.dims.events, self)
        disconnect_events(self._viewer.scene.camera.events, self)
        self._give_back()
        for position in _POSITIONS:
            self._viewer.canvas.overlays.pop(f"e2miseg_{position}", None)

    def _shown(self) -> list[int]:
        """Axes on show, 0 to 2 for Z, Y and X, below 0 for those before them."""
        dims = self._viewer.dims
        return [axis - (dims.ndim - 3) for axis in dims.displayed]

    def _turn(self) -> None:
        camera = self._viewer.scene.camera
        if not self.is_on:
            self._give_back()
        elif self.plane is not None:
            if self._before is None:
                self._before = tuple(camera.orientation2d)
            upwards = self._shown()[0] == _VERTICAL_AXIS
            camera.orientation2d = ("up" if upwards else "down", "right")
        elif self._before is not None:
            camera.orientation2d = self._before
        self._write()
        self.changed.emit()

    def _give_back(self) -> None:
        if self._before is not None:
            self._viewer.scene.camera.orientation2d = self._before
            self._before = None

    def _write(self) -> None:
        shown, texts = self._shown(), ("",) * 4
        if self.is_on and self.plane is not None:
            vertical, horizontal = self._viewer.scene.camera.orientation2d
            texts = edge_letters(
                *shown, upwards=vertical == "up", rightwards=horizontal == "right"
            )
        for letter, text in zip(self._letters, texts, strict=True):
            letter.text = text
            letter.visible = bool(text)


def plane_names() -> tuple[Plane, ...]:
    """Return the planes, in the order in which they are offered."""
    return get_args(Plane)
