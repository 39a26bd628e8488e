"""What a folder holds: every DICOM file, whatever its name, sorted into series."""

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from e2miseg_core.errors import Choice, E2MISegError, ReadError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io.dicom.grouping import find_stacks, split_planes
from e2miseg_core.io.dicom.header import Header, Instance, is_dicom, read_header
from e2miseg_core.io.dicom.stack import Plane, Stack
from e2miseg_core.progress import Progress

__all__ = ["DicomSeries", "FolderScan", "holds_dicom", "scan", "scan_folder"]

_MOST_FILES = 500_000
_LOOKED_AT = 2_000  # files of a folder, to see whether it holds DICOM at all
_THREADS = 8  # disks and networks answer several at once
_BATCH = 512

_KINDS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "seg",
    "1.2.840.10008.5.1.4.1.1.66.7": "seg",  # label map segmentation
    "1.2.840.10008.5.1.4.1.1.481.3": "rtstruct",
}
_MODALITIES = {"SEG": "seg", "RTSTRUCT": "rtstruct"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomSeries:
    """A series of a folder, or the part of one that lies on one grid.

    Attributes
    ----------
    number : int
        From 1, in the folder: ``folder#part=2``.
    uid : str
        SeriesInstanceUID; several parts may share it.
    modality : str
        Such as "CT"; empty if it is not stated.
    kind : str
        "image", "seg", "rtstruct" or "other".
    description : str
        Of its description only words of imaging: the rest may name somebody.
    instances : tuple of Instance
        Those of an image in the order of their positions.
    stack : Stack or None
        The planes of an image, sorted.
    problem : E2MISegError or None
        Why an image cannot be opened.
    """

    number: int
    uid: str = field(repr=False)
    modality: str
    kind: str
    description: str
    instances: tuple[Instance, ...] = field(repr=False)
    stack: Stack | None = field(repr=False, default=None)
    problem: E2MISegError | None = None

    @property
    def geometry(self) -> Geometry | None:
        """Of an image, on its stored axes."""
        return None if self.stack is None else self.stack.geometry

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found out about an image, and done."""
        return () if self.stack is None else self.stack.notes

    @property
    def choice(self) -> Choice:
        """What a user is asked to choose from; it names no patient."""
        title = self.modality or "no modality"
        if self.description:
            title += f', "{self.description}"'
        if self.kind in ("seg", "rtstruct"):
            title += ", segmentation"
        words = []
        if self.stack is not None:
            z, y, x = self.stack.geometry.shape
            moments = f"{len(self.stack.planes)} x " * (len(self.stack.planes) > 1)
            words.append(f"{moments}{x} x {y} x {z}")
        count = len(self.instances)
        words.append("1 file" if count == 1 else f"{count} files")
        if self.problem is not None:
            words.append("cannot be opened")
        return Choice(str(self.number), title, ", ".join(words))

    def __str__(self) -> str:
        return str(self.choice)


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, which quote what they read
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
    series = tuple(_number(_find_series(headers)))
    return FolderScan(series=series, n_files=len(files), n_damaged=n_damaged)


def holds_dicom(path: Path) -> bool:
    """Whether a file is DICOM, or one of the first 2,000 files of a folder is."""
    if path.is_file():
        return is_dicom(path)
    if not path.is_dir():
        return False
    try:
        return any(
            is_dicom(file)
            for _, file in zip(range(_LOOKED_AT), _walk(path), strict=False)
        )
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
    files: list[Path] = []
    try:
        for file in _walk(path):
            files.append(file)
            if len(files) > _MOST_FILES:
                raise ReadError(
                    found=f"{path} holds more than {_MOST_FILES:,} files",
                    needed="a folder of one patient, study or series",
                    do="choose a folder inside it",
                )
    except PermissionError as error:
        raise ReadError(
            found=f"{path} cannot be listed ({error.strerror})",
            needed="a folder that you may read",
            do="change its rights or copy it",
        ) from error
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


def _find_series(headers: Sequence[Header]) -> Iterator[DicomSeries]:
    by_uid: dict[tuple[str, str], list[Header]] = defaultdict(list)
    for header in headers:
        by_uid[(header.series_uid, _kind(header))].append(header)
    for (_, kind), group in by_uid.items():
        if kind == "image":
            yield from _find_images(group)
        else:
            # Each object of these is opened by itself.
            for header in group:
                yield _describe(header, kind, (header.instance,))


def _kind(header: Header) -> str:
    instance = header.instance
    kind = _KINDS.get(instance.sop_class) or _MODALITIES.get(header.modality)
    return kind or ("other" if instance.layout is None else "image")


def _find_images(group: Sequence[Header]) -> Iterator[DicomSeries]:
    broken = [header for header in group if header.instance.problem]
    planes = [
        Plane(header, frame)
        for header in group
        for frame in header.instance.frames
        if not header.instance.problem
    ]
    for split in split_planes(planes):
        for found in find_stacks(split):
            if isinstance(found, Stack):
                instances = _instances(found)
                yield replace(
                    _describe(split[0].header, "image", instances), stack=found
                )
            else:
                own = {plane.instance.path: plane.instance for plane in split}
                yield replace(
                    _describe(split[0].header, "image", tuple(own.values())),
                    problem=found,
                )
    if broken:
        first = broken[0]
        count = "" if len(broken) == 1 else f" (and {len(broken) - 1} more)"
        yield replace(
            _describe(first, "image", tuple(header.instance for header in broken)),
            problem=ReadError(
                found=f"{first.instance.path}{count} {first.instance.problem}",
                needed="a whole file",
                do="copy or export the series again",
            ),
        )


def _instances(stack: Stack) -> tuple[Instance, ...]:
    found = {
        plane.instance.path: plane.instance
        for moment in stack.planes
        for plane in moment
        if plane is not None
    }
    return tuple(found.values())


def _describe(
    header: Header, kind: str, instances: tuple[Instance, ...]
) -> DicomSeries:
    return DicomSeries(
        number=0,
        uid=header.series_uid,
        modality=header.modality,
        kind=kind,
        description=header.description,
        instances=instances,
    )


def _number(found: Iterator[DicomSeries]) -> Iterator[DicomSeries]:
    """Number images first; otherwise in the order of their files."""
    kinds = ("image", "seg", "rtstruct", "other")
    ordered = sorted(found, key=lambda series: kinds.index(series.kind))
    for number, series in enumerate(ordered, 1):
        yield replace(series, number=number)
