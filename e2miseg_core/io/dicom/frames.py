"""The frames of one object: where each lies, its scale, and what tells it apart."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from e2miseg_core.io.dicom.frame_keys import Key, enhanced_keys, plain_keys
from e2miseg_core.io.dicom.tags import Tags

__all__ = ["Frame", "normal_of", "read_frames"]

_SLICE_TAG = 0x0054_0080  # SliceVector
_TIME_TAGS = (0x0018_1063, 0x0018_1065, 0x0018_1066)  # FrameTime, its vector and delay
_CENTIMETRES = 3  # PhysicalUnitsXDirection


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One plane of pixels.

    Attributes
    ----------
    index : int
        In its file, from 0.
    position : tuple of three float or None
        Of the centre of its first pixel, LPS, mm.
    orientation : tuple of six float or None
        Direction cosines along a row, then along a column, LPS.
    spacing : tuple of two float or None
        Distance of rows, then of columns, mm.
    between : float or None
        Stated distance of neighbouring planes, mm: SpacingBetweenSlices, else
        SliceThickness.
    slope, intercept : float
        From stored to real values.
    keys : mapping
        What may tell frames at one position apart: "echo time" and the like. Moments
        are in seconds, and mean nothing but their order.
    """

    index: int
    position: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    between: float | None
    slope: float
    intercept: float
    keys: Mapping[str, Key]


def read_frames(tags: Tags, n_frames: int) -> tuple[Frame, ...]:
    """Read the frames of an object that holds pixels.

    Parameters
    ----------
    tags : Tags
        Of the whole object.
    n_frames : int
        As announced, and as many as the file can hold.
    """
    per_frame = tuple(tags.items("PerFrameFunctionalGroupsSequence"))
    if per_frame:
        shared = tags.first("SharedFunctionalGroupsSequence")
        return tuple(
            _enhanced_frame(index, own, shared, tags)
            for index, own in enumerate(per_frame[:n_frames])
        )
    first = _plain_frame(tags)
    return (first,) if n_frames == 1 else tuple(_stacked(first, tags, n_frames))


def _plain_frame(tags: Tags) -> Frame:
    detector = tags.first("DetectorInformationSequence")
    spacing = tags.numbers("PixelSpacing", 2) or tags.numbers("ImagerPixelSpacing", 2)
    return Frame(
        index=0,
        position=_position(tags) or (_position(detector) if detector else None),
        orientation=_orientation(tags)
        or (_orientation(detector) if detector else None),
        spacing=_pair(spacing) or _ultrasound_spacing(tags),
        between=_between(tags),
        slope=_slope(tags.number("RescaleSlope")),
        intercept=tags.number("RescaleIntercept") or 0.0,
        keys=dict(plain_keys(tags)),
    )


def _stacked(first: Frame, tags: Tags, n_frames: int) -> Iterator[Frame]:
    """Lay the frames of one plain object above each other."""
    x, y, z = normal_of(first.orientation or (1, 0, 0, 0, 1, 0))
    # Its sign says to which side of the first frame the others lie (PS3.3 C.8.4.15).
    between = tags.number("SpacingBetweenSlices") or first.between or 1.0
    pointers = tags.pointers("FrameIncrementPointer")
    if any(pointer in _TIME_TAGS for pointer in pointers):
        kind = "moving picture"
    else:
        kind = "views" if pointers and _SLICE_TAG not in pointers else ""
    for index in range(n_frames):
        at = first.position
        if at is not None:
            step = index * between
            at = (at[0] + step * x, at[1] + step * y, at[2] + step * z)
        keys: dict[str, Key] = {"instance": float(index)}
        if kind:
            keys[kind] = 1.0
        yield Frame(
            index=index,
            position=at,
            orientation=first.orientation,
            spacing=first.spacing,
            between=first.between,
            slope=first.slope,
            intercept=first.intercept,
            keys=keys,
        )


def _enhanced_frame(index: int, own: Tags, shared: Tags | None, whole: Tags) -> Frame:
    """Take each functional group from the frame, else from what all share."""

    def group(keyword: str) -> Tags | None:
        found = own.first(keyword)
        return found if found or shared is None else shared.first(keyword)

    place, turned = group("PlanePositionSequence"), group("PlaneOrientationSequence")
    measures = group("PixelMeasuresSequence")
    values = group("PixelValueTransformationSequence") or whole
    return Frame(
        index=index,
        position=_position(place) if place else None,
        orientation=_orientation(turned) if turned else None,
        spacing=_pair(measures.numbers("PixelSpacing", 2)) if measures else None,
        between=_between(measures) if measures else None,
        slope=_slope(values.number("RescaleSlope")),
        intercept=values.number("RescaleIntercept") or 0.0,
        keys={"instance": float(index), **dict(enhanced_keys(group))},
    )


def _position(tags: Tags) -> tuple[float, float, float] | None:
    found = tags.numbers("ImagePositionPatient", 3)
    return None if found is None else (found[0], found[1], found[2])


def _orientation(tags: Tags) -> tuple[float, ...] | None:
    found = tags.numbers("ImageOrientationPatient", 6)
    if found is None:
        return None
    row, column = found[:3], found[3:6]
    lengths = math.hypot(*row), math.hypot(*column)
    upright = abs(sum(a * b for a, b in zip(row, column, strict=True)))
    # Cosines that are no axes at all: zeros, or twice the same one.
    if any(abs(length - 1) > 0.01 for length in lengths) or upright > 0.01:
        return None
    return (
        *(value / lengths[0] for value in row),
        *(value / lengths[1] for value in column),
    )


def normal_of(orientation: tuple[float, ...]) -> tuple[float, float, float]:
    """Cross product of the directions of rows and columns."""
    a, b, c, d, e, f = orientation
    return (b * f - c * e, c * d - a * f, a * e - b * d)


def _pair(values: tuple[float, ...] | None) -> tuple[float, float] | None:
    if values is None or min(values[:2]) <= 0:
        return None
    return values[0], values[1]


def _between(tags: Tags) -> float | None:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = tags.number(keyword)
        if value:
            return abs(value)
    return None


def _slope(value: float | None) -> float:
    # A slope of 0 would erase the image; some writers mean "none" by it.
    return value or 1.0


def _ultrasound_spacing(tags: Tags) -> tuple[float, float] | None:
    """Pixel sizes of the only calibrated region of an ultrasound image."""
    regions = list(tags.items("SequenceOfUltrasoundRegions"))
    if len(regions) != 1:
        return None
    region = regions[0]
    units = [region.whole(f"PhysicalUnits{axis}Direction") for axis in "YX"]
    sizes = [region.number(f"PhysicalDelta{axis}") for axis in "YX"]
    if units != [_CENTIMETRES] * 2 or not all(sizes):
        return None
    rows, columns = (10 * abs(size or 0) for size in sizes)
    return rows, columns
