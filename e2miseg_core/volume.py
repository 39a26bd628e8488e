"""A lazy image of any size, presented in canonical orientation.

Axis Z grows to superior, Y to posterior, X to left, as nearly as permuting and
flipping axes allows; `Volume.as_source` undoes that for writing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import GeometryError
from e2miseg_core.geometry import (
    ArrayT,
    AxisTransform,
    Geometry,
    canonical_transform,
)
from e2miseg_core.progress import Progress

__all__ = ["Preparation", "Segments", "Source", "Volume"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """Where a volume came from, and what writing beside it needs.

    Attributes
    ----------
    uri : str
        Path or address; empty for an array in memory.
    format : str
        Name of the format, such as "nifti" or "ome-zarr"; "memory" for an array.
    geometry : Geometry
        Of the array as stored, its axes called Z, Y, X from slowest to fastest.
    transform : AxisTransform
        From the stored axes to the canonical ones.
    dtype : numpy.dtype
        As stored.
    details : mapping
        What the format's writer needs to write alike, such as header fields. Under
        "frames" there may be a mapping for each channel, whose values take the place
        of the others where that channel is taken alone.
    """

    uri: str
    format: str
    geometry: Geometry
    transform: AxisTransform
    dtype: np.dtype[Any]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Segments:
    """What the labels of a segmentation are called, and how they are coloured.

    Attributes
    ----------
    names : mapping of int to str
        Of label values; those without a name are missing.
    colors : mapping of int to tuple of int
        Red, green, blue from 0 to 255.
    channels : tuple of Segments
        Those of each channel, where one value means another thing in each: segments
        that overlap. Names and colours of all are empty then.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    colors: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    channels: tuple["Segments", ...] = ()

    def of_channel(self, number: int) -> "Segments":
        """Return what holds in one channel."""
        return self.channels[number] if self.channels else self

    def stacked(self) -> "Segments":
        """Return the same segments as channels of 0 and 1, by ascending value."""
        return Segments(
            channels=tuple(
                Segments(
                    names={1: self.names[value]},
                    colors={1: self.colors[value]} if value in self.colors else {},
                )
                for value in sorted(self.names)
            )
        )


