"""Augmentation: its laws, and each change against numbers worked out by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from e2miseg_core.errors import ConfigError
from e2miseg_core.training.augment import (
    EHANET,
    NNUNET,
    NNUNET_CODE,
    Augmentation,
    AugmentationRules,
)
from e2miseg_core.training.augment.changes import Changes, draw_changes
from e2miseg_core.training.augment.intensity import change_intensities
from e2miseg_core.training.augment.spatial import move, source_map, source_size
from e2miseg_core.training.patches import Sample

NONE = AugmentationRules.none()
MOVING = replace(NONE, rotation=1.0, scaling=1.0, mirroring=0.5)
Triple = tuple[int, int, int]


def balls(size: Sequence[int], seed: int = 0) -> NDArray[np.uint8]:
    """Some lopsided blobs (Z, Y, X) of 0 and 1, none of which is thin."""
    noise = np.random.default_rng(seed).normal(size=size)
    found: NDArray[np.bool_] = ndimage.gaussian_filter(noise, 3) > 0.02
    return found.astype(np.uint8)


def middle(array: NDArray[Any], patch: Sequence[int]) -> NDArray[Any]:
    z, y, x = (
        slice((n - p) // 2, (n - p) // 2 + p)
        for n, p in zip(array.shape[-3:], patch, strict=True)
    )
    return array[..., z, y, x]


@pytest.mark.parametrize("patch", [(7, 12, 10), (8, 9, 16), (1, 20, 14)])
def test_without_changes_the_patch_is_the_middle_as_it_was(patch: Triple) -> None:
    size = tuple(p + 4 for p in patch)
    image = np.random.default_rng(0).normal(size=(2, *size)).astype(np.float32)
    classes = balls(size)
    kept = image.copy()
    shown, labels = Augmentation(patch, (0, 1, 2), rules=NONE)(
        Sample(image=image, classes=classes), np.random.default_rng(1)
    )
    np.testing.assert_array_equal(shown, middle(image, patch))
    np.testing.assert_array_equal(labels, middle(classes, patch))
    shown *= 2  # ours alone
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("dummy_2d", [False, True])
@pytest.mark.parametrize("cubic", [False, True])
def test_image_and_labels_move_together(dummy_2d: bool, cubic: bool) -> None:
    """Where an image of its own labels is surely inside or outside, they agree."""
    patch = (14, 22, 18)
    classes = balls((40, 60, 50))
    image = classes[None].astype(np.float32)
    augment = Augmentation(
        patch, (0, 1, 2), rules=MOVING, dummy_2d=dummy_2d, cubic=cubic
    )
    moved = 0
    for seed in range(12):
        shown, labels = augment(
            Sample(image=image, classes=classes), np.random.default_rng(seed)
        )
        # linearly, the nearest of 8 voxels has an eighth of the weight at least
        wrong = ((shown[0] > 0.9) & (labels == 0)) | ((shown[0] < 0.1) & (labels == 1))
        assert wrong.float().mean() <= (1e-3 if cubic else 0)
        assert 0.05 < labels.float().mean() < 0.95
        moved += not np.array_equal(labels, middle(classes, patch))
    assert moved == 12


def test_a_turn_by_a_quarter_and_a_mirror_are_exact() -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(2, 5, 9, 9)).astype(np.float32)
    changes = Changes(angles=(math.pi / 2, 0.0, 0.0))
    matrix = source_map(changes, plane=0)
    masks = torch.from_numpy(array > 0).to(torch.uint8)
    image, mask = move(torch.from_numpy(array), masks, matrix, (5, 9, 9))
    turned = np.rot90(array, axes=(2, 3))
    other = np.rot90(array, k=-1, axes=(2, 3))
    right = turned if np.abs(image.numpy() - turned).max() < 1e-4 else other
    np.testing.assert_allclose(image, right, atol=1e-4)
    np.testing.assert_array_equal(mask, right > 0)
    # nearer: a factor of 1/2 about the centre; in the plane only
    zoomed, _ = move(
        torch.from_numpy(array), masks, source_map(Changes(factor=0.5), 0), (5, 5, 5)
    )
    np.testing.assert_allclose(zoomed[:, :, ::2, ::2], array[:, :, 3:6, 3:6], atol=1e-5)


@pytest.mark.parametrize("cubic", [False, True])
def test_what_is_read_is_enough_for_every_turn(cubic: bool) -> None:
    """A patch looked up in what `source_size` says is that of an endless image."""
    patch = (6, 11, 8)
    endless = ndimage.gaussian_filter(
        np.random.default_rng(0).normal(size=(81, 90, 83)), 1
    )
    volume = torch.from_numpy(endless.astype(np.float32))[None]
    for seed in range(8):
        changes = draw_changes(
            MOVING,
            np.random.default_rng(seed),
            n_channels=1,
            patch_size=patch,
            mirror_axes=(),
            plane=None,
        )
        matrix = source_map(changes, None)
        size = source_size(patch, matrix, cubic=cubic)
        assert all((n - p) % 2 == 0 for n, p in zip(size, patch, strict=True))
        small = volume
        for axis, (n, p) in enumerate(zip(size, patch, strict=True), start=1):
            start = (volume.shape[axis] - p) // 2 - (n - p) // 2
            small = small.narrow(axis, start, n)
        masks = torch.ones_like(small, dtype=torch.uint8)
        near, inside = move(small, masks, matrix, patch, cubic=cubic)
        far, _ = move(volume, torch.ones_like(volume), matrix, patch, cubic=cubic)
        assert inside.all()
        # a spline's prefilter is felt everywhere, a factor of 4 less each voxel
        torch.testing.assert_close(near, far, rtol=0, atol=5e-4 if cubic else 1e-4)


def test_mirroring_twice_is_nothing() -> None:
    patch = (6, 8, 10)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, *patch)).astype(np.float32)
    classes = rng.integers(0, 3, patch).astype(np.uint8)
    augment = Augmentation(patch, (0, 2), rules=replace(NONE, mirroring=1.0))
    once = augment(Sample(image=image, classes=classes), rng)
    np.testing.assert_array_equal(once[0], image[:, ::-1, :, ::-1])
    twice = augment(
        Sample(image=once[0].numpy(), classes=once[1].numpy().astype(np.uint8)), rng
    )
    np.testing.assert_array_equal(twice[0], image)
    np.testing.assert_array_equal(twice[1], classes)


def test_slices_are_turned_alone_in_thin_and_in_dummy_2d_patches() -> None:
    """What is the same in every slice stays so; slices do not mix."""
    plane = balls((1, 70, 70))
    for patch, dummy in (((1, 24, 20), False), ((4, 24, 20), True)):
        classes = np.repeat(plane, 7 if dummy else 1, axis=0)
        image = classes[None] * np.arange(1, len(classes) + 1)[:, None, None]
        augment = Augmentation(patch, (), rules=MOVING, dummy_2d=dummy)
        largest = 0.0
        for seed in range(10):
            random = np.random.default_rng(seed)
            shown, labels = augment(
                Sample(image=image.astype(np.float32), classes=classes), random
            )
            assert (labels == labels[:1]).all()
            levels = shown.amax(dim=(0, 2, 3))
            middles = np.arange(1, len(classes) + 1)[(len(classes) - patch[0]) // 2 :][
                : patch[0]
            ]
            np.testing.assert_allclose(levels, middles, rtol=1e-4)
            changes = draw_changes(
                MOVING,
                np.random.default_rng(seed),
                n_channels=1,
                patch_size=patch,
                mirror_axes=(),
                plane=0,
            )
            assert changes.angles[1:] == (0.0, 0.0)
            largest = max(largest, abs(changes.angles[0]))
        assert largest > math.radians(90)


def drawn(rules: AugmentationRules, n: int = 4000) -> list[Changes]:
    return [
        draw_changes(
            rules,
            np.random.default_rng(seed),
            n_channels=2,
            patch_size=(16, 160, 160),
            mirror_axes=(0, 1, 2),
            plane=None,
        )
        for seed in range(n)
    ]


def test_changes_are_as_frequent_and_as_large_as_the_list_says() -> None:
    made = drawn(NNUNET)

    def share(name: str) -> float:
        return sum(bool(getattr(c, name)) for c in made) / len(made)

    expected = {
        "noise": 0.1,
        "blur": 0.2,
        "brightness": 0.15,
        "contrast": 0.15,
        "low_resolution": 0.25,
        "inverted_gamma": 0.1,
        "gamma": 0.3,
        "holes": 0.0,
    }
    for name, probability in expected.items():
        assert share(name) == pytest.approx(probability, abs=0.03), name
    turned = [c.angles for c in made if any(c.angles)]
    scaled = [c.factor for c in made if c.factor != 1]
    assert len(turned) / len(made) == pytest.approx(0.2, abs=0.03)
    assert len(scaled) / len(made) == pytest.approx(0.2, abs=0.03)
    both = sum(any(c.angles) and c.factor != 1 for c in made)
    assert both / len(made) == pytest.approx(0.04, abs=0.015)  # two draws
    assert np.abs(turned).max() <= math.radians(30)
    assert np.abs(turned).max() > math.radians(29)
    assert 0.7 <= min(scaled) < 0.72
    assert 1.38 < max(scaled) <= 1.4
    assert np.mean(np.array(scaled) < 1) == pytest.approx(0.5, abs=0.06)
    mirrored = np.mean([[axis in c.mirrored for axis in range(3)] for c in made], 0)
    np.testing.assert_allclose(mirrored, 0.5, atol=0.03)
    blurred = [value is not None for c in made for value in c.blur]
    assert np.mean(blurred) == pytest.approx(0.5, abs=0.06)  # of the channels
    deviations = np.array([c.noise[0] for c in made if c.noise])
    assert (deviations**2).mean() == pytest.approx(0.05, abs=0.006)


def test_the_other_list_turns_mirrors_and_makes_holes_in_the_image_alone() -> None:
    made = drawn(EHANET)
    holed = [c.holes for c in made if c.holes]
    assert len(holed) / len(made) == pytest.approx(0.3, abs=0.03)
    assert {len(boxes) for boxes in holed} == set(range(1, 11))
    assert max(abs(c.angles[0]) for c in made) <= math.radians(35)
    assert not any(c.noise or c.gamma or c.blur or c.factor != 1 for c in made)
    patch = (1, 64, 64)
    sample = Sample(image=np.ones((2, *patch), np.float32), classes=balls(patch))
    augment = Augmentation(patch, (), rules=replace(NONE, dropout=1.0, holes=1))
    shown, labels = augment(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(labels, sample.classes)
    assert (shown == 0).sum() == 2 * 32 * 32


def test_intensities_change_as_worked_out_by_hand() -> None:
    image = torch.arange(8.0).reshape(1, 2, 2, 2)

    def made(changes: Changes) -> torch.Tensor:
        return change_intensities(image, changes, None)

    torch.testing.assert_close(made(Changes(brightness=(1.2,))), image * 1.2)
    spread = ((image - 3.5) * 1.25 + 3.5).clamp(0, 7)
    torch.testing.assert_close(made(Changes(contrast=(1.25,))), spread)
    torch.testing.assert_close(
        made(Changes(contrast=(0.5,))), (image - 3.5) * 0.5 + 3.5, rtol=0, atol=1e-6
    )
    curved = (image / 7) ** 1.4 * 7
    curved = (curved - curved.mean()) / curved.std() * image.std() + 3.5
    torch.testing.assert_close(
        made(Changes(gamma=(1.4,))), curved, rtol=1e-5, atol=1e-5
    )
    inverted = 7 - (1 - image / 7) ** 1.4 * 7
    inverted = (inverted - inverted.mean()) / inverted.std() * image.std() + 3.5
    torch.testing.assert_close(
        made(Changes(inverted_gamma=(1.4,))), inverted, rtol=1e-5, atol=1e-5
    )


def test_noise_blur_and_resolution_do_what_they_say() -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.normal(size=(2, 20, 24, 22)).astype(np.float32))
    noisy = change_intensities(image, Changes(noise=(0.25, 3)), None)
    assert float((noisy - image).std()) == pytest.approx(0.25, rel=0.03)
    again = change_intensities(image, Changes(noise=(0.25, 3)), None)
    torch.testing.assert_close(noisy, again, rtol=0, atol=0)
    blurred = change_intensities(image, Changes(blur=(None, 1.0)), None)
    torch.testing.assert_close(blurred[0], image[0], rtol=0, atol=0)
    assert blurred[1].std() < 0.4 * image[1].std()
    flat = torch.full((1, 6, 7, 8), 3.0)
    for changes in (
        Changes(blur=(0.7,)),  # borders are not darkened
        Changes(low_resolution=(0.6,)),
        Changes(contrast=(1.2,)),
    ):
        torch.testing.assert_close(change_intensities(flat, changes, None), flat)
    for same in (Changes(gamma=(1.3,)), Changes(inverted_gamma=(0.8,))):
        torch.testing.assert_close(change_intensities(flat, same, None), flat)
    lowered = change_intensities(image, Changes(low_resolution=(0.5, None)), None)
    torch.testing.assert_close(lowered[1], image[1], rtol=0, atol=0)
    assert (lowered[0] != image[0]).float().mean() > 0.9
    # slices keep theirs where they are turned alone
    steps = torch.arange(6.0)[:, None, None].expand(1, 6, 8, 8) ** 2
    kept = change_intensities(steps, Changes(low_resolution=(0.5,)), 0)
    torch.testing.assert_close(kept, steps)


def test_lowering_resolution_is_nearest_then_cubic() -> None:
    line = np.random.default_rng(0).normal(size=12).astype(np.float32)
    image = torch.from_numpy(line)[None, None, None].contiguous()
    lowered = change_intensities(image, Changes(low_resolution=(0.5,)), None)[0, 0, 0]
    fewer = line[1::2]  # the voxel whose extent holds the coarse one's centre
    back = ndimage.zoom(fewer, 2, order=3, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(lowered, back, atol=1e-5)


def test_what_was_zero_is_zero_again_where_that_is_asked() -> None:
    """Of the channels that were normalised within their non-zero voxels only."""
    patch = (12, 16, 14)
    inside = balls((40, 50, 44)).astype(bool)
    rng = np.random.default_rng(0)
    image = np.where(inside, rng.normal(size=(2, *inside.shape)), 0).astype(np.float32)
    rules = replace(NNUNET, noise=1.0, brightness=1.0, rotation=0.5, scaling=0.5)
    augment = Augmentation(patch, (0, 1), zero_outside=(False, True), rules=rules)
    for seed in range(8):
        shown, labels = augment(
            Sample(image=image, classes=inside.astype(np.uint8)),
            np.random.default_rng(seed),
        )
        assert (shown[1][labels == 0] == 0).all()
        assert (shown[0][labels == 0] != 0).all()
        assert (shown[1][labels == 1] != 0).all()


def test_rules_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"blur 1\.5"):
        AugmentationRules(blur=1.5)
    with pytest.raises(ConfigError, match="angle -3"):
        AugmentationRules(angle=-3)


def test_noise_of_the_published_code_is_even_in_its_deviation() -> None:
    """Uniform up to 0.1: below 0.05 half the time, where the paper's is a 40th."""
    often = replace(NNUNET_CODE, noise=1.0)
    random = np.random.default_rng(5)
    drawn = [
        draw_changes(
            often,
            random,
            n_channels=1,
            patch_size=(8, 8, 8),
            mirror_axes=(),
            plane=None,
        ).noise
        for _ in range(400)
    ]
    deviations = np.array([noise[0] for noise in drawn if noise])
    assert len(deviations) == 400
    assert deviations.max() <= 0.1
    assert (deviations < 0.05).mean() == pytest.approx(0.5, abs=0.08)
    assert replace(NNUNET, noise_by_deviation=True) == NNUNET_CODE
