"""The metadata of an OME-Zarr image, as reading needs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io.ome.orientation import Direction, parse_directions
from e2miseg_core.io.units import common_unit
from e2miseg_core.volume import Segments

__all__ = ["LPS", "OmeImage", "inner_path", "ome_of", "parse_image", "parse_segments"]

LPS = np.diag([1.0, -1.0, -1.0])  # of S, A, R, the world read in the order Z, Y, X
_SPARE = "abdefghijklmnopqrsuvw"  # letters for axes that are no t, c, z, y, x
_FAULTS = (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError)


@dataclass(frozen=True, eq=False, kw_only=True)
class OmeImage:
    """What the metadata says.

    Attributes
    ----------
    axes : tuple of str
        Letters of the stored axes: t, c, z, y, x, others for axes of other kinds.
    paths : tuple of str
        Of the levels' arrays, finest first.
    scales : tuple of tuple of float, or None
        Of each level along the stored axes; None where it states none.
    scale, translation : tuple of float
        Of the finest level along Z, Y, X, in `unit`.
    unit : str
        "mm", "um" or "nm".
    channels : tuple of str
        Names, if there are any.
    notes : tuple of str
        Rules that were applied.
    directions : tuple of Direction or None
        Of the axes z, y, x in the body, where the metadata states them.
    """

    axes: tuple[str, ...]
    paths: tuple[str, ...]
    scales: tuple[tuple[float, ...] | None, ...]
    scale: tuple[float, float, float]
    translation: tuple[float, float, float]
    unit: str
    channels: tuple[str, ...]
    notes: tuple[str, ...]
    directions: tuple[Direction, Direction, Direction] | None = None

    def geometry(self, shape: Sequence[int]) -> Geometry:
        """Return the grid, axes without directions taken as those of LPS+."""
        z, y, x = shape
        if self.directions is not None:
            placed = np.diag([0.0, 0.0, 0.0, 1.0])
            for column, (axis, sense) in enumerate(self.directions):
                placed[axis, column] = sense * self.scale[column]
                placed[axis, 3] = sense * self.translation[column]
            return Geometry(shape=(z, y, x), affine=placed, unit=self.unit)
        grid = Geometry.from_spacing((z, y, x), self.scale, self.unit)
        affine = grid.affine.copy()
        affine[:3, 3] = (LPS @ np.asarray(self.translation))[::-1]
        return Geometry(shape=(z, y, x), affine=affine, unit=self.unit)


def ome_of(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a group's attributes that OME-Zarr defines, of any version."""
    ome = attributes.get("ome", attributes)
    return ome if isinstance(ome, Mapping) else {}


def inner_path(uri: str, path: object) -> str:
    """Check a path that metadata or a user names inside a store.

    Raises
    ------
    ReadError
        If it leads out of the store.
    """
    text = str(path).strip("/")
    steps = text.split("/") if text else []
    is_inside = not PureWindowsPath(text).drive and not any(
        step in ("", ".", "..") or "\\" in step or "\0" in step for step in steps
    )
    if not is_inside:
        raise ReadError(
            found=f"{uri} names the path {str(path)!r:.100}",
            needed="a path inside the store",
            do="check where the file comes from; correct its metadata",
        )
    return text


def parse_image(uri: str, attributes: Mapping[str, Any]) -> OmeImage:
    """Parse the attributes of a group.

    Raises
    ------
    ReadError
        If they do not describe an image of versions 0.1 to 0.5.
    """
    ome = ome_of(attributes)
    try:
        multiscales = ome["multiscales"][0]
        stated = [
            axis if isinstance(axis, Mapping) else {"name": str(axis)}
            for axis in multiscales.get("axes", "tczyx")
        ]
        letters, notes = _letters(stated)
        levels = multiscales["datasets"]
        paths = tuple(inner_path(uri, level["path"]) for level in levels)
        scale, shift = _transforms(multiscales, len(letters))
        scales = tuple(_scale_of(level, len(letters)) for level in levels)
        labels = _channel_names(ome)
        if len(ome["multiscales"]) > 1:
            notes.append(f"first of {len(ome['multiscales'])} multiscales opened")
    except _FAULTS as error:
        if isinstance(error, ReadError):
            raise
        raise _not_an_image(uri, f"no readable multiscales ({error!r:.200})") from error
    if not {"y", "x"} <= set(letters) or len(set(letters)) < len(letters) or not paths:
        raise _not_an_image(uri, f"the axes {[axis.get('name') for axis in stated]}")
    spatial = [letters.index(axis) for axis in "zyx" if axis in letters]
    unit, factors, unit_notes = common_unit(
        [stated[index].get("unit") for index in spatial]
    )
    return OmeImage(
        axes=tuple(letters),
        paths=paths,
        scales=scales,
        scale=_along_zyx(np.take(scale, spatial) * factors, missing=1.0),
        translation=_along_zyx(np.take(shift, spatial) * factors, missing=0.0),
        unit=unit,
        channels=labels,
        notes=(*unit_notes, *notes),
        directions=parse_directions([stated[index] for index in spatial]),
    )


