"""Puts the prediction in progress into the viewer, keeps it fresh, takes it away."""

from collections.abc import Mapping
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Layer
from qtpy.QtCore import QObject

from e2miseg_core.model_card import LabelInfo
from e2miseg_napari.convert import KEY
from e2miseg_napari.live_view import LiveView
from e2miseg_napari.predictions import find_predictions
from e2miseg_napari.protocol import Box
from e2miseg_napari.result_layers import ResultLayers, make_result_layers

__all__ = ["ResultView"]


class ResultView(QObject):
    """Layers of the prediction in progress.

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
        self._layers: ResultLayers | None = None
        self._hidden: list[Layer] = []  # shown again if nothing comes of it

    def begin(
        self,
        image: Image,
        stores: Mapping[str, str],
        labels: tuple[LabelInfo, ...],
        metadata: Mapping[str, Any],
    ) -> None:
        """Add layers over the stores that the job begins to fill."""
        layers = make_result_layers(image, stores, labels, metadata)
        self._hide_earlier(metadata["image"])
        self._layers = layers
        selected = self._viewer.layers.selection.active
        for layer in layers:
            self._viewer.add_layer(layer)
        # The worker still writes there: two writers would lose each other's voxels.
        layers.labels.editable = False
        layers.labels.events.paint.connect(_mark_edited)
        if selected is not None:
            self._viewer.layers.selection.active = selected
        self._live.follow(layers)

    def add(self, box: Box) -> None:
        """Take note of voxels that are final."""
        self._live.add(box)

    def needs(self, layer: Layer) -> bool:
        """Whether the prediction makes no sense without a layer."""
        return self._layers is not None and layer is self._layers.labels

    def finish(self, voxels: Mapping[int, int]) -> None:
        """Keep the layers: all voxels are final, and the user may paint."""
        self._live.stop()
        layers, self._layers = self._layers, None
        self._hidden.clear()
        if layers is None:
            return
        for layer in layers:
            layer.metadata[KEY].update(voxels=dict(voxels), finished=True)
            layer.refresh()
        layers.labels.editable = True
        self._remove_repeated(layers.labels.metadata[KEY])
        if layers.labels in self._viewer.layers:
            self._viewer.layers.selection.active = layers.labels

    def drop(self) -> None:
        """Take the layers away, and show again what they had replaced."""
        self._live.stop()
        layers, self._layers = self._layers, None
        for layer in layers or ():
            self._remove(layer)
        for layer in self._hidden:
            layer.visible = True
        self._hidden.clear()

    def _hide_earlier(self, image: str) -> None:
        """Two predictions of one image over each other show neither."""
        for earlier in find_predictions(self._viewer.layers):
            if earlier.own["image"] != image:
                continue
            for layer in earlier.layers:
                if layer.visible:
                    layer.visible = False
                    self._hidden.append(layer)

    def _remove_repeated(self, mine: Mapping[str, Any]) -> None:
        """Drop what the same model made of the same image with the same options."""
        for earlier in find_predictions(self._viewer.layers):
            own = earlier.own
            if earlier.id == mine["result"] or earlier.edited or not earlier.finished:
                continue
            if all(own[key] == mine[key] for key in ("image", "model", "options")):
                for layer in earlier.layers:
                    self._remove(layer)

    def _remove(self, layer: Layer) -> None:
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)


def _mark_edited(event: Any) -> None:
    event.source.metadata[KEY].update(edited=True, saved="")
