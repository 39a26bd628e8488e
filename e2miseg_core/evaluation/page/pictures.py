"""Pictures of a case: three slices through its largest error, with contours."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.measure import find_contours

from e2miseg_core.boxes import Box, box_of_mask, box_shape, box_slices, whole_box
from e2miseg_core.evaluation.page.svg import color_of, number
from e2miseg_core.evaluation.structures import LabelKey, Structure

__all__ = ["CasePicture", "draw_case"]

# What is shown around the error: so many finest voxel sides, or its size and a half.
_LEAST_SIDES, _OF_ERROR = 30.0, 1.5
_MOST_PIXELS = 384  # along a side of a picture; finer ones are thinned out
_PANEL = 300  # pixels on the page
_VIEWS = ("axial, z", "coronal, y", "sagittal, x")


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePicture:
    """What is shown of a case.

    Attributes
    ----------
    case : str
    html : str
        Three `<figure>` elements.
    note : str
        What should be known, such as that there was no image.
    """

    case: str
    html: str
    note: str = ""


def draw_case(
    case: str,
    labels: tuple[NDArray[Any], NDArray[Any]],
    structures: Mapping[LabelKey, Structure],
    spacing: Sequence[float],
    image: Any | None = None,
    *,
    note: str = "",
) -> CasePicture:
    """Draw three slices through the largest error of a case.

    Parameters
    ----------
    case : str
        Its name.
    labels : pair of integer arrays, shape (Z, Y, X)
        Predicted and reference, in canonical orientation.
    structures : mapping of int or str to Structure
        In the order of the report, which gives them their colours.
    spacing : sequence of float
        ZYX in mm.
    image : array or dask array, shape (Z, Y, X), optional
        Only the three slices are read.
    note : str

    Returns
    -------
    CasePicture
        Contours of the reference are solid, those of the prediction dashed. Slices
        are seen from the patient's feet, front and left, heads up.
    """
    centre, extent = _largest_error(labels, list(structures.values()))
    frame = whole_box(labels[0].shape)
    sides = [
        max(_OF_ERROR * n * s, _LEAST_SIDES * min(spacing))
        for n, s in zip(extent, spacing, strict=True)
    ]
    half = [max(1, round(max(sides) / s)) for s in spacing]
    window = tuple(
        (max(first, c - h), min(last, c + h + 1))
        for (first, last), c, h in zip(frame, centre, half, strict=True)
    )
    figures = [
        _figure(axis, centre[axis], window, labels, structures, spacing, image)
        for axis in range(3)
    ]
    return CasePicture(case=case, html="".join(figures), note=note)


def _largest_error(
    labels: tuple[NDArray[Any], NDArray[Any]], structures: Sequence[Structure]
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Deepest voxel of the largest piece that is wrong, and the size of its box.

    Of a case without an error, the middle of what is labelled.
    """
    wrong = np.zeros(labels[0].shape, dtype=bool)
    either = np.zeros_like(wrong)
    for structure in structures:
        first, second = (structure.mask(one) for one in labels)
        wrong |= first != second
        either |= first | second
    frame = whole_box(wrong.shape)
    box = box_of_mask(wrong, frame)
    if box is None:
        whole = box_of_mask(either, frame) or frame
        return _middle(whole), box_shape(whole)
    inside = wrong[box_slices(box)]
    pieces, _ = ndimage.label(inside)
    largest = pieces == np.argmax(np.bincount(pieces[inside]))
    within = box_of_mask(largest, whole_box(largest.shape)) or box
    deepest = _deepest(largest[box_slices(within)])
    z, y, x = (
        at + near[0] + far[0]
        for at, near, far in zip(deepest, within, box, strict=True)
    )
    return (z, y, x), box_shape(within)


def _deepest(mask: NDArray[np.bool_]) -> list[int]:
    """Voxel farthest from the outside; of several, the one in their midst."""
    depth = ndimage.distance_transform_cdt(np.pad(mask, 1))
    places = np.argwhere(depth == depth.max()) - 1
    away = np.abs(places - places.mean(axis=0)).sum(axis=1)
    return [int(at) for at in places[np.argmin(away)]]


def _middle(box: Box) -> tuple[int, int, int]:
    z, y, x = ((low + high - 1) // 2 for low, high in box)
    return z, y, x


def _figure(
    axis: int,
    index: int,
    window: Sequence[tuple[int, int]],
    labels: tuple[NDArray[Any], NDArray[Any]],
    structures: Mapping[LabelKey, Structure],
    spacing: Sequence[float],
    image: Any | None,
) -> str:
    """Draw one slice: rows and columns are the other two axes, the patient upright."""
    rows, columns = (other for other in range(3) if other != axis)
    where = [slice(*bounds) for bounds in window]
    where[axis] = slice(index, index + 1)
    upright = slice(None, None, -1 if rows == 0 else 1)  # z grows upwards on a page

    def cut(volume: Any) -> NDArray[Any]:
        return np.squeeze(np.asarray(volume[tuple(where)]), axis=axis)[upright]

    shape = cut(labels[0]).shape
    longest = max(shape[0] * spacing[rows], shape[1] * spacing[columns])  # mm
    sides = _PANEL / longest * spacing[rows], _PANEL / longest * spacing[columns]
    size = shape[0] * sides[0], shape[1] * sides[1]  # pixels of the page
    parts = [_picture(cut(image), size) if image is not None else ""]
    for place, structure in enumerate(structures.values()):
        for one, dashed in zip(labels, (True, False), strict=True):
            mask = structure.mask(cut(one))
            parts.append(_contour(mask, sides, color_of(place), dashed=dashed))
    height, width = (number(pixels) for pixels in size)
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" class="slice">{"".join(parts)}</svg>'
        f"<figcaption>{escape(_VIEWS[axis])} {index}</figcaption></figure>"
    )


def _picture(pixels: NDArray[Any], size: tuple[float, float]) -> str:
    """Grey values as a PNG, from the 1st to the 99th percentile of the slice."""
    step = tuple(-(-n // _MOST_PIXELS) for n in pixels.shape)
    values = np.nan_to_num(pixels[:: step[0], :: step[1]].astype(np.float32))
    low, high = np.percentile(values, [1, 99])
    grey = np.clip((values - low) / max(float(high - low), 1e-12), 0, 1)
    file = io.BytesIO()
    Image.fromarray((grey * 255).astype(np.uint8)).save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<image width="{number(size[1])}" height="{number(size[0])}" '
        f'preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'
    )


def _contour(
    mask: NDArray[np.bool_], sides: tuple[float, float], color: str, *, dashed: bool
) -> str:
    """Outline of a mask, in pixels of the page from the corner of the slice."""
    if not mask.any():
        return ""
    paths = []
    padded = np.pad(mask, 1).astype(np.float32)
    for line in find_contours(padded, 0.5):  # type: ignore[no-untyped-call]
        # Padding shifts by one voxel, whose centre lies half a voxel inside.
        places = (line - 0.5) * np.asarray(sides)
        paths.append("M" + "L".join(f"{x:.2f} {y:.2f}" for y, x in places))
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<path d="{"".join(paths)}" fill="none" stroke="{color}" '
        f'stroke-width="1.6"{dash}/>'
    )
