"""From a project's corrections to crops: what a fine-tuning is made of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import zarr

from e2miseg_core.devices import choose_device
from e2miseg_core.errors import ConfigError, ReadError
from e2miseg_core.fit import check_fit
from e2miseg_core.inference.engine import TilePredictor
from e2miseg_core.io.atomic import write_json, writing_to
from e2miseg_core.model import Model
from e2miseg_core.preprocess import ModelView, measure_normalization
from e2miseg_core.progress import Job, Progress
from e2miseg_core.project import Project
from e2miseg_core.project.jobs import CROPS, PREPARED, REPLAY, remove_material
from e2miseg_core.project.sites import Site
from e2miseg_core.training.anchors import cut_anchors, label_anchors
from e2miseg_core.training.crops import (
    CropSampler,
    KnownCase,
    centred_box,
    crop_size,
    cut_crop,
    save_crop,
)
from e2miseg_core.training.exam import HeldOut
from e2miseg_core.training.finetune_settings import FinetuneSettings
from e2miseg_core.training.forgetting import Watch
from e2miseg_core.training.replay import CaseSampler, prepare_replay
from e2miseg_core.training.sites import FEWEST_HELD_OUT, SiteSplit
from e2miseg_core.training.trial import Material
from e2miseg_core.training.tuning import Sampler, training_precision
from e2miseg_core.uncertainty.calibration import Calibration

__all__ = ["load_material", "prepare_material"]

Triple = tuple[int, int, int]
SITE, TEST, ANCHOR, TEST_ANCHOR = "site", "test", "anchor", "test_anchor"
N_ANCHORS = 12  # to learn from
N_TEST_ANCHORS = 12
STAGE = "preparing"


def prepare_material(
    project: Project,
    model: Model,
    settings: FinetuneSettings,
    *,
    split: SiteSplit,
    folder: Path,
    replay: Path | None,
) -> Job[None]:
    """Cut all crops of a fine-tuning; afterwards the project is not read again.

    Parameters
    ----------
    project : Project
    model : Model
        To begin with.
    settings : FinetuneSettings
    split : SiteSplit
    folder : Path
        Of the job. What an interrupted preparation left is made anew.
    replay : Path or None
        Training set of the model.

    Raises
    ------
    ConfigError
        If too little of it can be seen in the model's voxels.
    """
    sites = (*split.training, *split.held_out)
    remove_material(folder)
    crops = folder / CROPS
    with writing_to(folder):
        crops.mkdir(parents=True)
    old_cases = yield from prepare_replay(model.card, replay, folder / REPLAY)
    cases = yield from _open_cases(project, model, sites)
    patch = model.card.patch_size
    yield from _cut_sites(split, cases, patch, crops)
    paths = _paths(crops, TEST_ANCHOR, N_TEST_ANCHORS)
    yield from cut_anchors(
        list(cases.values()), sites, size=patch, paths=paths, seed=settings.seed
    )
    if not old_cases.training:
        paths = _paths(crops, ANCHOR, N_ANCHORS)
        size, seed = crop_size(patch), settings.seed + 1
        yield from cut_anchors(
            list(cases.values()), sites, size=size, paths=paths, seed=seed
        )
        yield from _label(paths, model, settings)
    known = {
        kind: sorted(path.name for path in crops.glob(f"{kind}_[0-9]*.npz"))
        for kind in (SITE, TEST, ANCHOR, TEST_ANCHOR)
    }
    _check_enough(known)
    write_json(folder / PREPARED, {"crops": known, "sites": asdict(split)})


def load_material(folder: Path, model: Model, replay: Path | None) -> Job[Material]:
    """What `prepare_material` made.

    Raises
    ------
    ReadError
        If it is not whole.
    """
    try:
        stored = json.loads((folder / PREPARED).read_text(encoding="utf-8"))
        crops: dict[str, tuple[Path, ...]] = {
            kind: tuple(folder / CROPS / name for name in stored["crops"][kind])
            for kind in (SITE, TEST, ANCHOR, TEST_ANCHOR)
        }
        cases = sorted({site["case"] for site in stored["sites"]["training"]})
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ReadError(
            found=f"no usable {PREPARED} in {folder} ({error!s:.100})",
            needed="the job's folder as it was written",
            do="start the fine-tuning anew",
        ) from error
    old_cases = yield from prepare_replay(model.card, replay, folder / REPLAY)
    patch = model.card.patch_size
    memory: Sampler
    watch = None
    if old_cases.training:
        memory = CaseSampler(old_cases.training, patch)
        watch = Watch(
            sampler=memory,
            patch_size=patch,
            n_classes=model.card.n_classes,
            folder=folder / REPLAY,
        )
    else:
        memory = CropSampler(crops[ANCHOR], patch)
    return Material(
        corrections=CropSampler(crops[SITE], patch),
        memory=memory,
        watch=watch,
        held_out=HeldOut(paths=crops[TEST]),
        anchors=crops[TEST_ANCHOR],
        replay=old_cases.tested,
        facts={
            "corrections": len(crops[SITE]),
            "held_out": len(crops[TEST]),
            "cases": cases,
            "replayed": [case.name for case in old_cases.training],
            "sites": stored["sites"],
        },
    )


def _open_cases(
    project: Project, model: Model, sites: Sequence[Site]
) -> Job[dict[str, KnownCase]]:
    """The cases that have sites, as the model sees them."""
    opened = {}
    for name in dict.fromkeys(site.case for site in sites):
        case = project.case(name)
        volume = case.open_image()
        check_fit(volume, model.card)
        rules = yield from measure_normalization(volume.data, model.card.normalizations)
        opened[name] = KnownCase(
            name=name,
            view=ModelView(volume, model.card.spacing, rules),
            labels=_array(case.labels_path),
            authority=_array(case.authority_path),
            values=(0, *(label.value for label in model.card.labels)),
        )
    return opened


def _cut_sites(
    split: SiteSplit, cases: dict[str, KnownCase], patch: Triple, crops: Path
) -> Job[None]:
    """Crops to learn from, without any voxel of the others, and crops to be tested on.

    Where a crop has no voxel that counts, there is none.
    """
    plan = [(SITE, site) for site in split.training]
    plan += [(TEST, site) for site in split.held_out]
    for number, (kind, site) in enumerate(plan):
        yield Progress(done=number, total=len(plan), stage=STAGE)
        case = cases[site.case]
        middle = case.to_model(site.box)
        if kind == TEST:
            crop = cut_crop(case, centred_box(middle, patch), within=site.box)
        else:
            hidden = [s.box for s in split.held_out if s.case == site.case]
            crop = cut_crop(case, centred_box(middle, crop_size(patch)), hidden=hidden)
        if crop.valid.any():
            save_crop(crops / f"{kind}_{number:03d}.npz", crop)


def _label(
    paths: Sequence[Path], model: Model, settings: FinetuneSettings
) -> Job[None]:
    device = choose_device(settings.device)
    predictor = TilePredictor(
        network=model.network.to(device).eval(),
        device=device,
        precision=training_precision(settings.precision, device),
    )
    yield from label_anchors(
        paths,
        predictor,
        patch_size=model.card.patch_size,
        n_classes=model.card.n_classes,
        calibration=Calibration.from_card(model.card.calibration),
    )


def _check_enough(known: Mapping[str, Sequence[str]]) -> None:
    """Known voxels may be lost where the model's voxels are coarser."""
    if len(known[SITE]) < 1 or len(known[TEST]) < FEWEST_HELD_OUT:
        raise ConfigError(
            found=f"{len(known[SITE])} corrections to learn from and "
            f"{len(known[TEST])} to test with that the model's voxels can show",
            needed=f"at least 1 and {FEWEST_HELD_OUT}",
            do="correct larger places, or more of them",
        )


def _paths(crops: Path, kind: str, count: int) -> list[Path]:
    return [crops / f"{kind}_{index:03d}.npz" for index in range(count)]


def _array(store: Path) -> "zarr.Array[Any]":
    """The finest level of a store, for reading."""
    return zarr.open_array(str(store / "0"), mode="r")
