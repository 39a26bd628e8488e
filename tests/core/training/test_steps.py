"""One optimiser step: bad batches, clipping, and gradients of float16."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from e2miseg_core.networks import TrainingOutputs, preset_config
from e2miseg_core.training.distributed import ALONE
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.steps import SMALLEST_SCALE, OptimizerStep
from e2miseg_core.training.trainee import Trainee

CPU = torch.device("cpu")


class OneWeight(nn.Module):
    """Logits are the image times a weight, behind a batch norm's statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.norm = nn.BatchNorm3d(1, affine=False, momentum=0.5)

    def forward_training(self, image: Tensor) -> TrainingOutputs:
        self.norm(image)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            weight = weight.half().float()  # its gradient passes through float16
        return TrainingOutputs(levels=(weight * image,))


def make(precision: str = "float32", **changes: Any) -> tuple[OneWeight, OptimizerStep]:
    recipe = Recipe(
        epochs=1,
        iterations=20,
        **{"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0} | changes,
    )
    network = OneWeight()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    step = OptimizerStep(
        network,  # type: ignore[arg-type]
        optimizer,
        lambda outputs, _classes: outputs.levels[0].float().mean(),
        recipe=recipe,
        device=CPU,
        precision=precision,
        team=ALONE,
    )
    return network, step


def batch(value: float) -> tuple[Tensor, Tensor]:
    image = torch.full((2, 1, 2, 2, 2), value)
    image[0, 0, 0, 0, 0] += 1
    return image, torch.zeros(2, 2, 2, 2, dtype=torch.long)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_batch_changes_nothing(bad: float) -> None:
    network, step = make()
    assert step(0, batch(1.0)) is not None
    before = {k: v.clone() for k, v in network.state_dict().items()}
    assert step(1, batch(bad)) is None
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert step(2, batch(1.0)) is not None


def test_gradients_that_are_no_numbers_change_nothing() -> None:
    network, step = make()

    def spoil(gradient: Tensor) -> Tensor:
        return gradient * float("inf")

    handle = network.weight.register_hook(spoil)
    assert step(0, batch(1.0)) is None
    assert network.weight.item() == 1.0
    handle.remove()


def test_the_gradient_is_clipped_to_the_recipe() -> None:
    network, step = make(gradient_clip=0.25, learning_rate=1.0)
    step(0, batch(8.0))  # the gradient is the mean of the image, 8.0625
    assert network.weight.item() == pytest.approx(0.75, abs=1e-5)


def test_float16_scales_gradients_and_unscales_them() -> None:
    """The gradient 2^-26 is 0 in float16; times the scale 2^16 it is not."""
    network, step = make("float16", gradient_clip=1e9, learning_rate=2.0**20)
    image = torch.full((2, 1, 2, 2, 2), 2.0**-26)
    step(0, (image, batch(0.0)[1]))
    assert step.scaler.get_scale() == 2.0**16
    assert network.weight.item() == 1.0 - 2.0**20 * 2.0**-26


def test_an_overflow_in_float16_lowers_the_scale_and_is_no_bad_batch() -> None:
    network, step = make("float16")

    def overflow(gradient: Tensor) -> Tensor:
        return gradient * float("inf")

    handle = network.weight.register_hook(overflow)
    assert step(0, batch(1.0)) is not None
    assert step.scaler.get_scale() == 2.0**15
    assert network.weight.item() == 1.0
    for number in range(1, 17):  # down to 1/2
        told = step(number, batch(1.0))
    assert step.scaler.get_scale() < SMALLEST_SCALE
    assert told is None
    handle.remove()
    # A step that changes the weights is no bad one, however small its scale.
    before = network.weight.item()
    assert step(17, batch(1.0)) is not None
    assert network.weight.item() != before


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float32"])
def test_a_network_trains_in_every_precision_and_keeps_the_scale(
    precision: str,
) -> None:
    config = preset_config("tiny", patch_size=(8, 16, 16))
    recipe = Recipe(epochs=1, iterations=20)
    image = torch.randn(2, 1, 8, 16, 16, generator=torch.Generator().manual_seed(1))
    classes = (image[:, 0] > 0).long()
    trainee = Trainee(config, recipe, CPU, ALONE)
    step = trainee.optimizer_step(precision, {})
    losses = [step(number, (image, classes)) or 0.0 for number in range(4)]
    assert losses[-1] < losses[0] - 0.05
    state = json.loads(json.dumps(step.scaler.state_dict()))
    if precision == "float16":
        state["scale"] = 2.0**11
    other = Trainee(config, recipe, CPU, ALONE).optimizer_step(precision, state)
    assert other.scaler.get_scale() == (2.0**11 if precision == "float16" else 1.0)
