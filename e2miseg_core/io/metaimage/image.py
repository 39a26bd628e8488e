"""MetaImage: lazy reading of .mha and .mhd, and streamed writing of .mha.

What is written is not compressed: the format's compression is one stream without an
index, so a compressed file could not be shown before it was unpacked, while a plain one
is read in place. NRRD and NIfTI are there for compressed files.
"""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from e2miseg_core.io.address import Address
from e2miseg_core.io.lazy import iter_slabs
from e2miseg_core.io.metaimage.grid import locate
from e2miseg_core.io.metaimage.header import META_TYPES, MetaHeader, read_meta_header
from e2miseg_core.io.metaimage.segments import read_segments, segment_lines
from e2miseg_core.io.plan import WritePlan
from e2miseg_core.io.raw.detached import data_files, is_pattern, numbered_names
from e2miseg_core.io.raw.files import RawFiles, RawImage, present, raw_offset
from e2miseg_core.io.raw.unchanged import fill
from e2miseg_core.io.text_header import bad_header, parse_ints
from e2miseg_core.volume import Segments, Volume, default_channels

__all__ = ["read_metaimage", "write_metaimage"]

_BESIDE_BYTES = 4 << 20  # of all channels, in memory at once
_UNITS = {"mm": "mm", "um": "um", "nm": "um"}  # the format knows no nanometres


def read_metaimage(address: Address) -> Volume:
    """Open a .mha or .mhd file without reading its voxels.

    Parameters
    ----------
    address : Address
        Header with voxels, or header of detached voxels, plain or compressed.

    Returns
    -------
    Volume
        Values of a voxel and frames become channels.

    Raises
    ------
    ReadError
        If a file is missing, cut off, or its header damaged.
    GeometryError
        If the header has no usable grid.
    """
    path = address.path
    header = read_meta_header(path)
    geometry, rules, is_oriented = locate(header)
    shape, notes = _shape(header)
    place = _place(header)
    raw = RawFiles(
        header=path,
        files=place.files,
        offsets=_offsets(header, place, shape),
        shape=shape,
        dtype=header.dtype,
        channels_last=header.n_values > 1,
        compression=_compression(header, place),
    )
    image = RawImage(
        address=address,
        format="metaimage",
        geometry=geometry,
        channels=default_channels(shape[0]),
        notes=(*notes, *rules, *place.notes),
        segments=read_segments(header.fields),
        is_oriented=is_oriented,
    )
    return present(image, raw.pixels(), list(dict.fromkeys([path, *raw.files])))


def _shape(header: MetaHeader) -> tuple[tuple[int, int, int, int], list[str]]:
    x, y, *more = header.sizes
    z, *frames = more or [1]
    n_frames = frames[0] if frames else 1
    if n_frames > 1 and header.n_values > 1:
        raise bad_header(
            header.path,
            f"has {n_frames} frames with {header.n_values} values a voxel",
            "several frames or several values, not both",
        )
    notes = []
    if n_frames > 1:
        notes.append(f"4D: {n_frames} frames taken as channels")
    if header.n_values > 1:
        notes.append(f"{header.n_values} values a voxel taken as channels")
    return (max(n_frames, header.n_values), z, y, x), notes


@dataclass(frozen=True, kw_only=True)
class _Place:
    files: tuple[Path, ...]
    offset: int
    notes: tuple[str, ...] = ()


def _place(header: MetaHeader) -> _Place:
    """Find the files of voxels."""
    named = header.fields["ElementDataFile"]
    words = named.split()
    if named.upper() == "LOCAL":
        return _Place(files=(header.path,), offset=header.end)
    if header.file_names:
        names = list(header.file_names)
    elif is_pattern(header.path, named):
        numbers = parse_ints(header.path, "ElementDataFile", " ".join(words[1:]))
        if len(numbers) != 3:
            raise bad_header(
                header.path,
                f"has the ElementDataFile {named!r:.80}",
                "a pattern, then first, last and step",
            )
        names = numbered_names(header.path, words[0], numbers)
    else:
        names = [named] if named and words[0].upper() != "LIST" else []
    if not names:
        raise bad_header(header.path, "names no file of voxels", "LOCAL, or a name")
    files, notes = data_files(header.path, names)
    return _Place(files=tuple(files), offset=0, notes=tuple(notes))


