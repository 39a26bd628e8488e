"""Surfaces of masks, and how far each of their pieces is from another surface.

Distances come from a search tree over the pieces, so that memory goes with the surface
and not with the volume that it lies in.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from e2miseg_core.boxes import Box, bounding_box, box_of_mask, box_slices, whole_box

__all__ = ["Distances", "crop_to_either", "surface_areas", "surface_distances"]

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
ScalarT = TypeVar("ScalarT", bound=np.generic)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Distances:
    """Distances in mm from each piece of one surface to the nearest of the other.

    Attributes
    ----------
    predicted, reference : float array, shape (pieces,)
        From the prediction's pieces to the reference's surface, and the other way.
    """

    predicted: NDArray[np.float64]
    reference: NDArray[np.float64]


def crop_to_either(
    predicted: NDArray[ScalarT], reference: NDArray[ScalarT]
) -> tuple[NDArray[ScalarT], NDArray[ScalarT]]:
    """Both arrays in the smallest box that holds them; unchanged if both are empty."""
    frame = whole_box(predicted.shape)
    found = [box_of_mask(mask, frame) for mask in (predicted, reference)]
    boxes: list[Box] = [box for box in found if box is not None]
    where = box_slices(bounding_box(boxes) if boxes else frame)
    return predicted[where], reference[where]


def surface_distances(predicted: Mask, reference: Mask, spacing: Spacing) -> Distances:
    """Distances between the surface voxels of two masks that are not empty.

    A surface voxel is one with a face neighbour outside the mask, or at the rim of the
    image.
    """
    first, second = (_surface_voxels(mask, spacing) for mask in (predicted, reference))
    return _between(first, second)


def surface_areas(
    predicted: Mask, reference: Mask, spacing: Spacing
) -> tuple[Distances, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Distances between the surfaces that run between the voxels, with areas in mm2.

    A piece sits at each corner of the voxel grid where inside and outside meet; its
    area is that of the marching-cubes surface there, from MONAI's table.
    """
    first, areas = _pieces(predicted, spacing)
    second, other_areas = _pieces(reference, spacing)
    return _between(first, second), (areas, other_areas)


def _between(
    predicted: NDArray[np.float64], reference: NDArray[np.float64]
) -> Distances:
    return Distances(
        predicted=cKDTree(reference).query(predicted)[0],
        reference=cKDTree(predicted).query(reference)[0],
    )


def _surface_voxels(mask: Mask, spacing: Spacing) -> NDArray[np.float64]:
    """Places in mm, shape (voxels, 3)."""
    edge = mask & ~ndimage.binary_erosion(mask)
    places: NDArray[np.float64] = np.argwhere(edge) * np.asarray(spacing)
    return places


def _pieces(
    mask: Mask, spacing: Spacing
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of the voxel grid at the surface, in mm, and the area in each."""
    from monai.metrics.utils import get_code_to_measure_table

    table, kernel = get_code_to_measure_table(spacing)  # type: ignore[no-untyped-call]
    weights = np.asarray(kernel).reshape(2, 2, 2).astype(np.uint8)
    padded = np.pad(mask, 1).view(np.uint8)
    codes = np.zeros([n + 1 for n in mask.shape], dtype=np.uint8)
    for corner in np.ndindex(2, 2, 2):
        where = tuple(slice(c, c + n) for c, n in zip(corner, codes.shape, strict=True))
        codes += padded[where] * weights[corner]
    at = np.nonzero((codes != 0) & (codes != 255))
    areas = np.asarray(table, dtype=np.float64)[codes[at]]
    return np.stack(at, axis=1) * np.asarray(spacing), areas
