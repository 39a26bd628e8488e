"""The plan in a run's folder: fingerprint.json, plan.json, and going on with them.

RUN/fingerprint.json   what the training cases are like
RUN/plan.json          the preset's network, the plan, sizes and times of files
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2miseg_core.errors import ConfigError, ReadError
from e2miseg_core.io.atomic import write_json
from e2miseg_core.networks import (
    EHANetConfig,
    NetworkConfig,
    network_from_json,
    network_to_json,
)
from e2miseg_core.preprocess import Normalization
from e2miseg_core.progress import Job
from e2miseg_core.training.case_files import origin_of
from e2miseg_core.training.dataset import Case, Dataset
from e2miseg_core.training.fingerprint import Fingerprint
from e2miseg_core.training.plan import PlanOverrides, TrainingPlan
from e2miseg_core.training.planning import make_plan
from e2miseg_core.training.survey import take_fingerprint

__all__ = [
    "FINGERPRINT",
    "PLAN",
    "RunPlan",
    "check_files",
    "files_of",
    "plan_of_run",
    "resumed_plan",
]

CaseFiles = Mapping[str, Sequence[Sequence[object]]]

FINGERPRINT = "fingerprint.json"
PLAN = "plan.json"


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The plan of a run and what it was made from.

    Attributes
    ----------
    plan : TrainingPlan
    fingerprint : Fingerprint or None
        None where a run is resumed, whose cases are not looked at again.
    base : NetworkConfig
        The preset's network.
    files : mapping
        By `files_of` the cases; empty in runs that were begun before it was kept.
    """

    plan: TrainingPlan
    fingerprint: Fingerprint | None
    base: NetworkConfig
    files: CaseFiles = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Put plan and fingerprint into a run's folder."""
        if self.fingerprint is not None:
            write_json(folder / FINGERPRINT, self.fingerprint.to_json())
        stored = {
            "base": network_to_json(self.base),
            "plan": self.plan.to_json(),
            "files": self.files,
        }
        write_json(folder / PLAN, stored)


def plan_of_run(
    folder: Path,
    dataset: Dataset,
    cases: tuple[Case, ...],
    base: NetworkConfig,
    overrides: PlanOverrides,
    *,
    batch_size: int,
    keep_patch: bool,
) -> Job[RunPlan]:
    """Plan a new run; nothing is written.

    Where `folder` holds a fingerprint of these very files, they are not read again.
    See `e2miseg_core.training.planning.make_plan`.
    """
    fingerprint = _known_fingerprint(folder, dataset, cases)
    if fingerprint is None:
        fingerprint = yield from take_fingerprint(dataset, cases)
    plan = make_plan(
        fingerprint,
        base,
        overrides,
        batch_size=batch_size,
        keep_patch=keep_patch,
        labels=dataset.label_names,
    )
    return RunPlan(plan=plan, fingerprint=fingerprint, base=base)


def resumed_plan(
    folder: Path, base: NetworkConfig, overrides: PlanOverrides
) -> RunPlan:
    """The plan with which a run was begun.

    Raises
    ------
    ReadError
        If there is none.
    ConfigError
        If the preset, or what the user wants now, is not what it says.
    """
    stored = _read(folder / PLAN)
    if stored is None:
        raise ReadError(
            found=f"no plan of a run in {folder}",
            needed=f"the {PLAN} that a run begins with",
            do="begin without --resume; over a run of an earlier version, with "
            "--overwrite",
        )
    plan = TrainingPlan.from_json(stored.get("plan") or {})
    if network_from_json(stored.get("base") or {}) != base:
        raise ConfigError(
            found=f"other settings than those of the run in {folder}",
            needed="the same preset, channels and labels",
            do="repeat the options of the first call, or choose another folder",
        )
    planned = _as_overrides(plan)
    for name, wanted in overrides.given.items():
        if not _same(wanted, planned[name]):
            raise ConfigError(
                found=f"other settings than those of the run in {folder}: "
                f"{name} {wanted}",
                needed=f"{planned[name]}, with which it was begun",
                do="leave the option out, or begin anew in another folder",
            )
    files = stored.get("files", {})
    return RunPlan(plan=plan, fingerprint=None, base=base, files=files)


def files_of(cases: Iterable[Case]) -> CaseFiles:
    """Size and time of each file of the cases, by which a change is noticed."""
    return {
        case.name: [[size, time] for _place, size, time in origin_of(case)]
        for case in cases
    }


def check_files(folder: Path, begun: CaseFiles, now: CaseFiles) -> None:
    """Raise ConfigError where files are others than those a run was begun with.

    Parameters
    ----------
    folder : Path
        Of the run.
    begun, now : mapping
        By `files_of`. Where files lie does not matter.
    """
    changed = [name for name, files in now.items() if begun.get(name, files) != files]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise ConfigError(
            found=f"images or labels of {changed[0]}{more} that have changed since the "
            f"run in {folder} was begun",
            needed="the files of its beginning, or it would be of two training sets",
            do="put them back, or begin anew with --overwrite",
        )


def _as_overrides(plan: TrainingPlan) -> dict[str, Any]:
    """What the user would have to ask for to get this plan."""
    network, stem, axis = plan.network, None, None
    if isinstance(network, EHANetConfig):
        axis = network.axis
    else:
        stem = network.stem_stride
    return {
        "spacing": plan.spacing,
        "patch_size": plan.patch_size,
        "batch_size": plan.batch_size,
        "normalizations": tuple(_rule_name(rule) for rule in plan.normalizations),
        "stem_stride": stem,
        "slice_axis": axis,
        "anisotropic": plan.anisotropic,
    }


def _rule_name(rule: Normalization) -> str:
    if rule.scheme == "clipped":
        return "ct"
    return "nonzero" if rule.nonzero else "zscore"


def _same(wanted: Any, planned: Any) -> bool:
    one_for_all = isinstance(wanted, tuple) and len(wanted) == 1
    return bool(wanted == planned or (one_for_all and {*wanted} == {*planned}))


def _known_fingerprint(
    folder: Path, dataset: Dataset, cases: tuple[Case, ...]
) -> Fingerprint | None:
    stored = _read(folder / FINGERPRINT)
    if stored is None:
        return None
    try:
        known = Fingerprint.from_json(stored)
    except ConfigError:  # of another version: made anew
        return None
    same = known.channels == dataset.channels
    same = same and known.files == tuple(origin_of(case) for case in cases)
    return known if same else None


def _read(path: Path) -> Mapping[str, Any] | None:
    """JSON values of a file; None where there is none or it is damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
