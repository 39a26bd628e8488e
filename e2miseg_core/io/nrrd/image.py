"""NRRD: lazy reading of .nrrd and .nhdr, and streamed writing of .nrrd."""

import gzip
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.io.address import Address
from e2miseg_core.io.lazy import iter_slabs
from e2miseg_core.io.nrrd.grid import arrange_axes, locate
from e2miseg_core.io.nrrd.header import NRRD_TYPES, NrrdHeader, read_nrrd_header
from e2miseg_core.io.nrrd.segments import read_segments, segment_lines
from e2miseg_core.io.plan import WritePlan
from e2miseg_core.io.raw.detached import data_files, is_pattern, numbered_names
from e2miseg_core.io.raw.files import RawFiles, RawImage, present, raw_offset
from e2miseg_core.io.text_header import bad_header, parse_ints, read_start
from e2miseg_core.volume import Segments, Volume

__all__ = ["read_nrrd", "write_nrrd"]

_GZIP_LEVEL = 5


def read_nrrd(address: Address) -> Volume:
    """Open a .nrrd or .nhdr file without reading its voxels.

    Parameters
    ----------
    address : Address
        Header with voxels, or header of detached voxels, raw or compressed with gzip
        or bzip2; segments of 3D Slicer become `Volume.segments`.

    Returns
    -------
    Volume
        Axes that are not of space become channels.

    Raises
    ------
    ReadError
        If a file is missing, cut off, or its header damaged.
    GeometryError
        If the header has no usable grid.
    """
    path = address.path
    header = read_nrrd_header(path)
    axes = arrange_axes(header)
    geometry, rules, is_oriented = locate(header, axes)
    raw, notes = _raw_files(header)
    raw = replace(raw, shape=axes.shape, channels_last=axes.channels_last)
    segments, layers, remarks = read_segments(header.keys, axes.shape[0])
    if segments is None and path.name.lower().endswith(".seg.nrrd"):
        segments = Segments()
    raw = _skip(header, raw)
    image = RawImage(
        address=address,
        format="nrrd",
        geometry=geometry,
        channels=layers or axes.channels,
        notes=(*axes.notes, *rules, *notes, *remarks),
        segments=segments,
        details={"space": header.field("space")},
        is_oriented=is_oriented,
    )
    return present(image, raw.pixels(), list(dict.fromkeys([path, *raw.files])))


def _raw_files(header: NrrdHeader) -> tuple[RawFiles, list[str]]:
    """Find the files of voxels; where they begin in them is not known yet."""
    named = header.field("data file", "datafile")
    words = named.split()
    files, names = [header.path], [named]
    notes: list[str] = []
    if words and words[0] == "LIST":
        names = list(header.file_names)
    elif is_pattern(header.path, named):
        numbers = parse_ints(header.path, "data file", " ".join(words[1:]))
        if len(numbers) not in (3, 4):
            raise bad_header(
                header.path,
                f"has the data file {named!r:.80}",
                "a pattern, then first, last and step",
            )
        names = numbered_names(header.path, words[0], numbers[:3])
    if named:
        files, notes = data_files(header.path, names)
    if not files:
        raise bad_header(header.path, "lists no files of voxels", "their names")
    raw = RawFiles(
        header=header.path,
        files=tuple(files),
        offsets=(header.end if not named else 0,) * len(files),
        shape=(1, 1, 1, 1),
        dtype=header.dtype,
        compression=header.compression,
    )
    return raw, notes


def _skip(header: NrrdHeader, raw: RawFiles) -> RawFiles:
    """Skip lines and bytes before the voxels."""
    lines = _one_number(header, "line skip", "lineskip")
    skipped = _one_number(header, "byte skip", "byteskip")
    if raw.compression and skipped:
        raise bad_header(
            header.path, f"skips {skipped} bytes of compressed voxels", "none skipped"
        )
    if skipped < -1 or lines < 0:
        raise bad_header(
            header.path, f"skips {skipped} bytes and {lines} lines", "0 or more"
        )
    if not skipped and not lines:
        return raw
    if skipped == -1:
        beside = raw.shape[0] if raw.channels_last else 1
        each = (raw.n_planes // len(raw.files), *raw.shape[2:], beside)
        offsets = [raw_offset(file, each, raw.dtype) for file in raw.files]
    else:
        offsets = [
            _after_lines(file, offset, lines) + skipped
            for file, offset in zip(raw.files, raw.offsets, strict=True)
        ]
    return replace(raw, offsets=tuple(offsets))


def _one_number(header: NrrdHeader, *names: str) -> int:
    text = header.field(*names)
    values = parse_ints(header.path, names[0], text) if text else [0]
    if len(values) != 1:
        raise bad_header(header.path, f"has the {names[0]} {text!r:.80}", "one number")
    return values[0]


def _after_lines(file: Path, offset: int, lines: int) -> int:
    start = read_start(file, "voxel")[offset:] if lines else b""
    at = 0
    for _ in range(lines):
        at = start.find(b"\n", at) + 1
        if at == 0:
            raise bad_header(
                file, "has fewer lines before its voxels than announced", "all of them"
            )
    return offset + at


def write_nrrd(plan: WritePlan, path: Path) -> int:
    """Write a plan's array slab by slab, header and gzipped voxels in one file.

    Parameters
    ----------
    plan : WritePlan
        What to write; names of labels are kept as segments of 3D Slicer.
    path : Path
        Ends in .nrrd.

    Returns
    -------
    int
        CRC-32 of the voxels, in the order written.
    """
    checksum = 0
    with path.open("xb") as raw:
        raw.write(_header_text(plan).encode())
        # No name and no time in it: equal voxels give equal files.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as file:
            for _, slab in iter_slabs(plan.data):
                voxels = slab.data.cast("B")
                checksum = zlib.crc32(voxels, checksum)
                file.write(voxels)
    return checksum


def _header_text(plan: WritePlan) -> str:
    geometry = plan.geometry
    signs = np.array([[-1.0], [-1.0], [1.0]])
    lps = geometry.affine_xyz[:3] * signs
    # Channels are the slowest axis, one volume after another.
    n_more = plan.data.ndim - 3
    directions = [_vector(lps[:, axis]) for axis in range(3)] + ["none"] * n_more
    lines = [
        "NRRD0005",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        f"type: {NRRD_TYPES[plan.dtype.str[1:]].partition('|')[0]}",
        f"dimension: {plan.data.ndim}",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(size) for size in plan.data.shape[::-1]),
        "space directions: " + " ".join(directions),
        "kinds: " + " ".join(["domain"] * 3 + ["list"] * n_more),
        f"endian: {'big' if plan.dtype.str[0] == '>' else 'little'}",
        "encoding: gzip",
        "space units: " + " ".join([f'"{geometry.unit}"'] * 3),
        f"space origin: {_vector(lps[:, 3])}",
    ]
    if plan.kind == "labels":
        lines += segment_lines(
            Segments(names=plan.names, colors=plan.colors), geometry.shape[::-1]
        )
    return "\n".join(lines) + "\n\n"


def _vector(numbers: NDArray[np.float64]) -> str:
    # repr keeps every bit; adding 0 turns -0.0 into 0.0.
    return "(" + ",".join(repr(float(number) + 0.0) for number in numbers) + ")"
