"""Looking at the selection cases."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from e2miseg_core.networks import preset_config
from e2miseg_core.progress import run
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
    assert first.shown.truth.shape == (8, 16, 16)


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
