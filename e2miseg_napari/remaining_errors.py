"""The error map as far as nobody has spoken yet: what a human said is not in doubt."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_shape, box_slices
from e2miseg_core.project import MACHINE, LabelStore
from e2miseg_core.project.keys import LazyVolume

if TYPE_CHECKING:
    from e2miseg_napari.preview import Preview

__all__ = ["RemainingErrors"]


class RemainingErrors(LazyVolume):
    """A case's error map, 0 wherever a human has drawn or accepted the label.

    What napari needs of an array, read slice by slice; the stores are left as they are.

    Parameters
    ----------
    errors : zarr.Array or None, shape (Z, Y, X)
        Of the merged prediction; without one the map is 0.
    store : LabelStore
        Of the same case; open as long as this is read.

    Attributes
    ----------
    errors : zarr.Array or None
        May be replaced by that of another prediction.
    preview : Preview or None
        Of the case's first prediction, shown above it.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, errors: Any, store: LabelStore) -> None:
        self.errors, self._authority = errors, store.authority
        self.preview: Preview | None = None
        self.shape, self.chunks = self._authority.shape, self._authority.chunks
        self.size = self._authority.size

    def read(self, box: Box) -> NDArray[Any]:
        """Return the voxels of a box inside the volume."""
        where = box_slices(box)
        if self.errors is None:
            part = np.zeros(box_shape(box), self.dtype)
            if self.preview is None:
                return part
        else:
            part = np.array(self.errors[where])
        if self.preview is not None:
            self.preview.draw_errors(part, box)
        part[np.asarray(self._authority[where]) != MACHINE] = 0
        return part
