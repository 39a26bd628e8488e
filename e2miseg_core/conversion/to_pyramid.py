"""From a volume to a pyramid in its place, resumable until it is there."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from e2miseg_core.conversion.options import ConversionOptions
from e2miseg_core.conversion.pyramid import write_pyramid
from e2miseg_core.conversion.pyramid_plan import PyramidPlan, make_plan
from e2miseg_core.conversion.workplace import (
    Workplace,
    clear,
    is_resumable,
    workplace_of,
)
from e2miseg_core.errors import GeometryError, ReadError, WriteError
from e2miseg_core.io import open_volume
from e2miseg_core.io.atomic import writing_to
from e2miseg_core.io.plan import Kind
from e2miseg_core.io.writing import put_in_place
from e2miseg_core.progress import Job, Progress
from e2miseg_core.project.fingerprint import fingerprint
from e2miseg_core.project.lock import ProjectLock
from e2miseg_core.volume import Segments, Volume

__all__ = ["make_pyramid", "plan_pyramid"]

_VERSION = 1  # of what a workplace holds


def plan_pyramid(volume: Volume, kind: Kind, options: ConversionOptions) -> PyramidPlan:
    """Plan the pyramid of a volume, on the axes on which it is stored."""
    data = volume.as_source(volume.data)
    if data.dtype.kind == "b":  # there is no mean of true and false
        data = data.astype("u1")  # type: ignore[no-untyped-call]
    names = volume.channels
    one = volume.n_channels == 1 and names[0] in {"image", "labels"}
    return make_plan(
        data.astype(data.dtype.newbyteorder("=")),  # type: ignore[no-untyped-call]
        volume.geometry if volume.source is None else volume.source.geometry,
        options,
        kind=kind,
        channels=() if one else names,
        segments=volume.segments or Segments(),
        is_oriented=volume.is_oriented,
    )


def make_pyramid(
    volume: Volume, plan: PyramidPlan, path: Path, *, resume: bool
) -> Job[tuple[str, ...]]:
    """Write a pyramid under a hidden name and put it in its place; returns notes.

    Raises
    ------
    ReadError
        If the source cannot be read; then nothing is left.
    WriteError
        If what is read back is not what was written; then nothing is left. If the disk
        refuses; then what is finished waits for a later run.
    """
    with _working_in(workplace_of(path)) as folder:
        yield Progress(done=0, total=0, stage="looking at the source")
        place, notes = _begun(folder, volume, plan, resume=resume)
        yield from write_pyramid(place)
        _check_opened(place)
        put_in_place(place.store, path)
        clear(folder)
    return notes


@contextmanager
def _working_in(folder: Path) -> Iterator[Path]:
    """Hold the workplace of an output; it stays where it can be resumed."""
    with writing_to(folder):
        folder.mkdir(exist_ok=True)
    try:
        with ProjectLock(folder):
            try:
                yield folder
            except (ReadError, GeometryError):
                clear(folder)
                raise
            except WriteError as error:
                if not is_resumable(folder):
                    raise
                raise _with_what_is_kept(error, folder) from error
            finally:
                if not is_resumable(folder):
                    clear(folder)
    finally:
        with suppress(OSError):  # not empty: resumable, or another program's
            folder.rmdir()


def _with_what_is_kept(error: WriteError, folder: Path) -> WriteError:
    """Say how to go on after a full disk, or how to have it back."""
    return WriteError(
        found=error.found,
        needed=error.needed,
        do=f"{error.do}; then --resume continues with what is finished, or delete "
        f"{folder}, which holds it",
    )


def _begun(
    folder: Path, volume: Volume, plan: PyramidPlan, *, resume: bool
) -> tuple[Workplace, tuple[str, ...]]:
    identity = _identity(volume, plan)
    notes: tuple[str, ...] = ()
    was_left = is_resumable(folder)
    if was_left and resume:
        place = Workplace.resume(folder, plan, identity)
        if place is not None:
            n_cells = sum(
                1 for level in range(len(plan.shapes)) for _ in plan.cells(level)
            )
            note = f"continued: {len(place.finished)} of {n_cells} parts were finished"
            return place, (note,)
        notes = ("begun anew: the source or the options have changed since",)
    elif was_left:
        notes = ("begun anew; what was left could have been continued by resuming",)
    return Workplace.begin(folder, plan, identity), notes


def _identity(volume: Volume, plan: PyramidPlan) -> dict[str, Any]:
    """What must be the same for a run to continue another one."""
    return {
        "version": _VERSION,
        # Its content by samples, and by the name also when it was changed.
        "source": fingerprint(volume),
        "name": volume.data.name,
        "kind": plan.kind,
        "dtype": plan.dtype.name,
        "geometry": plan.geometry.to_json(),
        "channels": list(plan.channels),
        "names": {str(value): name for value, name in plan.segments.names.items()},
        "colors": {str(value): list(c) for value, c in plan.segments.colors.items()},
        "steps": [list(step) for step in plan.steps],
        "chunk": plan.chunk,
        "shard": plan.shard,
        "edge": plan.edge,
    }


def _check_opened(place: Workplace) -> None:
    """Open the store as any user will, and compare all but the voxels."""
    plan = place.plan
    volume = open_volume(place.store)
    source = volume.source
    shapes = [tuple(volume.as_source(level).shape[1:]) for level in volume.levels]
    found = ""
    if source is None or not source.geometry.matches(plan.geometry):
        found = "another grid"
    elif volume.dtype != plan.dtype:
        found = f"the type {volume.dtype}"
    elif volume.n_channels != plan.data.shape[0] or shapes != list(plan.shapes):
        found = f"{volume.n_channels} channels of the shapes {shapes}"
    if found:
        place.forget()
        raise WriteError(
            found=f"{found} after opening {place.store.name} again",
            needed="what was written",
            do="check the disk, or write to another one",
        )