class Preparation(Protocol):
    """Unpacking of a big compressed file, once; reads wait for what they need."""

    @property
    def total(self) -> int:
        """Bytes to be unpacked."""

    @property
    def done(self) -> int:
        """Bytes unpacked so far; `total` when nothing is left to do."""

    def start(self) -> None:
        """Begin in the background, unless it has begun."""

    def wait(self, progress: Callable[[Progress], None] | None = None) -> None:
        """Return when all is unpacked; ReadError if the file is damaged."""

    def cancel(self) -> None:
        """Stop; the next read begins again."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Volume:
    """An image or labels, lazy, in canonical orientation.

    Attributes
    ----------
    levels : tuple of dask arrays, each (C, Z, Y, X)
        Resolution levels, finest first.
    geometry : Geometry
        Of the finest level.
    channels : tuple of str
        One name a channel.
    source : Source or None
        None where the array was canonical already and came from nowhere.
    notes : tuple of str
        Rules that were applied to read the file and that a user should know.
    segments : Segments or None
        Of labels; None where the file does not say that its voxels are labels.
    is_oriented : bool
        Whether the file says how its axes lie in the world, or the canonical ones
        were assumed.
    preparation : Preparation or None
        Where a compressed file has to be unpacked before all of it can be read.
    """

    levels: tuple[da.Array, ...]
    geometry: Geometry
    channels: tuple[str, ...]
    source: Source | None = None
    notes: tuple[str, ...] = ()
    segments: Segments | None = None
    is_oriented: bool = True
    preparation: Preparation | None = None

    def __post_init__(self) -> None:
        if not self.levels or any(level.ndim != 4 for level in self.levels):
            shapes = [tuple(level.shape) for level in self.levels]
            raise GeometryError(
                found=f"levels of the shapes {shapes}",
                needed="one or more arrays (C, Z, Y, X)",
                do="add the missing axes",
            )
        shape = tuple(self.levels[0].shape)
        if shape != (len(self.channels), *self.geometry.shape):
            raise GeometryError(
                found=f"an array of shape {shape}",
                needed=f"{len(self.channels)} channels on the grid "
                f"{self.geometry.shape}",
                do="give the array its own geometry and channel names",
            )

    @property
    def data(self) -> da.Array:
        """The finest level, (C, Z, Y, X)."""
        return self.levels[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the voxels."""
        dtype: np.dtype[Any] = self.data.dtype
        return dtype

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.channels)

    @property
    def nbytes(self) -> int:
        """Bytes of the finest level, if it were in memory."""
        return int(self.data.nbytes)

    @classmethod
    def from_array(
        cls,
        array: NDArray[Any] | da.Array,
        geometry: Geometry | None = None,
        *,
        spacing: Sequence[float] | None = None,
        channels: Sequence[str] = (),
    ) -> Self:
        """Make a volume of an array, bringing any geometry to the canonical one.

        Parameters
        ----------
        array : ndarray or dask array, shape (Z, Y, X) or (C, Z, Y, X)
            On the axes that `geometry` describes.
        geometry : Geometry, optional
            Without it the axes are taken as canonical.
        spacing : sequence of three float, optional
            Along Z, Y, X in mm; instead of `geometry`.
        channels : sequence of str, optional
            Their names.

        Raises
        ------
        GeometryError
            If the shapes do not fit, or not exactly one of `geometry` and `spacing`
            is given.
        """
        if array.ndim not in (3, 4):
            raise GeometryError(
                found=f"an array of shape {tuple(array.shape)}",
                needed="(Z, Y, X) or (C, Z, Y, X)",
                do="add or remove axes",
            )
        if geometry is not None and spacing is None:
            return cls._turned(array, geometry, channels)
        if geometry is None and spacing is not None:
            canonical = Geometry.from_spacing(array.shape[-3:], spacing)
            return cls._turned(array, canonical, channels)
        raise GeometryError(
            found="both or neither of geometry and spacing",
            needed="exactly one of them",
            do="give the array's geometry, or its spacing in mm",
        )

    @classmethod
    def _turned(
        cls,
        array: NDArray[Any] | da.Array,
        geometry: Geometry,
        channels: Sequence[str],
    ) -> Self:
        transform = canonical_transform(geometry)
        array = array if array.ndim == 4 else array[None]
        if tuple(array.shape[1:]) != geometry.shape:
            raise GeometryError(
                found=f"an array of shape {tuple(array.shape)}",
                needed=f"the geometry's grid {geometry.shape}",
                do="give the array its own geometry",
            )
        source = Source(
            uri="",
            format="memory",
            geometry=geometry,
            transform=transform,
            dtype=array.dtype,
        )
        lazy = transform.apply(array)
        if not isinstance(lazy, da.Array):
            lazy = da.from_array(lazy, name=False)  # type: ignore[no-untyped-call]
        return cls(
            levels=(lazy,),
            geometry=transform.apply_geometry(geometry),
            channels=tuple(channels) or default_channels(array.shape[0]),
            source=source,
        )

    def frame(self, number: int) -> Self:
        """Return the volume with one of its channels, whose name it keeps.

        Raises
        ------
        GeometryError
            If there is no such channel.
        """
        if not 0 <= number < self.n_channels:
            raise GeometryError(
                found=f"the frame {number}",
                needed=f"one from 0 to {self.n_channels - 1}",
                do="choose one of the frames that are there",
            )
        return replace(
            self,
            levels=tuple(level[number : number + 1] for level in self.levels),
            channels=self.channels[number : number + 1],
            segments=None
            if self.segments is None
            else self.segments.of_channel(number),
            source=_of_frame(self.source, number, self.n_channels),
            notes=(*self.notes, f"frame {number} of {self.n_channels} taken"),
        )

    def as_source(self, array: ArrayT) -> ArrayT:
        """Bring a canonical array back to the axes of the source, exactly.

        Parameters
        ----------
        array : ndarray or dask array, shape (..., Z, Y, X)
            On this volume's canonical axes.

        Returns
        -------
        ndarray or dask array, shape (..., Z, Y, X)
            A view on the axes of `source`, from the slowest to the fastest.
        """
        if self.source is None:
            return array
        return self.source.transform.inverse().apply(array)


def _of_frame(source: Source | None, number: int, n_channels: int) -> Source | None:
    """Give a source the details of one channel, unless others' channels came to it."""
    if source is None or len(source.details.get("frames", ())) != n_channels:
        return source
    details = dict(source.details)
    own = details.pop("frames")[number]
    return replace(source, details={**details, **own})


def default_channels(n_channels: int) -> tuple[str, ...]:
    """Name channels that have no name of their own."""
    if n_channels == 1:
        return ("image",)
    return tuple(f"channel {index}" for index in range(n_channels))
