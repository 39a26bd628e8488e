"""How a run begins: with a plan of its own, or with the one of an earlier sitting."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from e2miseg_core.devices import choose_device
from e2miseg_core.networks import (
    PRESETS,
    E2MISegConfig,
    EHANetConfig,
    NetworkConfig,
    preset_config,
)
from e2miseg_core.progress import Job
from e2miseg_core.training.case_check import check_cases
from e2miseg_core.training.dataset import Case, Dataset
from e2miseg_core.training.plan import TrainingPlan
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.request import TrainingRequest
from e2miseg_core.training.run_folder import check_folder, holds_run, working_in
from e2miseg_core.training.splits import Split
from e2miseg_core.training.start import find_first_weights
from e2miseg_core.training.stored_plan import (
    RunPlan,
    check_files,
    files_of,
    plan_of_run,
    resumed_plan,
)

__all__ = ["begin_run", "common_facts", "plan_training_of", "planned_recipe"]


def begin_run(
    request: TrainingRequest, split: Split
) -> Job[tuple[RunPlan, Path | None]]:
    """The plan, and the weights that a new run begins with.

    The first process of a team plans and looks for weights; the others are told the
    plan, and get the weights with `TrainingRun.begin_with`.
    """
    device, team = choose_device(request.device), request.team
    made: RunPlan | None = None
    weights: Path | None = None
    if team.is_first:
        made = yield from _plan(request, split)
        if request.begins:
            plan, weights = yield from find_first_weights(made.plan)
            made = replace(made, plan=plan)
    told = team.copy_text(json.dumps(made.plan.to_json()) if made else "", device)
    if made is None:
        plan = TrainingPlan.from_json(json.loads(told))
        made = RunPlan(plan=plan, fingerprint=None, base=_base(request))
    return made, weights


def plan_training_of(request: TrainingRequest) -> Job[TrainingPlan]:
    """Plan as `train_model` would, put the plan into the run's folder, train nothing.

    With `resume` it is the plan that the run was begun with. With `overwrite` over a
    run nothing is written, so that the run can still be resumed.
    """
    folder = request.folder
    check_folder(folder, resume=request.resume, overwrite=request.overwrite)
    made = yield from _plan(request, request.split)
    if not request.resume and not holds_run(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with working_in(folder):
            made.write(folder)
    return made.plan


def planned_recipe(recipe: Recipe, plan: TrainingPlan) -> Recipe:
    """The recipe with what the plan decides."""
    recipe = replace(recipe, batch_size=plan.batch_size)
    if isinstance(plan.network, EHANetConfig):  # mirrored in the plane of its slices
        axes = tuple(a for a in recipe.mirror_axes if a != plan.network.axis)
        recipe = replace(recipe, mirror_axes=axes)
    return recipe


def common_facts(dataset: Dataset, plan: TrainingPlan, split: Split) -> dict[str, Any]:
    """What a resumed run must have in common with its beginning."""
    return {
        "split": split.parts,
        "labels": [label.value for label in dataset.labels],
        "channels": list(dataset.channels),
        "spacing": list(plan.spacing),
        "normalizations": [rule.to_json() for rule in plan.normalizations],
        "anisotropic": plan.anisotropic,
    }


def _base(request: TrainingRequest) -> NetworkConfig:
    """The preset's network, for the data set's channels and labels."""
    return preset_config(
        request.preset,
        in_channels=len(request.dataset.channels),
        n_classes=len(request.dataset.labels) + 1,
        **request.network,
    )


def _plan(request: TrainingRequest, split: Split) -> Job[RunPlan]:
    """The plan of a new run, or the one that a resumed run was begun with."""
    dataset, base = request.dataset, _base(request)

    def cases(*parts: Sequence[str]) -> tuple[Case, ...]:
        names = {name for part in parts for name in part}
        return tuple(case for case in dataset.cases if case.name in names)

    files = files_of(cases(split.training, split.selection))
    if request.resume:
        made = resumed_plan(request.folder, base, request.overrides)
        check_files(request.folder, made.files, files)
        return made
    every = cases(split.training, split.selection, split.unseen)
    yield from check_cases(dataset, every, split.unseen)
    made = yield from plan_of_run(
        request.folder,
        dataset,
        cases(split.training),
        base,
        request.overrides,
        batch_size=request.recipe.batch_size,
        # Slices are planned: their published size is that of the pictures.
        keep_patch=isinstance(base, E2MISegConfig)
        and PRESETS[request.preset].published is not None,
    )
    return replace(made, files=files)
