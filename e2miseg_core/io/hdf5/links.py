"""Paths in an HDF5 file, followed by hand so that none leads out of it."""

from pathlib import Path

import h5py

from e2miseg_core.errors import ReadError

__all__ = ["resolve"]

_MOST_LINKS = 32


def resolve(path: Path, file: "h5py.File", name: str) -> str:
    """Follow soft links to the object that a name stands for.

    Parameters
    ----------
    path : Path
        For messages.
    file : h5py.File
        Open.
    name : str
        Path in the file, with or without a leading slash.

    Returns
    -------
    str
        The object's own path, through hard links only.

    Raises
    ------
    ReadError
        If there is no such object, a link leads to another file, or in a circle.
    """
    waiting = _steps(name)
    here: list[str] = []
    for _ in range(_MOST_LINKS + 8 * len(waiting)):
        if not waiting:
            return "/" + "/".join(here)
        step = waiting.pop(0)
        parent = file["/" + "/".join(here)]
        is_there = isinstance(parent, h5py.Group) and step in set(parent)
        link = parent.get(step, getlink=True) if is_there else None
        if isinstance(link, h5py.HardLink):
            here.append(step)
        elif isinstance(link, h5py.SoftLink):
            target = str(link.path)
            here = [] if target.startswith("/") else here
            waiting = [*_steps(target), *waiting]
        else:
            what = "no part" if link is None else "a link to another file at"
            raise ReadError(
                found=f"{path} has {what} {name!r:.200}",
                needed="the path of a data set that lies in the file",
                do="check the part, or open the other file",
            )
    raise ReadError(
        found=f"{path} has links in a circle at {name!r:.200}",
        needed="a data set",
        do="name another part",
    )


def _steps(name: str) -> list[str]:
    return [step for step in name.split("/") if step not in ("", ".")]
