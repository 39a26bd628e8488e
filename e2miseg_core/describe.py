"""What a volume is and what predicting it needs, as plain values. No torch here."""

from typing import Any

from e2miseg_core.errors import ModelError
from e2miseg_core.fit import check_fit, doubt_fit
from e2miseg_core.inference.tiling import TileGrid
from e2miseg_core.model_card import ModelCard
from e2miseg_core.models import list_models
from e2miseg_core.volume import Segments, Volume

__all__ = ["describe_volume", "memory_to_predict"]

FLOAT_BYTES = 4
OVERLAP = 0.5
FORWARD_FLOATS_PER_VOXEL = 400  # peak of one pass of `small` in float32: 367


def describe_volume(volume: Volume) -> dict[str, Any]:
    """Shape, spacing, orientation, type, levels, memory: JSON values.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    dict
        Shapes and spacings in the order Z, Y, X; the affine maps (z, y, x, 1) to
        RAS+ in `unit`. `unpacking` is None where any voxel can be read at once, else
        how many `megabytes` are unpacked first, `done` of them already.
    """
    geometry, source, work = volume.geometry, volume.source, volume.preparation
    return {
        "address": source.uri if source else "",
        "format": source.format if source else "memory",
        "shape": list(geometry.shape),
        "channels": list(volume.channels),
        "spacing": list(geometry.spacing),
        "unit": geometry.unit,
        "affine": geometry.affine.tolist(),
        "orientation": geometry.orientation,
        "stored_orientation": (source.geometry if source else geometry).orientation,
        "oblique": geometry.is_oblique,
        "dtype": str(volume.dtype),
        "megabytes": volume.nbytes / 1e6,
        "levels": [list(level.shape[1:]) for level in volume.levels],
        "unpacking": None
        if work is None
        else {"megabytes": work.total / 1e6, "done": work.done / 1e6},
        "segments": None if volume.segments is None else _segments(volume.segments),
        "memory_to_predict": {
            entry.name: memory_to_predict(volume, entry.card)
            for entry in list_models()
            if volume.segments is None  # labels are not predicted
        },
        "notes": list(volume.notes),
    }


def _segments(segments: Segments) -> dict[int, dict[str, Any]]:
    values = sorted({*segments.names, *segments.colors})
    return {
        value: {
            "name": segments.names.get(value, ""),
            "color": list(segments.colors.get(value, ())) or None,
        }
        for value in values
    }


def memory_to_predict(volume: Volume, card: ModelCard) -> dict[str, Any]:
    """Memory and tiles that a prediction needs, or why the model does not fit.

    Returns
    -------
    dict
        `gigabytes` (the open rows of all classes, and one forward pass), `tiles` and
        `doubt`, a line for the user or empty; or `unfit`, a line for the user.
    """
    try:
        check_fit(volume, card)
    except ModelError as error:
        return {"unfit": str(error)}
    view = volume.geometry.in_unit("mm").resampled(card.spacing)
    grid = TileGrid(shape=view.shape, patch_size=card.patch_size, overlap=OVERLAP)
    rows = min(card.patch_size[0], view.shape[0])
    # The window is copied when finished rows leave it; the rows that leave are
    # brought to the volume's grid.
    slab = rows * view.shape[1] * view.shape[2] * card.n_classes * FLOAT_BYTES
    out = (
        slab
        * (volume.geometry.shape[1] * volume.geometry.shape[2])
        / (view.shape[1] * view.shape[2])
    )
    patch = card.patch_size[0] * card.patch_size[1] * card.patch_size[2]
    forward = patch * FORWARD_FLOATS_PER_VOXEL * FLOAT_BYTES
    return {
        "gigabytes": (2 * slab + 2 * out + forward) / 1e9,
        "tiles": grid.n_tiles,
        "doubt": doubt_fit(card, volume.geometry, volume.channels, volume.notes),
    }
