"""What a TIFF file says of axes, spacing and channels, in its several dialects."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from e2miseg_core.errors import ReadError
from e2miseg_core.io.units import common_unit, known_unit

if TYPE_CHECKING:
    import tifffile

__all__ = ["channel_names", "letters_of", "spacing_of"]

_SPARE = "abdefghjklmnopruvw"  # for axes that are no t, c, z, y, x, s, i, q
_PAGES = "iq"  # of an unnamed sequence: taken as slices
_COLORS = ("red", "green", "blue", "alpha")
_CENTIMETER = 3
_MOST_CHARACTERS = 64 << 20  # of XML

Spacing = tuple[tuple[float, float, float], str, tuple[str, ...]]


def letters_of(path: Path, stated: str, shape: Sequence[int]) -> tuple[str, list[str]]:
    """Give each axis a letter of its own: z, y, x for space, others become channels.

    Parameters
    ----------
    path : Path
        For messages.
    stated : str
        tifffile's letters, such as "TZCYX" or "IYX".
    shape : sequence of int
        Of the series.

    Returns
    -------
    letters : str
        One an axis.
    notes : list of str
        What was assumed.
    """
    letters, notes = list(stated.lower()), []
    if not {"y", "x"} <= set(letters):
        raise ReadError(
            found=f"{path} has the axes {stated}",
            needed="an image with the axes Y and X",
            do="convert it",
        )
    if "z" not in letters:
        pages = [index for index, letter in enumerate(letters) if letter in _PAGES]
        if pages:
            letters[pages[-1]] = "z"
            notes.append(f"{shape[pages[-1]]} pages taken as slices")
        elif "t" in letters:  # many programs write the slices of a stack so
            at = letters.index("t")
            letters[at] = "z"
            notes.append(f"no axis Z: {shape[at]} time points taken as slices")
    seen: set[str] = set()
    for index, letter in enumerate(letters):
        if letter in seen or letter not in "tczyxs":
            spare = next(one for one in _SPARE if one not in letters)
            notes.append(f"axis {stated[index]} ({shape[index]}) taken as channels")
            letters[index] = spare
        seen.add(letters[index])
    if "t" in letters:
        notes.append(f"{shape[letters.index('t')]} time points taken as channels")
    return "".join(letters), notes


def spacing_of(tif: "tifffile.TiffFile", number: int) -> Spacing:
    """Find the spacing of a series along Z, Y, X, its unit, and where it is stated."""
    series = tif.series[number]
    for find in (_of_ome, _of_imagej, _of_lsm, _of_shaped, _of_tags):
        found = find(tif, number, series)
        if found is None:
            continue
        name, sizes, units = found
        z, y, x = (_usable(size) for size in sizes)
        if y is None or x is None:
            continue
        unit, factors, notes = common_unit(units)
        spacing = [(y if z is None else z) * factors[0], y * factors[1], x * factors[2]]
        text = " x ".join(f"{size:g}" for size in spacing)
        said = [f"spacing {text} {unit} (Z, Y, X) from {name}", *notes]
        if z is None:
            said.append("the distance of slices is not stated: taken as that of rows")
        return (spacing[0], spacing[1], spacing[2]), unit, tuple(said)
    return (1.0, 1.0, 1.0), "mm", ("no spacing is stated: voxels taken as 1 mm",)


def channel_names(
    tif: "tifffile.TiffFile",
    number: int,
    letters: str,
    count: int,
) -> tuple[str, ...]:
    """Names of the channels, empty where there are none that fit."""
    pixels = _ome_pixels(tif, number)
    if pixels is not None:
        nodes = [node for node in pixels if node.tag.endswith("}Channel")]
        names = tuple(node.get("Name") or "" for node in nodes)
        if len(names) == count and all(names):
            return names
    if "s" in letters and count in (3, 4):
        return _COLORS[:count]
    return ()


_Found = tuple[str, Sequence[Any], Sequence[Any]]  # name, sizes Z Y X, their units


def _of_ome(tif: "tifffile.TiffFile", number: int, _series: Any) -> _Found | None:
    pixels = _ome_pixels(tif, number)
    if pixels is None:
        return None
    sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    units = [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"]
    return "OME metadata", sizes, units


def _ome_pixels(tif: "tifffile.TiffFile", number: int) -> Any:
    """Element Pixels of the image that a series shows."""
    if tif.series[number].kind != "ome" or not tif.ome_metadata:
        return None
    if len(tif.ome_metadata) > _MOST_CHARACTERS:
        return None
    root = ET.fromstring(tif.ome_metadata)
    images = [node for node in root if node.tag.endswith("}Image")]
    if number >= len(images):
        return None
    children = [node for node in images[number] if node.tag.endswith("}Pixels")]
    return children[0] if children else None


def _of_imagej(tif: "tifffile.TiffFile", _number: int, series: Any) -> _Found | None:
    stated: Any = tif.imagej_metadata if series.kind == "imagej" else None
    if not isinstance(stated, Mapping) or known_unit(stated.get("unit")) is None:
        return None
    y, x = _in_plane(series.keyframe)
    unit = stated["unit"]
    return "ImageJ's metadata", (stated.get("spacing"), y, x), (unit,) * 3


def _of_lsm(tif: "tifffile.TiffFile", _number: int, _series: Any) -> _Found | None:
    stated: Any = tif.lsm_metadata if tif.is_lsm else None
    if not isinstance(stated, Mapping):
        return None
    sizes = [stated.get(f"VoxelSize{axis}") for axis in "ZYX"]
    return "LSM metadata", sizes, ("m",) * 3


def _of_shaped(tif: "tifffile.TiffFile", number: int, series: Any) -> _Found | None:
    """Metadata that tifffile itself writes as JSON."""
    stated: Any = tif.shaped_metadata if series.kind == "shaped" else None
    stated = stated[number] if stated and number < len(stated) else None
    if not isinstance(stated, Mapping):
        return None
    spacing = stated.get("spacing")
    unit = stated.get("unit", "mm")
    if isinstance(spacing, list) and len(spacing) == 3:
        return "the description", spacing, (unit,) * 3
    if known_unit(stated.get("unit")) is None:
        return None
    y, x = _in_plane(series.keyframe)
    return "the description", (spacing, y, x), (unit,) * 3


def _of_tags(_tif: "tifffile.TiffFile", _number: int, series: Any) -> _Found | None:
    """Resolution tags in pixels a centimetre; those an inch are meant for printers."""
    tag = series.keyframe.tags.get("ResolutionUnit")
    if tag is None or int(tag.value) != _CENTIMETER:
        return None
    y, x = _in_plane(series.keyframe)
    if x == 1 or y == 1:  # what is written where nothing is known
        return None
    return "resolution tags", (None, y, x), ("cm",) * 3


def _in_plane(page: Any) -> tuple[float | None, float | None]:
    """Size of a pixel along Y and X, in the unit of the resolution tags."""
    sizes: list[float | None] = []
    for name in ("YResolution", "XResolution"):
        tag = page.tags.get(name)
        value: Any = getattr(tag, "value", None)
        is_ratio = isinstance(value, tuple) and len(value) == 2 and value[0]
        sizes.append(value[1] / value[0] if is_ratio else None)
    return sizes[0], sizes[1]


def _usable(size: Any) -> float | None:
    try:
        number = float(size)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
