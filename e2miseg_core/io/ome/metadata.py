"""The metadata of an OME-Zarr image, as it is written."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.downsample import Step
from e2miseg_core.geometry import Geometry
from e2miseg_core.io.ome.image import LPS
from e2miseg_core.io.ome.orientation import axis_orientation, signed_origin

__all__ = ["make_attributes"]

_UNIT_NAMES = {"mm": "millimeter", "um": "micrometer", "nm": "nanometer"}


def make_attributes(  # noqa: PLR0913 - each with a default that most callers leave
    geometry: Geometry,
    *,
    name: str,
    kind: str,
    channels: Sequence[str] = (),
    names: Mapping[int, str] | None = None,
    colors: Mapping[int, tuple[int, int, int]] | None = None,
    steps: Sequence[Step] = (),
    is_oriented: bool = True,
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
    colors : mapping of int to tuple of int, optional
        Of label values: red, green, blue from 0 to 255.
    steps : sequence of Step
        From each level to the next: how many times as large its voxels are.
    is_oriented : bool
        Whether the geometry's directions are known, or were assumed.
    """
    unit = _UNIT_NAMES[geometry.unit]
    axes: list[dict[str, Any]] = [
        {"name": axis, "type": "space", "unit": unit} for axis in "zyx"
    ]
    if is_oriented:
        for axis, letter in zip(axes, geometry.orientation, strict=True):
            axis["orientation"] = axis_orientation(letter)
    if channels:
        axes.insert(0, {"name": "c", "type": "channel"})
    # Along axes that lie nowhere, those of LPS+ are what a reader takes.
    assumed = LPS @ geometry.affine[:3, 3][::-1]
    origin = signed_origin(geometry) if is_oriented else assumed
    factors = np.cumprod([(1, 1, 1), *steps], axis=0)  # of each level's voxels
    multiscales = {
        "name": name,
        "axes": axes,
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": _placed(
                    geometry, factor, origin, has_channels=bool(channels)
                ),
            }
            for level, factor in enumerate(factors)
        ],
    }
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [multiscales]}
    own: dict[str, Any] = {"version": 1, "kind": kind, "geometry": geometry.to_json()}
    if not is_oriented:
        own["oriented"] = False
    if channels:
        own["channels"] = list(channels)
    if kind == "labels":
        ome["image-label"] = {
            "properties": [
                {"label-value": value, "name": text}
                for value, text in (names or {}).items()
            ]
        }
        if colors:
            ome["image-label"]["colors"] = [
                {"label-value": value, "rgba": [*color, 255]}
                for value, color in colors.items()
            ]
        own["labels"] = {str(value): text for value, text in (names or {}).items()}
    return {"ome": ome, "e2miseg": own}


def _placed(
    geometry: Geometry,
    factor: NDArray[Any],
    origin: NDArray[np.float64],
    *,
    has_channels: bool,
) -> list[dict[str, Any]]:
    """Scale and translation of a level, its voxels `factor` times as large."""
    finest = np.asarray(geometry.spacing)
    # The outer edges of the outermost voxels stay where they are.
    scale, shift = finest * factor, origin + finest * (factor - 1) / 2
    lead = 1 if has_channels else 0
    return [
        {"type": "scale", "scale": [1.0] * lead + scale.tolist()},
        {"type": "translation", "translation": [0.0] * lead + shift.tolist()},
    ]
