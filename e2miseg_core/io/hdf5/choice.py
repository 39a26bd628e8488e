"""Which data set of an HDF5 file is the image."""

from collections.abc import Iterator

import h5py

from e2miseg_core.errors import Choice, ChoiceError, ReadError
from e2miseg_core.io.address import Address

__all__ = ["IMAGE_AXES", "choose_dataset"]

IMAGE_AXES = {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}  # by the number of axes
# Names of the one data set to be opened among several, the first that is there.
_IMAGES = ("image", "raw", "data", "volume", "img", "exported_data")
_MOST_LISTED = 200
_DEEPEST = 8


def choose_dataset(address: Address, file: "h5py.File") -> tuple[str, list[str]]:
    """Name the data set to open, and say why it was that one.

    Raises
    ------
    ChoiceError
        If several could be meant.
    ReadError
        If there is none.
    """
    if address.part:
        return address.part, []
    choices = list(_candidates(file, "", 0))
    if not choices:
        raise ReadError(
            found=f"{address.path} has no data set of 2 to 5 axes of numbers",
            needed="an image",
            do="name a data set, such as #part=/raw, or convert the file",
        )
    if len(choices) == 1:
        return choices[0].part, []
    for wanted in _IMAGES:
        named = [c for c in choices if c.part.rpartition("/")[2].lower() == wanted]
        if len(named) == 1:
            others = ", ".join(c.part for c in choices if c is not named[0])
            return named[0].part, [
                f"{named[0].part} opened by its name; also there: {others[:200]}"
            ]
    raise ChoiceError.among(Address(address.place), "data sets", choices)


def _candidates(group: "h5py.Group", path: str, depth: int) -> Iterator[Choice]:
    """Find data sets that can be images; links are not followed."""
    for name in list(group)[:_MOST_LISTED]:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        kind = group.get(name, getclass=True)
        part = f"{path}/{name}"
        if kind is h5py.Group and depth < _DEEPEST:
            yield from _candidates(group[name], part, depth + 1)
        elif kind is h5py.Dataset:
            found = group[name]
            is_image = found.dtype.kind in "biuf" and found.ndim in IMAGE_AXES
            if is_image and found.size:
                shape = " x ".join(map(str, found.shape))
                yield Choice(part, part, f"{shape}, {found.dtype}")
