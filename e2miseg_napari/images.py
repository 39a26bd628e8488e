"""The images of a viewer that can be predicted, and how to describe them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath

import numpy as np
from napari.layers import Image, Layer

from e2miseg_core.errors import E2MISegError
from e2miseg_core.geometry import Geometry, orientation_in_words
from e2miseg_core.io.address import Address
from e2miseg_core.io.stated_spacing import has_assumed_spacing
from e2miseg_napari.convert import check_grid, geometry_of, own_metadata
from e2miseg_napari.wording import (
    bytes_in_words,
    directions_in_words,
    grid_in_words,
)

__all__ = [
    "ImageChoice",
    "describe_image",
    "iter_images",
    "orientation_tip",
    "with_voxel_size",
]

_WORDS = r"(?:labels?|masks?|seg(?:mentations?)?)"
_LABELS = re.compile(rf"(?<![a-z]){_WORDS}(?![a-z])")
_LABELS_FOLDER = re.compile(rf"{_WORDS}(?:tr|ts)?")


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageChoice:
    """An image that the user can choose.

    Attributes
    ----------
    title : str
        For the list, and for what results are called.
    layer : Image
        Of several channels the first that is in the viewer.
    """

    title: str
    layer: Image

    @property
    def uri(self) -> str:
        """File that the layer shows as it is, empty where there is none."""
        own = own_metadata(self.layer)
        return str(own.get("uri", "")) if own.get("role") == "image" else ""

    @property
    def n_channels(self) -> int:
        """Number of channels of the volume."""
        return len(own_metadata(self.layer).get("channels", ("image",)))

    @property
    def channels(self) -> tuple[str, ...]:
        """Their names, as far as they are known."""
        return tuple(own_metadata(self.layer).get("channels", ("image",)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading it left to be said."""
        return tuple(own_metadata(self.layer).get("notes", ()))

    @property
    def lacks_spacing(self) -> bool:
        """Whether the file states no size of voxels, so that the user may state it."""
        if not self.uri:
            return False
        stated = Address.parse(self.uri).spacing is not None
        return stated or has_assumed_spacing(self.notes)

    @property
    def looks_like_labels(self) -> bool:
        """Whether it may be a segmentation: by its few values and by its name."""
        if not self.uri or not own_metadata(self.layer).get("few_values", False):
            return False
        address = Address.parse(self.uri)
        *_, folder, name = ("", *PurePath(address.place.lower()).parts)
        if _LABELS_FOLDER.fullmatch(folder):
            return True
        return any(_LABELS.search(word) for word in (name, address.part.lower()))

    def geometry(self) -> Geometry:
        """Grid of the volume.

        Raises
        ------
        GeometryError
            If the layer cannot be predicted.
        """
        check_grid(self.layer)
        if self.uri:
            return Geometry.from_json(own_metadata(self.layer)["geometry"])
        return geometry_of(self.layer)


def iter_images(layers: Iterable[Layer]) -> Iterator[ImageChoice]:
    """Yield the images among layers: one a volume, results left out."""
    seen = set()
    for layer in layers:
        own = own_metadata(layer)
        if not isinstance(layer, Image) or own.get("role", "image") != "image":
            continue
        uri = own.get("uri")
        if uri and uri in seen:
            continue  # another channel
        seen.add(uri)
        title = layer.name
        if len(own.get("channels", ())) > 1:
            title = title.rpartition(": ")[0] or title
        yield ImageChoice(title=title, layer=layer)


def describe_image(choice: ImageChoice) -> tuple[str, str]:
    """Return one or two lines about an image, and what is worth knowing besides."""
    try:
        geometry = choice.geometry()
    except E2MISegError as error:
        return str(error), ""
    layer, own = choice.layer, own_metadata(choice.layer)
    data = layer.data[0] if layer.multiscale else layer.data
    voxels = float(np.prod(geometry.shape)) * choice.n_channels
    assumed = has_assumed_spacing(choice.notes)
    facts = [grid_in_words(geometry) + (" (assumed)" if assumed else "")]
    if choice.n_channels > 1:
        facts.append(f"{choice.n_channels} channels")
    facts.append(f"{bytes_in_words(voxels * np.dtype(data.dtype).itemsize)}")
    if own:
        facts.append(orientation_in_words(geometry.orientation, own["orientation"]))
    remarks = [*choice.notes]
    if own.get("oblique"):
        remarks.append("oblique scan, shown along its own axes, saved on its grid")
    if not choice.uri:
        remarks.append(
            "not from a file: its axes are taken as superior, posterior, left"
        )
    return ", ".join(facts), "; ".join(remarks)


def orientation_tip(choice: ImageChoice) -> str:
    """Return what the letters of the orientation mean, for a tool tip."""
    orientation = own_metadata(choice.layer).get("orientation")
    if not orientation:
        return ""
    return (
        f"In the file the axes grow towards {directions_in_words(orientation)}, from "
        "the slowest to the fastest. Sizes are told along Z, Y, X as shown."
    )


def with_voxel_size(uri: str, text: str) -> Address:
    """Return an image's address with the size of voxels that a user typed.

    Parameters
    ----------
    uri : str
    text : str
        Such as "50, 4.6, 4.6 nm" or "0.5 um"; along Z, Y, X.

    Raises
    ------
    ReadError
        If that is no size.
    """
    found = re.search(r"[^\W\d]*$", text.strip())
    unit = "" if found is None else found[0]
    numbers = text.strip().removesuffix(unit)
    sizes = [size for size in re.split(r"[\s,;x×]+", numbers) if size]
    sizes = 3 * sizes if len(sizes) == 1 else sizes
    stated = Address.parse(f"#spacing={','.join(sizes)}&unit={unit or 'mm'}")
    return replace(Address.parse(uri), spacing=stated.spacing, unit=stated.unit)
