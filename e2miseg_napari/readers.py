"""npe2 reader: NIfTI files and OME-Zarr folders, lazily and with their geometry."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from e2miseg_core.io import open_volume
from e2miseg_napari.convert import LayerData, image_layers

__all__ = ["get_reader", "read_layers"]

PathOrPaths: TypeAlias = str | Path | Sequence[str | Path]

_SUFFIXES = (".nii", ".nii.gz", ".zarr")


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerData]] | None:
    """Return the reader if all paths look like volumes that it can open."""
    if all(str(item).rstrip("/\\").lower().endswith(_SUFFIXES) for item in _list(path)):
        return read_layers
    return None


def read_layers(path: PathOrPaths) -> list[LayerData]:
    """Open volumes as image layers.

    Raises
    ------
    ReadError
        In one line, what is wrong and what to do.
    """
    # Absolute, since the worker opens the same file, wherever it was started.
    places = [Path(item).expanduser().absolute() for item in _list(path)]
    return [layer for place in places for layer in image_layers(open_volume(place))]


def _list(path: PathOrPaths) -> Sequence[str | Path]:
    return [path] if isinstance(path, str | Path) else path
