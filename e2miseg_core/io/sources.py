"""What a volume is read from, so that no output is ever written over it."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from e2miseg_core.errors import WriteError
from e2miseg_core.io.address import Address, AnySource
from e2miseg_core.io.channels.names import images_of
from e2miseg_core.io.part_key import split_key
from e2miseg_core.volume import Volume

__all__ = ["check_no_source", "files_of", "is_own_label_file", "places_of"]


def places_of(source: AnySource) -> Iterator[Path]:
    """Yield the files and folders on this machine that an address names."""
    if not str(source):  # of an array in memory
        return
    for image in images_of(source):
        if not image.is_remote:
            yield image.path


def files_of(volume: Volume) -> Iterator[Path]:
    """Yield what a volume is read from: its address, and files that this names."""
    if volume.source is None:
        return
    yield from places_of(volume.source.uri)
    details = volume.source.details
    yield from map(Path, details.get("files", ()))
    planes = details.get("planes", ())
    yield from {Path(plane[0]) for plane in planes if plane is not None}


def check_no_source(path: Path, sources: Iterable[Path]) -> None:
    """Raise WriteError if an output would replace an input, or a part of one.

    Parameters
    ----------
    path : Path
        Of the output.
    sources : iterable of Path
        Files and folders that are read. An existing file inside such a folder counts
        as a part of it.
    """
    # Not of Path, which raises for names that no system takes.
    if not os.path.exists(path):  # noqa: PTH110
        return
    output = path.resolve()
    for source in sources:
        place = source.resolve()
        is_same = output == place or (place.exists() and output.samefile(place))
        if is_same or output in place.parents or place in output.parents:
            raise WriteError(
                found=f"the image {path} as an output",
                needed="a name that is no input: images are never written over",
                do="choose another folder or name",
            )


def is_own_label_file(path: Path, volume: Volume) -> bool:
    """Whether a path is the one file, or store, that labels were read from."""
    if volume.source is None or volume.segments is None:
        return False
    address = Address.parse(volume.source.uri)
    # A part is one of several images, which the others would be lost with.
    if not address.place or address.is_remote or split_key(address.part)[0]:
        return False
    return path.resolve() == address.path.resolve()