def parse_segments(
    ome: Mapping[str, Any], own: Mapping[str, Any], dtype: np.dtype[Any]
) -> Segments | None:
    """Find the names and colours of labels; None where voxels are no labels.

    Entries that make no sense are passed over: they must not hide the labels.
    """
    stated = ome.get("image-label")
    is_labels = isinstance(stated, Mapping) or own.get("kind") == "labels"
    if not is_labels or dtype.kind not in "biu":
        return None
    stated = stated if isinstance(stated, Mapping) else {}
    names: dict[int, str] = {}
    colors: dict[int, tuple[int, int, int]] = {}
    for entry in _entries(stated, "properties"):
        texts = [entry.get(key) for key in ("name", "class", "label")]
        text = next((text for text in texts if isinstance(text, str) and text), "")
        if text:
            names[int(entry["label-value"])] = text
    for entry in _entries(stated, "colors"):
        color = entry.get("rgba", entry.get("color"))
        if _is_color(color):
            red, green, blue = (min(255, max(0, int(part))) for part in color[:3])
            colors[int(entry["label-value"])] = (red, green, blue)
    return Segments(names=names, colors=colors)


def _entries(stated: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    entries = stated.get(key)
    return [
        entry
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, Mapping)
        and isinstance(entry.get("label-value"), (int, float))
        and float(entry["label-value"]).is_integer()
    ]


def _is_color(color: Any) -> TypeGuard[Sequence[float]]:
    return (
        isinstance(color, list)
        and len(color) >= 3
        and all(isinstance(p, (int, float)) and np.isfinite(p) for p in color[:3])
    )


def _letters(stated: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Letter of each axis; what is no time, channel or place becomes channels."""
    letters: list[str] = []
    notes: list[str] = []
    for axis, spare in zip(stated, _SPARE, strict=False):
        name, kind = str(axis["name"]).lower(), axis.get("type")
        if name in set("tczyx"):
            letters.append(name)
        elif kind in ("time", "channel"):
            letters.append("t" if kind == "time" else "c")
        elif kind == "space":
            letters.append(name)  # of no letter that is known: refused
        else:
            letters.append(spare)
            notes.append(f"the axis {axis['name']!r} taken as channels")
    return letters, notes


def _channel_names(ome: Mapping[str, Any]) -> tuple[str, ...]:
    omero = ome.get("omero")
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(channels, list):
        return ()
    names = tuple(
        str(channel.get("label", "")) if isinstance(channel, Mapping) else ""
        for channel in channels
    )
    return names if all(names) else ()


def _not_an_image(uri: str, what: str) -> ReadError:
    return ReadError(
        found=f"{uri} has {what}",
        needed="an OME-Zarr image of version 0.4 or 0.5, its axes of t, c, z, y, x",
        do="open the group that holds the image, or convert it again",
    )


def _scale_of(level: Mapping[str, Any], n_axes: int) -> tuple[float, ...] | None:
    """Scale of a level; None where it states none that can be compared."""
    try:
        steps = level.get("coordinateTransformations", [])
        scale = next(step["scale"] for step in steps if step["type"] == "scale")
        numbers = tuple(float(number) for number in scale)
    except (*_FAULTS, StopIteration):
        return None
    usable = len(numbers) == n_axes and all(
        np.isfinite(number) and number > 0 for number in numbers
    )
    return numbers if usable else None


def _transforms(
    multiscales: Mapping[str, Any], n_axes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Combine the finest level's transformations with those of the whole image."""
    scale, shift = np.ones(n_axes), np.zeros(n_axes)
    for owner in (multiscales["datasets"][0], multiscales):
        for step in owner.get("coordinateTransformations", []):
            if step["type"] == "scale":
                factor = np.asarray(step["scale"], dtype=np.float64)
                scale, shift = scale * factor, shift * factor
            elif step["type"] == "translation":
                shift = shift + np.asarray(step["translation"], dtype=np.float64)
            elif step["type"] != "identity":
                msg = f"a transformation of type {step['type']}"
                raise ValueError(msg)
    return scale, shift


def _along_zyx(
    values: NDArray[np.float64], *, missing: float
) -> tuple[float, float, float]:
    z = float(values[0]) if len(values) == 3 else missing
    return z, float(values[-2]), float(values[-1])
