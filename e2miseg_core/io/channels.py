"""Several images as the channels of one case: their address, and opening them.

As an address, such a case is the first image with the others in its part:
``pet.nii.gz#part=channels:PET=|CT=ct.nii.gz``. The others' paths are relative to the
folder of the first, so files that are moved together are found together.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

from e2miseg_core.errors import ConfigError, ReadError
from e2miseg_core.io.address import Address, AnySource
from e2miseg_core.io.combine import combine
from e2miseg_core.io.formats import CHANNELS, open_volume
from e2miseg_core.volume import Volume

__all__ = ["channels_address", "open_channels", "read_channels"]

_SAFE = "/ .:,()"


def open_channels(sources: Mapping[str, AnySource]) -> Volume:
    """Open several images as the channels of one case.

    Parameters
    ----------
    sources : mapping of str to str, Path or Address
        By the channels' names; the first one's grid is that of the case.

    Returns
    -------
    Volume
        As `combine` makes it. Its `source.uri` opens it again.

    Raises
    ------
    ConfigError
        If there is none, or one without a name.
    ReadError, GeometryError
        If one of them cannot be read.
    """
    return open_volume(channels_address(sources))


def channels_address(sources: Mapping[str, AnySource]) -> Address:
    """Return the address of several images as channels.

    Parameters
    ----------
    sources : mapping of str to str, Path or Address
        By the channels' names, that of the grid first.
    """
    parsed = {name: Address.parse(source) for name, source in sources.items()}
    if not parsed or not all(parsed):
        raise ConfigError(
            found=f"the channels {list(parsed)}",
            needed="at least one channel, and a name for each",
            do="name them, such as PET=pet.nii.gz",
        )
    first = next(iter(parsed.values()))
    words = []
    for number, (name, address) in enumerate(parsed.items()):
        place = _beside(first, address) if number else ""
        inside = str(replace(address, place=""))
        text = quote(place, safe=_SAFE) + inside
        words.append(f"{quote(name, safe=_SAFE)}={quote(text, safe=_SAFE)}")
    return Address(first.place, CHANNELS + "|".join(words))


def _beside(first: Address, address: Address) -> str:
    """Return a place as seen from the folder of the first image."""
    if address.is_remote or first.is_remote:
        return address.place
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
    volumes: dict[str, Volume] = {}
    for number, word in enumerate(address.part.removeprefix(CHANNELS).split("|")):
        name, mark, text = word.partition("=")
        name, text = unquote(name), unquote(text)
        if not mark or not name or name in volumes or (number and not text):
            raise ReadError(
                found=f"the channels {address.part!r:.200}",
                needed="NAME=|NAME=FILE, every name once",
                do="correct the address",
            )
        volumes[name] = open_volume(_seen_from(address, text))
    volume = combine(volumes)
    if volume.source is None:
        return volume
    return replace(volume, source=replace(volume.source, uri=str(address)))


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
