"""Python, packages, cores, memory and disk."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from e2miseg_core.doctor.check import Check

__all__ = ["computer_checks", "disk_check", "requirements"]

DISTRIBUTION = "e2miseg-napari"
GIB = 2**30
ENOUGH_MEMORY = 4 * GIB  # a streamed prediction stays below 2 GiB beside the rest
ENOUGH_DISK = 5 * GIB  # labels and error map of 1024^3 voxels, twice over
OLDEST_PYTHON = (3, 11)
# Named in the report, since bug reports hinge on them.
TELLING = ("torch", "numpy", "zarr", "nibabel", "monai")


def computer_checks() -> list[Check]:
    """Findings about Python, packages, cores, memory and disk.

    Returns
    -------
    list of Check
    """
    return [
        _python(),
        _packages(),
        _cores(),
        _memory(),
        disk_check("Temporary files", Path(tempfile.gettempdir())),
    ]


def requirements(extra: str = "") -> Iterator[tuple[Requirement, str | None]]:
    """What this distribution requires, each with the installed version.

    Parameters
    ----------
    extra : str, optional
        Name of an extra, such as ``gui``; its requirements alone.

    Yields
    ------
    requirement : Requirement
    installed : str or None
        The version here, None where the package is missing.
    """
    for text in requires(DISTRIBUTION) or ():
        requirement = Requirement(text)
        wanted = _applies(requirement, extra)
        if extra:
            wanted = wanted and not _applies(requirement, "")
        if wanted:
            try:
                yield requirement, version(requirement.name)
            except PackageNotFoundError:
                yield requirement, None


def _applies(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is None or marker.evaluate({"extra": extra})


def _python() -> Check:
    found = f"{sys.version.split()[0]} at {sys.executable}"
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Check(name="Python", ok=True, found=found)
    return Check(
        name="Python", ok=False, found=found, do="install Python 3.11 or newer"
    )


def _packages() -> Check:
    versions: dict[str, str] = {}
    bad: list[tuple[Requirement, str]] = []
    for requirement, installed in requirements():
        if installed is None:
            bad.append((requirement, f"{requirement.name} is missing"))
        elif not requirement.specifier.contains(installed, prereleases=True):
            bad.append((requirement, f"{requirement.name} is {installed}"))
        else:
            versions[requirement.name] = installed
    if not bad:
        told = ", ".join(f"{name} {versions[name]}" for name in TELLING)
        return Check(name="Packages", ok=True, found=told)
    wanted = " ".join(f'"{r.name}{r.specifier}"' for r, _ in bad)
    return Check(
        name="Packages",
        ok=False,
        found=", ".join(problem for _, problem in bad),
        do=f"run: {sys.executable} -m pip install {wanted}",
    )


def _cores() -> Check:
    # A batch system or a container may allow fewer than the machine has.
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return Check(name="Processor cores", ok=True, found=str(allowed))


def _memory() -> Check:
    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    limit = _container_limit()
    if limit is not None and limit < total:
        total = limit
        free = min(free, limit - psutil.Process().memory_info().rss)
    found = f"{free / GIB:.1f} GiB free of {total / GIB:.1f} GiB"
    if free >= ENOUGH_MEMORY:
        return Check(name="Memory", ok=True, found=found)
    return Check(
        name="Memory",
        ok=None,
        found=found,
        do=f"close other programs; {ENOUGH_MEMORY // GIB} GiB free are comfortable",
    )


def _container_limit() -> int | None:
    """Bytes that a Linux container allows, None where there is no limit."""
    for place in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (Path("/sys/fs/cgroup") / place).read_text(encoding="ascii")
        except OSError:
            continue
        return int(text) if text.strip().isdecimal() else None
    return None


def disk_check(name: str, folder: Path, *, needed: bool = True) -> Check:
    """Whether files can be made in a folder, and how much fits there.

    Parameters
    ----------
    name : str
        What the folder is for.
    folder : Path
        It need not exist yet; then its nearest existing parent counts.
    needed : bool, optional
        Whether prediction needs it.

    Returns
    -------
    Check
    """
    existing = folder
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Check(
            name=name,
            ok=False,
            found=f"{folder}: cannot write there ({error.strerror})",
            do=f"give yourself the right to write to {existing}",
            needed=needed,
        )
    found = f"{free / GIB:.1f} GiB free in {folder}"
    if free >= ENOUGH_DISK:
        return Check(name=name, ok=True, found=found, needed=needed)
    return Check(
        name=name,
        ok=None,
        found=found,
        needed=needed,
        do=f"free some space; {ENOUGH_DISK // GIB} GiB are comfortable",
    )
