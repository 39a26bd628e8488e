"""What is to be written, on the axes of the file to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import dask.array as da
import numpy as np

from e2miseg_core.geometry import Geometry

__all__ = ["Kind", "WritePlan"]

Kind = Literal["labels", "image"]


@dataclass(frozen=True, eq=False, kw_only=True)
class WritePlan:
    """An array and its place, for a format's writer.

    Attributes
    ----------
    data : dask array, shape (Z, Y, X) or (C, Z, Y, X)
        On the axes of the file, in the type to be written.
    geometry : Geometry
        Of those axes.
    kind : str
        "labels" or "image".
    channels : tuple of str
        Their names, for (C, Z, Y, X).
    names : mapping of int to str
        Of label values.
    colors : mapping of int to tuple of int
        Of label values: red, green, blue from 0 to 255.
    model : str
        Name of the model whose labels these are, where no human corrected them.
    source_format : str
        Format of the volume whose grid this is.
    details : mapping
        What that format keeps of its header.
    is_oriented : bool
        Whether it is known how the axes lie in the world.
    """

    data: da.Array
    geometry: Geometry
    kind: Kind
    channels: tuple[str, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    colors: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    model: str = ""
    source_format: str = "memory"
    details: Mapping[str, Any] = field(default_factory=dict)
    is_oriented: bool = True

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels to be written."""
        dtype: np.dtype[Any] = self.data.dtype
        return dtype
