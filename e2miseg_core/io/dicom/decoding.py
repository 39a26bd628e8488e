"""Compressed frames: by pydicom's decoders, else by GDCM in a guarded child process."""

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.dicom.header import open_file
from e2miseg_core.io.dicom.layout import PixelLayout
from e2miseg_core.io.dicom.quiet import quietly
from e2miseg_core.io.dicom.tags import PARSE_ERRORS
from e2miseg_core.io.foreign.guard import run_guarded

__all__ = ["decode_files", "decode_frame", "decode_guarded", "is_decodable"]

_FILE_SECONDS = 10.0
_START_SECONDS = 60.0
_DAMAGE = (*PARSE_ERRORS, RuntimeError, SyntaxError)  # decoders of pictures
_WHOLE = 1e-3


@functools.cache
def is_decodable(transfer_syntax: str) -> bool:
    """Whether pydicom can decode it here, with what is installed."""
    from pydicom.pixels.decoders.base import get_decoder

    try:
        return bool(get_decoder(_uid(transfer_syntax)).is_available)
    except NotImplementedError:
        return False


def decode_frame(path: Path, layout: PixelLayout, index: int) -> NDArray[Any]:
    """Decode a frame of a file by pydicom.

    Returns
    -------
    ndarray, shape (Y, X, samples)
        Stored values; colours as red, green and blue.

    Raises
    ------
    ReadError
        If it is damaged, or not of the announced shape.
    """
    from pydicom.errors import BytesLengthException
    from pydicom.pixels.utils import pixel_array

    try:
        with open_file(path) as file, quietly():
            frame = pixel_array(file, index=index, raw=layout.samples == 1)
    except (*_DAMAGE, BytesLengthException) as error:
        raise _damaged(path, layout) from error
    shape = (layout.rows, layout.columns, layout.samples)
    if frame.size != np.prod(shape):
        raise _damaged(path, layout)
    return np.asarray(frame).reshape(shape)


def decode_guarded(
    files: Mapping[Path, PixelLayout], scales: Mapping[Path, tuple[float, float]]
) -> dict[Path, NDArray[Any]]:
    """Decode whole files by GDCM, in one child process.

    Parameters
    ----------
    files : mapping
        How the pixels of each are stored.
    scales : mapping
        Slope and intercept of each, which GDCM applies and which are taken off again.

    Returns
    -------
    dict
        Stored values (frames, Y, X, samples) of each file.

    Raises
    ------
    ReadError
        Naming the transfer syntax, if it cannot be decoded.
    """
    first, layout = next(iter(files.items()))
    largest = max(each.frame_bytes * each.n_frames for each in files.values())
    decoded = {}
    with tempfile.TemporaryDirectory(prefix="e2miseg-") as name:
        folder = Path(name)
        try:
            run_guarded(
                f"{__name__}:decode_files",
                {"paths": [str(path.resolve()) for path in files]},
                folder,
                place=str(first),
                memory=20 * largest + (64 << 20),
                seconds=_START_SECONDS + _FILE_SECONDS * len(files),
            )
        except ReadError as error:
            raise _undecodable(first, layout) from error
        for number, (path, each) in enumerate(files.items()):
            values = np.load(folder / f"{number}.npy", allow_pickle=False)
            decoded[path] = _as_stored(path, each, values, scales[path])
    return decoded


def decode_files(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write the voxels of DICOM files as arrays; runs in a child process only."""
    import SimpleITK

    paths: Sequence[str] = request["paths"]
    for number, path in enumerate(paths):
        image = SimpleITK.ReadImage(path, imageIO="GDCMImageIO")
        array = SimpleITK.GetArrayViewFromImage(image)
        np.save(folder / f"{number}.npy", array, allow_pickle=False)
    return {}


def _as_stored(
    path: Path,
    layout: PixelLayout,
    values: NDArray[Any],
    scale: tuple[float, float],
) -> NDArray[Any]:
    shape = (layout.n_frames, layout.rows, layout.columns, layout.samples)
    if values.size != np.prod(shape):
        raise _damaged(path, layout)
    slope, intercept = scale
    stored = (values.astype(np.float64) - intercept) / slope
    whole = np.rint(stored)
    if np.abs(stored - whole).max() > _WHOLE:  # it was scaled in some other way
        raise _undecodable(path, layout)
    return whole.astype(np.int64).reshape(shape)


def _uid(text: str) -> Any:
    from pydicom.config import IGNORE
    from pydicom.uid import UID

    return UID(text, IGNORE)  # damage would be warned of, with its bytes


def _name(layout: PixelLayout) -> str:
    syntax = _uid(layout.transfer_syntax)
    known = syntax.name if syntax.name != syntax else "unknown"
    return f"{known} (transfer syntax {layout.transfer_syntax or 'not stated'})"


def _damaged(path: Path, layout: PixelLayout) -> ReadError:
    return ReadError(
        found=f"{path} holds damaged pixels, compressed as {_name(layout)}",
        needed="a whole file",
        do="copy or export the file again",
    )


def _undecodable(path: Path, layout: PixelLayout) -> ReadError:
    return ReadError(
        found=f"{path} is compressed as {_name(layout)}, which cannot be decoded here",
        needed="pixels that pydicom or GDCM can decode",
        do="export the series uncompressed, for example with gdcmconv --raw",
    )
