"""Layers that are in memory only, written to a store that the worker can open."""

import itertools
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from e2miseg_core.geometry import Geometry
from e2miseg_core.io import create_store
from e2miseg_core.progress import Progress

__all__ = ["export_array"]

_CHUNK = 64


def export_array(
    array: Any, geometry: Geometry, path: Path
) -> Generator[Progress, None, Path]:
    """Write an array to an OME-Zarr store, a row of chunks at a time.

    Parameters
    ----------
    array : numpy, dask or zarr array, shape (Z, Y, X)
        Read piece by piece.
    geometry : Geometry
        Of the array.
    path : Path
        Store to be made.

    Yields
    ------
    Progress
        After each piece.
    """
    # Nothing says how a layer that came from elsewhere lies in the patient.
    store = create_store(path, geometry, array.dtype, kind="image", is_oriented=False)
    depth, height, _ = geometry.shape
    boxes = list(itertools.product(range(0, depth, _CHUNK), range(0, height, _CHUNK)))
    for done, (z, y) in enumerate(boxes, start=1):
        box = (slice(z, z + _CHUNK), slice(y, y + _CHUNK))
        store[box] = np.asarray(array[box])
        yield Progress(done=done, total=len(boxes), stage="preparing the image")
    return path
