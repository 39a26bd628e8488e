"""Several volumes as the channels of one, on the grid of the first, lazily."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from numpy.typing import NDArray

from e2miseg_core.errors import ConfigError, GeometryError
from e2miseg_core.geometry import AxisTransform
from e2miseg_core.io.channels.regrid import RegriddedChannel, read_channel
from e2miseg_core.io.channels.relation import GridRelation, relate
from e2miseg_core.io.lazy import Box, oriented
from e2miseg_core.progress import Progress
from e2miseg_core.volume import Preparation, Segments, Volume

__all__ = ["combine"]


def combine(
    volumes: Mapping[str, Volume], grid: str = "", *, outside: float = 0.0
) -> Volume:
    """Bring volumes together as the channels of one.

    Parameters
    ----------
    volumes : mapping of str to Volume
        By the channels' names; a volume of several channels gives as many, with both
        names.
    grid : str
        Name of the one whose grid, unit and header are the result's; else the first.
    outside : float
        Value of a channel beyond its field of view.

    Returns
    -------
    Volume
        Lazy. Volumes on that grid keep their voxels; others are read at its
        voxels' centres: linearly, or by the nearest voxel if they are labels. The
        notes say which, from what spacing, and how far the fields of view lie apart.
        All channels have the smallest type that holds every one of them. It has
        levels besides the finest only where all lie on one grid at each level.

    Raises
    ------
    ConfigError
        If there are none, or none of the name `grid`.
    GeometryError
        If one shares nothing with the grid.
    """
    title = grid or next(iter(volumes), "")
    if title not in volumes:
        raise ConfigError(
            found=f"no channel {title!r}" if grid else "no channels",
            needed="the image that gives the grid",
            do="name the images",
        )
    first = volumes[title]
    relations = {
        name: relate(volume.geometry, first.geometry)
        for name, volume in volumes.items()
    }
    notes = list(first.notes)
    for name, volume in volumes.items():
        if volume is not first:
            notes += [f"{name}: {note}" for note in volume.notes]
        if not relations[name].is_same:
            notes.append(_told(name, volume, relations[name], title, first, outside))
    levels = _levels(first, list(volumes.values()), list(relations.values()), outside)
    waiting = [v.preparation for v in volumes.values() if v.preparation is not None]
    source = first.source
    if source is not None:
        source = replace(source, uri="", dtype=levels[0].dtype)
    return Volume(
        levels=levels,
        geometry=first.geometry,
        channels=_names(volumes),
        source=source,
        notes=tuple(notes),
        segments=_segments(list(volumes.values())),
        is_oriented=first.is_oriented,
        preparation=_Together(waiting) if waiting else None,
    )


def _names(volumes: Mapping[str, Volume]) -> tuple[str, ...]:
    return tuple(
        name if volume.n_channels == 1 else f"{name}: {channel}"
        for name, volume in volumes.items()
        for channel in volume.channels
    )


def _segments(volumes: Sequence[Volume]) -> Segments | None:
    """Names of all labels, if all volumes are labels; the first one's word counts."""
    known = [volume.segments for volume in volumes if volume.segments is not None]
    if len(known) < len(volumes):
        return None
    if any(segments.channels for segments in known):
        return Segments(
            channels=tuple(
                segments.of_channel(number)
                for volume, segments in zip(volumes, known, strict=True)
                for number in range(volume.n_channels)
            )
        )
    names: dict[int, str] = {}
    colors: dict[int, tuple[int, int, int]] = {}
    for segments in reversed(known):
        names.update(segments.names)
        colors.update(segments.colors)
    return Segments(names=names, colors=colors)


