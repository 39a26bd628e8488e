"""Reading and writing of images and labels, one format a module."""

from e2miseg_core.io.address import Address
from e2miseg_core.io.channels.names import open_channels
from e2miseg_core.io.formats import (
    is_writable_suffix,
    known_suffixes,
    open_labels,
    open_volume,
    split_suffix,
)
from e2miseg_core.io.ome.writer import create_store
from e2miseg_core.io.writing import write_image, write_labels

__all__ = [
    "Address",
    "create_store",
    "is_writable_suffix",
    "known_suffixes",
    "open_channels",
    "open_labels",
    "open_volume",
    "split_suffix",
    "write_image",
    "write_labels",
]
