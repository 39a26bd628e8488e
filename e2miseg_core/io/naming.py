"""Names and places of images that are told by an address: a path or URL, and a part."""

import os
import re
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from e2miseg_core.io.address import Address, AnySource
from e2miseg_core.io.formats import CHANNELS, is_writable_suffix, split_suffix
from e2miseg_core.io.part_key import same_part, split_key

__all__ = [
    "absolute",
    "exists",
    "label_suffix",
    "same_place",
    "short_name",
    "suggested_name",
]


def absolute(source: AnySource) -> Address:
    """Return the address that means the same wherever a program was started.

    Parameters
    ----------
    source : str, Path or Address
        A URL stays as it is.
    """
    address = Address.parse(source)
    if address.is_remote:
        return address
    # Not resolved: a link is a place that the user chose.
    place = os.path.abspath(address.path)  # noqa: PTH100 - removes ".." too
    return replace(address, place=place)


def exists(source: AnySource) -> bool:
    """Whether there is a file or folder; of a URL only opening it can tell."""
    address = Address.parse(source)
    return address.is_remote or address.path.exists()


def same_place(one: AnySource, other: AnySource) -> bool:
    """Whether two addresses mean the same image on the same grid, links followed."""
    first, second = Address.parse(one), Address.parse(other)
    if (first.spacing, first.unit) != (second.spacing, second.unit):
        return False
    if first.frame != second.frame or not same_part(first.part, second.part):
        return False
    if first.is_remote or second.is_remote:
        return first.place == second.place
    return first.path.resolve() == second.path.resolve()


def short_name(source: AnySource) -> str:
    """Return an image's name for messages: the last of its place, and the part.

    Parameters
    ----------
    source : str, Path or Address
        Such as ``/data/scan.h5#part=/raw``, which becomes ``scan.h5 (/raw)``. What
        follows the ``?`` of a URL may be secret, and is left out.
    """
    address = Address.parse(source)
    place = address.place.partition("?")[0] if address.is_remote else address.place
    name = place.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    part = _own_part(address)
    return f"{name} ({part})" if part else name


def suggested_name(source: AnySource) -> str:
    """Return a name for an image: of the file without its suffix, then of the part.

    Parameters
    ----------
    source : str, Path or Address
        Such as ``a/scan.h5#part=/raw``, which becomes ``scan_raw``; a suffix inside
        the part goes too.
    """
    address = Address.parse(source)
    place = address.place
    if address.is_remote:
        parts = urlsplit(place)
        place = unquote(parts.path) or parts.netloc  # a query may be secret
    name = split_suffix(place.rstrip("/\\"))[0]
    part = re.sub(r"[^\w.-]+", "_", _own_part(address)).strip("_")
    frame = "" if address.frame is None else f"frame{address.frame}"
    return "_".join(word for word in (name, part, frame) if word)


def label_suffix(source: AnySource) -> str:
    """Return the suffix to offer for labels of an image: its own where that can be.

    Parameters
    ----------
    source : str, Path or Address
        Of the image. Beside DICOM, HDF5 and the like NIfTI is offered, which the
        field reads everywhere.
    """
    address = Address.parse(source)
    suffix = split_suffix(address.place)[1].lower()
    if suffix in (".nii", ".nii.gz"):
        return suffix
    if ".zarr" in address.place:
        return ".ome.zarr"
    # A part has siblings in the same file, so a file of its own is another kind.
    own = suffix and not _own_part(address) and is_writable_suffix(f"labels{suffix}")
    return suffix if own else ".nii.gz"


def _own_part(address: Address) -> str:
    """The part of a file or folder, none for files that are channels together."""
    return "" if address.part.startswith(CHANNELS) else split_key(address.part)[0]
