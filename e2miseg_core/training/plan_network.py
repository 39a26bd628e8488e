"""The network's part of a plan: strides, patch, batch, kind of augmentation."""

import math
from dataclasses import dataclass, field, replace

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks import (
    E2MISegConfig,
    EHANetConfig,
    NetworkConfig,
    with_patch,
)
from e2miseg_core.training.memory import activation_bytes
from e2miseg_core.training.plan import PlanOverrides
from e2miseg_core.training.plan_rules import (
    ANISOTROPY,
    SHORT_AXIS,
    batch_bounds,
    batch_rule,
    patch_rule,
    slice_axis_rule,
    stem_rule,
)
from e2miseg_core.training.plan_words import AXES, by, count_cases, number, told

__all__ = ["NetworkPlanner", "voxel_limit"]

OPTIONS = {"stem_stride": "--stem", "slice_axis": "--slice-axis"}


@dataclass(frozen=True)
class NetworkPlanner:
    """Fits a preset to the grid of a training set.

    Attributes
    ----------
    spacing : tuple of 3 float
        Of the model, ZYX, mm.
    shape : tuple of 3 int
        Median voxels at this spacing.
    overrides : PlanOverrides
    reasons : dict
        Filled in by each choice.
    """

    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    overrides: PlanOverrides
    reasons: dict[str, str] = field(default_factory=dict)

    def strided(self, base: NetworkConfig, *, keep: bool) -> NetworkConfig:
        """The network with strides, or the axis of its slices, for a spacing.

        Its patch is one that these strides divide.
        """
        if isinstance(base, EHANetConfig):
            self._refuse("stem_stride", "a network of slices")
            axis = base.axis if keep else slice_axis_rule(base.axis, self.spacing)
            wanted = self.overrides.slice_axis
            why = f"the coarsest axis, or {AXES[base.axis]} where none stands out"
            self.reasons["slice_axis"] = told(wanted, why, f"across {AXES[axis]}")
            return replace(base, axis=axis if wanted is None else wanted)
        self._refuse("slice_axis", "a network of volumes")
        stem, why = base.stem_stride, "as the preset has it"
        if not keep:
            stem = stem_rule(base.stem_stride, self.spacing, self.shape)
        if stem != base.stem_stride:
            why = (
                f"1 along axes more than twice as coarse as "
                f"{number(min(self.spacing))} mm or shorter than {SHORT_AXIS} voxels"
            )
        wanted_stem = self.overrides.stem_stride
        self.reasons["stem_stride"] = told(wanted_stem, why, by(stem))
        return _with_stem(base, wanted_stem or stem)

    def patch(self, strided: NetworkConfig, limit: int | None) -> NetworkConfig:
        """The network with its patch; its own as published where `limit` is None."""
        fit = f"a median case has {by(self.shape)} voxels at this spacing"
        if limit is None:
            patch, why = strided.patch_size, f"as published for this preset; {fit}"
        else:
            patch = _fitted_patch(strided, self.spacing, self.shape, limit)
            why = (
                f"{fit}; at most {limit:,} voxels, the preset's memory, "
                f"and multiples of {by(strided.total_stride)}"
            )
        wanted = self.overrides.patch_size
        self.reasons["patch_size"] = told(wanted, why, f"{by(patch)} voxels")
        return with_patch(strided, wanted or patch)

    def batch(
        self,
        batch_size: int,
        limit: int,
        patch: tuple[int, int, int],
        n_cases: int,
    ) -> int:
        """Patches in a batch; `batch_size` would be of `limit` voxels."""
        set_voxels = math.prod(self.shape) * n_cases
        batch = batch_rule(batch_size, limit, patch, set_voxels)
        room, shown = batch_bounds(batch_size, limit, patch, set_voxels)
        why = f"the preset's {batch_size}"
        if room > batch_size:
            why += f", or {room} of patches that are smaller than its own"
        if batch > min(room, shown):  # the least there may be
            over = "takes more memory than the preset's batch"
            if shown < room:
                over = f"shows more than 5 % of the voxels of {count_cases(n_cases)}"
            why = f"the least there may be, though it {over}"
        elif shown < room:
            why = f"5 % of the voxels of {count_cases(n_cases)}; memory does for {room}"
        wanted = self.overrides.batch_size
        self.reasons["batch_size"] = told(wanted, why, str(batch))
        return wanted or batch

    def notes(self, network: NetworkConfig) -> tuple[str, ...]:
        """What is odd about the patch, whoever chose it."""
        long = [
            AXES[axis]
            for axis, (size, n, stride) in enumerate(
                zip(network.patch_size, self.shape, network.total_stride, strict=True)
            )
            if size >= n + stride  # more than rounding up to a stride explains
        ]
        if not long:
            return ()
        held = math.prod(map(min, zip(network.patch_size, self.shape, strict=True)))
        share = 1 - held / math.prod(network.patch_size)
        return (
            f"the patch of {by(network.patch_size)} voxels is longer than a median "
            f"case ({by(self.shape)}) along {', '.join(long)}: at least {share:.0%} of "
            "it is padding, which costs memory and time; --patch makes it smaller",
        )

    def anisotropic(self, patch: tuple[int, int, int]) -> bool:
        """Whether slices are augmented one by one."""
        ratio = max(patch) / min(patch)
        flat = ratio > ANISOTROPY
        why = (
            f"the patch is {ratio:.3g} times as long as it is thick; "
            f"from {ANISOTROPY:g} times on, slices are turned and scaled one by one"
        )
        wanted = self.overrides.anisotropic
        self.reasons["anisotropic"] = told(wanted, why, "slices" if flat else "volumes")
        return flat if wanted is None else wanted

    def _refuse(self, name: str, kind: str) -> None:
        if getattr(self.overrides, name) is not None:
            raise ConfigError(
                found=f"{OPTIONS[name]} for {kind}",
                needed=f"a preset whose network takes {OPTIONS[name]}",
                do=f"leave {OPTIONS[name]} out, or choose another --preset",
            )


def voxel_limit(base: NetworkConfig, network: NetworkConfig) -> int:
    """Voxels of a patch that takes the memory of the preset's own."""
    voxels = math.prod(base.patch_size)
    if isinstance(base, EHANetConfig) or isinstance(network, EHANetConfig):
        return voxels
    if base.stem_stride == network.stem_stride:
        return voxels
    per_voxel = activation_bytes(network) / math.prod(network.patch_size)
    return int(activation_bytes(base) / per_voxel)


def _fitted_patch(
    network: NetworkConfig,
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int],
    limit: int,
) -> tuple[int, int, int]:
    """Patch by the rule; of a network of slices, within a slice."""
    axes = [0, 1, 2]
    patch = list(network.patch_size)
    if isinstance(network, EHANetConfig):
        axes.remove(network.axis)
        limit //= network.thickness
    fitted = patch_rule(
        [shape[a] for a in axes],
        [spacing[a] for a in axes],
        [network.total_stride[a] for a in axes],
        limit,
    )
    for axis, size in zip(axes, fitted, strict=True):
        patch[axis] = size
    z, y, x = patch
    return z, y, x


def _with_stem(base: E2MISegConfig, stem: tuple[int, int, int]) -> E2MISegConfig:
    if stem == base.stem_stride:
        return base
    depth = [t // s for t, s in zip(base.total_stride, base.stem_stride, strict=True)]
    z, y, x = (
        math.ceil(p / (s * d)) * s * d
        for p, s, d in zip(base.patch_size, stem, depth, strict=True)
    )
    return replace(base, stem_stride=stem, patch_size=(z, y, x))
