"""Images of nibabel and SimpleITK in one form; runs in a guarded child process only."""

import functools
import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.io.foreign.copy import ForeignImage

__all__ = ["open_nibabel", "open_simpleitk"]

_IMAGE_IO = {
    ".gipl": "GiplImageIO",
    ".gipl.gz": "GiplImageIO",
    ".vtk": "VTKImageIO",
    ".mrc": "MRCImageIO",
    ".pic": "BioRadImageIO",
    ".spr": "StimulateImageIO",
}
_KINDS = (
    *("UInt8", "Int8", "UInt16", "Int16", "UInt32", "Int32", "UInt64", "Int64"),
    *("Float32", "Float64"),
)
# Factor into the unit that is kept, of lengths as the library tells them.
_UNITS = {".mrc": ("nm", 0.1)}  # from angstrom
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def open_nibabel(path: Path) -> ForeignImage:
    """Open a file by nibabel, whose proxies read what is sliced."""
    import nibabel as nib
    from nibabel.minc1 import Minc1Image

    image: Any = nib.load(path)
    voxels = image.dataobj
    if isinstance(image, Minc1Image) and len(voxels.shape) == 4:
        voxels = _TimeLast(voxels)
    return ForeignImage(
        voxels=voxels,
        affine=np.asarray(image.affine, dtype=np.float64),
        placement=f"the {type(image).__name__} header's affine",
        stored_dtype=np.dtype(image.get_data_dtype()),
    )


class _TimeLast:
    """MINC has time first, and nibabel an affine of the axes after it."""

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy
        self.shape = (*proxy.shape[1:], proxy.shape[0])

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        if len(key) == 4:
            frame: NDArray[Any] = self._proxy[(key[3], *key[:3])]
            return frame
        return np.moveaxis(self._proxy[(slice(0, 1), *key)], 0, -1)


def _simpleitk() -> Any:
    return importlib.import_module("SimpleITK")  # has no types


def open_simpleitk(path: Path) -> ForeignImage:
    """Open a file by SimpleITK, which reads it whole when it is first sliced."""
    sitk = _simpleitk()
    name = path.name.lower()
    suffix = max((known for known in _IMAGE_IO if name.endswith(known)), key=len)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_IMAGE_IO[suffix])
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    unit, factor = _UNITS.get(suffix, ("mm", 1.0))
    return ForeignImage(
        voxels=_ItkVoxels(reader),
        affine=_itk_affine(reader, factor),
        placement="the header's directions",
        stored_dtype=_itk_dtype(reader.GetPixelID()),
        spacing=tuple(factor * size for size in (*reader.GetSpacing(), 1.0)[:3]),
        unit=unit,
    )


def _itk_dtype(pixel: int) -> np.dtype[Any]:
    sitk = _simpleitk()
    for kind in _KINDS:
        if pixel in (getattr(sitk, f"sitk{kind}"), getattr(sitk, f"sitkVector{kind}")):
            return np.dtype(kind.lower())
    return np.dtype(np.complex128)  # refused by its type


def _itk_affine(reader: Any, factor: float) -> NDArray[np.float64]:
    """LPS of any number of dimensions to RAS of three."""
    count = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(count, count)
    columns = direction * np.array(reader.GetSpacing())
    used = min(count, 3)
    affine = np.eye(4)
    affine[:used, :used] = columns[:used, :used]
    affine[:used, 3] = reader.GetOrigin()[:used]
    affine[:3] *= factor
    placed: NDArray[np.float64] = _TO_RAS @ affine
    return placed


class _ItkVoxels:
    """Shape (X, Y, Z, ..., components)."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._components = reader.GetNumberOfComponents()
        sizes = (*reader.GetSize(), 1)
        self.shape = (*sizes[: max(3, len(sizes) - 1)],)
        if self._components > 1:
            self.shape += (self._components,)

    @functools.cached_property
    def _array(self) -> NDArray[Any]:
        stored = _simpleitk().GetArrayFromImage(self._reader.Execute())
        planes = stored.reshape(
            *self.shape[: len(self.shape) - (self._components > 1)][::-1],
            self._components,
        )
        turned = np.moveaxis(planes, -1, 0).T  # (x, y, z, ..., components)
        voxels: NDArray[Any] = turned if self._components > 1 else turned[..., 0]
        return voxels

    def __getitem__(self, key: Any) -> NDArray[Any]:
        block: NDArray[Any] = self._array[key]
        return block
