"""The file or the two files of a NIfTI or Analyze image, and their headers' bytes."""

import gzip
import re
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib

from e2miseg_core.errors import ReadError

__all__ = ["find_files", "is_gzip_name", "parse_header"]

_HEADER_BYTES = 544  # enough for NIfTI-1 (348) and NIfTI-2 (540)
_PAIR = re.compile(r"\.(hdr|img)(\.gz)?$", re.IGNORECASE)
_OTHER = {"hdr": "img", "img": "hdr", "HDR": "IMG", "IMG": "HDR"}


def is_gzip_name(path: Path) -> bool:
    """Whether a file is compressed by its name."""
    return path.name.lower().endswith(".gz")


def find_files(path: Path) -> tuple[Path, Path]:
    """Find the header and the voxels; one file of a pair leads to the other.

    Returns
    -------
    tuple of Path
        Twice the same for .nii and .nii.gz.

    Raises
    ------
    ReadError
        If the other file of a pair is missing.
    """
    found = _PAIR.search(path.name)
    if found is None:
        return path, path
    word, packed = found.groups()
    stem = path.name[: found.start()]
    other = _OTHER.get(word, _OTHER[word.lower()])
    candidates = [f"{stem}.{other}{packed or ''}", f"{stem}.{other}"]
    candidates.append(f"{stem}.{other}.gz")
    partner = next((path.with_name(c) for c in candidates if _exists(path, c)), None)
    if partner is None and path.exists():
        raise ReadError(
            found=f"{path} without its other half",
            needed=f"{candidates[0]} beside it",
            do="copy both files of the pair into one folder",
        )
    partner = partner or path.with_name(candidates[0])
    return (path, partner) if word.lower() == "hdr" else (partner, path)


def _exists(path: Path, name: str) -> bool:
    return path.with_name(name).is_file()


def parse_header(path: Path, *, is_pair: bool) -> Any:
    """Read a header, recognised by its size and magic, in either byte order.

    Parameters
    ----------
    path : Path
        Of the header.
    is_pair : bool
        Whether the voxels lie in another file.

    Returns
    -------
    nibabel header
        Of NIfTI-1, NIfTI-2, or, in pairs only, Analyze 7.5.

    Raises
    ------
    ReadError
        If the file cannot be read, is damaged, or of another kind.
    """
    start = _first_bytes(path)
    for kind, size in ((nib.Nifti1Header, 348), (nib.Nifti2Header, 540)):
        for order in ("<", ">"):
            announced = int.from_bytes(start[:4], "little" if order == "<" else "big")
            if announced != size or len(start) < size:
                continue
            fields = kind(  # type: ignore[no-untyped-call]
                start[:size], endianness=order, check=False
            )
            magic = bytes(fields["magic"].tobytes())[:3]
            if magic in (b"n+1", b"n+2", b"ni1", b"ni2"):
                _check_number_of_files(path, magic, is_pair=is_pair)
                return fields
            if is_pair and size == 348:
                analyze: Any = nib.Spm99AnalyzeImage.header_class
                return analyze(start[:size], endianness=order, check=False)
    raise ReadError(
        found=f"{path} starts with {start[:8]!r}" if start else f"{path} is empty",
        needed="a NIfTI-1 or NIfTI-2 file" + (", or Analyze 7.5" if is_pair else ""),
        do="check that the file is what its name says, or copy it again",
    )


def _check_number_of_files(path: Path, magic: bytes, *, is_pair: bool) -> None:
    if (magic[:2] == b"ni") == is_pair:
        return
    if is_pair:
        raise ReadError(
            found=f"{path} is the header of a single NIfTI file",
            needed="that of a .hdr/.img pair",
            do="rename it to .nii, or to .nii.gz if it is compressed",
        )
    raise ReadError(
        found=f"{path} is the header of a .hdr/.img pair",
        needed="one file with header and voxels",
        do="rename it to .hdr and open it beside its .img file",
    )


def _first_bytes(path: Path) -> bytes:
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
    if is_gzip != is_gzip_name(path):
        raise ReadError(
            found=f"{path} is {'' if is_gzip else 'not '}compressed with gzip",
            needed="a name that tells so: .gz at its end where it is compressed",
            do="rename the file, or copy it again if it is empty or damaged",
        )
    return start
