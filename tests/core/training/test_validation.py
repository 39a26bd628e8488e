"""Looking at the selection cases."""

import tracemalloc

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from e2miseg_core.networks import preset_config
from e2miseg_core.progress import run
from e2miseg_core.training.comparison import SlabComparison
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.validation import Validator, mean_dice, wearing

CONFIG = preset_config("tiny", patch_size=(8, 16, 16), in_channels=1, n_classes=3)
CPU = torch.device("cpu")


class Reading(nn.Module):
    """Finds the class that the voxels of the image name."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([-((image - c) ** 2) * 50 for c in range(3)], dim=1)


def case(said: float, true: int, voxels: int) -> PreparedCase:
    """Class 1 where it is; so many voxels of which the image says something."""
    classes = np.zeros((8, 16, 16), np.uint8)
    classes[0] = 1
    image = classes.astype(np.float32)
    image[4].flat[:voxels] = said
    classes[4].flat[:voxels] = true
    return PreparedCase(
        name=f"{said}",
        image=image[None],
        classes=classes,
        foreground=(np.argwhere(classes == 1),),
    )


CASES = [case(1, 0, 128), case(2, 2, 100)]


def test_the_dice_of_whole_cases_by_hand() -> None:
    """Class 1: 2 x 256 / (384 + 256) and 1; class 2: in the second case only, 1."""
    dice = run(mean_dice(Reading(), CONFIG, CASES, CPU, "float32"))
    assert dice == pytest.approx((0.8 + 1 + 1) / 3)


def test_the_dice_of_patches_is_summed_over_them_first() -> None:
    validator = Validator(CONFIG, CASES, device=CPU, precision="float32", patches=8)
    first = run(validator.look(Reading()))
    # Each patch is a whole case: n of the first kind, 8 - n of the second.
    possible = [(2 * 256 * 8 / (2 * 256 * 8 + 128 * n) + 1) / 2 for n in range(1, 8)]
    assert min(abs(first.dice - p) for p in possible) < 1e-9
    again = Validator(CONFIG, CASES, device=CPU, precision="float32", patches=8)
    assert run(again.look(Reading())).dice == first.dice
    assert first.shown is not None
    assert first.shown.truth.shape == (16, 16)


def test_slab_by_slab_as_of_the_whole_arrays() -> None:
    """Slabs of every height; the row that is kept lies in one of them."""
    random = np.random.default_rng(3)
    shape = (11, 5, 7)
    truth = random.integers(0, 4, shape).astype(np.uint8)
    image = random.standard_normal(shape).astype(np.float32)
    probabilities = random.dirichlet(np.ones(4), shape).astype(np.float32)
    probabilities = np.moveaxis(probabilities, -1, 0)
    predicted = probabilities.argmax(axis=0)
    expected = [
        [2 * ((predicted == c) & (truth == c)).sum(), (predicted == c).sum() + n]
        for c, n in enumerate(np.bincount(truth.ravel())[1:], start=1)
    ]
    for height in range(1, 12):
        found = SlabComparison(image, truth, 4, row=6)
        for first in range(0, 11, height):
            found.add(first, probabilities[:, first : first + height])
        assert found.counts.tolist() == expected
        assert found.shown is not None
        assert (found.shown.predicted == predicted[6]).all()
        assert (found.shown.truth == truth[6]).all()
        assert (found.shown.image == image[6]).all()
        assert (found.shown.error == 1 - probabilities[:, 6].max(axis=0)).all()


def test_the_slice_shown_is_of_the_case_with_most_foreground() -> None:
    """The second case: class 1 in row 0, fewer voxels of class 2 in row 4."""
    validator = Validator(CONFIG, CASES, device=CPU, precision="float32")
    shown = run(validator.look(Reading())).shown
    assert shown is not None
    assert (shown.truth == CASES[1].classes[0]).all()
    assert (shown.predicted == shown.truth).all()
    assert (shown.image == CASES[1].image[0, 0]).all()


def test_memory_does_not_grow_with_the_case() -> None:
    """Of a case 32 times as deep: the peak stays, its classes alone would double it."""
    flat = preset_config("tiny", patch_size=(8, 64, 64), in_channels=1, n_classes=3)

    def peak(depth: int) -> int:
        classes = np.zeros((depth, 64, 64), np.uint8)
        classes[: depth // 2, 8:24] = 1
        image = np.broadcast_to(np.float32(0), (1, *classes.shape))
        deep = PreparedCase(name="d", image=image, classes=classes, foreground=())
        validator = Validator(flat, [deep], device=CPU, precision="float32")
        tracemalloc.start()
        run(validator.look(Reading()))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(16)
    assert peak(512) < peak(16) + 200_000


def test_nothing_there_and_nothing_found_is_no_score() -> None:
    empty = case(0, 0, 0)
    empty.classes[:] = 0
    empty.image[:] = 0
    assert run(mean_dice(Reading(), CONFIG, [empty], CPU, "float32")) == 0


def test_the_own_weights_are_worn_again_afterwards() -> None:
    network = nn.Linear(1, 1)
    before = network.weight.item()
    other = {"weight": torch.tensor([[7.0]]), "bias": torch.tensor([0.0])}
    with wearing(network, other):
        assert network.weight.item() == 7
    assert network.weight.item() == before
