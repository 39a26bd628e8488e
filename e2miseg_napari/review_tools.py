"""Tools while a case is open: they work on its labels, and nothing moves its layers.

The keys 1 to 6 are napari's for the active layer: on an image 2 is the tool that shifts
it, which would take it away from under its labels without a word.
"""

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.notifications import show_info
from qtpy.QtCore import QObject

from e2miseg_napari.convert import own_metadata

if TYPE_CHECKING:
    from e2miseg_napari.project_session import ProjectSession

__all__ = ["ReviewTools"]

_TOOLS = {
    "1": "erase",
    "2": "paint",
    "3": "polygon",
    "4": "fill",
    "5": "pick",
    "6": "pan_zoom",
}
_PLACE = ("scale", "translate", "rotate", "shear", "affine")


class ReviewTools(QObject):
    """Minds the layers of the case on show, until it is closed. It begins open.

    Parameters
    ----------
    viewer : ViewerModel
        That shows them.
    session : ProjectSession
        The open project.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        session: "ProjectSession",
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._session = viewer, session
        self._minded: list[_MindedLayer] = []
        self._open = True
        session.opened.connect(self._follow)
        session.predicted.connect(self._follow)
        self._follow()

    def open(self) -> None:
        """Mind the layers again, after `close`."""
        self._open = True
        self._follow()

    def close(self) -> None:
        """Leave the layers to napari."""
        self._open = False
        self._follow()

    def take(self, tool: str) -> None:
        """Make the labels the active layer, and take a tool to them."""
        labels = self._session.labels_layer
        if labels is not None and labels in self._viewer.layers:
            self._viewer.layers.selection.active = labels
            labels.mode = tool

    def _follow(self) -> None:
        for one in self._minded:
            one.release()
        layers = self._layers() if self._open else []
        self._minded = [_MindedLayer(layer, self._keys(layer)) for layer in layers]

    def _layers(self) -> list[Layer]:
        """Image, with all its channels, labels and maps of the case."""
        session = self._session
        if session.labels_layer is None:
            return []
        own = [session.labels_layer, session.error_layer, session.edge_layer]
        image = session.image_layer
        uri = None if image is None else own_metadata(image).get("uri")
        return [
            layer
            for layer in self._viewer.layers
            if layer in own or (uri and own_metadata(layer).get("uri") == uri)
        ]

    def _keys(self, layer: Layer) -> dict[str, Callable[[object], None]]:
        if layer is self._session.labels_layer:
            return {}  # napari's own do the same there
        return {key: _taking(self.take, tool) for key, tool in _TOOLS.items()}


class _MindedLayer:
    """A layer that stays where it is."""

    def __init__(self, layer: Layer, keys: dict[str, Callable[[object], None]]) -> None:
        self._layer, self._keys = layer, keys
        self._place = {name: np.array(getattr(layer, name)) for name in _PLACE}
        self._told = False
        for name in _PLACE:
            getattr(layer.events, name).connect(self._put_back)
        for key, act in keys.items():
            layer.bind_key(key, act, overwrite=True)

    def release(self) -> None:
        for name in _PLACE:
            getattr(self._layer.events, name).disconnect(self._put_back)
        for key, act in list(self._layer.keymap.items()):
            if act in self._keys.values():
                self._layer.bind_key(key, None)

    def _put_back(self, _event: object = None) -> None:
        layer, moved = self._layer, False
        for name, place in self._place.items():
            if not np.array_equal(np.asarray(getattr(layer, name)), place):
                moved = True
                setattr(layer, name, place)
        if not moved:
            return
        if layer.mode == "transform" or not self._told:
            self._told = True
            show_info(
                "The layers of an open case stay where they are: its labels belong to "
                "the voxels of its image"
            )
        if layer.mode == "transform":
            layer.mode = "pan_zoom"


def _taking(take: Callable[[str], None], tool: str) -> Callable[[object], None]:
    """Take a tool as long as the method's owner lives; napari keeps what is bound."""
    reference = weakref.WeakMethod(take)

    def call(_layer: object) -> None:
        alive = reference()
        if alive is not None:
            alive(tool)

    return call
