"""Folders of fine-tunings: which one can be resumed, who is at work, what may go.

JOB/request.json        what was asked for; without it nothing has begun
JOB/lock                of the program that is at work on it
JOB/checkpoint.safetensors, prepared.json, crops/, replay/
                        what only a job that has not ended needs
JOB/.unfinished.safetensors
                        a model that is being tested
JOB/model.safetensors   the new model, if it is to be kept
JOB/result.json         the verdict; a job without one has not ended
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from e2miseg_core.errors import E2MISegError
from e2miseg_core.io.atomic import writing_to
from e2miseg_core.model_card import read_card
from e2miseg_core.project.clock import now
from e2miseg_core.project.json_lines import append_line
from e2miseg_core.project.lock import (
    LOCK,
    ProjectInUse,
    ProjectLock,
    is_of_a_lock,
    remove_dead_halves,
)
from e2miseg_core.project.versions import Version

if TYPE_CHECKING:
    from e2miseg_core.project.project import Project

__all__ = [
    "CHECKPOINT",
    "CROPS",
    "MODEL",
    "PREPARED",
    "REPLAY",
    "REQUEST",
    "RESULT",
    "UNFINISHED",
    "discard_job",
    "is_at_work",
    "is_untouched",
    "kept_version",
    "named_time",
    "new_job_name",
    "newest_unfinished",
    "remove_material",
    "remove_remains",
    "working_on",
]

REQUEST, RESULT, MODEL = "request.json", "result.json", "model.safetensors"
PREPARED, CROPS, REPLAY = "prepared.json", "crops", "replay"
CHECKPOINT, UNFINISHED = "checkpoint.safetensors", ".unfinished.safetensors"
_SECOND = "%Y-%m-%dT%H%M%S"


def new_job_name() -> str:
    """Name a folder by the time, UTC: files' times do not outlive a copy."""
    return f"{datetime.now(UTC):{_SECOND}}-{secrets.token_hex(4)}"


def named_time(folder: Path) -> datetime | None:
    """When a job was begun, UTC; None if its name does not tell."""
    time, _, _ = folder.name.rpartition("-")
    with suppress(ValueError):
        return datetime.strptime(time, _SECOND).replace(tzinfo=UTC)
    return None


def newest_unfinished(project: Path) -> Path | None:
    """The job of a project that was begun last, if it has no result.

    The name tells when that was; of a folder with another name, and of two of one
    second, the time of the request.

    Parameters
    ----------
    project : Path
        The project's folder.
    """
    begun: dict[Path, tuple[datetime, datetime]] = {}
    for request in (project / "jobs").glob(f"*/{REQUEST}"):
        with suppress(FileNotFoundError):  # discarded at this moment
            asked = datetime.fromtimestamp(request.stat().st_mtime, UTC)
            begun[request.parent] = (named_time(request.parent) or asked, asked)
    folder = max(begun, key=lambda job: (begun[job], job.name), default=None)
    return None if folder is None or (folder / RESULT).exists() else folder


def is_at_work(folder: Path) -> bool:
    """Whether a living program works on a job."""
    if not (folder / LOCK).exists():
        return False
    try:
        ProjectLock(folder).close()  # what a dead one left goes
    except ProjectInUse:
        return True
    return False


def is_untouched(folder: Path) -> bool:
    """Whether a folder is there for a job that has not begun."""
    return folder.is_dir() and all(is_of_a_lock(entry) for entry in folder.iterdir())


@contextmanager
def working_on(folder: Path) -> Iterator[None]:
    """Keep others from resuming or discarding a job in the block.

    Raises
    ------
    ProjectInUse
        If another program, or another part of this one, is at work on it.
    """
    try:
        lock = ProjectLock(folder)
    except ProjectInUse as error:
        raise ProjectInUse(
            found=f"somebody is at work on the fine-tuning in {folder}",
            needed="one program at a time that works on it",
            do="wait for its end, or stop it where it runs",
        ) from error
    with lock:
        yield


def kept_version(project: "Project", folder: Path) -> Version | None:
    """The version that a job's model has become, also if the job could not say so.

    If a crash came between the version and its line in the log, the line is written.
    """
    if not (folder / MODEL).exists():
        return None
    own = read_card(folder / MODEL).hash
    for version in project.versions:
        if version.parent is not None and version.card.hash == own:
            _see_to_log(project, version)
            return version
    return None


def discard_job(project: "Project", folder: Path) -> bool:
    """Remove a job that is not wanted any more.

    Returns
    -------
    bool
        False where it has ended: its result, or the version that it led to, stays.

    Raises
    ------
    ProjectInUse
        If somebody is at work on it.
    WriteError
        If it cannot be removed.
    """
    if not ((folder / REQUEST).exists() or is_untouched(folder)):
        return True  # gone already, or no folder of a job
    with working_on(folder):
        if (folder / RESULT).exists() or kept_version(project, folder) is not None:
            return False
        with writing_to(folder):
            shutil.rmtree(folder)
    return True


def remove_material(folder: Path) -> None:
    """Remove what a job learns from, and the checkpoint that came of it.

    One that is resumed afterwards begins anew.
    """
    # In this order: after a kill weights must not meet other crops.
    (folder / CHECKPOINT).unlink(missing_ok=True)
    (folder / PREPARED).unlink(missing_ok=True)
    for name in (CROPS, REPLAY):
        shutil.rmtree(folder / name, ignore_errors=True)


def remove_remains(project: Path) -> None:
    """Remove what jobs that died have left and nobody goes on with, if that can be.

    Of a job that has ended, or that surely was begun before one that has, what only an
    unfinished one needs; of any, files that are half written; and folders of jobs
    that never began. A job that somebody is at work on is left alone, and all that
    began can still be resumed.

    Parameters
    ----------
    project : Path
        The project's folder.
    """
    folders = [path for path in (project / "jobs").glob("*") if path.is_dir()]
    ended = [named_time(path) for path in folders if (path / RESULT).exists()]
    last = max((time for time in ended if time is not None), default=None)
    for folder in folders:
        begun = named_time(folder)
        over = (folder / RESULT).exists() or bool(begun and last and begun < last)
        with suppress(E2MISegError, OSError):
            _clean(folder, over=over)


def _clean(folder: Path, *, over: bool) -> None:
    material = (CHECKPOINT, PREPARED, CROPS, REPLAY)
    used = over and any((folder / name).exists() for name in material)
    # Without any lock somebody may be about to begin there.
    never_began = is_untouched(folder) and (folder / LOCK).exists()
    if not (used or never_began or any(folder.glob(".*"))):
        return
    with working_on(folder):
        remove_dead_halves(folder)
        if never_began and [entry.name for entry in folder.iterdir()] == [LOCK]:
            shutil.rmtree(folder)
            return
        for file in (*folder.glob(".*.partial*"), folder / UNFINISHED):
            if not is_of_a_lock(file):  # others may be about to ask for ours
                file.unlink(missing_ok=True)
        if used:
            remove_material(folder)


def _see_to_log(project: "Project", version: Version) -> None:
    kept = [line for line in project.history() if line.get("event") == "kept"]
    if version.number in [line.get("version") for line in kept]:
        return
    line = {
        "time": now(),
        "event": "kept",
        "version": version.number,
        "parent": version.parent,
        "sentence": version.sentence,
        "figures": dict(version.figures),
    }
    append_line(project.path / "versions.jsonl", line)
