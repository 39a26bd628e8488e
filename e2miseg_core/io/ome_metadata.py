"""The metadata of an OME-Zarr image: parsed when reading, made when writing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.geometry import Geometry

__all__ = ["OmeImage", "make_attributes", "parse_image"]

_UNITS = {
    "meter": ("mm", 1e3),
    "centimeter": ("mm", 10.0),
    "millimeter": ("mm", 1.0),
    "micrometer": ("um", 1.0),
    "nanometer": ("nm", 1.0),
    "angstrom": ("nm", 0.1),
}
_UNIT_NAMES = {"mm": "millimeter", "um": "micrometer", "nm": "nanometer"}
_LPS = np.diag([1.0, -1.0, -1.0])  # of S, A, R, the world read in the order Z, Y, X


@dataclass(frozen=True, eq=False, kw_only=True)
class OmeImage:
    """What the metadata says.

    Attributes
    ----------
    axes : tuple of str
        Names of the stored axes, of t, c, z, y, x.
    paths : tuple of str
        Of the levels' arrays, finest first.
    scale, translation : tuple of float
        Of the finest level along Z, Y, X, in `unit`.
    unit : str
        "mm", "um" or "nm".
    channels : tuple of str
        Names, if there are any.
    notes : tuple of str
        Rules that were applied.
    """

    axes: tuple[str, ...]
    paths: tuple[str, ...]
    scale: tuple[float, float, float]
    translation: tuple[float, float, float]
    unit: str
    channels: tuple[str, ...]
    notes: tuple[str, ...]

    def geometry(self, shape: Sequence[int]) -> Geometry:
        """Return the grid, the axes z, y, x taken as those of LPS+."""
        z, y, x = shape
        grid = Geometry.from_spacing((z, y, x), self.scale, self.unit)
        affine = grid.affine.copy()
        affine[:3, 3] = (_LPS @ np.asarray(self.translation))[::-1]
        return Geometry(shape=(z, y, x), affine=affine, unit=self.unit)


def parse_image(uri: str, attributes: Mapping[str, Any]) -> OmeImage:
    """Parse the attributes of a group.

    Raises
    ------
    ReadError
        If they do not describe an image of versions 0.4 or 0.5.
    """
    ome = attributes.get("ome", attributes)
    try:
        multiscales = ome["multiscales"][0]
        axes = [
            axis if isinstance(axis, str) else axis["name"]
            for axis in multiscales.get("axes", "tczyx")
        ]
        paths = tuple(str(level["path"]) for level in multiscales["datasets"])
        scale, shift = _transforms(multiscales, len(axes))
        units = [
            axis.get("unit") if isinstance(axis, Mapping) else None
            for axis in multiscales.get("axes", axes)
        ]
        channels = ome.get("omero", {}).get("channels", [])
        labels = tuple(str(channel.get("label", "")) for channel in channels)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise _not_an_image(uri, f"no readable multiscales ({error!r})") from error
    lowered = tuple(axis.lower() for axis in axes)
    if not {"y", "x"} <= set(lowered) <= set("tczyx") or len(set(lowered)) < len(axes):
        raise _not_an_image(uri, f"the axes {axes}")
    spatial = [lowered.index(axis) for axis in "zyx" if axis in lowered]
    unit, factors, notes = _common_unit([units[index] for index in spatial])
    return OmeImage(
        axes=lowered,
        paths=paths,
        scale=_along_zyx(np.take(scale, spatial) * factors, missing=1.0),
        translation=_along_zyx(np.take(shift, spatial) * factors, missing=0.0),
        unit=unit,
        channels=labels if all(labels) else (),
        notes=notes,
    )


def _not_an_image(uri: str, what: str) -> ReadError:
    return ReadError(
        found=f"{uri} has {what}",
        needed="an OME-Zarr image of version 0.4 or 0.5, its axes of t, c, z, y, x",
        do="open the group that holds the image, or convert it again",
    )


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


def _common_unit(
    units: Sequence[str | None],
) -> tuple[str, list[float], tuple[str, ...]]:
    known = [_UNITS.get(str(unit)) for unit in units]
    if any(unit is None for unit in known):
        names = sorted({str(unit) for unit in units})
        note = f"unit of length ({', '.join(names)}) taken as mm"
        return "mm", [1.0] * len(units), (note,)
    found = [unit for unit in known if unit is not None]
    common = found[-1][0]
    in_common = {"mm": 1.0, "um": 1e3, "nm": 1e6}
    factors = [factor * in_common[common] / in_common[unit] for unit, factor in found]
    return common, factors, ()


def _along_zyx(
    values: NDArray[np.float64], *, missing: float
) -> tuple[float, float, float]:
    z = float(values[0]) if len(values) == 3 else missing
    return z, float(values[-2]), float(values[-1])


def make_attributes(
    geometry: Geometry,
    *,
    name: str,
    kind: str,
    channels: Sequence[str] = (),
    names: Mapping[int, str] | None = None,
    n_levels: int = 1,
) -> dict[str, Any]:
    """Make the attributes of a group with levels at the paths "0", "1", ...

    Parameters
    ----------
    geometry : Geometry
        Of the stored axes Z, Y, X.
    name : str
        Of the image.
    kind : str
        "labels" or "image".
    channels : sequence of str
        Names, if the array is (C, Z, Y, X).
    names : mapping of int to str, optional
        Of label values.
    n_levels : int
        Each level's voxels are twice as large as those of the one before.
    """
    unit = _UNIT_NAMES[geometry.unit]
    axes = [{"name": axis, "type": "space", "unit": unit} for axis in "zyx"]
    if channels:
        axes.insert(0, {"name": "c", "type": "channel"})
    multiscales = {
        "name": name,
        "axes": axes,
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": _placed(
                    geometry, 2.0**level, has_channels=bool(channels)
                ),
            }
            for level in range(n_levels)
        ],
    }
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [multiscales]}
    own: dict[str, Any] = {"version": 1, "kind": kind, "geometry": geometry.to_json()}
    if channels:
        own["channels"] = list(channels)
    if kind == "labels":
        ome["image-label"] = {
            "properties": [
                {"label-value": value, "name": text}
                for value, text in (names or {}).items()
            ]
        }
        own["labels"] = {str(value): text for value, text in (names or {}).items()}
    return {"ome": ome, "e2miseg": own}


def _placed(
    geometry: Geometry, factor: float, *, has_channels: bool
) -> list[dict[str, Any]]:
    """Scale and translation of a level whose voxels are `factor` times as large."""
    finest = np.asarray(geometry.spacing)
    origin = _LPS @ geometry.affine[:3, 3][::-1]
    # The outer edges of the outermost voxels stay where they are.
    scale, shift = finest * factor, origin + finest * (factor - 1) / 2
    lead = 1 if has_channels else 0
    return [
        {"type": "scale", "scale": [1.0] * lead + scale.tolist()},
        {"type": "translation", "translation": [0.0] * lead + shift.tolist()},
    ]
