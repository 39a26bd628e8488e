"""From any readable volume to any writable format."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from e2miseg_core.conversion.losses import losses
from e2miseg_core.conversion.options import ConversionOptions, unused_options
from e2miseg_core.conversion.to_pyramid import make_pyramid, plan_pyramid
from e2miseg_core.errors import GeometryError, WriteError
from e2miseg_core.io import open_labels, open_volume, write_image, write_labels
from e2miseg_core.io.address import Address, AnySource
from e2miseg_core.io.formats import Format, format_of, known_suffixes
from e2miseg_core.io.naming import exists, short_name
from e2miseg_core.io.plan import Kind
from e2miseg_core.io.sources import check_no_source, files_of, places_of
from e2miseg_core.io.writing import check_place
from e2miseg_core.progress import Job, Progress, run
from e2miseg_core.volume import Segments, Volume

__all__ = ["Conversion", "conversion_job", "convert"]


# Other programs keep affines in float32, turned into quaternions: of the reach.
_SAME_GRID = 1e-4


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was written.

    Attributes
    ----------
    output : Path
        The file or folder, read back and found equal.
    kind : str
        "labels" or "image".
    shapes : tuple
        Of the levels (C, Z, Y, X), finest first.
    dtype : str
        Of the voxels.
    n_bytes : int
        Of the finest level's voxels.
    seconds : float
        That it took.
    notes : tuple of str
        Rules that were applied.
    """

    output: Path
    kind: Kind
    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    n_bytes: int
    seconds: float
    notes: tuple[str, ...]


def convert(
    source: AnySource,
    output: str | Path,
    options: ConversionOptions | None = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Conversion:
    """Convert a volume; see `conversion_job`.

    Parameters
    ----------
    source : str, Path or Address
        Anything that `open_volume` opens.
    output : str or Path
        Its suffix chooses the format.
    options : ConversionOptions, optional
        Chunks, levels, workers, memory and more.
    on_progress : callable, optional
        Called with each `Progress`.
    cancelled : callable, optional
        Asked after each step.

    Raises
    ------
    Cancelled
        If `cancelled()` became true; what is finished of a pyramid is kept.
    """
    job = conversion_job(source, output, options or ConversionOptions())
    return run(job, on_progress, cancelled=cancelled)


def conversion_job(
    source: AnySource, output: str | Path, options: ConversionOptions
) -> Job[Conversion]:
    """Convert a volume to the format that the output's suffix names.

    To OME-Zarr it becomes a pyramid, streamed by several threads: memory does not
    depend on its size. Until it is whole, read back and found equal it lies under a
    hidden name beside the output, where `options.resume` continues it after a
    cancellation or a crash; the result is the same, byte for byte. Other formats hold
    one level and are written as by `write_labels` and `write_image`.

    Parameters
    ----------
    source : str, Path or Address
        Anything that `open_volume` opens.
    output : str or Path
        Its suffix chooses the format.
    options : ConversionOptions
        Labels are what a format says are labels, and voxels that are true or false;
        `kind` overrules that. Labels have levels of the most frequent value, images
        of the mean.

    Raises
    ------
    ReadError, GeometryError
        If the source cannot be read, or its labels are not whole numbers.
    WriteError
        If the output exists, is the source, is being made by another program, cannot
        be written or reads back differently.
    """
    start = time.monotonic()
    path, address = Path(output).expanduser(), Address.parse(source)
    if not exists(address):
        open_volume(address)  # says what is missing, before a word about the output
    target = _target(path, address, overwrite=options.overwrite)
    volume, kind, notes = _opened(address, options.kind)
    check_no_source(path, files_of(volume))
    is_pyramid = target.key == "ome-zarr"
    if is_pyramid:
        plan = plan_pyramid(volume, kind, options)
        notes += yield from make_pyramid(volume, plan, path, resume=options.resume)
        dtype, shapes = plan.dtype.name, plan.shapes
    else:
        yield Progress(done=0, total=0, stage=f"writing {target.name}")
        dtype, shapes = _to_file(volume, kind, path, options), (volume.geometry.shape,)
    notes += losses(volume, kind, target)
    notes += unused_options(options, target.name, len(shapes), is_pyramid=is_pyramid)
    if dtype != volume.dtype.name:
        notes += (f"{volume.dtype.name} written as {dtype}",)
    return Conversion(
        output=path,
        kind=kind,
        shapes=tuple((volume.n_channels, *shape) for shape in shapes),
        dtype=dtype,
        n_bytes=volume.nbytes,
        seconds=time.monotonic() - start,
        notes=notes,
    )


def _target(path: Path, source: Address, *, overwrite: bool) -> Format:
    target = format_of(path)
    if target is None or not target.writer:
        raise WriteError(
            found=f"the output name {path}",
            needed="an end of " + ", ".join(known_suffixes(writable=True)),
            do="choose another name",
        )
    check_place(path, target, overwrite=overwrite)
    check_no_source(path, places_of(source))
    return target


def _opened(
    address: Address, wanted: Kind | None
) -> tuple[Volume, Kind, tuple[str, ...]]:
    volume = open_volume(address)
    if wanted is not None:
        kind, why = wanted, "as was asked"
    elif volume.segments is not None:
        kind, why = "labels", "the format says so"
    elif volume.dtype.kind == "b":
        kind, why = "labels", "its voxels are true or false"
    else:
        kind, why = "image", "nothing says that it holds labels"
    notes = (*volume.notes, f"taken as {kind}: {why}")
    if kind == "labels":
        volume = open_labels(address)
    return volume, kind, notes


def _to_file(volume: Volume, kind: Kind, path: Path, options: ConversionOptions) -> str:
    """Write a single file; returns the type of its voxels."""
    data, overwrite = volume.data, options.overwrite
    like = volume if options.like is None else _same_grid(options.like, volume)
    if kind == "labels":
        segments = volume.segments or Segments()
        write_labels(
            data[0],
            path,
            like=like,
            names=segments.names,
            colors=segments.colors,
            overwrite=overwrite,
        )
    else:
        image = data[0] if volume.n_channels == 1 else data
        write_image(image, path, like=like, overwrite=overwrite)
    return open_volume(path).dtype.name


def _same_grid(like: AnySource, volume: Volume) -> Volume:
    """Open the image that the output refers to, if it lies on the same grid."""
    reference = open_volume(like)
    mine, other = volume.geometry, reference.geometry
    if other.matches(mine, _SAME_GRID):
        return reference
    found = f"the grid of {short_name(like)} differs from that of the input: "
    if mine.shape != other.shape:
        found += f"{other.shape} and {mine.shape} voxels (Z, Y, X)"
    else:
        apart = np.abs(mine.in_unit(other.unit).corners() - other.corners()).max()
        found += f"corners are up to {apart:.3g} {other.unit} apart"
    raise GeometryError(
        found=found,
        needed="labels on the grid of that image",
        do="name the image, or its #part=, that the labels were made on",
    )
