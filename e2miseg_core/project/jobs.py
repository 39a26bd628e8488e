"""Folders of fine-tunings: which one can be resumed, who is at work, what may go.

JOB/request.json        what was asked for; without it nothing has begun
JOB/lock                of the program that is at work on it
JOB/prepared.json, crops/, replay/, checkpoint.safetensors
                        what only a job that has not ended needs
JOB/model.safetensors   the new model, if it is to be kept
JOB/result.json         the verdict; a job without one has not ended
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from e2miseg_core.errors import E2MISegError
from e2miseg_core.io.atomic import writing_to
from e2miseg_core.model_card import read_card
from e2miseg_core.project.clock import now
from e2miseg_core.project.json_lines import append_line
from e2miseg_core.project.lock import LOCK, ProjectInUse, ProjectLock
from e2miseg_core.project.versions import Version

if TYPE_CHECKING:
    from e2miseg_core.project.project import Project

__all__ = [
    "CROPS",
    "MODEL",
    "PREPARED",
    "REPLAY",
    "REQUEST",
    "RESULT",
    "discard_job",
    "is_at_work",
    "is_untouched",
    "kept_version",
    "newest_unfinished",
    "remove_material",
    "remove_remains",
    "working_on",
]

REQUEST, RESULT, MODEL = "request.json", "result.json", "model.safetensors"
PREPARED, CROPS, REPLAY = "prepared.json", "crops", "replay"
CHECKPOINT = "checkpoint.safetensors"


def newest_unfinished(project: Path) -> Path | None:
    """The job of a project that was begun last, if it has no result.

    Parameters
    ----------
    project : Path
        The project's folder.
    """
    folder = next(reversed(_begun(project)), None)
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
    return folder.is_dir() and all(entry.name == LOCK for entry in folder.iterdir())


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
    """Remove the crops of a job; one that is resumed afterwards cuts them anew."""
    (folder / PREPARED).unlink(missing_ok=True)
    for name in (CROPS, REPLAY):
        shutil.rmtree(folder / name, ignore_errors=True)


def remove_remains(project: Path) -> None:
    """Remove what jobs that died have left and nobody goes on with, if that can be.

    Of a job that has ended, or that others were begun and ended after, what only an
    unfinished one needs; of any, files that are half written. A job that somebody is
    at work on is left alone, and all can still be resumed.

    Parameters
    ----------
    project : Path
        The project's folder.
    """
    over = False
    for folder in reversed(_begun(project)):
        over = over or (folder / RESULT).exists()
        used = over and any((folder / n).exists() for n in (CROPS, REPLAY, CHECKPOINT))
        torn = list(folder.glob(".*.partial*"))
        if not (used or torn):
            continue
        with suppress(E2MISegError, OSError), working_on(folder):
            for file in torn:
                file.unlink(missing_ok=True)
            if used:
                # In this order: weights must not meet other crops after a kill.
                (folder / CHECKPOINT).unlink(missing_ok=True)
                remove_material(folder)


def _begun(project: Path) -> list[Path]:
    """Folders of jobs, in the order in which they were begun."""
    begun: dict[Path, int] = {}
    for request in (project / "jobs").glob(f"*/{REQUEST}"):
        with suppress(FileNotFoundError):  # discarded at this moment
            begun[request.parent] = request.stat().st_mtime_ns
    return sorted(begun, key=lambda folder: (begun[folder], folder.name))


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
