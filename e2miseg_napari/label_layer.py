"""The labels of a case as a layer that can be painted on at every zoom.

napari paints on single arrays only. This layer shows the store's pyramid and edits its
finest level: the store records what a human did, keeps the coarser levels up to date
and undoes without limit, so napari's own history stays empty. What is drawn is always
read back from the store. The parts of napari that are used behind its public face are
named in `_HOOKS` and looked for before the first layer is made.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import napari
import numpy as np
from napari.layers import Image, Labels
from napari.layers.labels._labels_constants import Mode
from napari.layers.labels._labels_utils import expand_slice
from napari.utils.notifications import show_info, show_warning
from numpy.typing import NDArray

from e2miseg_core.boxes import Box
from e2miseg_core.errors import ConfigError
from e2miseg_core.model_card import LabelInfo
from e2miseg_core.project import LabelStore
from e2miseg_napari.convert import KEY, grid_of
from e2miseg_napari.label_pyramid import (
    EditablePyramid,
    LevelSlicing,
    PlaneRequest,
    iter_chunks,
)
from e2miseg_napari.preview import Preview, PreviewedLevel
from e2miseg_napari.result_layers import label_colors, label_features
from e2miseg_napari.review_polygon import SlicePolygon

__all__ = ["PyramidLabels", "make_labels_layer"]

_HOOKS = (
    (Labels, "_abort_stroke"),
    (Labels, "_begin_stroke"),
    (Labels, "_commit_stroke"),
    (Labels, "_drag_modes"),
    (Labels, "_ensure_int_labels"),
    (Labels, "_get_layer_slicing_state"),
    (Labels, "_get_preserve_labels_source_label"),
    (Labels, "_paint_region_with_mask"),
    (Labels, "_partial_labels_refresh"),
    (Labels, "_raw_to_displayed"),
    (Labels, "_reset_editable"),
    (Labels, "_type_string"),
    (Labels, "block_history"),
    (LevelSlicing, "_make_slice_request_internal"),
    (LevelSlicing, "_slice_request_class"),
    (LevelSlicing, "loaded_data"),
    (PlaneRequest.__base__, "_thick_slice_at_level"),
)
_BRUSH = 3  # voxels: less than an uncertain edge
_LARGEST_FILL = 1 << 27  # voxels that a fill may read at once


def _pick(layer: "PyramidLabels", event: Any) -> None:
    """Choose the class under the cursor; napari would choose (level, class)."""
    value = layer.get_value(
        event.position,
        view_direction=event.view_direction,
        dims_displayed=event.dims_displayed,
        world=True,
    )
    layer.selected_label = (value[1] if isinstance(value, tuple) else value) or 0


class PyramidLabels(Labels):
    """Labels over a store: painting, filling, polygons and undo at every zoom.

    Parameters
    ----------
    store : LabelStore
        Open, and owned by the caller, who calls `release` before closing it.
    classes : sequence of LabelInfo
        Classes that may be painted with, without the background.
    **options
        As for `napari.layers.Labels`.

    Attributes
    ----------
    preview : Preview or None
        Of the case's first prediction: drawn where no human has spoken, but no part of
        the data.
    """

    _drag_modes = Labels._drag_modes | {Mode.PICK: _pick}

    def __init__(
        self, store: LabelStore, *, classes: Sequence[LabelInfo], **options: Any
    ) -> None:
        _check_napari()
        self._store: LabelStore | None = store
        self._values = sorted({0, *(item.value for item in classes)})
        self.preview: Preview | None = None
        self._strokes = 0  # open ones, one within the other
        self._painted: list[Box] = []  # not yet drawn
        self._stale = False  # painted on while a slice was being read
        super().__init__(EditablePyramid(store), multiscale=True, **options)
        self.events.add(stepped=None)  # what was undone or redone
        del self._overlays["polygon"]  # an equal one would not be replaced
        self._overlays["polygon"] = SlicePolygon(visible=True)
        if self._selected_label not in self._values:
            self.selected_label = next(filter(None, self._values), 0)
        self._slicing_state.loaded_data.connect(self._on_loaded)
        self.events.mode.connect(self._commit_stroke)

    @property
    def _type_string(self) -> str:
        return "labels"  # icon, menus and writers go by it

    @property
    def data(self) -> EditablePyramid:
        """The store's levels."""
        levels: EditablePyramid = self._data
        return levels

    @data.setter
    def data(self, data: Any) -> None:
        raise ConfigError(
            found="an attempt to replace the labels of a project",
            needed="edits, which the project can record",
            do="paint, or write into a part of `layer.data`",
        )

    @property
    def downsample_factors(self) -> NDArray[np.float64]:
        """Voxels of the finest level in one of each level, along each axis.

        Whole numbers: napari divides shapes, and odd ones would shift the labels.
        """
        factors = [np.ones(self.ndim)]
        shapes = self.level_shapes
        for fine, coarse in itertools.pairwise(shapes):
            factors.append(factors[-1] * np.where(coarse < fine, 2, 1))
        return np.stack(factors)

    @property
    def selected_label(self) -> int:
        """Class to paint with; one of the class table."""
        value: int = super().selected_label
        return value

    @selected_label.setter
    def selected_label(self, wanted: int) -> None:
        current = self._selected_label
        allowed = [wanted] if wanted in self._values else []
        if not allowed and abs(wanted - current) == 1:  # - and = step through the table
            step = wanted - current
            beyond = [value for value in self._values if (value - current) * step > 0]
            allowed = sorted(beyond, key=lambda value: abs(value - current))[:1]
        if allowed:
            Labels.selected_label.fset(self, allowed[0])
        else:
            self.events.selected_label()  # controls show again what holds

    @property
    def polygon_is_begun(self) -> bool:
        """Whether a polygon waits to be finished or dropped."""
        overlay: SlicePolygon = self._overlays["polygon"]
        return bool(overlay.points)

    def level_on_show(self, level: int) -> Any:
        """Level of the pyramid as it is to be drawn."""
        volume, store = self.data[level], self._store
        if self.preview is None or store is None:
            return volume
        return PreviewedLevel(
            volume, self.preview, level=level, authority=store.authority
        )

    def release(self) -> None:
        """Let go of the store, which may then be closed; nothing can be painted."""
        self._end_strokes()
        self._store = None
        self.editable = False

    def undo(self) -> None:
        """Take back the last step, whenever it was made."""
        if self._store is not None and not self._strokes:
            box = self._store.undo()
            self.show_changes(box)
            self.events.stepped(done="Undone", name=self._store.last_undone, box=box)

    def redo(self) -> None:
        """Make the step again that was taken back last."""
        if self._store is not None and not self._strokes:
            box = self._store.redo()
            self.show_changes(box)
            self.events.stepped(done="Redone", name=self._store.last_done, box=box)

    def fill(
        self, coord: Sequence[float], new_label: int, refresh: bool = True
    ) -> None:
        """Fill the region under a coordinate, if it fits into memory."""
        if self.preview is not None:
            show_warning(
                "The labels on show are still being predicted; fill when they are "
                "complete. Brush, eraser and polygon work meanwhile"
            )
            return
        shape, _ = self._get_shape_and_dims_to_paint()
        if np.prod(shape, dtype=float) > _LARGEST_FILL:
            show_warning(
                "Too many voxels to fill at once; needed: fewer than "
                f"{_LARGEST_FILL:,}; fill in 2D, slice by slice, or use the polygon"
            )
            return
        super().fill(coord, new_label, refresh)

    def data_setitem(self, indices: Any, value: Any, refresh: bool = True) -> None:
        """Set scattered voxels, as one step; see napari's method."""
        points = np.stack([np.ravel(part) for part in np.broadcast_arrays(*indices)])
        values = np.broadcast_to(np.asarray(value), points.shape[1:])
        with self.block_history():
            for box, members in iter_chunks(points, self.data[0].chunks):
                inside = tuple(points[:, members] - [[low] for low, _ in box])
                size = [high - low for low, high in box]
                mask, labels = np.zeros(size, bool), np.zeros(size, values.dtype)
                mask[inside] = True
                labels[inside] = values[members]
                self._paint(box, mask, labels)
        if refresh:
            self._partial_labels_refresh()

    @contextmanager
    def block_history(self) -> Iterator[None]:
        """Make all edits within one step."""
        self._open_stroke()
        try:
            yield
        finally:
            self._close_stroke()

    def show_changes(self, box: Box | None) -> None:
        """Draw a box of voxels again where the current view shows it."""
        if box is None or self._slice.empty:
            return
        if not self.loaded:
            self._stale = True
        elif self._slice_input.ndisplay == 3:
            self.refresh(extent=False, thumbnail=False, highlight=False)
        else:
            self._draw_box(box)

    def _ensure_int_labels(self, data: Any) -> Any:
        return data

    def _reset_editable(self) -> None:
        self.editable = self._store is not None

    def _get_layer_slicing_state(self, data: Any, cache: bool) -> LevelSlicing:
        return LevelSlicing(self, data, cache)

    def _begin_stroke(self) -> None:
        self._end_strokes()
        self._open_stroke()

    def _commit_stroke(self, _event: object = None) -> None:
        self._end_strokes()

    def _abort_stroke(self) -> None:
        if self._store is not None and self._strokes:
            self._strokes = 0
            self._store.abort_stroke()
        self.refresh(extent=False)

    def _open_stroke(self) -> None:
        if self._store is not None and not self._strokes:
            self._store.begin_stroke(_STEP_NAMES.get(self._mode, "edit"))
        self._strokes += 1

    def _close_stroke(self) -> None:
        if not self._strokes:
            return  # ended already, since the tool was changed in the middle
        self._strokes -= 1
        if not self._strokes and self._store is not None:
            self._store.end_stroke()
            self.events.paint(value=[])

    def _end_strokes(self) -> None:
        if self._strokes:
            self._strokes = 1
            self._close_stroke()

    def _paint_region_with_mask(
        self,
        slice_key: tuple[slice, ...],
        mask: NDArray[np.bool_],
        new_label: int,
        dims_to_paint: list[int],
        refresh: bool = True,
        region_data: NDArray[Any] | None = None,
    ) -> None:
        missing = tuple(set(range(self.ndim)) - set(dims_to_paint))
        mask = np.expand_dims(mask, missing)
        if self.preserve_labels:
            seen = np.asarray(self.data[slice_key])
            if region_data is not None:  # what a fill went by
                seen = np.expand_dims(region_data, missing)
            kept = self._get_preserve_labels_source_label(new_label)
            # A voxel painted with the label that it has: the human vouches for it.
            mask = mask & ((seen == kept) | (seen == new_label))
        z, y, x = ((part.start, part.stop) for part in slice_key)
        with self.block_history():
            self._paint((z, y, x), mask, new_label)
        if refresh:
            self._partial_labels_refresh()

    def _paint(self, box: Box, mask: NDArray[np.bool_], labels: Any) -> None:
        if self._store is not None:
            self._store.paint(box, mask, labels)
            self._painted.append(box)

    def _partial_labels_refresh(self) -> None:
        painted, self._painted = self._painted, []
        if painted:
            low = np.min(painted, axis=0)[:, 0]
            high = np.max(painted, axis=0)[:, 1]
            z, y, x = zip(low.tolist(), high.tolist(), strict=True)
            self.show_changes((z, y, x))

    def _draw_box(self, box: Box) -> None:
        """Read a box of the level on show again, and hand it to the canvas."""
        image, tile = self._slice.image, self._slice.tile_to_data
        level = self.data_level
        factors = self.downsample_factors[level].astype(int)
        corner = np.round(tile.translate / tile.scale).astype(int)
        displayed = list(self._slice_input.displayed)
        plane = self._get_pt_not_disp()
        key = []
        for axis, (low, high) in enumerate(box):
            low, high = low // factors[axis], -(-high // factors[axis])
            if axis in displayed:
                first = corner[axis]
                last = first + image.raw.shape[displayed.index(axis)]
            else:
                first = plane[axis] // factors[axis]
                last = first + 1
            key.append(slice(int(max(low, first)), int(min(high, last))))
        if any(part.stop <= part.start for part in key):
            return
        part = np.asarray(self.level_on_show(level)[tuple(key)])
        part = part.transpose(self._slice_input.not_displayed + displayed)
        where = tuple(
            slice(key[axis].start - corner[axis], key[axis].stop - corner[axis])
            for axis in displayed
        )
        image.raw[where] = part[(0,) * len(plane)]
        if self.contour:  # outlines beside it change too
            where = expand_slice(where, image.raw.shape, self.contour)
        image.view[where] = self._raw_to_displayed(image.raw, data_slice=where)
        offset = [part.start for part in where]
        self.events.labels_update(data=image.view[where], offset=offset)

    def _on_loaded(self) -> None:
        if self.loaded and self._stale:
            self._stale = False
            self.refresh(extent=False, thumbnail=False, highlight=False)


