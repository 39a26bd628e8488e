"""NIfTI-1 and NIfTI-2, and Analyze 7.5: lazy reading, and streamed writing of NIfTI."""

import contextlib
import gzip
import zlib
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np

from e2miseg_core.errors import GeometryError
from e2miseg_core.geometry import Geometry, canonical_transform
from e2miseg_core.io.address import Address
from e2miseg_core.io.lazy import iter_slabs, oriented
from e2miseg_core.io.nifti.grid import resolve_geometry
from e2miseg_core.io.nifti.header import (
    LABEL_INTENT,
    SPATIAL_FIELDS,
    NiftiHeader,
    read_header,
)
from e2miseg_core.io.plan import WritePlan
from e2miseg_core.io.raw.pixels import RawPixels
from e2miseg_core.volume import Segments, Source, Volume, default_channels

__all__ = ["read_nifti", "write_nifti"]

_GZIP_LEVEL = 5
_UNIT_CODES = {"mm": 2, "um": 3}
_SPACE_UNITS, _TIME_UNITS = 7, 56  # bits of xyzt_units


def read_nifti(address: Address) -> Volume:
    """Open a NIfTI or Analyze image without reading its voxels.

    Parameters
    ----------
    address : Address
        A .nii or .nii.gz file, or either one of a .hdr/.img pair, compressed or not,
        in either byte order.

    Returns
    -------
    Volume
        Scaled values are float32, all others keep their type. Dimensions beyond the
        third, and colours, become channels.

    Raises
    ------
    ReadError
        If the file is missing, damaged, or holds neither scalars nor colours.
    GeometryError
        If its header has no usable grid.
    """
    path = address.path
    header = read_header(path)
    geometry, notes, is_oriented = resolve_geometry(path, header)
    if header.layout.is_scaled:
        notes.append(
            f"stored values scaled by {header.slope:g} and shifted by "
            f"{header.intercept:g}, as float32"
        )
    transform = canonical_transform(geometry)
    pixels = RawPixels(header.layout)
    data = oriented(pixels, pixels.chunks, transform, pixels.name("nifti"))
    source = Source(
        uri=str(address),
        format="nifti",
        geometry=geometry,
        transform=transform,
        dtype=header.dtype,
        details={} if header.is_analyze else _details(header),
    )
    return Volume(
        levels=(data,),
        geometry=transform.apply_geometry(geometry),
        channels=header.colours or default_channels(data.shape[0]),
        source=source,
        notes=(*header.notes, *notes),
        segments=Segments() if header.is_labels else None,
        is_oriented=is_oriented,
        preparation=pixels.preparation,
    )


def _details(header: NiftiHeader) -> dict[str, Any]:
    fields = header.fields
    kept = {name: np.array(fields[name]).tolist() for name in SPATIAL_FIELDS}
    kept["pixdim"] = [float(size) for size in fields["pixdim"][:4]]
    kept["xyzt_units"] = int(fields["xyzt_units"]) & _SPACE_UNITS
    if int(fields["dim"][0]) >= 4 and int(fields["dim"][4]) > 1:
        kept["frame_time"] = float(fields["pixdim"][4])
        kept["time_unit"] = int(fields["xyzt_units"]) & _TIME_UNITS
    kept["version"] = 1 if int(fields["sizeof_hdr"]) == 348 else 2
    return kept


def write_nifti(plan: WritePlan, path: Path) -> int:
    """Write a plan's array slab by slab.

    Parameters
    ----------
    plan : WritePlan
        What to write.
    path : Path
        Ends in .nii or .nii.gz.

    Returns
    -------
    int
        CRC-32 of the voxels, in the order written.
    """
    header = _make_header(plan)
    checksum = 0
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(path.open("xb"))
        file: IO[bytes] = raw
        if path.name.lower().endswith(".gz"):
            # No name and no time in it: equal voxels give equal files.
            packed = gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0)
            file = cast("IO[bytes]", stack.enter_context(packed))
        file.write(header.binaryblock)
        file.write(b"\0" * (int(header["vox_offset"]) - len(header.binaryblock)))
        for _, slab in iter_slabs(plan.data):
            voxels = slab.data.cast("B")
            checksum = zlib.crc32(voxels, checksum)
            file.write(voxels)
    return checksum


def _make_header(plan: WritePlan) -> Any:
    shape = plan.data.shape
    details = plan.details if plan.source_format == "nifti" else {}
    is_large = max(shape) > np.iinfo(np.int16).max
    is_second = (
        is_large
        or details.get("version") == 2
        or not (details or _fits_single_precision(plan.geometry))
    )
    kind: Any = nib.Nifti2Header if is_second else nib.Nifti1Header
    header = kind()
    header.set_data_dtype(plan.dtype)
    header.set_data_shape(shape[::-1])
    if details:
        for name in SPATIAL_FIELDS:
            header[name] = details[name]
        header["pixdim"][:4] = details["pixdim"]
        header["xyzt_units"] = details["xyzt_units"]
        if len(shape) == 4 and "frame_time" in details:
            header["pixdim"][4] = details["frame_time"]
            header["xyzt_units"] |= details["time_unit"]
    else:
        _set_geometry(header, plan.geometry)
    header["vox_offset"] = 352 if header["sizeof_hdr"] == 348 else 544
    header["scl_slope"], header["scl_inter"] = 1, 0
    if plan.kind == "labels":
        header["intent_code"] = LABEL_INTENT
    return header


def _in_known_unit(geometry: Geometry) -> Geometry:
    return geometry.in_unit("um") if geometry.unit == "nm" else geometry


def _fits_single_precision(geometry: Geometry) -> bool:
    """Whether the affine of NIfTI-1 holds a grid; that of NIfTI-2 holds every one."""
    stored = _in_known_unit(geometry)
    try:
        rounded = replace(stored, affine=stored.affine.astype(np.float32))
    except GeometryError:  # axes that have become one
        return False
    return stored.matches(rounded)


def _set_geometry(header: Any, geometry: Geometry) -> None:
    """Describe a grid that did not come from a NIfTI file."""
    stored = _in_known_unit(geometry)
    affine = stored.affine_xyz
    header["xyzt_units"] = _UNIT_CODES[stored.unit]
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1, strip_shears=True)
    shape = geometry.shape
    rebuilt = Geometry.from_xyz(shape[::-1], header.get_qform(), stored.unit)
    # A quaternion holds no shear, and in float32 few rotations near 180 degrees.
    apart = float(np.abs(rebuilt.corners() - stored.corners()).max())
    if apart > 1e-3 * min(stored.spacing):
        header["qform_code"] = 0
