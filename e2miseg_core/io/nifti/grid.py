"""Where the header of a NIfTI or Analyze image puts its grid."""

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from e2miseg_core.geometry import Geometry
from e2miseg_core.io.grid import resolve_grid
from e2miseg_core.io.nifti.header import NiftiHeader

__all__ = ["resolve_geometry"]

_SPATIAL_UNITS = {0: ("mm", 1.0), 1: ("mm", 1e3), 2: ("mm", 1.0), 3: ("um", 1.0)}


def resolve_geometry(
    path: Path, header: NiftiHeader
) -> tuple[Geometry, list[str], bool]:
    """Find where the grid lies, by sform, qform, then voxel sizes.

    Parameters
    ----------
    path : Path
        For messages.
    header : NiftiHeader
        Checked.

    Returns
    -------
    Geometry
        On the stored axes, slowest first.
    list of str
        Rules that were applied.
    bool
        Whether the header says how the axes lie; Analyze never does.

    Raises
    ------
    GeometryError
        If none of the three gives a usable grid.
    """
    unit, factor, notes = _unit(header)
    placements = _analyze(header, notes) if header.is_analyze else _forms(header)
    scaled = []
    for name, affine in placements:
        turned = np.array(affine, dtype=np.float64)
        if turned.shape == (4, 4):
            turned = turned[:, [2, 1, 0, 3]]
            turned[:3] *= factor
        scaled.append((name, turned))
    shape = header.shape[2::-1]  # Z, Y, X
    sizes = [size * factor for size in _voxel_sizes(header)[::-1]]
    geometry, more, is_placed = resolve_grid(
        shape, scaled, sizes, unit, place=str(path)
    )
    return geometry, [*notes, *more], is_placed and not header.is_analyze


def _unit(header: NiftiHeader) -> tuple[str, float, list[str]]:
    if header.is_analyze:
        return "mm", 1.0, []
    code = int(header.fields["xyzt_units"]) & 7
    unit, factor = _SPATIAL_UNITS.get(code, ("mm", 1.0))
    notes = []
    if code not in _SPATIAL_UNITS:
        notes.append(f"unknown unit of length (code {code}) taken as mm")
    if factor != 1:
        notes.append("lengths in metres turned into mm")
    return unit, factor, notes


def _forms(header: NiftiHeader) -> list[tuple[str, NDArray[Any]]]:
    fields = header.fields
    forms: list[tuple[str, NDArray[Any]]] = []
    if int(fields["sform_code"]) > 0:
        forms.append(("sform", fields.get_sform()))
    if int(fields["qform_code"]) > 0:
        forms.append(("qform", _qform(header)))
    return forms


def _qform(header: NiftiHeader) -> NDArray[Any]:
    fields = header.fields.copy()
    # The standard takes any other factor as 1, and sizes without their sign.
    fields["pixdim"][0] = -1 if float(fields["pixdim"][0]) == -1 else 1
    fields["pixdim"][1:4] = _voxel_sizes(header)
    try:
        affine: NDArray[Any] = fields.get_qform(coded=False)
    except (HeaderDataError, ValueError):
        # No rotation: these numbers, which the user can find in the header, are told.
        return np.array([float(fields[f"quatern_{part}"]) for part in "bcd"])
    return affine


def _analyze(header: NiftiHeader, notes: list[str]) -> list[tuple[str, NDArray[Any]]]:
    notes.append(
        "Analyze 7.5 holds no orientation: axes taken as left, anterior, superior, as "
        "SPM and nibabel take them"
    )
    fields = header.fields.copy()
    fields["pixdim"][1:4] = _voxel_sizes(header)
    fields["dim"][1:4] = header.shape[:3]
    fields["dim"][0] = max(3, int(fields["dim"][0]))
    return [("the Analyze header", fields.get_best_affine())]


def _voxel_sizes(header: NiftiHeader) -> list[float]:
    sizes = [abs(float(size)) for size in header.fields["pixdim"][1:4]]
    # Along an axis of one voxel a missing size changes nothing that is seen.
    return [
        1.0 if size == 0 and count == 1 else size
        for size, count in zip(sizes, header.shape, strict=False)
    ]
