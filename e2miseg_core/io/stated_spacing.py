"""The size of voxels where the file states none: assumed, or as the user states it."""

import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from e2miseg_core.geometry import Geometry
from e2miseg_core.io.address import Address
from e2miseg_core.volume import Volume

__all__ = ["has_assumed_spacing", "with_stated_spacing"]

# How the readers say in their notes that a size is not the file's.
_ASSUMED = re.compile(r"taken as 1\b|: voxels of 1 mm")
_STATED = "as stated by you"
# Notes that are about nothing else.
_ONLY_SIZE = re.compile(r"taken as 1(?: \w+)?$|unit of length .*taken as mm$")


def has_assumed_spacing(notes: Iterable[str]) -> bool:
    """Whether the notes of a volume say that its size of voxels was assumed."""
    told = list(notes)
    if any(_STATED in note for note in told):
        return False
    return any(_ASSUMED.search(note) for note in told)


def with_stated_spacing(volume: Volume, address: Address) -> Volume:
    """Give a volume the size of voxels that its address states.

    Directions stay, and so does the place of the first stored voxel.

    Parameters
    ----------
    volume : Volume
        As its file describes it.
    address : Address
        Its `spacing` is along Z, Y, X of the volume, in its `unit`.

    Returns
    -------
    Volume
        With a note about it, and an address that says so, too. The volume itself where
        the address states nothing.
    """
    if address.spacing is None:
        return volume
    spacing, source = address.spacing, volume.source
    was = volume.geometry
    if source is None:
        geometry = _resized(was, spacing, address.unit)
    else:
        along = [0.0, 0.0, 0.0]
        for size, stored_axis in zip(
            spacing, source.transform.permutation, strict=True
        ):
            along[stored_axis] = size
        stored = _resized(source.geometry, along, address.unit)
        geometry = source.transform.apply_geometry(stored)
        uri = replace(
            Address.parse(source.uri), spacing=address.spacing, unit=address.unit
        )
        source = replace(
            source,
            uri=str(uri),
            geometry=stored,
            # Of NIfTI they are the header, with the size that it gave.
            details={} if source.format == "nifti" else source.details,
        )
    note = f"voxel size {_in_words(geometry)} {_STATED}"
    if not has_assumed_spacing(volume.notes):
        note += f"; the file says {_in_words(was)}"
    kept = [
        note.replace(": voxels of 1 mm, ", ": ")
        for note in volume.notes
        if not _ONLY_SIZE.search(note)
    ]
    return replace(volume, geometry=geometry, source=source, notes=(*kept, note))


def _resized(geometry: Geometry, spacing: Iterable[float], unit: str) -> Geometry:
    there = geometry.in_unit(unit)
    affine = there.affine.copy()
    affine[:3, :3] *= np.asarray(list(spacing)) / np.asarray(there.spacing)
    return Geometry(shape=geometry.shape, affine=affine, unit=unit)


def _in_words(geometry: Geometry) -> str:
    sizes = " x ".join(f"{size:.4g}" for size in geometry.spacing)
    return f"{sizes} {geometry.unit} (Z, Y, X)"