def _offsets(
    header: MetaHeader, place: _Place, shape: tuple[int, int, int, int]
) -> tuple[int, ...]:
    text = header.fields.get("HeaderSize", "0")
    values = parse_ints(header.path, "HeaderSize", text)
    if len(values) != 1 or values[0] < -1:
        raise bad_header(
            header.path, f"has the HeaderSize {text!r:.40}", "-1, 0 or more"
        )
    if values[0] == -1 and not header.compression:
        each = (math.prod(shape) // len(place.files),)
        return tuple(raw_offset(file, each, header.dtype) for file in place.files)
    # A local header already ends where the voxels begin.
    skipped = max(values[0], 0) if place.files[0] != header.path else 0
    return (place.offset + skipped,) * len(place.files)


def _compression(header: MetaHeader, place: _Place) -> str:
    """Tell the kind of stream, which MetaIO leaves to its first bytes."""
    if not header.compression:
        return ""
    with place.files[0].open("rb") as file:
        file.seek(place.offset)
        return "gzip" if file.read(2) == b"\x1f\x8b" else "zlib"


def write_metaimage(plan: WritePlan, path: Path) -> int:
    """Write a plan's array slab by slab, header and voxels in one file.

    Parameters
    ----------
    plan : WritePlan
        What to write; channels become values of a voxel, names and colours of labels
        fields of our own.
    path : Path
        Ends in .mha.

    Returns
    -------
    int
        CRC-32 of the voxels, slab by slab.
    """
    n_channels = math.prod(plan.data.shape[:-3])
    start = _header_text(plan, n_channels).encode()
    if n_channels > 1:
        return _write_beside(plan, path, start, n_channels)
    checksum = 0
    with path.open("xb") as file:
        file.write(start)
        for _, slab in iter_slabs(plan.data):
            voxels = slab.data.cast("B")
            checksum = zlib.crc32(voxels, checksum)
            file.write(voxels)
    return checksum


def _write_beside(plan: WritePlan, path: Path, start: bytes, n_channels: int) -> int:
    """Write channel after channel into the values of each voxel.

    The first one writes zeros for the others, so that a full disk is told by the
    system; a mapped file would end the process there.
    """
    _, height, width = plan.data.shape[-3:]
    row = width * n_channels * plan.dtype.itemsize
    rows = max(1, _BESIDE_BYTES // row)
    checksum = 0
    with path.open("xb") as new:
        new.write(start)
    with path.open("r+b") as file:
        for (channel, planes), slab in iter_slabs(plan.data):
            checksum = zlib.crc32(slab.data.cast("B"), checksum)
            lines = slab.reshape(-1, width)
            first = planes.start * height
            for at in range(0, len(lines), rows):
                part = lines[at : at + rows]
                voxels = np.zeros((*part.shape, n_channels), plan.dtype)
                flat = voxels.reshape(-1).view(np.uint8).data
                place = len(start) + (first + at) * row
                if channel:
                    file.seek(place)
                    fill(file, flat)
                voxels[:, :, channel] = part
                file.seek(place)
                file.write(flat)
    return checksum


def _header_text(plan: WritePlan, n_channels: int) -> str:
    geometry = plan.geometry.in_unit(_UNITS[plan.geometry.unit])
    lps = np.diag([-1.0, -1.0, 1.0]) @ geometry.affine_xyz[:3]
    spacing = geometry.spacing[::-1]
    names = {code: name for name, code in META_TYPES.items()}
    segments = Segments(names=plan.names, colors=plan.colors)
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        f"BinaryDataByteOrderMSB = {plan.dtype.str[0] == '>'}",
        "CompressedData = False",
        f"TransformMatrix = {_numbers((lps[:, :3] / spacing).T.ravel())}",
        f"Offset = {_numbers(lps[:, 3])}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_numbers(spacing)}",
        f"DistanceUnits = {geometry.unit}",
        "DimSize = " + " ".join(str(size) for size in geometry.shape[::-1]),
        *([f"ElementNumberOfChannels = {n_channels}"] if n_channels > 1 else []),
        f"ElementType = {names[plan.dtype.str[1:]]}",
        *(segment_lines(segments) if plan.kind == "labels" else []),
        "ElementDataFile = LOCAL",
    ]
    return "\n".join(lines) + "\n"


def _numbers(values: Iterable[float]) -> str:
    # repr keeps every bit; adding 0 turns -0.0 into 0.0.
    return " ".join(repr(float(value) + 0.0) for value in values)
