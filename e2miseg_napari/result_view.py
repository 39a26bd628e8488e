"""Shows a prediction while it is being computed, and takes it away afterwards."""

from collections.abc import Mapping, Sequence

from napari.components import ViewerModel
from napari.layers import Image, Layer
from qtpy.QtCore import QObject

from e2miseg_core.model_card import LabelInfo
from e2miseg_napari.live_view import LiveView
from e2miseg_napari.protocol import Box
from e2miseg_napari.result_layers import make_result_layers

__all__ = ["ResultView"]


class ResultView(QObject):
    """Layers over the stores that the engine fills; nobody can paint in them.

    Parameters
    ----------
    viewer : ViewerModel
        That gets the layers.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._live = LiveView(viewer, self)
        self._layers: tuple[Layer, ...] = ()

    def begin(
        self, image: Image, stores: Mapping[str, str], classes: Sequence[LabelInfo]
    ) -> None:
        """Add layers over the stores that the job begins to fill."""
        layers = make_result_layers(
            image, stores, classes, {"title": "being predicted"}
        )
        self._layers = tuple(layers)
        active = self._viewer.layers.selection.active
        for layer in layers:
            self._viewer.add_layer(layer)
        layers.labels.editable = False  # the worker writes there
        if active is not None:  # painting goes on where it was
            self._viewer.layers.selection.active = active
        self._live.follow(layers)

    def add(self, box: Box) -> None:
        """Take note of voxels that are final."""
        self._live.add(box)

    def drop(self) -> None:
        """Take the layers away: the labels hold the prediction now, or it failed."""
        self._live.stop()
        layers, self._layers = self._layers, ()
        for layer in layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
