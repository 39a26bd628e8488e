"""Sizes of what networks are given, checked where it comes in."""

from collections.abc import Sequence
from typing import TypeAlias

from e2miseg_core.errors import ConfigError

__all__ = ["Triple", "check_image", "check_multiples"]

Triple: TypeAlias = tuple[int, int, int]  # ZYX


def check_multiples(patch_size: Sequence[int], stride: Triple) -> None:
    """Raise ConfigError, with a size that fits, unless `stride` divides the patch.

    Parameters
    ----------
    patch_size : sequence of int
        ZYX, voxels.
    stride : tuple of 3 int
        What each axis must be a multiple of.
    """
    found = f"a patch of {tuple(patch_size)} voxels (Z, Y, X)"
    if len(patch_size) != len(stride):
        raise ConfigError(
            found=found,
            needed="three numbers, each a multiple of its own of " + str(stride),
            do="give one number for each axis; a picture is a volume of one slice",
        )
    pairs = list(zip(patch_size, stride, strict=True))
    if all(p > 0 and p % s == 0 for p, s in pairs):
        return
    fitting = tuple(max(1, -(-p // s)) * s for p, s in pairs)
    raise ConfigError(
        found=found, needed=f"multiples of {stride}", do=f"take for example {fitting}"
    )


def check_image(shape: Sequence[int], in_channels: int) -> None:
    """Raise ConfigError unless a shape is (N, in_channels, Z, Y, X)."""
    if len(shape) == 5 and shape[1] == in_channels:
        return
    raise ConfigError(
        found=f"an image of the shape {tuple(shape)}",
        needed=f"batch, {in_channels} channel{'s' if in_channels > 1 else ''}, Z, Y, X",
        do="add the axes that are missing, or take a network for these channels",
    )
