"""The configuration of an EHANet network."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks.reading import check_choices, read_config
from e2miseg_core.networks.sizes import Triple, check_multiples

__all__ = ["EHANetConfig"]

STRIDE = 32  # of the encoder's coarsest output


@dataclass(frozen=True, slots=True, kw_only=True)
class EHANetConfig:
    """Everything that fixes an EHANet network (specification part B).

    Attributes
    ----------
    in_channels : int
        1 (grey, repeated to three) or 3 (taken as they are).
    n_classes : int
        2, background included: the published network is binary.
    axis : int
        Axis across which volumes are cut into slices: 0, 1, 2 for Z, Y, X.
    slice_size : tuple of 2 int
        Rows and columns of a slice, in the order of the two other axes; multiples
        of 32.
    thickness : int
        Slices in a patch. They do not see each other.
    pretrained : bool
        The encoder begins with its ImageNet weights and stays as it is; otherwise it
        begins at random and is trained too.
    norm : {"group", "batch"}
        Batch norm as published; group norm also works with batches of one and two.
    se_reduction : int
        Divides the width of the squeeze; 0 leaves it one unit, as published (defect
        12 of the specification).
    edge_input : {"gated", "encoder"}
        What the edge module looks at: features after EFA, as coded, or straight from
        the encoder, as drawn.
    whole_encoder : bool
        Carry the encoder's unused classifier along, as the published object does.
    """

    in_channels: int
    n_classes: int = 2
    axis: int = 0
    slice_size: tuple[int, int] = (256, 256)
    thickness: int = 1
    pretrained: bool = True
    norm: Literal["group", "batch"] = "group"
    se_reduction: int = 16
    edge_input: Literal["gated", "encoder"] = "gated"
    whole_encoder: bool = False

    def __post_init__(self) -> None:
        check_choices(self)
        if self.n_classes != 2:
            raise ConfigError(
                found=f"{self.n_classes} classes with the background for EHANet",
                needed="2: it tells one structure from the background",
                do="train one model for each structure (train --only-label NAME), or "
                "take another preset",
            )
        if self.in_channels not in (1, 3):
            raise ConfigError(
                found=f"{self.in_channels} channels for EHANet",
                needed="1 or 3, as its encoder was trained on colour pictures",
                do="choose one channel, or take another preset",
            )
        if self.axis not in (0, 1, 2) or self.se_reduction < 0:
            raise ConfigError(
                found=f"axis {self.axis}, SE reduction {self.se_reduction}",
                needed="axis 0, 1 or 2, and a reduction of at least 0",
                do="correct the configuration",
            )
        if len(self.slice_size) != 2:
            raise ConfigError(
                found=f"a slice of {self.slice_size}",
                needed="two numbers, rows and columns",
                do="correct the configuration",
            )
        self.check_patch(self.patch_size)

    @property
    def patch_size(self) -> Triple:
        """Patch (ZYX, voxels): `thickness` slices of `slice_size`."""
        sizes = list(self.slice_size)
        sizes.insert(self.axis, self.thickness)
        z, y, x = sizes
        return z, y, x

    @property
    def total_stride(self) -> Triple:
        """What the axes of a patch must be multiples of, ZYX."""
        z, y, x = (1 if axis == self.axis else STRIDE for axis in range(3))
        return z, y, x

    def check_patch(self, patch_size: Sequence[int]) -> None:
        """Raise ConfigError unless slices are multiples of 32 in both directions."""
        check_multiples(patch_size, self.total_stride)

    def check_batch(self, batch_size: int) -> None:
        """Raise ConfigError if a process cannot train on this many patches at a time.

        Batch norm is taken over one value of each slice.
        """
        if self.norm == "batch" and batch_size * self.thickness < 2:
            raise ConfigError(
                found="one slice in a batch (of each process) for EHANet's batch norms",
                needed="two or more",
                do="take a larger batch (--batch-size), or norm=group",
            )

    def with_patch(self, patch_size: Triple) -> "EHANetConfig":
        """The same network for patches (ZYX) of another size."""
        check_multiples(patch_size, self.total_stride)
        rows, columns = (p for axis, p in enumerate(patch_size) if axis != self.axis)
        thickness = patch_size[self.axis]
        return replace(self, slice_size=(rows, columns), thickness=thickness)

    def as_published(self) -> "EHANetConfig":
        """The same in the published form, which has 1 041 121 trained parameters."""
        return replace(self, norm="batch", se_reduction=0, whole_encoder=True)

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "EHANetConfig":
        """Read what `to_json` wrote; ConfigError on keys or values that do not fit."""
        return read_config(cls, values)