_STEP_NAMES = {
    Mode.PAINT: "paint",
    Mode.ERASE: "erase",
    Mode.FILL: "fill",
    Mode.POLYGON: "polygon",
}


@PyramidLabels.bind_key("m", overwrite=True)
def _tell_about_classes(_layer: PyramidLabels) -> None:
    show_info(
        "The classes of a project are those of its model; choose one with - and =, "
        "or in the class table"
    )


def make_labels_layer(
    store: LabelStore,
    image: Image,
    classes: Sequence[LabelInfo],
    metadata: Mapping[str, Any],
) -> PyramidLabels:
    """Layer over a case's labels, exactly above its image.

    Parameters
    ----------
    store : LabelStore
        Open labels of the case.
    image : Image
        Layer that they belong to.
    classes : sequence of LabelInfo
        Without the background.
    metadata : mapping
        Kept with the layer under this plugin's key; its name ends with its "title".
    """
    layer = PyramidLabels(
        store,
        classes=classes,
        name=f"labels: {metadata['title']}",
        colormap=label_colors(classes),
        features=label_features(classes),
        opacity=0.5,
        metadata={KEY: {**metadata, "role": "labels"}},
        **grid_of(image),
    )
    layer.brush_size = _BRUSH
    return layer


def _check_napari() -> None:
    """Refuse a napari without the parts that this layer builds on.

    Raises
    ------
    ConfigError
        Naming what is missing.
    """
    missing = [name for owner, name in _HOOKS if not hasattr(owner, name)]
    if missing:
        raise ConfigError(
            found=f"napari {napari.__version__} lacks {', '.join(missing)}",
            needed="napari 0.9.2 or a later 0.9, whose labels can be extended",
            do='pip install "napari>=0.9.2,<0.10"',
        )
