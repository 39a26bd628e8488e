"""Chunks compressed by Blosc or LZ4, checked before they are unpacked.

Blosc believes what a chunk says of its own length: a damaged one makes it read beyond
its end and brings the process down (https://github.com/zarr-developers/numcodecs/issues/228).
"""

import struct
from typing import TYPE_CHECKING, Any

import numcodecs
import zarr
from zarr.codecs import BloscCodec
from zarr.registry import register_codec

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer

__all__ = ["CheckedBlosc", "CheckedBloscCodec", "CheckedLZ4", "use_checked_codecs"]

_HEADER = struct.Struct("<4B3I")  # versions, flags, size of a type; lengths
_MOST = 100_000  # to 1: more than any of its codecs reaches for equal bytes
_MOST_LZ4 = 256  # to 1: a byte of its format stands for 255 at most


class CheckedBloscCodec(BloscCodec):
    """Of zarr 3."""

    async def _decode_single(
        self, chunk_bytes: "Buffer", chunk_spec: "ArraySpec"
    ) -> "Buffer":
        _check_frame(chunk_bytes.as_numpy_array())
        return await super()._decode_single(chunk_bytes, chunk_spec)


class CheckedBlosc(numcodecs.Blosc):  # type: ignore[misc]
    """Of zarr 2."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Unpack one chunk."""
        _check_frame(buf)
        return super().decode(buf, out)


class CheckedLZ4(numcodecs.LZ4):  # type: ignore[misc]
    """Of zarr 2: a chunk begins with the size for which memory is taken."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Unpack one chunk."""
        frame = memoryview(buf).cast("B")
        announced = int.from_bytes(frame[:4], "little")
        if announced > max(1, frame.nbytes) * _MOST_LZ4:
            msg = f"an LZ4 chunk of {frame.nbytes} bytes that announces {announced}"
            raise ValueError(msg)
        return super().decode(buf, out)


def use_checked_codecs() -> None:
    """Have zarr unpack by the classes above, in this process."""
    register_codec("blosc", CheckedBloscCodec)
    path = f"{CheckedBloscCodec.__module__}.{CheckedBloscCodec.__qualname__}"
    zarr.config.set({"codecs.blosc": path})
    numcodecs.register_codec(CheckedBlosc, "blosc")
    numcodecs.register_codec(CheckedLZ4, "lz4")


def _check_frame(chunk: Any) -> None:
    """Raise ValueError if a chunk is shorter than it says, or says nonsense."""
    frame = memoryview(chunk).cast("B")
    if frame.nbytes < _HEADER.size:
        msg = f"a Blosc chunk of {frame.nbytes} bytes"
        raise ValueError(msg)
    *_, unpacked, block, packed = _HEADER.unpack_from(frame)
    if not _HEADER.size <= packed <= frame.nbytes:
        msg = f"a Blosc chunk of {frame.nbytes} bytes that announces {packed}"
        raise ValueError(msg)
    if unpacked > packed * _MOST or (unpacked and not 0 < block <= unpacked):
        msg = f"a Blosc chunk of {packed} bytes that announces {unpacked} unpacked"
        raise ValueError(msg)
