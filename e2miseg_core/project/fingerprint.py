"""Telling whether an image is still the one that a project was made with."""

import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from e2miseg_core.errors import ReadError
from e2miseg_core.io.address import Address
from e2miseg_core.io.part_key import split_key
from e2miseg_core.volume import Volume

__all__ = ["fingerprint", "same_image"]

_WHOLE = 64 << 20  # bytes; larger files are sampled
_SAMPLES = 16
_SAMPLE_BYTES = 1 << 20
_SAMPLE_EDGE = 32  # voxels
_HEADERS = (".hdr", ".img", ".mhd", ".nhdr")  # their voxels lie in another file
_MOST_PACKED = 8 * 1032  # deflate's best, of voxels that are read as wider ones


def fingerprint(volume: Volume) -> dict[str, Any]:
    """Make the fingerprint of an image on disk.

    Parameters
    ----------
    volume : Volume
        That came from a file, a folder or a URL.

    Returns
    -------
    dict
        For a file its size and the SHA-256 of its bytes (beyond 64 MiB, of 16 pieces
        of 1 MiB, evenly spread). For a folder, a URL, a part of a file or a header
        without its voxels the shape, the type and the SHA-256 of 27 boxes of voxels in
        canonical orientation.

    Raises
    ------
    ReadError
        If it cannot be read.
    """
    address = Address.parse(volume.source.uri if volume.source else "")
    try:
        if _is_one_file(address, volume.nbytes):
            return _of_file(address.path)
        return _of_voxels(volume)
    except ReadError:
        raise
    except OSError as error:
        raise ReadError(
            found=f"{address} cannot be read ({error.strerror or error})",
            needed="a readable image",
            do="check the disk and your rights",
        ) from error


def same_image(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two fingerprints are of the same image."""
    return dict(one) == dict(other)


def _is_one_file(address: Address, n_bytes: int) -> bool:
    """Whether a file holds these voxels and no others."""
    # A key without a name chooses nothing.
    named = split_key(address.part)[0]
    if address.is_remote or named or address.frame is not None:
        return False
    path = address.path
    if not path.is_file() or path.suffix.lower() in _HEADERS:
        return False
    return path.stat().st_size * _MOST_PACKED >= n_bytes


def _of_file(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        if size <= _WHOLE:
            while piece := file.read(_SAMPLE_BYTES):
                hasher.update(piece)
        else:
            for number in range(_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
                hasher.update(file.read(_SAMPLE_BYTES))
    return {"kind": "file", "bytes": size, "sha256": hasher.hexdigest()}


def _of_voxels(volume: Volume) -> dict[str, Any]:
    hasher = hashlib.sha256()
    starts = [
        sorted({0, max(0, (size - _SAMPLE_EDGE) // 2), max(0, size - _SAMPLE_EDGE)})
        for size in volume.geometry.shape
    ]
    for z, y, x in itertools.product(*starts):
        piece = volume.data[
            :, z : z + _SAMPLE_EDGE, y : y + _SAMPLE_EDGE, x : x + _SAMPLE_EDGE
        ].compute(scheduler="threads")
        little = piece.astype(piece.dtype.newbyteorder("<"))
        hasher.update(np.ascontiguousarray(little).tobytes())
    return {
        "kind": "voxels",
        "shape": list(volume.data.shape),
        "dtype": volume.dtype.name,
        "sha256": hasher.hexdigest(),
    }
