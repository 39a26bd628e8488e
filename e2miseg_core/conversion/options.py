"""What a user may choose about a conversion."""

import os
from dataclasses import dataclass

from e2miseg_core.errors import ConfigError
from e2miseg_core.io.address import AnySource
from e2miseg_core.io.plan import Kind

__all__ = ["ConversionOptions", "unused_options"]

_CHUNKS = (16, 512)  # voxels along an edge, at least and at most
_LEAST_MEMORY = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionOptions:
    """Options of a conversion; levels, chunks, threads and memory are of a pyramid.

    Attributes
    ----------
    kind : str or None
        "labels" or "image"; None to tell by the source.
    n_levels : int or None
        Levels in all; None for as many as bring the longest axis to 256 voxels.
    chunk : int
        Voxels along each edge of a chunk.
    workers : int or None
        Threads; None for one a processor, at most four.
    max_memory : int
        Bytes that all voxels on their way may take.
    overwrite : bool
        Whether an existing output may be replaced.
    resume : bool
        Whether to continue what an interrupted conversion has left.
    like : str, Path, Address or None
        Image whose grid and series a single file refers to, instead of the source:
        DICOM labels must name the series that they were made on.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    kind: Kind | None = None
    n_levels: int | None = None
    chunk: int = 64
    workers: int | None = None
    max_memory: int = 1 << 30
    overwrite: bool = False
    resume: bool = False
    like: AnySource | None = None

    def __post_init__(self) -> None:
        low, high = _CHUNKS
        if not low <= self.chunk <= high or self.chunk & (self.chunk - 1):
            raise ConfigError(
                found=f"chunks of {self.chunk} voxels",
                needed=f"a power of two from {low} to {high}",
                do="take 64 unless you know why not",
            )
        for name, value in (("levels", self.n_levels), ("workers", self.workers)):
            if value is not None and value < 1:
                raise ConfigError(
                    found=f"{value} {name}", needed="at least 1", do="leave it out"
                )
        if self.max_memory < _LEAST_MEMORY:
            raise ConfigError(
                found=f"a memory limit of {self.max_memory} bytes",
                needed=f"at least {_LEAST_MEMORY} (64 MiB)",
                do="allow more memory",
            )

    @property
    def n_workers(self) -> int:
        """Threads to use."""
        return self.workers or min(4, os.cpu_count() or 1)


def unused_options(
    options: ConversionOptions, name: str, n_levels: int, *, is_pyramid: bool
) -> tuple[str, ...]:
    """Say which options could not be followed, as notes.

    Parameters
    ----------
    options : ConversionOptions
        What was asked for.
    name : str
        Of the format that was written.
    n_levels : int
        That were written.
    is_pyramid : bool
        Whether the format holds several levels, which can be resumed.
    """
    if is_pyramid:
        notes = []
        if options.like is not None:
            notes.append(f"like not used: {name} refers to no other image")
        if options.n_levels not in (None, n_levels):
            notes.append(
                f"{n_levels} levels instead of {options.n_levels}: "
                "the coarsest is too small to be halved again"
            )
        return tuple(notes)
    usual = ConversionOptions()
    unused = [
        word
        for word, asked, default in (
            ("levels", options.n_levels, usual.n_levels),
            ("chunk", options.chunk, usual.chunk),
            ("workers", options.workers, usual.workers),
            ("max-memory", options.max_memory, usual.max_memory),
            ("resume", options.resume, usual.resume),
        )
        if asked != default
    ]
    if not unused:
        return ()
    return (f"{', '.join(unused)} not used: {name} holds one level, made in one go",)
