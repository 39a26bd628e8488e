"""Between DICOM's patient axes and ours: the one place that turns LPS to RAS+ and back.

DICOM's positions and directions grow to the patient's left, posterior and superior.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2miseg_core.geometry import Geometry

__all__ = ["direction_cosines", "plane_affine", "plane_position", "to_ras"]

_SIGNS = np.array([-1.0, -1.0, 1.0])


def to_ras(points: ArrayLike) -> NDArray[np.float64]:
    """Turn points or vectors, shape (..., 3), from LPS to RAS+, or back."""
    turned: NDArray[np.float64] = np.asarray(points, dtype=np.float64) * _SIGNS
    return turned


def plane_affine(
    origin: ArrayLike,
    step: ArrayLike,
    orientation: ArrayLike,
    spacing: Sequence[float],
) -> NDArray[np.float64]:
    """Return the affine from (z, y, x, 1) to RAS+ mm of planes that lie in LPS.

    Parameters
    ----------
    origin, step : array_like, shape (3,)
        Of the first pixel of the first plane, and from plane to plane.
    orientation : array_like of 6 or (2, 3)
        Unit vectors along a row (growing column), then along a column.
    spacing : two float
        Distance of rows, then of columns.
    """
    along_row, along_column = np.asarray(orientation, dtype=np.float64).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, 0] = to_ras(step)
    affine[:3, 1] = to_ras(along_column * spacing[0])
    affine[:3, 2] = to_ras(along_row * spacing[1])
    affine[:3, 3] = to_ras(origin)
    return affine


def plane_position(geometry: Geometry, plane: int) -> NDArray[np.float64]:
    """Return where the first pixel of a plane lies, in LPS."""
    return to_ras(geometry.world([plane, 0, 0]))


def direction_cosines(geometry: Geometry) -> NDArray[np.float64]:
    """Return the unit vectors (2, 3) along a row and along a column, in LPS."""
    return to_ras((geometry.affine[:3, [2, 1]] / geometry.spacing[:0:-1]).T)
