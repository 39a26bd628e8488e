"""Patches: where they come from, and that chance depends on the step alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from e2miseg_core.training.augment import Augmentation, AugmentationRules
from e2miseg_core.training.patches import PatchSampler, Sample, sample_generator
from e2miseg_core.training.prepare import PreparedCase

PATCH = (8, 12, 10)


@pytest.fixture
def case() -> PreparedCase:
    """A case whose image says where each voxel lies."""
    shape = (30, 40, 35)
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    classes = np.zeros(shape, np.uint8)
    classes[20:22, 30:32, 5:7] = 1
    classes[3, 3, 3] = 2
    foreground = tuple(np.argwhere(classes == value) for value in (1, 2))
    return PreparedCase(name="a", image=image, classes=classes, foreground=foreground)


def test_the_last_third_of_a_batch_shows_foreground(case: PreparedCase) -> None:
    sampler = PatchSampler([case], PATCH, batch_size=3)
    shown = np.zeros(3)
    classes_seen = set()
    for step in range(60):
        for index in range(3):
            sample = sampler.sample(index, sample_generator(1, step, index))
            inner = tuple(
                slice((s - p) // 2, (s - p) // 2 + p)
                for s, p in zip(sample.classes.shape, PATCH, strict=True)
            )
            shown[index] += bool(sample.classes[inner].any())
            if index == 2:
                classes_seen |= set(np.unique(sample.classes[inner]))
    assert shown[2] == 60
    assert shown[0] < 30
    assert classes_seen == {0, 1, 2}  # small classes as often as large ones


def test_image_and_classes_are_cut_alike(case: PreparedCase) -> None:
    sampler = PatchSampler([case], PATCH, batch_size=1)
    flat = case.classes.ravel()
    for step in range(20):
        sample = sampler.sample(0, sample_generator(2, step, 0))
        inside = sample.image[0] > 0
        where = sample.image[0][inside].astype(int)
        np.testing.assert_array_equal(sample.classes[inside], flat[where])


def test_cases_smaller_than_the_patch_are_padded() -> None:
    image = np.ones((1, 3, 40, 4), np.float32)
    classes = np.ones((3, 40, 4), np.uint8)
    small = PreparedCase(
        name="s", image=image, classes=classes, foreground=(np.argwhere(classes == 1),)
    )
    sampler = PatchSampler([small], PATCH, batch_size=3)
    for index in range(3):
        sample = sampler.sample(index, sample_generator(0, 0, index))
        assert sample.classes.shape == sample.image.shape[1:]
        assert sample.image[0].sum() == sample.classes.sum() > 0


def test_chance_depends_on_seed_step_and_index_alone(case: PreparedCase) -> None:
    sampler = PatchSampler([case], PATCH, batch_size=2)
    augment = Augmentation(PATCH, (0, 1, 2))

    def make(step: int, index: int) -> torch.Tensor:
        random = sample_generator(9, step, index)
        return augment(sampler.sample(index, random), random)[0]

    first = [make(step, index) for step in range(6) for index in range(2)]
    later = [make(step, index) for step in reversed(range(6)) for index in (1, 0)]
    for a, b in zip(first, reversed(later), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(first[0], first[2])


def test_augmentation_moves_image_and_classes_together() -> None:
    """A bright box stays bright under its label through every spatial change."""
    size = tuple(int(np.ceil(p * 0.25 / 2)) * 2 + p for p in (16, 24, 20))
    classes = np.zeros(size, np.uint8)
    classes[5:14, 8:20, 6:16] = 1
    image = np.where(classes, 5.0, -5.0).astype(np.float32)[None]
    augment = Augmentation((16, 24, 20), (0, 1, 2))
    turned = 0
    for seed in range(40):
        shown, labels = augment(
            Sample(image=image, classes=classes), np.random.default_rng(seed)
        )
        assert shown.shape == (1, 16, 24, 20)
        assert set(labels.unique().tolist()) <= {0, 1}
        assert labels.any()
        agree = ((shown[0] > 0) == (labels == 1)).float().mean()
        assert agree > 0.85
        centre = tuple(
            slice((s - p) // 2, (s - p) // 2 + p)
            for s, p in zip(size, (16, 24, 20), strict=True)
        )
        turned += not torch.equal(labels, torch.from_numpy(classes[centre]).long())
    assert turned > 20


def test_a_batch_of_one_shows_foreground_a_third_of_the_time() -> None:
    """At random, since the rule for larger batches would never force it."""
    classes = np.zeros((40, 40, 40), np.uint8)
    classes[2, 3, 4] = 1  # hardly ever met by chance
    case = PreparedCase(
        name="s",
        image=np.zeros((1, *classes.shape), np.float32),
        classes=classes,
        foreground=(np.argwhere(classes == 1),),
    )
    sampler = PatchSampler([case], (3, 3, 3), batch_size=1)
    shown = [
        sampler.sample(0, sample_generator(0, step, 0)).classes.any()
        for step in range(600)
    ]
    assert np.mean(shown) == pytest.approx(0.33, abs=0.06)


def test_a_sample_is_read_wider_about_the_same_place(case: PreparedCase) -> None:
    sampler = PatchSampler([case], PATCH, batch_size=2)
    for step in range(12):
        sample = sampler.sample(step % 2, sample_generator(3, step, 0))
        assert sample.classes.shape == PATCH
        wide = sample.of_size((18, 40, 14))
        assert wide.image.shape == (1, 18, 40, 14)
        inner = wide.of_size(PATCH)
        np.testing.assert_array_equal(inner.image, sample.image)
        np.testing.assert_array_equal(inner.classes, sample.classes)
        inside = wide.image[0] > 0
        places = wide.image[0][inside].astype(int)
        np.testing.assert_array_equal(
            wide.classes[inside], case.classes.ravel()[places]
        )
        # without more to read, what there is stays centred
        narrow = inner.of_size((18, 10, 14))
        assert narrow.image.shape == (1, 8, 10, 10)
        np.testing.assert_array_equal(narrow.image, inner.image[:, :, 1:-1])


def test_turned_patches_find_image_at_their_corners() -> None:
    """Nothing is turned in from outside where the volume goes on."""
    shape = (60, 60, 60)
    case = PreparedCase(
        name="s",
        image=np.ones((1, *shape), np.float32),
        classes=np.ones(shape, np.uint8),
        foreground=(np.array([[30, 30, 30]]),),
    )
    rules = replace(AugmentationRules.none(), rotation=1.0, scaling=1.0)
    augment = Augmentation((12, 16, 14), (), rules=rules)
    sampler = PatchSampler([case], (12, 16, 14), batch_size=2)
    for step in range(30):
        random = sample_generator(0, step, 1)
        sample = sampler.sample(1, random)
        image, classes = augment(sample, random)
        assert (classes == 1).all()
        torch.testing.assert_close(image, torch.ones_like(image))
