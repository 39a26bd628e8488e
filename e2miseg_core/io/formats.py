"""The formats: which suffix is read and written by what, and opening by name."""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ChoiceError, ReadError
from e2miseg_core.io.address import Address, AnySource
from e2miseg_core.io.plan import WritePlan
from e2miseg_core.io.stated_spacing import with_stated_spacing
from e2miseg_core.volume import Segments, Volume

__all__ = [
    "CHANNELS",
    "FORMATS",
    "Format",
    "format_of",
    "is_writable_suffix",
    "known_suffixes",
    "open_labels",
    "open_volume",
    "split_suffix",
]


# A part that names further images, as channels on the grid of the image it is of.
CHANNELS = "channels:"

# Labels stored as scaled integers come back off by the scaling's rounding.
_ROUNDING = 1e-3


@dataclass(frozen=True, kw_only=True)
class Format:
    """One file format.

    Its functions are named ``module:function`` and loaded when first used: some need
    libraries that take a second to import.

    Attributes
    ----------
    key : str
        `Source.format` of what is read.
    name : str
        For users.
    suffixes : tuple of str
        Lower case, the usual one first.
    is_folder : bool
        Whether an image is a folder.
    reader : str
        Opens an `Address` lazily.
    writer : str
        Writes a plan to a new path and returns the CRC-32 of the voxels; empty where
        the format is only read.
    recognises : str
        Tells by the content whether a path without a known suffix is of the format;
        empty where only the suffix tells.
    remote : bool
        Whether `reader` takes URLs; files of other formats are fetched first.
    has_parts : bool
        Whether one file or folder can hold several images.
    keeps_names : bool
        Whether `writer` keeps names and colours of labels.
    """

    key: str
    name: str
    suffixes: tuple[str, ...]
    is_folder: bool
    reader: str
    writer: str = ""
    recognises: str = ""
    remote: bool = False
    has_parts: bool = False
    keeps_names: bool = False

    def read(self, address: Address) -> Volume:
        """Open an image lazily."""
        volume: Volume = _load(self.reader)(address)
        return volume

    def write(self, plan: WritePlan, path: Path) -> int:
        """Write a plan to a new path; returns the CRC-32 of the voxels."""
        checksum: int = _load(self.writer)(plan, path)
        return checksum

    def holds(self, path: Path) -> bool:
        """Whether the content of a path is of this format."""
        return bool(self.recognises and _load(self.recognises)(path))


