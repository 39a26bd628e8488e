"""The layers of the case on show: image, labels, error map, edge map."""

from collections.abc import Collection

from napari.components import ViewerModel
from napari.layers import Image, Layer

from e2miseg_core.boxes import Box
from e2miseg_core.project import LabelStore
from e2miseg_napari.case_opening import OpenCase, ResultMaps
from e2miseg_napari.convert import KEY, make_layer, own_metadata
from e2miseg_napari.label_layer import PyramidLabels, make_labels_layer
from e2miseg_napari.preview import MOST_VOXELS, Preview
from e2miseg_napari.remaining_errors import RemainingErrors
from e2miseg_napari.result_layers import make_edge_layer, make_error_layer

__all__ = ["CaseLayers", "meets_view"]

_MOST_BOXES = 64  # more of them are drawn faster by one refresh


class CaseLayers:
    """Puts the layers of one case into a viewer, and takes them away again.

    Parameters
    ----------
    viewer : ViewerModel
        That gets the layers.

    Attributes
    ----------
    image, labels, error_map, edge_map : Layer or None
        What is in the viewer; None where there is none, or the user removed it.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._opened: OpenCase | None = None
        self._grid: Image | None = None  # says where the voxels are, shown or not
        self._added: list[Layer] = []
        self.image: Image | None = None
        self.labels: PyramidLabels | None = None
        self.error_map: Image | None = None
        self.edge_map: Image | None = None

    def show(self, opened: OpenCase, store: LabelStore, image: Image | None) -> None:
        """Add the layers of a case.

        Parameters
        ----------
        opened : OpenCase
            The case.
        store : LabelStore
            Its labels.
        image : Image, optional
            Layer that shows the case's image already.
        """
        alone = not self._viewer.layers
        self._opened = opened
        self.image = image or self._find_image(opened) or self._add_images(opened)
        self._grid = self.image
        self._hide_others(opened)
        classes = opened.case.project.classes
        self.labels = make_labels_layer(store, self.image, classes, opened.metadata)
        self._add(self.labels)
        self._show_edge_map(opened.maps)
        self._add_error_map(opened.maps)
        self._viewer.layers.selection.active = self.labels
        if alone:
            self._viewer.reset_view()

    def show_maps(self, maps: ResultMaps) -> None:
        """Show another prediction's maps instead, in the same layers."""
        selection = self._viewer.layers.selection
        active = selection.active
        self._show_edge_map(maps)
        layer = self.error_map
        if layer is None:  # the user has removed it
            self._add_error_map(maps)
        else:
            first = layer.data.errors is None and layer.data.preview is None
            layer.data.errors = maps.error_map
            layer.metadata[KEY]["store"] = str(maps.prediction.error_map)
            self._refresh(layer)
            layer.visible = layer.visible or first
        if active is None or active in self._viewer.layers:
            selection.active = active

    def show_preview(self, preview: Preview | None) -> None:
        """Show a first prediction in the layers of the case; None ends that."""
        labels, errors = self.labels, self.error_map
        if labels is not None:
            labels.preview = preview
            self._refresh(labels)
        if errors is not None:
            errors.data.preview = preview
            errors.visible = preview is not None or (
                errors.visible and errors.data.errors is not None
            )
            self._refresh(errors)

    def follow(self, boxes: Collection[Box]) -> None:
        """Draw what a preview has got, unless that would take long."""
        flat = self._viewer.dims.ndisplay == 2
        if self.labels is not None and (flat or self.labels.data.size <= MOST_VOXELS):
            self.redraw(boxes)

    def bring_image_back(self) -> None:
        """Show the image again, below the rest, where the user has removed it."""
        opened, layers = self._opened, self._viewer.layers
        if opened is None or opened.store is None or self.image is not None:
            return
        selection, before = layers.selection, len(layers)
        active = selection.active
        self.image = self._find_image(opened) or self._add_images(opened)
        if len(layers) > before:
            layers.move_multiple(range(before, len(layers)), 0)
        selection.active = active

    def redraw(self, boxes: Collection[Box]) -> None:
        """Draw again what was changed by other means than painting."""
        if self.labels is None or not boxes:
            return
        errors = self.error_map
        if errors is not None and any(
            meets_view(errors, box, self._viewer) for box in boxes
        ):
            self._refresh(errors)
        if not self.labels.visible:
            return
        flat = self._viewer.dims.ndisplay == 2
        if flat and len(boxes) <= _MOST_BOXES:
            for box in boxes:
                self.labels.show_changes(box)
        else:
            self._refresh(self.labels)

    def forget(self, layer: Layer) -> bool:
        """Take note that a layer has gone; return whether it held the labels."""
        if layer is self.error_map:
            self.error_map = None
        if layer is self.edge_map:
            self.edge_map = None
        if layer is self.image:
            self.image = None
        return layer is not None and layer is self.labels

    def remove(self) -> None:
        """Take away what was added; nothing can be painted from now on."""
        self.let_go()
        self.tidy()

    def let_go(self) -> None:
        """Do so, but leave the layers to `tidy`: napari may be at removing some."""
        labels, self.labels = self.labels, None
        self.image = self.error_map = self.edge_map = None
        if labels is not None:
            labels.release()
        self._opened = self._grid = None

    def tidy(self) -> None:
        """Take away the layers of a case that was let go."""
        if self._opened is not None:
            return
        added, self._added = self._added, []
        for layer in added:
            self._remove(layer)

    def _hide_others(self, opened: OpenCase) -> None:
        """Two volumes over each other show neither."""
        for layer in self._viewer.layers:
            own = own_metadata(layer)
            if (
                own.get("role") == "image"
                and own.get("uri") != opened.metadata["image"]
            ):
                layer.visible = False
        if self.image is not None:
            self.image.visible = True

    def _find_image(self, opened: OpenCase) -> Image | None:
        uri = opened.metadata["image"]
        for layer in self._viewer.layers:
            own = own_metadata(layer)
            if own.get("role") == "image" and own.get("uri") == uri:
                return layer
        return None

    def _add_images(self, opened: OpenCase) -> Image:
        layers: list[Image] = [make_layer(data) for data in opened.images]
        for layer in layers:
            self._add(layer)
        return layers[0]

    def _add_error_map(self, maps: ResultMaps | None) -> None:
        opened, grid = self._opened, self._grid
        if opened is None or opened.store is None or grid is None:
            return
        path = "" if maps is None else str(maps.prediction.error_map)
        metadata = {**opened.metadata, "store": path}
        array = None if maps is None else maps.error_map
        remaining = RemainingErrors(array, opened.store)
        self.error_map = make_error_layer(grid, remaining, metadata)
        self.error_map.visible = array is not None  # else there is nothing to see
        self._add(self.error_map)

    def _show_edge_map(self, maps: ResultMaps | None) -> None:
        """Show a prediction's edge map in its layer, which goes where there is none."""
        opened, grid, layer = self._opened, self._grid, self.edge_map
        if maps is None or maps.edge_map is None:
            if layer is not None:
                self._remove(layer)
            self.edge_map = None
        elif layer is not None:
            layer.data = maps.edge_map
            layer.metadata[KEY]["store"] = str(maps.prediction.edge_map)
        elif opened is not None and grid is not None:
            metadata = {**opened.metadata, "store": str(maps.prediction.edge_map)}
            self.edge_map = make_edge_layer(grid, maps.edge_map, metadata)
            self._add(self.edge_map)

    def _refresh(self, layer: Layer) -> None:
        if layer.visible:  # a hidden one reads anew when it is shown
            layer.refresh(extent=False, thumbnail=False, highlight=False)

    def _add(self, layer: Layer) -> None:
        self._added.append(layer)
        self._viewer.add_layer(layer)

    def _remove(self, layer: Layer) -> None:
        if layer in self._added:
            self._added.remove(layer)
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)


def meets_view(layer: Layer, box: Box, viewer: ViewerModel) -> bool:
    """Whether the slice that a viewer shows of a layer cuts a box of its voxels."""
    dims = viewer.dims
    if dims.ndisplay == 3:
        return True
    position = layer.world_to_data(dims.point)
    offset = dims.ndim - layer.ndim
    for axis, (start, stop) in enumerate(box):
        if axis + offset in dims.displayed:
            continue
        if not start <= round(float(position[axis])) < stop:
            return False
    return True
