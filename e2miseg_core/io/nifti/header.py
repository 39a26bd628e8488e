"""The header of a NIfTI or Analyze image: what it says, checked."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError

from e2miseg_core.errors import ReadError
from e2miseg_core.io.nifti.files import find_files, is_gzip_name, parse_header
from e2miseg_core.io.raw.pixels import RawLayout

__all__ = ["LABEL_INTENT", "SPATIAL_FIELDS", "NiftiHeader", "read_header"]

_COLOURS = {128: ("red", "green", "blue"), 2304: ("red", "green", "blue", "alpha")}
LABEL_INTENT = 1002

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
        Voxels along X, Y, Z, and channels: all further dimensions in one, or colours.
    dtype : numpy.dtype
        As stored, byte order included; of one colour.
    voxels : Path
        The file that holds them.
    offset : int
        Bytes before the first voxel.
    slope, intercept : float
        Stored values are scaled by them; 1 and 0 where they are not.
    colours : tuple of str
        Their names where each voxel holds several; empty otherwise.
    notes : tuple of str
        Rules that were applied.
    """

    fields: Any
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    voxels: Path
    offset: int
    slope: float
    intercept: float
    colours: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_analyze(self) -> bool:
        """Whether it is of Analyze 7.5, which knows nothing of space or intent."""
        return "sform_code" not in self.fields

    @property
    def is_labels(self) -> bool:
        """Whether the file says that its whole numbers are labels."""
        return (
            not self.is_analyze
            and int(self.fields["intent_code"]) == LABEL_INTENT
            and self.dtype.kind in "iu"
            and not self.colours
            and (self.slope, self.intercept) == (1.0, 0.0)
        )

    @property
    def layout(self) -> RawLayout:
        """Where and how the voxels lie."""
        x, y, z, channels = self.shape
        is_gzip = is_gzip_name(self.voxels)
        return RawLayout(
            path=self.voxels,
            offset=0 if is_gzip else self.offset,
            shape=(channels, z, y, x),
            dtype=self.dtype,
            channels_last=bool(self.colours),
            compression="gzip" if is_gzip else "",
            skip=self.offset if is_gzip else 0,
            slope=self.slope,
            intercept=self.intercept,
        )


def read_header(path: Path) -> NiftiHeader:
    """Read and check the header.

    Parameters
    ----------
    path : Path
        The file, or either one of a .hdr/.img pair.

    Raises
    ------
    ReadError
        If the file is missing, damaged, of another kind, or holds neither scalars
        nor colours.
    """
    where, voxels = find_files(path)
    fields = parse_header(where, is_pair=where != voxels)
    shape, notes = _shape(path, fields)
    colours = _COLOURS.get(int(fields["datatype"]), ())
    if colours:
        shape, notes = _coloured(path, shape, colours)
    slope, intercept = (1.0, 0.0) if colours else _scaling(path, fields)
    return NiftiHeader(
        fields=fields,
        shape=shape,
        dtype=np.dtype(np.uint8) if colours else _dtype(path, fields),
        voxels=voxels,
        offset=_offset(path, fields, is_pair=where != voxels),
        slope=slope,
        intercept=intercept,
        colours=colours,
        notes=notes,
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


def _coloured(
    path: Path, shape: tuple[int, int, int, int], colours: tuple[str, ...]
) -> tuple[tuple[int, int, int, int], tuple[str, ...]]:
    if shape[3] != 1:
        raise ReadError(
            found=f"{path} holds {shape[3]} frames of colours",
            needed="one frame of colours, or frames of grey values",
            do="split the frames into files, or convert it to grey values",
        )
    note = f"colours taken as channels: {', '.join(colours)}"
    return (*shape[:3], len(colours)), (note,)


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
        what = f"values of type {int(fields['datatype'])}"
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
    return float(slope), float(intercept or 0.0)  # Analyze knows no intercept


def _offset(path: Path, fields: Any, *, is_pair: bool) -> int:
    offset = float(fields["vox_offset"])
    size = int(fields["sizeof_hdr"])
    minimum = 0 if is_pair else {348: 352, 540: 544}[size]
    if offset == 0:
        return minimum
    if not math.isfinite(offset) or offset < max(0, minimum - 4):
        where = "" if is_pair else ", inside the header"
        raise ReadError(
            found=f"{path} has its voxels at byte {offset:g}{where}",
            needed=f"an offset of at least {minimum}",
            do="export the file again",
        )
    return int(offset)
