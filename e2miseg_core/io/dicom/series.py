"""The series among DICOM objects: images on one grid, segmentations, others."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from e2miseg_core.errors import Choice, E2MISegError, ReadError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io.dicom.frame_keys import MOMENTS
from e2miseg_core.io.dicom.frames import Frame
from e2miseg_core.io.dicom.grouping import find_stacks, split_planes
from e2miseg_core.io.dicom.header import Header, Instance
from e2miseg_core.io.dicom.stack import Plane, Stack

__all__ = ["DicomSeries", "find_series", "kind_of"]

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


def find_series(headers: Sequence[Header]) -> tuple[DicomSeries, ...]:
    """Sort objects into series, numbered from 1.

    Parameters
    ----------
    headers : sequence of Header
        Of all files, in their order.
    """
    return tuple(_numbered(_found_series(headers)))


def _found_series(headers: Sequence[Header]) -> Iterator[DicomSeries]:
    by_uid: dict[tuple[str, str], list[Header]] = defaultdict(list)
    for header in headers:
        by_uid[(header.series_uid, kind_of(header))].append(header)
    for (_, kind), group in by_uid.items():
        if kind == "image":
            yield from _find_images(_with_relative_moments(group))
        else:
            # Each object of these is opened by itself.
            for header in group:
                yield _describe(header, kind, (header.instance,))


def _with_relative_moments(group: Sequence[Header]) -> list[Header]:
    """Count the moments of a series from its first: dates are not kept."""
    first: dict[str, float] = {}
    for header in group:
        for frame in header.instance.frames:
            for name in MOMENTS & frame.keys.keys():
                moment = float(str(frame.keys[name]))
                first[name] = min(moment, first.get(name, moment))
    return [
        replace(
            header,
            instance=replace(
                header.instance,
                frames=tuple(
                    _relative(frame, first) for frame in header.instance.frames
                ),
            ),
        )
        for header in group
    ]


def _relative(frame: Frame, first: Mapping[str, float]) -> Frame:
    keys = dict(frame.keys)
    for name in MOMENTS & keys.keys():
        keys[name] = float(str(keys[name])) - first[name]
    return replace(frame, keys=keys)


def kind_of(header: Header) -> str:
    """Tell what an object is: "image", "seg", "rtstruct" or "other"."""
    instance = header.instance
    kind = _KINDS.get(instance.sop_class) or _MODALITIES.get(header.modality)
    return kind or ("other" if instance.layout is None else "image")


def _find_images(group: Sequence[Header]) -> Iterator[DicomSeries]:
    broken = [header for header in group if header.instance.problem]
    sound = _without_copies([h for h in group if not h.instance.problem])
    notes = []
    if copies := len(group) - len(broken) - len(sound):
        notes.append(f"{copies} files are copies of others: each is used once")
    if broken:
        notes.append(f"{len(broken)} files of the series are cut off and left out")
    planes = [
        Plane(header, frame) for header in sound for frame in header.instance.frames
    ]
    for split in split_planes(planes):
        for found in find_stacks(split):
            if isinstance(found, Stack):
                instances = _instances(found)
                stack = replace(found, notes=(*notes, *found.notes))
                yield replace(
                    _describe(split[0].header, "image", instances), stack=stack
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
        number=0,
        uid=header.series_uid,
        modality=header.modality,
        kind=kind,
        description=header.description,
        instances=instances,
    )


def _numbered(found: Iterator[DicomSeries]) -> Iterator[DicomSeries]:
    """Number images first; otherwise in the order of their files."""
    kinds = ("image", "seg", "rtstruct", "other")
    ordered = sorted(found, key=lambda series: kinds.index(series.kind))
    for number, series in enumerate(ordered, 1):
        yield replace(series, number=number)
