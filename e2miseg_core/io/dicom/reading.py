"""A DICOM series as a `Volume`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from dask.base import tokenize

from e2miseg_core.errors import ReadError
from e2miseg_core.geometry import canonical_transform
from e2miseg_core.io.address import Address
from e2miseg_core.io.dicom.beside import notes_beside
from e2miseg_core.io.dicom.choosing import choose_series
from e2miseg_core.io.dicom.dose import DOSE_KEY
from e2miseg_core.io.dicom.grouping import doubled_error
from e2miseg_core.io.dicom.layout import stored_type
from e2miseg_core.io.dicom.notes import notes_on_files, notes_on_values
from e2miseg_core.io.dicom.pixels import DicomPixels
from e2miseg_core.io.dicom.scan import DicomSeries, holds_dicom, scan
from e2miseg_core.io.dicom.segmentation import read_segmentation
from e2miseg_core.io.dicom.stack import Plane, Stack
from e2miseg_core.io.dicom.structure_set import read_structure_set
from e2miseg_core.io.dicom.suv import SuvScale, find_suv
from e2miseg_core.io.lazy import oriented, slab_chunks
from e2miseg_core.io.part_key import with_key
from e2miseg_core.volume import Source, Volume

__all__ = ["holds_dicom", "open_dicom", "open_series"]

_AIR = -1000.0  # Hounsfield units
_OBJECTS = {"seg": read_segmentation, "rtstruct": read_structure_set}


def open_dicom(address: Address) -> Volume:
    """Open a DICOM file or a series of a folder, without reading its voxels.

    Parameters
    ----------
    address : Address
        Of a file or folder; `part` is the number or the key of the series, needed
        where there are several.

    Returns
    -------
    Volume
        Rescaled values; PET in SUV where it can be computed, doses in Gy. Moments
        (echoes, b-values, times) and colours are channels. The address of its source
        holds the key of the series, unless it is all that a file holds.

    Raises
    ------
    ChoiceError
        If there are several images and none is chosen.
    ReadError
        If there is none, or the one chosen is damaged or incomplete.
    GeometryError
        If its grid makes no sense.
    """
    path = address.path
    if path.name.upper() == "DICOMDIR":  # an index of the files beside it
        path = path.parent
    found = scan(path)
    series = choose_series(found, address)
    if address.part or address.path.is_dir():
        # So that files added later do not change what the address opens.
        address = replace(address, part=with_key(address.part, series.key))
    if series.kind in _OBJECTS:
        file = Address(str(series.instances[0].path), "", address.frame)
        return _as_opened(_OBJECTS[series.kind](file), address)
    volume = open_series(series, address)
    notes = (*notes_on_files(found, series), *notes_beside(found, series))
    return replace(volume, notes=(*volume.notes, *notes))


def open_series(series: DicomSeries, address: Address) -> Volume:
    """Open a series that `scan_folder` has found.

    Parameters
    ----------
    series : DicomSeries
        Of images.
    address : Address
        That opens it again.
    """
    if series.problem is not None:
        raise series.problem
    stack = series.stack
    if stack is None:
        raise ReadError(
            found=f"series {series.number} ({series.modality or 'no modality'}) holds "
            "no image",
            needed="an image, a segmentation or contours",
            do="choose another series",
        )
    planes = [plane for moment in stack.planes for plane in moment if plane is not None]
    suv = _find_scale(planes)
    empty = _empty_value(planes[0], suv)
    pixels = DicomPixels(stack, 1.0 if suv is None else suv.factor, empty)
    notes = [*stack.notes, *_check_doubled(stack, pixels)]
    if suv is not None:
        notes.append(suv.note)
    notes += notes_on_values(planes, pixels.dtype)
    return _volume(stack, pixels, address, _channels(stack, pixels, suv), notes)


def _volume(
    stack: Stack,
    pixels: DicomPixels,
    address: Address,
    channels: tuple[str, ...],
    notes: Sequence[str],
) -> Volume:
    transform = canonical_transform(stack.geometry)
    planes = [plane for moment in stack.planes for plane in moment if plane is not None]
    chunks = slab_chunks(pixels.shape, pixels.dtype.itemsize)
    # The samples of a colour lie together.
    together = (pixels.samples,) * len(stack.planes)
    data = oriented(
        pixels, (together, *chunks[1:]), transform, f"dicom-{_token(stack, pixels)}"
    )
    layout = planes[0].instance.layout
    source = Source(
        uri=str(address),
        format="dicom",
        geometry=stack.geometry,
        transform=transform,
        dtype=pixels.dtype if layout is None else stored_type(layout).newbyteorder("="),
        details=_details(stack, pixels.samples),
    )
    return Volume(
        levels=(data,),
        geometry=transform.apply_geometry(stack.geometry),
        channels=channels,
        source=source,
        notes=tuple(notes),
        is_oriented=stack.is_placed,
    )


def _details(stack: Stack, samples: int) -> dict[str, Any]:
    """File and frame of each stored plane of each moment, None where one is missing."""
    moments = [
        tuple(
            None if plane is None else (str(plane.instance.path), plane.frame.index)
            for plane in moment
        )
        for moment in stack.planes
    ]
    details: dict[str, Any] = {"planes": moments[0]}
    if len(moments) > 1:
        own = [{"planes": planes} for planes in moments]
        details["frames"] = tuple(each for each in own for _ in range(samples))
    return details


def _token(stack: Stack, pixels: DicomPixels) -> str:
    """Name voxels by their files, so that it changes when one of these does."""
    stats: list[Any] = []
    for moment in stack.planes:
        for plane in moment:
            if plane is None:
                stats.append(None)
                continue
            path = plane.instance.path
            try:
                stat = path.stat()
            except OSError as error:
                raise ReadError(
                    found=f"{path} went away or changed its rights while its series "
                    f"was opened ({error.strerror})",
                    needed="all files of the series",
                    do="open it again when they are there",
                ) from error
            stats.append((str(path), plane.frame.index, stat.st_mtime_ns, stat.st_size))
    return str(tokenize(stats, pixels.shape, str(pixels.dtype)))


def _as_opened(volume: Volume, address: Address) -> Volume:
    """Let a volume say the address that opens it again."""
    if volume.source is None:
        return volume
    return replace(volume, source=replace(volume.source, uri=str(address)))


def _find_scale(planes: Sequence[Plane]) -> SuvScale | None:
    headers = {plane.instance.path: plane.header for plane in planes}
    tags = [header.pet for header in headers.values()]
    known = [each for each in tags if each is not None]
    return find_suv(known) if known else None


def _empty_value(plane: Plane, suv: SuvScale | None) -> float:
    """Value of missing planes: the padding value, else air in CT, else 0."""
    padding = plane.header.padding
    if padding is not None:
        real = padding * plane.frame.slope + plane.frame.intercept
        return real * (1.0 if suv is None else suv.factor)
    return _AIR if plane.header.modality == "CT" else 0.0


def _check_doubled(stack: Stack, pixels: DicomPixels) -> list[str]:
    """Compare slices at one position, of which only the first is used."""
    doubled = stack.doubled
    if not doubled:
        return []
    for kept, other in doubled:
        if not np.array_equal(pixels.read_stored(kept), pixels.read_stored(other)):
            held = sum(plane is not None for plane in stack.planes[0])
            raise doubled_error(len(doubled), held)
    return [
        f"{len(doubled)} slices lie at the places of others and are equal to them: "
        "each is used once"
    ]


def _channels(
    stack: Stack, pixels: DicomPixels, suv: SuvScale | None
) -> tuple[str, ...]:
    plane = next(plane for plane in stack.planes[0] if plane is not None)
    name = suv.name if suv is not None else plane.header.modality or "image"
    if (unit := plane.frame.keys.get(DOSE_KEY)) is not None:
        name = f"dose ({unit})"
    moments = stack.channels or (name,)
    if pixels.samples == 1:
        return moments
    colors = ("red", "green", "blue")
    named = colors if pixels.samples == 3 else tuple(map(str, range(pixels.samples)))
    many = len(moments) > 1
    return tuple(
        f"{moment} {color}" if many else color for moment in moments for color in named
    )
