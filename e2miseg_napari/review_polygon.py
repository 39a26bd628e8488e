"""A polygon that is painted only in the slice in which it was drawn.

napari draws an open polygon over every slice, and paints it where it was begun, which
may be out of view. It makes the visual of an overlay by a table of its own, so this
module is bound to its version.
"""

import numpy as np
from napari._vispy.overlays.labels_polygon import VispyLabelsPolygonOverlay
from napari._vispy.utils.visual import overlay_to_visual
from napari.components.overlays import LabelsPolygonOverlay
from napari.layers import Labels
from napari.utils.notifications import show_warning

__all__ = ["SlicePolygon"]


class SlicePolygon(LabelsPolygonOverlay):
    """Open polygon of a labels layer."""

    def add_polygon_to_labels(self, layer: Labels) -> None:
        """Paint it and begin anew; elsewhere than in its slice it is kept."""
        point = np.round(layer.world_to_data(layer._slice_input.world_slice.point))
        # The last point is the cursor.
        corners = np.array(self.points[:-1], dtype=int).reshape(-1, layer.ndim)
        hidden = layer._slice_input.not_displayed
        if (corners[:, hidden] != point[hidden]).any():
            show_warning(
                "The polygon was drawn in another slice: finish it there, or drop it "
                "with Escape. Nothing was painted"
            )
            return
        super().add_polygon_to_labels(layer)


overlay_to_visual[SlicePolygon] = VispyLabelsPolygonOverlay
