"""The series among DICOM objects: images on one grid, doses, segmentations, others."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from e2miseg_core.errors import Choice, E2MISegError, ReadError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io.dicom.dose import is_dose
from e2miseg_core.io.dicom.grouping import find_stacks, split_planes
from e2miseg_core.io.dicom.header import Header, Instance
from e2miseg_core.io.dicom.kinds import SEGMENTATION_CLASSES, STRUCTURE_SET_CLASS
from e2miseg_core.io.dicom.moments import count_moments
from e2miseg_core.io.dicom.owners import name_owners
from e2miseg_core.io.dicom.stack import Plane, Stack
from e2miseg_core.io.part_key import make_key

__all__ = ["DicomSeries", "find_series", "kind_of"]

_KINDS = {**dict.fromkeys(SEGMENTATION_CLASSES, "seg"), STRUCTURE_SET_CLASS: "rtstruct"}
_MODALITIES = {"SEG": "seg", "RTSTRUCT": "rtstruct"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomSeries:
    """A series of a folder, or the part of one that lies on one grid.

    Attributes
    ----------
    number : int
        From 1, in the folder: ``folder#part=2``. It changes with other files.
    key : str
        Stays the same when files of other series are added, or the folder is moved.
    uid : str
        SeriesInstanceUID; several parts may share it.
    group : tuple of str
        Equal for the parts of one series, also where its UID is blank.
    modality : str
        Such as "CT"; empty if it is not stated.
    kind : str
        "image", "dose", "seg", "rtstruct" or "other".
    description : str
        Of its description only words of imaging: the rest may name somebody.
    owner : str
        Such as "patient A", where the folder holds several patients, else empty.
    folder : str
        That its first file lies in, below the one that was opened; empty in that.
    instances : tuple of Instance
        Those of an image in the order of their positions.
    stack : Stack or None
        The planes of an image, sorted.
    problem : E2MISegError or None
        Why an image cannot be opened.
    """

    number: int = 0
    key: str = ""
    uid: str = field(repr=False)
    group: tuple[str, ...] = field(repr=False)
    modality: str
    kind: str
    description: str
    owner: str = ""
    folder: str = ""
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
            words.append(f"{moments}{z} x {y} x {x}")
            words.append(_spacing(self.stack.geometry))
            words += [self.stack.reason] * bool(self.stack.reason)
        count = len(self.instances)
        words.append("1 file" if count == 1 else f"{count} files")
        if self.problem is not None:
            words.append("cannot be opened")
        words += [self.owner] * bool(self.owner)
        words += [f"in {self.folder}"] * bool(self.folder)
        return Choice(str(self.number), title, ", ".join(words))

    def __str__(self) -> str:
        return str(self.choice)


def _spacing(geometry: Geometry) -> str:
    """Spacing along Z, Y, X, as sizes are told everywhere."""
    steps = " x ".join(f"{step:.4g}" for step in geometry.spacing)
    return f"{steps} {geometry.unit}"


def find_series(headers: Sequence[Header], root: Path) -> tuple[DicomSeries, ...]:
    """Sort objects into series, numbered from 1.

    Parameters
    ----------
    headers : sequence of Header
        Of all files, in their order.
    root : Path
        Folder that all files lie in.
    """
    return tuple(_numbered(_found_series(headers, root)))


def _found_series(headers: Sequence[Header], root: Path) -> Iterator[DicomSeries]:
    groups: dict[tuple[str, ...], list[Header]] = defaultdict(list)
    for header in headers:
        groups[(kind_of(header), *_series_of(header, root))].append(header)
    owners = name_owners([group[0] for group in groups.values()])
    for (series, group), owner in zip(groups.items(), owners, strict=True):
        kind = series[0]
        if kind in ("image", "dose"):
            found = _find_images(kind, count_moments(group))
        else:
            # Each object of these is opened by itself.
            found = (_describe(header, kind, (header.instance,)) for header in group)
        for each in found:
            folder = each.instances[0].path.parent.relative_to(root).as_posix()
            below = "" if folder == "." else folder
            yield replace(each, group=series, owner=owner, folder=below)


def _series_of(header: Header, root: Path) -> tuple[str, ...]:
    """What tells the series: where its UID is blank, its study and its folder."""
    if header.series_uid:
        return (header.series_uid,)
    folder = header.instance.path.parent.relative_to(root)
    return ("", header.study_uid, folder.as_posix())


def kind_of(header: Header) -> str:
    """Tell what an object is: "image", "dose", "seg", "rtstruct" or "other"."""
    instance = header.instance
    kind = _KINDS.get(instance.sop_class) or _MODALITIES.get(header.modality)
    if kind or instance.layout is None:
        return kind or "other"
    return "dose" if is_dose(instance.sop_class) else "image"


def _find_images(kind: str, group: Sequence[Header]) -> Iterator[DicomSeries]:
    broken = [header for header in group if header.instance.problem]
    sound = _without_copies([h for h in group if not h.instance.problem])
    notes = []
    if copies := len(group) - len(broken) - len(sound):
        notes.append(f"{copies} files are copies of others: each is used once")
    if broken:
        kinds = sorted({h.instance.problem.kind for h in broken if h.instance.problem})
        words = " or ".join(kinds)
        notes.append(f"{len(broken)} files of the series are {words} and left out")
    planes = [
        Plane(header, frame) for header in sound for frame in header.instance.frames
    ]
    for split in split_planes(planes):
        for found in find_stacks(split):
            if isinstance(found, Stack):
                instances = _instances(found)
                stack = replace(found, notes=(*notes, *found.notes))
                yield replace(_describe(split[0].header, kind, instances), stack=stack)
            else:
                own = {plane.instance.path: plane.instance for plane in split}
                yield replace(
                    _describe(split[0].header, kind, tuple(own.values())),
                    problem=found,
                )
    if broken:
        yield _broken(kind, broken)


def _broken(kind: str, headers: Sequence[Header]) -> DicomSeries:
    """Describe files of a series whose pixels cannot be read."""
    first = headers[0]
    count = "" if len(headers) == 1 else f" (and {len(headers) - 1} more)"
    told = None
    if (problem := first.instance.problem) is not None:
        told = ReadError(
            found=f"{first.instance.path}{count} {problem.found}",
            needed=problem.needed,
            do=problem.do,
        )
    instances = tuple(header.instance for header in headers)
    return replace(_describe(first, kind, instances), problem=told)


def _without_copies(headers: Sequence[Header]) -> list[Header]:
    """Take each object once, wherever else in the folder its file lies too.

    Some programs give all slices one UID, so the frames must be equal as well.
    """
    objects: dict[object, Header] = {}
    for number, header in enumerate(headers):
        instance = header.instance
        key: object = number
        if instance.sop_uid:
            frames = tuple(
                (frame.position, frame.orientation, tuple(sorted(frame.keys.items())))
                for frame in instance.frames
            )
            key = (instance.sop_uid, frames)
        objects.setdefault(key, header)
    return list(objects.values())


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
        group=(),
        uid=header.series_uid,
        modality=header.modality,
        kind=kind,
        description=header.description,
        instances=instances,
    )


def _numbered(found: Iterator[DicomSeries]) -> Iterator[DicomSeries]:
    """Number images first; otherwise in the order of their files."""
    kinds = ("image", "dose", "seg", "rtstruct", "other")
    ordered = sorted(found, key=lambda series: kinds.index(series.kind))
    met: Counter[tuple[object, ...]] = Counter()
    for number, series in enumerate(ordered, 1):
        words = _identity(series)
        # Equal ones, of which nothing but the order of files tells, are counted.
        yield replace(series, number=number, key=make_key((*words, met[words])))
        met[words] += 1


def _identity(series: DicomSeries) -> tuple[object, ...]:
    """What does not change when files are added: its series and its first plane."""
    instance = series.instances[0]
    frame = instance.frames[0] if instance.frames else None
    if series.stack is not None:
        plane = next(p for p in series.stack.planes[0] if p is not None)
        instance, frame = plane.instance, plane.frame
    place = () if frame is None else (frame.index, frame.position)
    return (*series.group, series.problem is None, instance.sop_uid, *place)
