"""The header of a NIfTI file: what it says, checked, and where it puts the grid."""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from e2miseg_core.errors import GeometryError, ReadError
from e2miseg_core.geometry import Geometry

__all__ = ["NiftiHeader", "read_header", "resolve_geometry"]

_HEADER_BYTES = 544  # enough for NIfTI-1 (348) and NIfTI-2 (540)
_MAX_GZIP_RATIO = 1040  # deflate cannot do better than 1032 to 1
_SPATIAL_UNITS = {0: ("mm", 1.0), 1: ("mm", 1e3), 2: ("mm", 1.0), 3: ("um", 1.0)}

# Written back byte for byte, so that labels lie exactly where their image does.
SPATIAL_FIELDS = (
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
)


@dataclass(frozen=True, eq=False, kw_only=True)
class NiftiHeader:
    """The checked header.

    Attributes
    ----------
    fields : nibabel header
        As stored.
    shape : tuple of int
        Voxels along X, Y, Z, and channels: all further dimensions in one.
    dtype : numpy.dtype
        As stored, byte order included.
    offset : int
        Bytes before the first voxel.
    slope, intercept : float
        Stored values are scaled by them; 1 and 0 where they are not.
    is_gzip : bool
        Whether the file is compressed.
    notes : tuple of str
        Rules that were applied.
    """

    fields: Any
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    is_gzip: bool
    notes: tuple[str, ...]

    @property
    def is_scaled(self) -> bool:
        """Whether values are stored divided by a slope, or shifted."""
        return (self.slope, self.intercept) != (1.0, 0.0)


def read_header(path: Path) -> NiftiHeader:
    """Read and check the header, and that the file can hold what it announces.

    Raises
    ------
    ReadError
        If the file is missing, damaged, of another kind, or holds no 3D scalars.
    """
    start, is_gzip = _first_bytes(path)
    fields = _parse(path, start)
    shape, notes = _shape(path, fields)
    dtype = _dtype(path, fields)
    slope, intercept = _scaling(path, fields)
    offset = _offset(path, fields)
    needed = offset + math.prod(shape) * dtype.itemsize
    size = path.stat().st_size
    if needed > size * (_MAX_GZIP_RATIO if is_gzip else 1):
        raise ReadError(
            found=f"{path} is cut off: it has {size} bytes",
            needed=f"{needed} bytes for {shape[:3]} voxels of {dtype.name}"
            + (f" in {shape[3]} channels" if shape[3] > 1 else ""),
            do="copy or export the file again",
        )
    return NiftiHeader(
        fields=fields,
        shape=shape,
        dtype=dtype,
        offset=offset,
        slope=slope,
        intercept=intercept,
        is_gzip=is_gzip,
        notes=notes,
    )


