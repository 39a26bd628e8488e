"""NIfTI-1 and NIfTI-2: lazy reading of .nii and .nii.gz, and streamed writing."""

import contextlib
import gzip
import threading
import zlib
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from dask.base import tokenize
from indexed_gzip import ZranError
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.geometry import Geometry, canonical_transform
from e2miseg_core.io.address import Address
from e2miseg_core.io.lazy import Box, iter_slabs, oriented, slab_chunks
from e2miseg_core.io.nifti_header import (
    SPATIAL_FIELDS,
    NiftiHeader,
    read_header,
    resolve_geometry,
)
from e2miseg_core.io.plan import WritePlan
from e2miseg_core.volume import Source, Volume, default_channels

__all__ = ["read_nifti", "write_nifti"]

_UNPACK_BYTES = 16 << 20  # unpacked at once, whatever the box asked for
_GZIP_LEVEL = 5
_LABEL_INTENT = 1002
_UNIT_CODES = {"mm": 2, "um": 3}


def read_nifti(address: Address) -> Volume:
    """Open a .nii or .nii.gz file without reading its voxels.

    Parameters
    ----------
    address : Address
        NIfTI-1 or NIfTI-2, one file, either byte order.

    Returns
    -------
    Volume
        Scaled values are float32, all others keep their type. Dimensions beyond the
        third become channels.

    Raises
    ------
    ReadError
        If the file is missing, damaged, or holds no scalars.
    GeometryError
        If its header has no usable grid.
    """
    path = address.path
    header = read_header(path)
    geometry, notes = resolve_geometry(path, header)
    if header.is_scaled:
        notes.append(
            f"stored values scaled by {header.slope:g} and shifted by "
            f"{header.intercept:g}, as float32"
        )
    transform = canonical_transform(geometry)
    pixels = _NiftiPixels(path, header)
    stat = path.stat()
    token = tokenize(str(path.resolve()), stat.st_mtime_ns, stat.st_size)
    chunks = slab_chunks(pixels.shape, max(header.dtype.itemsize, 1))
    data = oriented(pixels, chunks, transform, f"nifti-{token}")
    source = Source(
        uri=str(address),
        format="nifti",
        geometry=geometry,
        transform=transform,
        dtype=header.dtype,
        details=_details(header),
    )
    return Volume(
        levels=(data,),
        geometry=transform.apply_geometry(geometry),
        channels=default_channels(data.shape[0]),
        source=source,
        notes=(*header.notes, *notes),
    )


def _details(header: NiftiHeader) -> dict[str, Any]:
    fields = header.fields
    kept = {name: np.array(fields[name]).tolist() for name in SPATIAL_FIELDS}
    kept["pixdim"] = [float(size) for size in fields["pixdim"][:4]]
    kept["xyzt_units"] = int(fields["xyzt_units"]) & 7
    kept["version"] = 1 if int(fields["sizeof_hdr"]) == 348 else 2
    return kept


class _NiftiPixels:
    """Stored voxels (C, Z, Y, X), scaled and in native byte order when read."""

    def __init__(self, path: Path, header: NiftiHeader) -> None:
        self._path = path
        self._header = header
        self._lock = threading.Lock()
        self._stored: Any = None
        x, y, z, channels = header.shape
        self.shape = (channels, z, y, x)
        native = header.dtype.newbyteorder("=")
        self.dtype = np.dtype(np.float32) if header.is_scaled else native

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be pickled with its voxels, a lock not at all.
        return {**self.__dict__, "_stored": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def read(self, box: Box) -> NDArray[Any]:
        """Return a box (C, Z, Y, X)."""
        try:
            stored = self._unpack(box) if self._header.is_gzip else self._map(box)
        except (OSError, EOFError, ValueError, zlib.error, ZranError) as error:
            raise ReadError(
                found=f"{self._path} is damaged or cut off ({error})",
                needed="a whole file",
                do="copy or export the file again",
            ) from error
        if self._header.is_scaled:
            scaled = stored.astype(np.float64) * self._header.slope
            return (scaled + self._header.intercept).astype(np.float32)
        return stored.astype(self.dtype, copy=False)

    def _map(self, box: Box) -> NDArray[Any]:
        with self._lock:
            if self._stored is None:
                self._stored = np.memmap(
                    self._path,
                    dtype=self._header.dtype,
                    mode="r",
                    offset=self._header.offset,
                    shape=self.shape,
                )
        return np.array(self._stored[box])

    def _unpack(self, box: Box) -> NDArray[Any]:
        """Read whole planes, a few at a time: rows would be sought one by one."""
        header = self._header
        shape = tuple(part.stop - part.start for part in box)
        block = np.empty(shape, dtype=header.dtype)
        plane = self.shape[2] * self.shape[3] * header.dtype.itemsize
        rows = box[2] if plane > _UNPACK_BYTES else slice(None)
        cut = slice(None) if plane > _UNPACK_BYTES else box[2]
        step = max(1, _UNPACK_BYTES // max(1, plane))
        with self._lock:  # one position in one stream
            if self._stored is None:
                spec = (header.shape, header.dtype, header.offset)
                self._stored = ArrayProxy(  # type: ignore[no-untyped-call]
                    str(self._path), spec
                )
            for at, channel in enumerate(range(box[0].start, box[0].stop)):
                for start in range(box[1].start, box[1].stop, step):
                    stop = min(start + step, box[1].stop)
                    part = self._stored[:, rows, start:stop, channel].T  # (z, y, x)
                    target = slice(start - box[1].start, stop - box[1].start)
                    block[at, target] = part[:, cut, box[3]]
        return block


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
    is_second = is_large or details.get("version") == 2
    kind: Any = nib.Nifti2Header if is_second else nib.Nifti1Header
    header = kind()
    header.set_data_dtype(plan.dtype)
    header.set_data_shape(shape[::-1])
    if details:
        for name in SPATIAL_FIELDS:
            header[name] = details[name]
        header["pixdim"][:4] = details["pixdim"]
        header["xyzt_units"] = details["xyzt_units"]
    else:
        _set_geometry(header, plan.geometry)
    header["vox_offset"] = 352 if header["sizeof_hdr"] == 348 else 544
    header["scl_slope"], header["scl_inter"] = 1, 0
    if plan.kind == "labels":
        header["intent_code"] = _LABEL_INTENT
    return header


def _set_geometry(header: Any, geometry: Geometry) -> None:
    """Describe a grid that did not come from a NIfTI file."""
    stored = geometry.in_unit("um") if geometry.unit == "nm" else geometry
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
