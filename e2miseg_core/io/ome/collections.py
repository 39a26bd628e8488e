"""Zarr groups that hold several images: plates, series, labels, groups of arrays."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import zarr

from e2miseg_core.errors import Choice
from e2miseg_core.io.address import Address
from e2miseg_core.io.axes import faults
from e2miseg_core.io.ome.image import inner_path, ome_of
from e2miseg_core.io.ome.store import attributes_of
from e2miseg_core.io.remote.address import name_of

__all__ = ["images_in", "label_names", "shape_text"]

_DEEPEST = 4  # groups that are looked into without metadata that says where
_MOST_LISTED = 200
_SERIES = "bioformats2raw.layout"


def shape_text(shape: Sequence[int], dtype: np.dtype[Any]) -> str:
    """Tell an array in a list, such as "4 x 5 x 6, uint8"."""
    return f"{' x '.join(map(str, shape))}, {dtype}"


def label_names(group: "zarr.Group") -> tuple[str, ...]:
    """Names of the label images that lie beside an image."""
    try:
        stated = ome_of(attributes_of(group["labels"])).get("labels")
    except faults():  # most images have none
        return ()
    return tuple(map(str, stated)) if isinstance(stated, list) else ()


def images_in(address: Address, group: "zarr.Group") -> list[Choice]:
    """Find the images of a group that is none itself.

    Parameters
    ----------
    address : Address
        Of the group; its part is put before those found.
    group : zarr.Group
        A plate, a well, the series of a converted file, a group of labels, or any.

    Returns
    -------
    list of Choice
        Empty if there are none that can be found.
    """
    uri = name_of(address)
    stated = ome_of(attributes_of(group))
    try:
        named = [
            (inner_path(uri, path), title) for path, title in _named(group, stated)
        ]
    except (KeyError, TypeError, AttributeError):
        named = []
    if named:
        found = [Choice(path, title) for path, title in named]
    else:
        found = list(islice(_walk(group, "", 0), _MOST_LISTED))
    lead = address.part.strip("/")
    return [
        Choice(
            f"{lead}/{choice.part}" if lead else choice.part,
            choice.title,
            choice.detail,
        )
        for choice in found
    ]


def _named(group: "zarr.Group", stated: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield paths and titles that the metadata gives."""
    if "plate" in stated:
        for well in stated["plate"]["wells"]:
            yield well["path"], f"well {well['path']}"
    elif "well" in stated:
        for image in stated["well"]["images"]:
            yield image["path"], f"field {image['path']}"
    elif isinstance(stated.get("labels"), list):
        for name in stated["labels"]:
            yield name, f"labels {name}"
    elif _SERIES in stated or _SERIES in attributes_of(group):
        for path in _series(group):
            yield path, f"series {path}"


def _series(group: "zarr.Group") -> list[str]:
    """Paths of the series of a converted file: as listed, else 0, 1, 2 ..."""
    try:
        listed = ome_of(attributes_of(group["OME"])).get("series")
    except faults():
        listed = None
    if isinstance(listed, list) and listed:
        return [str(path) for path in listed]
    paths: list[str] = []
    while len(paths) < _MOST_LISTED and str(len(paths)) in group:
        paths.append(str(len(paths)))
    return paths


def _walk(group: "zarr.Group", path: str, depth: int) -> Iterator[Choice]:
    """Look for images and arrays where no metadata says where they are."""
    try:
        members = sorted(group.members())
    except faults():  # a URL that cannot be listed
        return
    for name, node in members:
        part = f"{path}/{name}" if path else name
        if isinstance(node, zarr.Array):
            if node.ndim >= 3 and node.dtype.kind in "biuf":
                yield Choice(part, part, shape_text(node.shape, node.dtype))
        elif "multiscales" in ome_of(attributes_of(node)):
            yield Choice(part, part, "image")
        elif depth < _DEEPEST:
            yield from _walk(node, part, depth + 1)
