"""Plans: rules put together, what the user wants instead, and plans kept with runs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2miseg_core.boxes import whole_box
from e2miseg_core.errors import ConfigError, ReadError
from e2miseg_core.io import open_volume, write_image, write_labels
from e2miseg_core.networks import (
    E2MISegConfig,
    EHANetConfig,
    build_network,
    preset_config,
)
from e2miseg_core.preprocess import ModelView, Normalization, measure_normalization
from e2miseg_core.progress import run
from e2miseg_core.training import stored_plan
from e2miseg_core.training.batches import recipe_augmentation
from e2miseg_core.training.dataset import find_dataset
from e2miseg_core.training.fingerprint import (
    CaseFingerprint,
    Fingerprint,
    ForegroundIntensities,
)
from e2miseg_core.training.memory import activation_bytes, training_bytes
from e2miseg_core.training.patches import Sample
from e2miseg_core.training.plan import PlanOverrides, TrainingPlan
from e2miseg_core.training.planning import make_plan
from e2miseg_core.training.prepare import prepare_case
from e2miseg_core.training.recipes import preset_recipe
from e2miseg_core.training.stored_plan import RunPlan, plan_of_run, resumed_plan
from e2miseg_core.training.survey import take_fingerprint
from e2miseg_core.volume import Volume

SEEN = ForegroundIntensities(
    mean=50, std=30, median=48, minimum=-300, maximum=900, low=-90, high=240
)


def fingerprint(
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    shape: tuple[int, int, int] = (36, 50, 35),
    *,
    channels: tuple[str, ...] = ("MR",),
    cropped: int = 100,
    n_cases: int = 100,
) -> Fingerprint:
    """Cases that are all alike; `cropped` is the percentage of Z in the box."""
    z, y, x = shape
    one = CaseFingerprint(
        name="case",
        shape=shape,
        spacing=spacing,
        box=((0, round(z * cropped / 100)), (0, y), (0, x)),
        voxels={1: 500},
    )
    cases = tuple(replace(one, name=f"case_{n}") for n in range(n_cases))
    return Fingerprint(
        cases=cases, channels=channels, foreground=(SEEN,) * len(channels)
    )


def small(in_channels: int = 1) -> E2MISegConfig:
    config = preset_config("small", in_channels=in_channels, n_classes=2)
    assert isinstance(config, E2MISegConfig)
    return config


def test_a_plan_for_small_isotropic_images() -> None:
    plan = make_plan(fingerprint(), small())
    assert plan.spacing == (1.0, 1.0, 1.0)
    assert plan.normalizations == (Normalization(),)
    assert plan.patch_size == (32, 48, 32)
    assert plan.batch_size == 2
    assert not plan.anisotropic
    assert plan.network == small()  # the preset was made for them
    assert plan.reasons["spacing"] == "the median of 100 cases, which are all alike"
    assert "36 x 50 x 35 voxels" in plan.reasons["patch_size"]
    assert plan.chosen == ()


def test_a_plan_for_thick_slices() -> None:
    plan = make_plan(fingerprint((10.0, 1.5, 1.5), (10, 216, 180)), small())
    network = plan.network
    assert isinstance(network, E2MISegConfig)
    assert network.stem_stride == (1, 2, 2)
    # The finer stem takes more memory a voxel, so there are fewer of them: 32,410.
    assert plan.patch_size == (4, 96, 80)
    assert activation_bytes(network) <= activation_bytes(small())
    assert plan.anisotropic
    assert "10th percentile" in plan.reasons["spacing"]
    build_network(network)


def test_ct_is_clipped_and_the_rest_is_measured() -> None:
    both = fingerprint(channels=("CT", "PET"))
    ct, pet = make_plan(both, small(2)).normalizations
    assert ct == Normalization(scheme="clipped", low=-90, high=240, mean=50, std=30)
    assert pet == Normalization()
    unlabelled = replace(both, foreground=(None, None))
    assert make_plan(unlabelled, small(2)).normalizations[0] == Normalization()


def test_mostly_empty_volumes_are_normalised_inside() -> None:
    plan = make_plan(fingerprint(channels=("T1", "CT"), cropped=70), small(2))
    assert plan.normalizations[0] == Normalization(nonzero=True)
    assert plan.normalizations[1].scheme == "clipped"  # never, where values have units
    assert "75 %" in plan.reasons["normalization"]
    full = make_plan(fingerprint(channels=("T1",), cropped=78), small())
    assert full.normalizations == (Normalization(),)


def test_published_patches_stay() -> None:
    base = preset_config("acdc", in_channels=1, n_classes=4)
    plan = make_plan(fingerprint(), base, batch_size=4, keep_patch=True)
    assert plan.network == base
    assert "as published" in plan.reasons["patch_size"]
    assert plan.batch_size == 2  # four would be a quarter of the data
    more = fingerprint(n_cases=1000)
    assert make_plan(more, base, batch_size=4, keep_patch=True).batch_size == 4


def test_slices_are_planned_in_their_plane() -> None:
    base = EHANetConfig(in_channels=1)
    plan = make_plan(fingerprint((1.5, 1.5, 6.0), (300, 200, 12)), base, batch_size=16)
    network = plan.network
    assert isinstance(network, EHANetConfig)
    assert network.axis == 2
    # 320 x 224 is more than 256 x 256: 320 loses a stride (1.12 of 200 against 1.07).
    assert plan.patch_size == (320, 192, 1)
    assert plan.anisotropic
    pictures = make_plan(fingerprint((1.0, 1.0, 1.0), (1, 500, 700)), base)
    assert pictures.patch_size[0] == 1


def test_the_user_has_the_last_word() -> None:
    overrides = PlanOverrides(
        spacing=(2.0, 1.0, 1.0),
        patch_size=(16, 32, 24),
        batch_size=1,
        normalizations=("nonzero",),
        stem_stride=(1, 2, 2),
        anisotropic=True,
    )
    plan = make_plan(fingerprint(channels=("CT", "MR")), small(2), overrides)
    assert plan.spacing == (2.0, 1.0, 1.0)
    assert plan.patch_size == (16, 32, 24)
    assert plan.batch_size == 1
    assert plan.normalizations == (Normalization(nonzero=True),) * 2
    assert isinstance(plan.network, E2MISegConfig)
    assert plan.network.stem_stride == (1, 2, 2)
    assert plan.anisotropic
    assert set(plan.chosen) == set(overrides.given)
    assert plan.reasons["spacing"].startswith(
        "your choice; the rules say 1 x 1 x 1 mm: the median"
    )
    # What was not chosen follows what was: half the slices at twice the spacing. Of
    # 24 x 56 x 40, which is too much for 18 x 50 x 35, Z loses a stride.
    half = make_plan(fingerprint(), small(), PlanOverrides(spacing=(2.0, 1.0, 1.0)))
    assert half.patch_size == (16, 56, 40)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"patch_size": (32, 48, 30)}, r"take for example \(32, 48, 32\)"),
        ({"slice_axis": 1}, "--slice-axis for a network of volumes"),
        ({"normalizations": ("ct", "ct", "ct")}, "3 normalisations for 1 channels"),
    ],
)
def test_choices_that_do_not_fit_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make_plan(fingerprint(), small(), PlanOverrides(**values))


@pytest.mark.parametrize(
    "values",
    [
        {"spacing": (1.0, 0.0, 1.0)},
        {"spacing": (1.0, float("nan"), 1.0)},
        {"patch_size": (8, -8, 8)},
        {"batch_size": 0},
        {"normalizations": ("minmax",)},
    ],
)
def test_choices_that_mean_nothing_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        PlanOverrides(**values)


def test_a_stem_for_slices_and_ct_without_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match="--stem for a network of slices"):
        make_plan(
            fingerprint(),
            EHANetConfig(in_channels=1),
            PlanOverrides(stem_stride=(1, 2, 2)),
        )
    unlabelled = replace(fingerprint(), foreground=(None,))
    with pytest.raises(ConfigError, match="no labelled voxels"):
        make_plan(unlabelled, small(), PlanOverrides(normalizations=("ct",)))


def test_what_is_odd_about_the_data_is_told() -> None:
    flat, tall = (
        fingerprint(spacing).cases[0] for spacing in ((5.0, 1, 1), (1, 5.0, 1))
    )
    cases = (flat, tall, replace(flat, voxels={}), replace(flat, assumed_spacing=True))
    plan = make_plan(replace(fingerprint(), cases=cases), small())
    assumed, empty, mixed = plan.notes
    assert assumed.startswith("1 of 4 cases do not state the size")
    assert empty.startswith("1 of 4 cases have no labelled voxel (case_0)")
    assert "(Z, Y)" in mixed
    assert make_plan(fingerprint(), small()).notes == ()


@pytest.mark.parametrize("sliced", [False, True])
def test_a_plan_is_stored_and_read_back(*, sliced: bool) -> None:
    base = EHANetConfig(in_channels=1) if sliced else small()
    plan = make_plan(fingerprint(), base, PlanOverrides(batch_size=3))
    stored = json.loads(json.dumps(plan.to_json()))
    assert TrainingPlan.from_json(stored) == plan
    with pytest.raises(ConfigError, match="cannot be read"):
        TrainingPlan.from_json({**stored, "colour": 1})


def test_memory_grows_with_patch_and_batch() -> None:
    base = replace(small(), patch_size=(16, 16, 16))
    double = replace(base, patch_size=(32, 16, 16))
    assert activation_bytes(double) == pytest.approx(
        2 * activation_bytes(base), rel=0.1
    )
    one, two = training_bytes(base, 1), training_bytes(base, 2)
    assert two - one == activation_bytes(base)
    # At least image, features and logits at full resolution, at most a GB.
    assert 16**3 * 4 * (1 + 16 + 2) < activation_bytes(base) < 1e9


def test_a_spacing_far_too_fine_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"voxels of a median case.*--spacing"):
        make_plan(fingerprint(), small(), PlanOverrides(spacing=(1e-9, 1.0, 1.0)))


@pytest.mark.parametrize("preset", ["acdc", "ehanet"])
def test_published_norms_do_not_hinder_planning(preset: str) -> None:
    """Over a batch of one there would be none where a stage is one voxel."""
    config = preset_config(preset, faithful=True)
    if preset == "acdc":
        config = replace(config, patch_size=(8, 32, 32))
    plan = make_plan(fingerprint(), config, batch_size=4, keep_patch=True)
    assert plan.memory_bytes == training_bytes(plan.network, plan.batch_size)
    config.check_batch(4)


def batch_reason(n_cases: int, **chosen: Any) -> str:
    plan = make_plan(fingerprint(n_cases=n_cases), small(), **chosen)
    return plan.reasons["batch_size"]


def test_the_reason_of_a_batch_is_the_bound_that_decided() -> None:
    assert batch_reason(100) == "the preset's 2"
    few = batch_reason(1, batch_size=4)  # 5 % of 36 x 50 x 35 voxels: no patch at all
    least = "the least there may be, though it"
    assert few == f"{least} shows more than 5 % of the voxels of 1 case"
    # 100 cases: 5 % are 315,000 voxels, 6 patches of 49,152.
    many = batch_reason(100, batch_size=16)
    assert many == "5 % of the voxels of 100 cases; memory does for 16"
    half = PlanOverrides(patch_size=(16, 48, 32))
    room = batch_reason(100, overrides=half)
    assert room == "the preset's 2, or 4 of patches that are smaller than its own"
    double = PlanOverrides(patch_size=(64, 96, 32))
    large = batch_reason(100, overrides=double)
    assert large == f"{least} takes more memory than the preset's batch"


def test_a_patch_longer_than_the_cases_is_noted() -> None:
    overrides = PlanOverrides(patch_size=(64, 48, 32))
    (note,) = make_plan(fingerprint(), small(), overrides).notes
    assert "(36 x 50 x 35) along Z: at least 44% of it is padding" in note


def test_a_label_in_no_case_is_noted() -> None:
    labels = {1: "liver", 7: "spleen"}
    (note,) = make_plan(fingerprint(), small(), labels=labels).notes
    assert "no training case has the label 7 spleen" in note


def test_the_memory_of_frozen_weights_is_counted_once() -> None:
    base = preset_config("ehanet", in_channels=1, n_classes=2)
    network = build_network(base)
    sizes = {True: 0, False: 0}
    for parameter in network.parameters():
        sizes[parameter.requires_grad] += 4 * parameter.numel()
    assert sizes[False] > 0
    weights = training_bytes(base, 3) - 3 * activation_bytes(base)
    assert weights == sizes[False] + 4 * sizes[True]
    plan = make_plan(fingerprint((5.0, 1.0, 1.0), (12, 256, 256)), base)
    assert plan.memory_bytes == training_bytes(plan.network, plan.batch_size)


def planned(
    folder: Path, dataset_folder: Path, overrides: PlanOverrides | None = None
) -> RunPlan:
    dataset = find_dataset(dataset_folder, label_names={1: "box"})
    job = plan_of_run(
        folder,
        dataset,
        dataset.cases,
        small(),
        overrides or PlanOverrides(),
        batch_size=2,
        keep_patch=False,
    )
    return run(job)


def test_files_are_read_again_only_if_they_changed(
    dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = planned(tmp_path, dataset_folder)
    first.write(tmp_path)

    def refuse(*_arguments: object) -> None:
        pytest.fail("the cases were read again")

    monkeypatch.setattr(stored_plan, "take_fingerprint", refuse)
    assert planned(tmp_path, dataset_folder) == first
    monkeypatch.undo()
    stored = json.loads((tmp_path / "fingerprint.json").read_text())
    stored["files"][0][0][1] += 1  # another size
    stored["cases"][0]["spacing"] = [9, 9, 9]
    (tmp_path / "fingerprint.json").write_text(json.dumps(stored))
    assert planned(tmp_path, dataset_folder) == first


def test_a_resumed_run_goes_on_with_its_plan(
    dataset_folder: Path, tmp_path: Path
) -> None:
    overrides = PlanOverrides(batch_size=3, normalizations=("zscore",))
    begun = planned(tmp_path, dataset_folder, overrides)
    begun.write(tmp_path)
    same = PlanOverrides(
        batch_size=3, normalizations=("zscore",), stem_stride=(2, 2, 2)
    )
    for asked in (PlanOverrides(), overrides, same):
        assert resumed_plan(tmp_path, small(), asked).plan == begun.plan
    with pytest.raises(ConfigError, match=r"batch_size 4; needed: 3"):
        resumed_plan(tmp_path, small(), PlanOverrides(batch_size=4))
    with pytest.raises(ConfigError, match="normalizations"):
        resumed_plan(tmp_path, small(), PlanOverrides(normalizations=("nonzero",)))
    with pytest.raises(ConfigError, match="the same preset"):
        resumed_plan(tmp_path, small(2), PlanOverrides())
    with pytest.raises(ReadError, match="without --resume"):
        resumed_plan(tmp_path / "elsewhere", small(), PlanOverrides())


def test_a_masked_model_sees_in_prediction_what_it_saw_in_training(
    make_image: Callable[..., Volume], tmp_path: Path
) -> None:
    volume = make_image(7, (12, 20, 22))
    image = np.asarray(volume.data).copy()
    image[:, :6] = 0
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    path = tmp_path / "images" / "head.nii.gz"
    write_image(image[0], path, like=volume)
    labels = (image[0] > np.median(image[image > 0])).astype(np.uint8)
    write_labels(labels, tmp_path / "labels" / path.name, like=volume)
    dataset = find_dataset(tmp_path)
    fingerprint = run(take_fingerprint(dataset, dataset.cases))
    plan = make_plan(fingerprint, small(), PlanOverrides(spacing=(1.7, 0.9, 1.1)))
    assert plan.normalizations == (Normalization(nonzero=True),)
    prepared = run(
        prepare_case(
            dataset.cases[0], dataset, plan.spacing, plan.normalizations, tmp_path / "p"
        )
    )
    opened = open_volume(path)
    rules = run(measure_normalization(opened.data, plan.normalizations))
    view = ModelView(opened, plan.spacing, rules)
    seen = view.read(whole_box(view.shape))
    np.testing.assert_allclose(prepared.image, seen, atol=1e-6)
    outside = seen == 0
    assert 0.2 < outside.mean() < 0.5  # half, less what the coarser grid blends
    np.testing.assert_array_equal(outside, np.asarray(prepared.image) == 0)


def test_augmentation_heeds_normalisation_and_anisotropy() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(5, 1, (1, 24, 40, 40)).astype(np.float32)
    image[:, :, :20] = 0
    sample = Sample(image=image, classes=np.zeros(image.shape[1:], np.uint8))
    recipe, patch = preset_recipe("small"), (16, 32, 32)
    shares = []
    for masked in (False, True):
        augment = recipe_augmentation(
            recipe, patch, normalizations=(Normalization(nonzero=masked),)
        )
        changed = [augment(sample, np.random.default_rng(n))[0] for n in range(20)]
        shares.append([float((one == 0).float().mean()) for one in changed])
    # Noise, blur and the like leave nothing at 0, but what lies outside is put back.
    assert min(shares[0]) < 0.1
    assert min(shares[1]) > 0.2
    thin = recipe_augmentation(recipe, patch, dummy_2d=True)
    assert thin._plane == 0  # slices across Z, turned alone
    assert recipe_augmentation(recipe, patch)._plane is None