def _first_bytes(path: Path) -> tuple[bytes, bool]:
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
        is_gzip = start[:2] == b"\x1f\x8b"
        if is_gzip:
            with gzip.open(path) as unpacked:
                start = unpacked.read(_HEADER_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError(
            found=f"{path} is damaged ({error})",
            needed="a whole gzip file",
            do="copy or export the file again",
        ) from error
    except OSError as error:
        raise ReadError(
            found=f"{path} cannot be read ({error.strerror or error})",
            needed="a NIfTI file",
            do="check the path and your rights to read it",
        ) from error
    if is_gzip != path.name.lower().endswith(".gz"):
        raise ReadError(
            found=f"{path} is {'' if is_gzip else 'not '}compressed with gzip",
            needed="a name that tells so: .nii.gz for compressed, .nii for plain",
            do="rename the file, or copy it again if it is empty or damaged",
        )
    return start, is_gzip


def _parse(path: Path, start: bytes) -> Any:
    """Recognise version and byte order by the header's size and magic."""
    for kind, size in ((nib.Nifti1Header, 348), (nib.Nifti2Header, 540)):
        for order in ("<", ">"):
            announced = int.from_bytes(start[:4], "little" if order == "<" else "big")
            if announced != size or len(start) < size:
                continue
            fields = kind(  # type: ignore[no-untyped-call]
                start[:size], endianness=order, check=False
            )
            magic = bytes(fields["magic"].tobytes())[:3]
            if magic in (b"n+1", b"n+2"):
                return fields
            if magic in (b"ni1", b"ni2"):
                raise ReadError(
                    found=f"{path} is the header of a .hdr/.img pair",
                    needed="one file with header and voxels",
                    do="convert the pair to a single .nii.gz file",
                )
    raise ReadError(
        found=f"{path} starts with {start[:8]!r}" if start else f"{path} is empty",
        needed="a NIfTI-1 or NIfTI-2 file",
        do="check that the file is what its name says, or copy it again",
    )


def _shape(
    path: Path, fields: Any
) -> tuple[tuple[int, int, int, int], tuple[str, ...]]:
    sizes = [int(size) for size in fields["dim"]]
    n_dims, dims = sizes[0], sizes[1 : sizes[0] + 1]
    if not 1 <= n_dims <= 7 or min(dims) < 1:
        raise ReadError(
            found=f"{path} has the dimensions {sizes}",
            needed="1 to 7 dimensions, each of at least 1",
            do="export the file again",
        )
    x, y, z = (*dims, 1, 1)[:3]
    extra = dims[3:]
    channels = math.prod(extra)
    notes: tuple[str, ...] = ()
    if channels > 1:
        kind = "frames" if extra[0] == channels else "further values a voxel"
        notes = (f"{n_dims}D: {channels} {kind} taken as channels",)
    return (x, y, z, channels), notes


def _dtype(path: Path, fields: Any) -> np.dtype[Any]:
    try:
        dtype = np.dtype(fields.get_data_dtype())
    except (HeaderDataError, KeyError) as error:
        raise ReadError(
            found=f"{path} holds values of type {int(fields['datatype'])}",
            needed="whole or real numbers of at most 64 bits",
            do="export the file again, as int16 or float32",
        ) from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        names = {"c": "complex numbers", "f": "real numbers of more than 64 bits"}
        what = (
            "colours (RGB)"
            if dtype.names
            else f"values of type {int(fields['datatype'])}"
        )
        raise ReadError(
            found=f"{path} holds {names.get(dtype.kind, what)}",
            needed="whole or real numbers of at most 64 bits, one a voxel",
            do="convert it to grey values first",
        )
    checked: np.dtype[Any] = dtype
    return checked


def _scaling(path: Path, fields: Any) -> tuple[float, float]:
    try:
        slope, intercept = fields.get_slope_inter()
    except HeaderDataError as error:
        raise ReadError(
            found=f"{path} has the scaling {fields['scl_slope']} and "
            f"{fields['scl_inter']}",
            needed="finite numbers",
            do="export the file again",
        ) from error
    if slope is None:
        return 1.0, 0.0
    return float(slope), float(intercept)


def _offset(path: Path, fields: Any) -> int:
    offset = float(fields["vox_offset"])
    minimum = 352 if int(fields["sizeof_hdr"]) == 348 else 544
    if offset == 0:
        return minimum
    if not math.isfinite(offset) or offset < minimum - 4:
        raise ReadError(
            found=f"{path} has its voxels at byte {offset:g}, inside the header",
            needed=f"an offset of at least {minimum}",
            do="export the file again",
        )
    return int(offset)


def resolve_geometry(path: Path, header: NiftiHeader) -> tuple[Geometry, list[str]]:
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

    Raises
    ------
    GeometryError
        If none of the three gives a usable grid.
    """
    notes: list[str] = []
    fields = header.fields
    code = int(fields["xyzt_units"]) & 7
    unit, factor = _SPATIAL_UNITS.get(code, ("mm", 1.0))
    if code not in _SPATIAL_UNITS:
        notes.append(f"unknown unit of length (code {code}) taken as mm")
    if factor != 1:
        notes.append("lengths in metres turned into mm")
    sform = _candidate(header, "sform", unit, factor, notes)
    qform = _candidate(header, "qform", unit, factor, notes)
    if sform is not None:
        if qform is not None:
            _note_disagreement(sform, qform, notes)
        else:
            _note_sizes(sform, header, factor, notes)
        return sform, notes
    if qform is not None:
        return qform, notes
    pixdim = np.diag([*_voxel_sizes(header), 1.0])
    try:
        grid = _grid(header, pixdim, unit, factor)
    except GeometryError as error:
        raise GeometryError(
            found=f"{path} has neither a usable affine nor usable voxel sizes "
            f"({fields['pixdim'][1:4].tolist()})",
            needed="voxel sizes above 0",
            do="correct the file's header",
        ) from error
    notes.append(
        "no orientation in the header: axes taken as right, anterior, superior"
    )
    return grid, notes


def _candidate(
    header: NiftiHeader, form: str, unit: str, factor: float, notes: list[str]
) -> Geometry | None:
    fields = header.fields
    if int(fields[f"{form}_code"]) <= 0:
        return None
    try:
        affine = fields.get_sform() if form == "sform" else _qform(header)
        return _grid(header, affine, unit, factor)
    except (GeometryError, ValueError) as error:
        values = (
            [fields[f"srow_{axis}"].tolist() for axis in "xyz"]
            if form == "sform"
            else [float(fields[f"quatern_{part}"]) for part in "bcd"]
        )
        del error  # its text speaks of matrices that the user never wrote
        notes.append(f"{form} {values} is unusable and was passed over")
        return None


def _qform(header: NiftiHeader) -> NDArray[np.float64]:
    fields = header.fields.copy()
    # The standard takes any other factor as 1, and sizes without their sign.
    fields["pixdim"][0] = -1 if float(fields["pixdim"][0]) == -1 else 1
    fields["pixdim"][1:4] = _voxel_sizes(header)
    try:
        affine: NDArray[np.float64] = fields.get_qform(coded=False)
    except HeaderDataError as error:
        raise ValueError(str(error)) from error
    return affine


def _voxel_sizes(header: NiftiHeader) -> list[float]:
    sizes = [abs(float(size)) for size in header.fields["pixdim"][1:4]]
    # Along an axis of one voxel a missing size changes nothing that is seen.
    return [
        1.0 if size == 0 and count == 1 else size
        for size, count in zip(sizes, header.shape, strict=False)
    ]


def _grid(
    header: NiftiHeader, affine: NDArray[np.float64], unit: str, factor: float
) -> Geometry:
    scaled = np.array(affine, dtype=np.float64)
    scaled[:3] *= factor
    return Geometry.from_xyz(header.shape[:3], scaled, unit)


def _note_disagreement(sform: Geometry, qform: Geometry, notes: list[str]) -> None:
    apart = float(np.linalg.norm(sform.corners() - qform.corners(), axis=1).max())
    voxels = apart / min(sform.spacing)
    if voxels > 1e-3:
        notes.append(
            f"sform used; qform lies up to {apart:.4g} {sform.unit} "
            f"({voxels:.3g} voxels) away"
        )


def _note_sizes(
    sform: Geometry, header: NiftiHeader, factor: float, notes: list[str]
) -> None:
    sizes = np.array(_voxel_sizes(header)[::-1]) * factor  # Z, Y, X
    spacing = np.array(sform.spacing)
    if not np.allclose(sizes, spacing, rtol=1e-3, atol=0):
        notes.append(
            f"sform used, with voxels of {_product(spacing)} {sform.unit}; "
            f"the header's voxel sizes say {_product(sizes)}"
        )


def _product(sizes: NDArray[np.float64]) -> str:
    return " x ".join(f"{size:.5g}" for size in sizes)