def _load(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return loaded


FORMATS = (
    Format(
        key="nifti",
        name="NIfTI",
        suffixes=(".nii.gz", ".nii"),
        is_folder=False,
        reader="e2miseg_core.io.nifti.image:read_nifti",
        writer="e2miseg_core.io.nifti.image:write_nifti",
    ),
    Format(
        key="nifti",
        name="NIfTI or Analyze pair",
        suffixes=(".hdr", ".img", ".hdr.gz", ".img.gz"),
        is_folder=False,
        reader="e2miseg_core.io.nifti.image:read_nifti",
    ),
    Format(
        key="nrrd",
        name="NRRD",
        suffixes=(".nrrd", ".seg.nrrd"),
        is_folder=False,
        reader="e2miseg_core.io.nrrd.image:read_nrrd",
        writer="e2miseg_core.io.nrrd.image:write_nrrd",
        keeps_names=True,
    ),
    Format(
        key="nrrd",
        name="NRRD header",
        suffixes=(".nhdr",),
        is_folder=False,
        reader="e2miseg_core.io.nrrd.image:read_nrrd",
    ),
    Format(
        key="metaimage",
        name="MetaImage",
        suffixes=(".mha",),
        is_folder=False,
        reader="e2miseg_core.io.metaimage.image:read_metaimage",
        writer="e2miseg_core.io.metaimage.image:write_metaimage",
        keeps_names=True,
    ),
    Format(
        key="metaimage",
        name="MetaImage header",
        suffixes=(".mhd",),
        is_folder=False,
        reader="e2miseg_core.io.metaimage.image:read_metaimage",
    ),
    Format(
        key="numpy",
        name="NumPy array",
        suffixes=(".npy",),
        is_folder=False,
        reader="e2miseg_core.io.npy.image:read_npy",
    ),
    Format(
        key="numpy",
        name="NumPy archive",
        suffixes=(".npz",),
        is_folder=False,
        reader="e2miseg_core.io.npy.image:read_npz",
        has_parts=True,
    ),
    Format(
        key="ome-zarr",
        name="OME-Zarr",
        suffixes=(".ome.zarr", ".zarr"),
        is_folder=True,
        reader="e2miseg_core.io.ome.reader:read_zarr",
        has_parts=True,
        writer="e2miseg_core.io.ome.writer:write_ome_zarr",
        keeps_names=True,
        recognises="e2miseg_core.io.ome.store:is_zarr",
        remote=True,
    ),
    Format(
        key="zarr",
        name="zipped OME-Zarr",
        suffixes=(".zarr.zip", ".ozx"),
        is_folder=False,
        reader="e2miseg_core.io.ome.reader:read_zarr",
        has_parts=True,
        recognises="e2miseg_core.io.ome.store:is_zipped_zarr",
    ),
    Format(
        key="dicom",
        name="DICOM",
        suffixes=(".dcm",),
        is_folder=False,
        reader="e2miseg_core.io.dicom.reading:open_dicom",
        has_parts=True,
        writer="e2miseg_core.io.dicom.segmentation_writer:write_segmentation",
        keeps_names=True,
        recognises="e2miseg_core.io.dicom.reading:holds_dicom",
    ),
    Format(
        key="dicom",
        name="DICOM",
        suffixes=(".dicom", ".ima", ".dcm.gz"),
        is_folder=False,
        reader="e2miseg_core.io.dicom.reading:open_dicom",
        has_parts=True,
    ),
    Format(
        key="foreign",
        name="FreeSurfer",
        suffixes=(".mgz", ".mgh", ".mgh.gz"),
        is_folder=False,
        reader="e2miseg_core.io.foreign.mgh:read_mgh",
    ),
    Format(
        key="foreign",
        name="formats of nibabel and SimpleITK",
        suffixes=(
            *(".head", ".brik", ".brik.gz", ".mnc"),
            *(".par", ".rec", ".mif", ".mif.gz", ".gipl", ".gipl.gz"),
            *(".vtk", ".mrc", ".pic", ".spr"),
        ),
        is_folder=False,
        reader="e2miseg_core.io.foreign.image:read_foreign",
    ),
    Format(
        key="hdf5",
        name="HDF5",
        suffixes=(".h5", ".hdf5", ".hdf", ".he5"),
        is_folder=False,
        reader="e2miseg_core.io.hdf5.image:read_hdf5",
        has_parts=True,
        recognises="e2miseg_core.io.hdf5.image:is_hdf5",
    ),
    Format(
        key="tiff",
        name="TIFF",
        suffixes=(".ome.tiff", ".ome.tif", ".tiff", ".tif", ".btf", ".tf8", ".lsm"),
        is_folder=False,
        reader="e2miseg_core.io.tiff.image:read_tiff",
        has_parts=True,
        recognises="e2miseg_core.io.tiff.image:is_tiff",
    ),
    Format(
        key="tiff",
        name="folder of slices",
        suffixes=(),
        is_folder=True,
        reader="e2miseg_core.io.slices.folder:read_slices",
        has_parts=True,
        recognises="e2miseg_core.io.slices.folder:is_slice_folder",
    ),
)


def known_suffixes(*, writable: bool = False) -> tuple[str, ...]:
    """Suffixes that can be read, or those that can be written."""
    return tuple(
        suffix
        for known in FORMATS
        if known.writer or not writable
        for suffix in known.suffixes
    )


def is_writable_suffix(path: str | Path) -> bool:
    """Whether a file of this name can be written."""
    found = format_of(path)
    return found is not None and bool(found.writer)


def split_suffix(path: str | Path) -> tuple[str, str]:
    """Split a name into stem and known suffix, empty if it has none.

    Parameters
    ----------
    path : str or Path
        Only its last part counts; text may be an address, a Path is none.

    Returns
    -------
    tuple of str
        Such as ("scan", ".nii.gz").
    """
    # What is to be written may have a # in its name, and is not there to tell.
    name = (path if isinstance(path, Path) else Path(Address.parse(path).place)).name
    for suffix in sorted(known_suffixes(), key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    return name, ""


def format_of(path: str | Path) -> Format | None:
    """Find the format by the suffix, None if it is unknown."""
    suffix = split_suffix(path)[1].lower()
    return next((known for known in FORMATS if suffix in known.suffixes), None)


def open_volume(
    source: AnySource, *, part: str = "", frame: int | None = None
) -> Volume:
    """Open an image of any size without reading its voxels.

    Parameters
    ----------
    source : str, Path or Address
        A file, a folder or a URL, as text also with what to open in it, such as
        ``file.h5#part=/raw``, and with the size of its voxels where the file has none,
        ``stack#spacing=50,4.6,4.6&unit=nm``.
    part : str
        What to open where there are several images; instead of the text's.
    frame : int, optional
        One of the frames of a series, from 0; without it all become channels.

    Returns
    -------
    Volume
        Lazy, in canonical orientation.

    Raises
    ------
    ReadError
        If it is missing, damaged or of an unknown format. Damage to the voxels
        themselves is found, and raised, when they are read.
    GeometryError
        If its header has no usable grid, or there is no such frame.
    """
    parsed = Address.parse(source)
    frame = parsed.frame if frame is None else frame
    # The size of voxels is no reader's business: it is put right at the end.
    address = Address(parsed.place, part or parsed.part, frame)
    if address.part.startswith(CHANNELS):
        volume: Volume = _load("e2miseg_core.io.channels.names:read_channels")(address)
    elif address.is_remote:
        volume = _load("e2miseg_core.io.remote.files:open_remote")(address)
    else:
        volume = _read_here(address)
    if frame is not None:
        volume = volume.frame(frame)
    return with_stated_spacing(volume, parsed)


def _read_here(address: Address) -> Volume:
    """Open a file or folder of this machine."""
    found = _format_to_read(address)
    if address.part and not found.has_parts:
        raise ReadError(
            found=f"the part {address.part!r:.100} of {address.place}",
            needed=f"no part: a file of {found.name} holds one image",
            do="leave it out",
        )
    # Not of Path, whose methods raise for names that no system takes.
    is_file = os.path.isfile(address.path)  # noqa: PTH113
    if is_file and not address.path.stat().st_size:
        raise ReadError(
            found=f"{address.place}: the file is empty",
            needed=f"a file of {found.name}",
            do="copy or export it again",
        )
    try:
        return found.read(address)
    except ChoiceError as error:
        if address.frame is None:
            raise
        first = replace(address, part=error.choices[0].part)
        advice = f"name it before its frame, such as {first}"
        raise error.with_advice(advice) from None


def _format_to_read(address: Address) -> Format:
    """Find the format by the suffix, else by the content."""
    place = address.path
    named = found = format_of(place)
    # Not of Path, whose methods raise for names that no system takes.
    is_folder, is_there = os.path.isdir(place), os.path.exists(place)  # noqa: PTH110, PTH112
    if found is not None and not found.is_folder and is_folder:
        found = None  # a folder of slices may be called so
    if found is None and is_there:
        found = next((known for known in FORMATS if known.holds(place)), None)
    if found is not None:
        return found
    if is_folder and named is not None:
        raise ReadError(
            found=f"{place} is a folder", needed="a file", do="name a file in it"
        )
    if is_folder:
        raise ReadError(
            found=f"{place} is of an unknown format",
            needed="a folder of DICOM files or of slices, or a zarr",
            do="name a file in it",
        )
    what = "is missing" if not is_there else "is of an unknown format"
    usual = {known.name: known.suffixes[0] for known in FORMATS if known.suffixes}
    names = [f"{name} ({suffix})" for name, suffix in usual.items()]
    raise ReadError(
        found=f"{place} {what}",
        needed="one of these: " + ", ".join(names),
        do="check the path and the name's end, or convert the image",
    )


def open_labels(source: AnySource) -> Volume:
    """Open labels without reading their voxels.

    Parameters
    ----------
    source : str, Path or Address
        As for `open_volume`.

    Returns
    -------
    Volume
        One channel of unsigned integers. Whole numbers that are stored in another
        type, to within 0.001, are converted as they are read.

    Raises
    ------
    ReadError
        At once if there are several channels; when voxels are read, if one of them
        is negative or not a whole number.
    """
    volume = open_volume(source)
    place = str(source) if volume.source is None else volume.source.uri
    if volume.n_channels != 1:
        raise ReadError(
            found=f"{place} has {volume.n_channels} channels",
            needed="labels: one whole number a voxel",
            do=f"choose the label file, or one channel, as "
            f"{replace(Address.parse(place), frame=0)}",
        )
    return replace(
        volume,
        levels=tuple(_as_labels(level, place) for level in volume.levels),
        channels=("labels",),
        segments=volume.segments or Segments(),
    )


def _as_labels(level: da.Array, uri: str) -> da.Array:
    stored: np.dtype[Any] = level.dtype
    if stored.kind == "u":
        return level
    # Of the width that holds every value of a signed type; 32 bits for real numbers.
    width = min(stored.itemsize, 4) if stored.kind in "ib" else 4
    dtype = np.dtype(f"u{width}")
    labels: da.Array = da.map_blocks(  # type: ignore[no-untyped-call]
        _checked_labels,
        level,
        uri,
        dtype,
        dtype=dtype,
        meta=np.empty((0, 0, 0, 0), dtype),
    )
    return labels


def _checked_labels(
    block: NDArray[Any], uri: str, target: np.dtype[Any]
) -> NDArray[Any]:
    whole = np.rint(block) if block.dtype.kind == "f" else block
    with np.errstate(invalid="ignore"):  # NaN and infinity are found to differ
        labels = whole.astype(target)
        wrong = labels != whole
        if block.dtype.kind == "f":
            wrong |= np.abs(block - whole) > _ROUNDING
    if wrong.any():
        raise ReadError(
            found=f"{uri} holds the value {block[wrong].flat[0]}",
            needed="labels: whole numbers from 0 to 4294967295",
            do="choose the label file, or round its values",
        )
    return labels