def _told(
    name: str,
    volume: Volume,
    relation: GridRelation,
    title: str,
    first: Volume,
    outside: float,
) -> str:
    """Say what was done to a channel."""
    unit = first.geometry.unit
    if not relation.overlaps:
        raise GeometryError(
            found=f"the field of view of {name} shares nothing with that of {title}",
            needed="images of the same place",
            do="check that both are of the same patient and in the same coordinates",
        )
    sizes = volume.geometry.in_unit(unit).spacing
    spacing = " x ".join(f"{size:.4g}" for size in sizes)
    how = "nearest voxel" if volume.segments is not None else "linear"
    told = (
        f"{name}: brought from voxels of {spacing} {unit} (Z, Y, X) to the grid of "
        f"{title} ({how}); corners of the fields of view lie up to "
        f"{relation.shift:.3g} {unit} apart"
    )
    if relation.covered < 1:
        missing = 100 * (1 - relation.covered)
        told += f"; about {missing:.2g} % of the grid lies outside of it: {outside:g}"
    if relation.is_finer:
        told += "; it is finer than the grid and sampled, not averaged"
    return told


def _levels(
    first: Volume,
    volumes: Sequence[Volume],
    relations: Sequence[GridRelation],
    outside: float,
) -> tuple[da.Array, ...]:
    shapes = {tuple(tuple(x.shape[1:]) for x in volume.levels) for volume in volumes}
    all_same = all(relation.is_same for relation in relations)
    n_levels = len(first.levels) if all_same and len(shapes) == 1 else 1
    return tuple(
        _level(first, volumes, relations, outside, number) for number in range(n_levels)
    )


def _level(
    first: Volume,
    volumes: Sequence[Volume],
    relations: Sequence[GridRelation],
    outside: float,
    number: int,
) -> da.Array:
    target = first.levels[number]
    channels: list[_Kept | RegriddedChannel] = []
    for volume, relation in zip(volumes, relations, strict=True):
        data = volume.levels[number]
        for channel in range(volume.n_channels):
            channels.append(
                _Kept(data, channel)
                if relation.is_same
                else RegriddedChannel(
                    data,
                    channel,
                    volume.geometry,
                    first.geometry,
                    nearest=volume.segments is not None,
                    outside=outside,
                )
            )
    chunks = ((1,) * len(channels), *target.chunks[1:])
    grids = [(v.levels[number].name, v.geometry.to_json()) for v in (first, *volumes)]
    name = f"channels-{tokenize(grids, outside)}"
    return oriented(_Channels(channels, target.shape), chunks, AxisTransform(), name)


class _Kept:
    """A channel on the grid already."""

    def __init__(self, data: da.Array, channel: int) -> None:
        self._data, self._channel = data, channel
        self.dtype: np.dtype[Any] = data.dtype

    def read(self, box: Sequence[slice]) -> NDArray[Any]:
        """Return a box (Z, Y, X)."""
        return read_channel(self._data, self._channel, box)


class _Channels:
    """A `DiskArray` of one channel after another."""

    def __init__(
        self, channels: Sequence[_Kept | RegriddedChannel], shape: Sequence[int]
    ) -> None:
        self._channels = channels
        z, y, x = shape[-3:]
        self.shape = (len(channels), z, y, x)
        self.dtype: np.dtype[Any] = np.result_type(*(c.dtype for c in channels))

    def read(self, box: Box) -> NDArray[Any]:
        """Return a box (C, Z, Y, X)."""
        block = np.empty([part.stop - part.start for part in box], self.dtype)
        for at, number in enumerate(range(box[0].start, box[0].stop)):
            block[at] = self._channels[number].read(box[1:])
        return block


class _Together:
    """A `Preparation` of several, one after another."""

    def __init__(self, parts: Sequence[Preparation]) -> None:
        self._parts = parts

    @property
    def total(self) -> int:
        """Bytes to be unpacked."""
        return sum(part.total for part in self._parts)

    @property
    def done(self) -> int:
        """Bytes unpacked so far."""
        return sum(part.done for part in self._parts)

    def start(self) -> None:
        """Begin with all of them."""
        for part in self._parts:
            part.start()

    def wait(self, progress: Callable[[Progress], None] | None = None) -> None:
        """Return when all are unpacked."""
        for part in self._parts:
            part.wait(None if progress is None else self._report(progress))

    def cancel(self) -> None:
        """Stop all of them."""
        for part in self._parts:
            part.cancel()

    def _report(
        self, progress: Callable[[Progress], None]
    ) -> Callable[[Progress], None]:
        def report(step: Progress) -> None:
            progress(replace(step, done=self.done, total=self.total))

        return report
