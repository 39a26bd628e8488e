"""What a folder holds: every DICOM file, whatever its name, sorted into series."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from e2miseg_core.errors import ReadError
from e2miseg_core.io.dicom.header import Header, is_dicom, read_header
from e2miseg_core.io.dicom.series import DicomSeries, find_series
from e2miseg_core.progress import Progress

__all__ = ["DicomSeries", "FolderScan", "holds_dicom", "scan", "scan_folder"]

_MOST_FILES = 500_000
_LOOKED_AT = 2_000  # files of a folder, to see whether it holds DICOM at all
_THREADS = 8  # disks and networks answer several at once
_BATCH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderScan:
    """What was found in a folder or file.

    Attributes
    ----------
    series : tuple of DicomSeries
        Numbered from 1.
    n_files, n_damaged : int
        Files looked at, and DICOM files among them whose header cannot be read.
    """

    series: tuple[DicomSeries, ...]
    n_files: int
    n_damaged: int


def scan_folder(
    path: Path, progress: Callable[[Progress], None] | None = None
) -> list[DicomSeries]:
    """List the series of a folder, its subfolders included, or of one file.

    Parameters
    ----------
    path : Path
        Files may have any name. What is not DICOM is passed over.
    progress : callable, optional
        Called now and then while headers are read.

    Returns
    -------
    list of DicomSeries
        Images first, in the order of their series and acquisition.

    Raises
    ------
    ReadError
        If the folder is missing, cannot be listed, or holds more than 500,000 files.
    """
    return list(scan(path, progress).series)


def scan(path: Path, progress: Callable[[Progress], None] | None = None) -> FolderScan:
    """Do as `scan_folder` does, and count the files."""
    files = _list_files(path)
    headers: list[Header] = []
    n_damaged = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            for found in pool.map(_try_header, batch):
                if isinstance(found, Header):
                    headers.append(found)
                n_damaged += found is False
            if progress is not None:
                done = min(start + _BATCH, len(files))
                progress(Progress(done=done, total=len(files), stage="headers"))
    return FolderScan(
        series=find_series(headers, path if path.is_dir() else path.parent),
        n_files=len(files),
        n_damaged=n_damaged,
    )


def holds_dicom(path: Path) -> bool:
    """Whether a file is DICOM, or one of the first 2,000 files of a folder is."""
    if path.is_file():
        return is_dicom(path)
    if not path.is_dir():
        return False
    try:
        return any(is_dicom(file) for file in islice(_walk(path), _LOOKED_AT))
    except OSError:
        return False


def _list_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ReadError(
            found=f"{path} is missing",
            needed="a DICOM file or folder",
            do="check the path",
        )
    try:
        next(path.iterdir(), None)
    except OSError as error:
        raise ReadError(
            found=f"{path} cannot be listed ({error.strerror})",
            needed="a folder that you may read",
            do="change its rights or copy it",
        ) from error
    files = list(islice(_walk(path), _MOST_FILES + 1))
    if len(files) > _MOST_FILES:
        raise ReadError(
            found=f"{path} holds more than {_MOST_FILES:,} files",
            needed="a folder of one patient, study or series",
            do="choose a folder inside it",
        )
    return files


def _walk(folder: Path) -> Iterator[Path]:
    """Files of a folder and its subfolders, in the order of their names."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield Path(parent, name)


def _try_header(path: Path) -> Header | bool | None:
    """Read a header; None if the file is not DICOM, False if it is damaged."""
    try:
        return read_header(path) if path.is_file() else None
    except ValueError:
        return False
