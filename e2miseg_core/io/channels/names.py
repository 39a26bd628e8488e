"""Several images as the channels of one case: their address, and opening them.

As an address, such a case is the image that gives the grid, with the others in its
part: ``pet.nii.gz#part=channels:PET=|CT=ct.nii.gz``. The others' paths are relative to
its folder, so files that are moved together are found together.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

from e2miseg_core.errors import ConfigError, ReadError
from e2miseg_core.io.address import Address, AnySource
from e2miseg_core.io.channels.combine import combine
from e2miseg_core.io.formats import CHANNELS, open_volume
from e2miseg_core.io.remote.shown import without_secrets
from e2miseg_core.volume import Volume

__all__ = ["channels_address", "images_of", "open_channels", "read_channels"]

_SAFE = "/ .:,()"


def open_channels(sources: Mapping[str, AnySource], grid: str = "") -> Volume:
    """Open several images as the channels of one case.

    Parameters
    ----------
    sources : mapping of str to str, Path or Address
        By the channels' names, in their order.
    grid : str
        Name of the one whose grid is that of the case; else the first.

    Returns
    -------
    Volume
        As `combine` makes it. Its `source.uri` opens it again.

    Raises
    ------
    ConfigError
        If there is none, one without a name, or none of the name `grid`.
    ReadError, GeometryError
        If one of them cannot be read.
    """
    return open_volume(channels_address(sources, grid))


def channels_address(sources: Mapping[str, AnySource], grid: str = "") -> Address:
    """Return the address of several images as channels.

    Parameters
    ----------
    sources : mapping of str to str, Path or Address
        By the channels' names, in their order.
    grid : str
        Name of the one whose grid is that of the case; else the first.
    """
    parsed = {name: Address.parse(source) for name, source in sources.items()}
    title = grid or next(iter(parsed), "")
    if title not in parsed or not all(parsed):
        raise ConfigError(
            found=f"the channels {list(parsed)}"
            + (f" on the grid of {grid}" if grid else ""),
            needed="at least one channel, a name for each, and that of the grid",
            do="name them, such as PET=pet.nii.gz",
        )
    first = parsed[title]
    words = []
    for name, address in parsed.items():
        place = "" if name == title else _beside(first, address)
        inside = str(replace(address, place=""))
        text = quote(place, safe=_SAFE) + inside
        words.append(f"{quote(name, safe=_SAFE)}={quote(text, safe=_SAFE)}")
    return Address(first.place, CHANNELS + "|".join(words))


def _beside(first: Address, address: Address) -> str:
    """Return a place as seen from the folder of the first image."""
    if address.is_remote:
        return address.place
    if first.is_remote:
        return os.path.abspath(address.path)  # noqa: PTH100
    folder, place = (
        os.path.abspath(path)  # noqa: PTH100 - removes ".." too
        for path in (first.path.parent, address.path)
    )
    try:
        return Path(os.path.relpath(place, folder)).as_posix()
    except ValueError:  # on another drive
        return Path(place).as_posix()


def read_channels(address: Address) -> Volume:
    """Open the images that an address of channels names.

    Raises
    ------
    ReadError
        If it is no such address, or one of them cannot be read.
    """
    named, grid = _parsed(address)
    volume = combine({name: open_volume(image) for name, image in named.items()}, grid)
    if volume.source is None:
        return volume
    shown = channels_address(
        {
            name: replace(image, place=without_secrets(image.place))
            for name, image in named.items()
        },
        grid,
    )
    uri = str(replace(address, place=shown.place, part=shown.part))
    return replace(volume, source=replace(volume.source, uri=uri))


def images_of(source: AnySource) -> tuple[Address, ...]:
    """Return the addresses of all images of a case: one, or one a channel.

    Raises
    ------
    ReadError
        If it is a damaged address of channels.
    """
    address = Address.parse(source)
    if not address.part.startswith(CHANNELS):
        return (address,)
    named, _ = _parsed(address)
    return tuple(named.values())


def _parsed(address: Address) -> tuple[dict[str, Address], str]:
    """Addresses by the names of the channels, and the name of the grid's."""
    named: dict[str, Address] = {}
    grids = []
    for word in address.part.removeprefix(CHANNELS).split("|"):
        name, mark, text = word.partition("=")
        name, text = unquote(name), unquote(text)
        if not text.partition("#")[0]:
            grids.append(name)
        if not mark or not name or name in named:
            grids.clear()
            break
        named[name] = _seen_from(address, text)
    if len(grids) != 1:
        raise ReadError(
            found=f"the address of channels of {without_secrets(address.place)}",
            needed="NAME=|NAME=FILE, every name once, one without a file",
            do="correct the address",
        )
    return named, grids[0]


def _seen_from(address: Address, text: str) -> Address:
    """Return the address of a channel; without a place it is the first image."""
    quoted, mark, fragment = text.partition("#")
    place = unquote(quoted)
    inside = Address.parse("#" + fragment) if mark else Address("")
    if not place:
        return replace(inside, place=address.place)
    other = replace(inside, place=place)
    if other.is_remote or address.is_remote or Path(place).is_absolute():
        return other
    return replace(other, place=os.path.normpath(address.path.parent / place))
