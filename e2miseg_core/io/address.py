"""Where an image is: a path or URL, a part inside it, and one of its frames.

The text form is what stands in a project, a layer's metadata or on a command line:
``scan.nii.gz``, ``file.h5#part=/raw``, ``folder#part=2``, ``series.nii#frame=3``,
``stack#spacing=50,4.6,4.6&unit=nm``.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias
from urllib.parse import quote, unquote

from e2miseg_core.errors import ReadError
from e2miseg_core.io.remote.shown import without_secrets

__all__ = ["Address", "AnySource"]

_KEYS = ("part", "frame", "spacing", "unit")
_UNITS = ("mm", "um", "nm")  # the first where none is named
_SPACINGS = (1e-12, 1e12)  # as of a grid
_FRAME_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Address:
    """An image, possibly one of several in a file or folder.

    Attributes
    ----------
    place : str
        Path or URL of the file or folder.
    part : str
        What to open in it, empty for what it holds: a data set of an HDF5 file, a
        series of a DICOM folder, an image of an OME-Zarr collection.
    frame : int or None
        One of the frames of a series, from 0; None for all of them.
    spacing : tuple of three float or None
        Size of voxels along Z, Y, X, as the user states it; None for the file's own.
    unit : str
        Of `spacing`: "mm", "um" or "nm".
    """

    place: str
    part: str = ""
    frame: int | None = None
    spacing: tuple[float, float, float] | None = None
    unit: str = _UNITS[0]

    @classmethod
    def parse(cls, source: "AnySource") -> Self:
        """Read the text form.

        Parameters
        ----------
        source : str, Path or Address
            An existing path whose name holds a ``#`` is that path. What follows a
            ``#`` without ``part=`` or another key is the part.

        Raises
        ------
        ReadError
            If the frame is not a whole number from 0, or the spacing not three numbers
            above 0.
        """
        if isinstance(source, Address):
            return cls(
                source.place, source.part, source.frame, source.spacing, source.unit
            )
        text = str(source)
        place, mark, fragment = text.rpartition("#")
        # Not of Path, which raises for an address that is too long for a name.
        if not mark or os.path.exists(_expanded(text)):  # noqa: PTH110
            return cls(text)
        if not fragment.startswith(tuple(f"{key}=" for key in _KEYS)):
            return cls(place, unquote(fragment))
        values = dict(item.partition("=")[::2] for item in fragment.split("&"))
        unknown = sorted(set(values) - set(_KEYS))
        if unknown:
            raise ReadError(
                found=f"{unknown[0]!r:.20} in the address {_shown(place)}",
                needed="part=, frame=, spacing= or unit= after the #",
                do="correct the address",
            )
        part, frame = unquote(values.get("part", "")), _frame(place, values)
        return cls(place, part, frame, *_spacing(place, values))

    @property
    def is_remote(self) -> bool:
        """Whether the place is a URL."""
        return "://" in self.place

    @property
    def path(self) -> Path:
        """The place on this machine.

        Raises
        ------
        ReadError
            If it is a URL.
        """
        if self.is_remote:
            raise ReadError(
                found=f"the address {_shown(self.place)}",
                needed="a file or a folder on this machine",
                do="download it first",
            )
        return _expanded(self.place)

    def __str__(self) -> str:
        values = []
        if self.part:
            values.append(f"part={quote(self.part, safe='/ .:,()=|@')}")
        if self.frame is not None:
            values.append(f"frame={self.frame}")
        if self.spacing is not None:
            values.append(
                "spacing=" + ",".join(f"{size:.12g}" for size in self.spacing)
            )
            values.append(f"unit={self.unit}")
        return self.place + ("#" + "&".join(values) if values else "")


AnySource: TypeAlias = str | Path | Address


def _expanded(text: str) -> Path:
    """Return a path with the user's folder for ``~``; of no known user it is a name."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _shown(place: str) -> str:
    """Return a place for messages; what follows a ``#`` may hold another URL."""
    return f"{without_secrets(place):.300}"


def _frame(place: str, values: dict[str, str]) -> int | None:
    if "frame" not in values:
        return None
    text = values["frame"]
    if not text.isdecimal() or len(text) > _FRAME_DIGITS:
        raise ReadError(
            found=f"the frame {text!r:.20} in the address {_shown(place)}",
            needed="a whole number from 0",
            do="correct the address",
        )
    return int(text)


def _spacing(
    place: str, values: dict[str, str]
) -> tuple[tuple[float, float, float] | None, str]:
    """Size of voxels and its unit; µ is u here, as in the units of files."""
    unit = unquote(values.get("unit", _UNITS[0])).strip().lower()
    unit = unit.replace("µ", "u").replace("\u03bc", "u")
    if "spacing" not in values and "unit" not in values:
        return None, _UNITS[0]
    try:
        z, y, x = map(float, unquote(values.get("spacing", "")).split(","))
        usable = all(
            math.isfinite(size) and _SPACINGS[0] <= size <= _SPACINGS[1]
            for size in (z, y, x)
        )
    except ValueError:
        usable = False
    if not usable or unit not in _UNITS:
        raise ReadError(
            found=f"the voxel size of the address {_shown(place)}",
            needed="three numbers above 0, such as spacing=50,4.6,4.6&unit=nm "
            "(Z, Y, X; the unit is mm, um or nm)",
            do="correct the address",
        )
    return (z, y, x), unit
