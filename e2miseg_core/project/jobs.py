"""Folders of fine-tunings: which one can be resumed, who is at work, what may go.

JOB/request.json        what was asked for; without it nothing has begun
JOB/lock                of the program that is at work on it
JOB/model.safetensors   the new model, if it is to be kept
JOB/result.json         the verdict; a job without one has not ended
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2miseg_core.io.atomic import writing_to
from e2miseg_core.model_card import read_card
from e2miseg_core.project.clock import now
from e2miseg_core.project.json_lines import append_line
from e2miseg_core.project.lock import ProjectInUse, ProjectLock
from e2miseg_core.project.project import Project
from e2miseg_core.project.versions import Version

__all__ = [
    "MODEL",
    "REQUEST",
    "RESULT",
    "discard_job",
    "is_at_work",
    "is_untouched",
    "kept_version",
    "newest_unfinished",
    "working_on",
]

REQUEST, RESULT, MODEL = "request.json", "result.json", "model.safetensors"
LOCK = "lock"


def newest_unfinished(project: Path) -> Path | None:
    """The job of a project that was begun last, if it has no result.

    Parameters
    ----------
    project : Path
        The project's folder.
    """
    begun = {p.parent: p.stat().st_mtime_ns for p in _requests(project)}
    if not begun:
        return None
    folder = max(begun, key=lambda path: (begun[path], path.name))
    return None if (folder / RESULT).exists() else folder


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


def kept_version(project: Project, folder: Path) -> Version | None:
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


def discard_job(project: Project, folder: Path) -> bool:
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


def _requests(project: Path) -> list[Path]:
    return list((project / "jobs").glob(f"*/{REQUEST}"))


def _see_to_log(project: Project, version: Version) -> None:
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
