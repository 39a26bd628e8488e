"""Finding an image again in a file or folder that holds others by now."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from e2miseg_core.errors import ChoiceError, GeometryError, ReadError
from e2miseg_core.io import open_volume
from e2miseg_core.io.address import Address
from e2miseg_core.io.formats import CHANNELS
from e2miseg_core.volume import Volume

__all__ = ["find_image"]


def find_image(
    image: Address, is_same: Callable[[Volume], bool]
) -> tuple[Volume, Address]:
    """Open an address, or what was meant by it before other images came.

    Parameters
    ----------
    image : Address
        Where it was.
    is_same : callable
        Whether a volume is the image.

    Returns
    -------
    Volume
        The image; where none is the same, what the address opens now.
    Address
        That opens it.

    Raises
    ------
    ReadError, GeometryError
        If it cannot be opened; `ChoiceError` if there are several, and none of them
        is the image.
    """
    try:
        volume = open_volume(image)
    except (ReadError, GeometryError) as error:
        again = _among(_others(image, error), is_same)
        if again is None:
            raise
        return again
    if is_same(volume):
        return volume, image
    return _among(_others(image), is_same) or (volume, image)


def _among(
    addresses: Iterable[Address], is_same: Callable[[Volume], bool]
) -> tuple[Volume, Address] | None:
    for address in addresses:
        try:
            volume = open_volume(address)
        except (ReadError, GeometryError):  # of another kind, or damaged
            continue
        if is_same(volume):
            return volume, _with_part_of(volume, address)
    return None


def _others(image: Address, error: Exception | None = None) -> Iterator[Address]:
    """Yield what else its file or folder holds."""
    if image.part.startswith(CHANNELS):  # several files, each with its own part
        return
    if image.part and not isinstance(error, ChoiceError):
        # Numbers of parts change when others come.
        whole = replace(image, part="")
        try:
            open_volume(whole)
        except ChoiceError as caught:
            error = caught
        except (ReadError, GeometryError):
            return
        else:
            yield whole
    if isinstance(error, ChoiceError):
        for choice in error.choices:
            if choice.part != image.part:
                yield replace(image, part=choice.part)


def _with_part_of(volume: Volume, address: Address) -> Address:
    """Return the address with the part as the volume itself tells it."""
    if volume.source is None or not volume.source.uri:
        return address
    return replace(address, part=Address.parse(volume.source.uri).part)
