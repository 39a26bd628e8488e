"""The plan of a training run: the rules applied to a fingerprint, with reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from e2miseg_core.errors import ConfigError
from e2miseg_core.fit import modality
from e2miseg_core.networks import NetworkConfig
from e2miseg_core.preprocess import Normalization
from e2miseg_core.progress import Job
from e2miseg_core.training.dataset import Case, Dataset
from e2miseg_core.training.fingerprint import Fingerprint
from e2miseg_core.training.memory import training_bytes
from e2miseg_core.training.plan import NORMALIZATIONS, PlanOverrides, TrainingPlan
from e2miseg_core.training.plan_network import NetworkPlanner, voxel_limit
from e2miseg_core.training.plan_rules import (
    ANISOTROPY,
    median_shape,
    needs_mask,
    spacing_rule,
)
from e2miseg_core.training.plan_words import AXES, by, count_cases, notes_on, told
from e2miseg_core.training.survey import take_fingerprint

__all__ = ["make_plan", "plan_training"]

MOST_VOXELS = 100_000  # of a case along an axis


def plan_training(
    dataset: Dataset,
    cases: Sequence[Case],
    base: NetworkConfig,
    overrides: PlanOverrides | None = None,
    *,
    batch_size: int = 2,
    keep_patch: bool = False,
) -> Job[TrainingPlan]:
    """Read the cases and plan their training; see `make_plan`."""
    fingerprint = yield from take_fingerprint(dataset, cases)
    return make_plan(
        fingerprint,
        base,
        overrides,
        batch_size=batch_size,
        keep_patch=keep_patch,
        labels=dataset.label_names,
    )


def make_plan(
    fingerprint: Fingerprint,
    base: NetworkConfig,
    overrides: PlanOverrides | None = None,
    *,
    batch_size: int = 2,
    keep_patch: bool = False,
    labels: Mapping[int, str] | None = None,
) -> TrainingPlan:
    """Apply nnU-Net's rules, and what the user wants otherwise.

    Parameters
    ----------
    fingerprint : Fingerprint
    base : NetworkConfig
        The preset: its patch has as many voxels as a patch may have.
    overrides : PlanOverrides, optional
    batch_size : int
        Of the preset's recipe, for patches of the preset's size.
    keep_patch : bool
        Keep the preset's patch and strides, as published.
    labels : mapping, optional
        Name of each label value; those that occur in no case are noted.

    Raises
    ------
    ConfigError
        If an override, or the batch, does not suit the network.
    """
    choices = _DataChoices(fingerprint, overrides or PlanOverrides(), {})
    spacing = choices.spacing()
    normalizations = choices.normalizations()
    shape = median_shape(fingerprint.cases, spacing)
    _check_shape(shape, spacing)
    planner = NetworkPlanner(spacing, shape, choices.overrides, choices.reasons)
    strided = planner.strided(base, keep=keep_patch)
    limit = voxel_limit(base, strided)
    network = planner.patch(strided, None if keep_patch else limit)
    n_cases = len(fingerprint.cases)
    batch = planner.batch(batch_size, limit, network.patch_size, n_cases)
    network.check_batch(batch)
    return TrainingPlan(
        spacing=spacing,
        normalizations=normalizations,
        network=network,
        batch_size=batch,
        anisotropic=planner.anisotropic(network.patch_size),
        reasons=choices.reasons,
        chosen=tuple(choices.overrides.given),
        notes=(*notes_on(fingerprint, labels or {}), *planner.notes(network)),
        data=fingerprint.summary(),
        memory_bytes=training_bytes(network, batch),
    )


def _check_shape(shape: Sequence[int], spacing: Sequence[float]) -> None:
    """ConfigError where a median case has more voxels along an axis than any scan."""
    if max(shape) > MOST_VOXELS:
        raise ConfigError(
            found=f"{by(shape)} voxels of a median case at {by(spacing)} mm",
            needed=f"at most {MOST_VOXELS:,} along each axis",
            do="give a coarser --spacing",
        )


@dataclass(frozen=True)
class _DataChoices:
    """Spacing and normalisation, which leave their reasons in `reasons`."""

    fingerprint: Fingerprint
    overrides: PlanOverrides
    reasons: dict[str, str]

    def spacing(self) -> tuple[float, float, float]:
        cases = self.fingerprint.cases
        spacing, lowered = spacing_rule(cases)
        alike = len({case.spacing for case in cases}) == 1
        why = (
            f"the median of {count_cases(len(cases))}{', which are all alike' * alike}"
        )
        if lowered is not None:
            why += (
                f"; along {AXES[lowered]}, more than {ANISOTROPY:g} times as coarse as "
                "the other axes and with less than a third of their voxels, the 10th "
                "percentile"
            )
        wanted = self.overrides.spacing
        self.reasons["spacing"] = told(wanted, why, f"{by(spacing)} mm")
        return wanted or spacing

    def normalizations(self) -> tuple[Normalization, ...]:
        channels, wanted = self.fingerprint.channels, self.overrides.normalizations
        if wanted is not None and len(wanted) not in (1, len(channels)):
            raise ConfigError(
                found=f"{len(wanted)} normalisations for {len(channels)} channels",
                needed="one for all channels, or one a channel",
                do="correct --normalization",
            )
        rules: list[Normalization] = []
        named: dict[str, list[str]] = {}  # channels by reason
        for index, name in enumerate(channels):
            suggested, why = self._normalization_rule(index)
            chosen = wanted[index % len(wanted)] if wanted else suggested
            rules.append(self._normalization(index, chosen))
            reason = told(wanted and chosen, why, NORMALIZATIONS[suggested])
            named.setdefault(reason, []).append(name)
        self.reasons["normalization"] = "; ".join(
            f"{', '.join(names)}: {reason}" for reason, names in named.items()
        )
        return tuple(rules)

    def _normalization_rule(self, index: int) -> tuple[str, str]:
        if modality(self.fingerprint.channels[index]) == "CT":
            if self.fingerprint.foreground[index] is None:
                return "zscore", "CT, but no labelled voxel to learn a range from"
            return "ct", "the channel's name says CT, whose values mean the same always"
        share = self.fingerprint.summary()["nonzero_share"]
        kept = f"the non-zero box takes {share:.0%} of a median case"
        if needs_mask(self.fingerprint.cases):
            return "nonzero", f"not called CT, and {kept}, less than 75 %"
        return "zscore", f"not called CT, and {kept}"

    def _normalization(self, index: int, name: str) -> Normalization:
        if name != "ct":
            return Normalization(nonzero=name == "nonzero")
        found = self.fingerprint.foreground[index]
        if found is None:
            raise ConfigError(
                found="no labelled voxels in the training cases",
                needed="some, to learn the range of CT values from",
                do="choose --normalization zscore, or check the labels",
            )
        return Normalization(
            scheme="clipped",
            low=found.low,
            high=found.high,
            mean=found.mean,
            std=found.std or 1.0,
        )
