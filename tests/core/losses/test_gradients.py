"""Gradients of every loss against finite differences in float64; number formats."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from e2miseg_core.losses import (
    LossSettings,
    bce_dice_loss,
    edge_loss,
    edge_target,
    lovasz_softmax,
    segmentation_loss,
)

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def segmentation(**settings: object) -> Loss:
    """`segmentation_loss` with some settings."""
    chosen = LossSettings(**settings)  # type: ignore[arg-type]
    return lambda logits, labels, valid: segmentation_loss(
        logits, labels, chosen, valid
    )


def edges(form: str) -> Loss:
    """`edge_loss` of the first two channels."""
    chosen = LossSettings(edge_loss=form, edge_width=1)
    return lambda logits, labels, valid: edge_loss(logits[:, :2], labels, chosen, valid)


LOSSES: dict[str, Loss] = {
    "paper": segmentation(ss_form="paper"),
    "relative": segmentation(ss_form="relative", ss_weight=2.0),
    "dice": segmentation(ss_form="off", ss_weight=1.0),
    "batch": segmentation(ss_form="paper", batch_dice=True),
    "background": segmentation(ss_form="relative", background=True),
    "entropy": segmentation(ss_weight=0.0),
    "boundary": segmentation(boundary_weight=3.0),
    "lovasz": segmentation(ss_weight=0.0, lovasz_weight=1.0),
    "lovasz_alone": lambda x, y, valid: lovasz_softmax(x, y, valid=valid),
    "bce_dice": lambda x, y, valid: bce_dice_loss(x[:, :2], y > 0, valid=valid),
    "edges": edges("lovasz"),
    "edges_bce": edges("bce_dice"),
}

every_loss = pytest.mark.parametrize("name", list(LOSSES))


@pytest.fixture
def loss(name: str) -> Loss:
    return LOSSES[name]


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([[[[0, 1, 1], [2, 2, 0]]], [[[0, 0, 0], [0, 1, 0]]]])


@pytest.fixture
def logits() -> Tensor:
    random = torch.Generator().manual_seed(1)
    drawn = torch.randn(2, 3, 1, 2, 3, dtype=torch.float64, generator=random)
    return drawn.requires_grad_()


@pytest.fixture
def valid() -> Tensor:
    return torch.tensor([[[[1, 1, 0], [1, 1, 0]]], [[[0, 1, 1], [0, 1, 1]]]]).bool()


@every_loss
def test_gradients_match_finite_differences(
    loss: Loss, logits: Tensor, labels: Tensor
) -> None:
    assert torch.autograd.gradcheck(lambda x: loss(x, labels, None), (logits,))


@every_loss
def test_masked_gradients_match_finite_differences(
    loss: Loss, logits: Tensor, labels: Tensor, valid: Tensor
) -> None:
    assert torch.autograd.gradcheck(lambda x: loss(x, labels, valid), (logits,))


@every_loss
def test_voxels_that_do_not_count_have_a_gradient_of_exactly_zero(
    loss: Loss, logits: Tensor, labels: Tensor, valid: Tensor
) -> None:
    loss(logits, labels.masked_fill(~valid, 255), valid).backward()
    assert logits.grad is not None
    ignored = ~valid[:, None].expand_as(logits)
    assert not logits.grad[ignored].any()
    assert logits.grad[~ignored].any()


@every_loss
def test_no_counting_voxel_gives_no_loss_and_no_gradient(
    loss: Loss, logits: Tensor, labels: Tensor
) -> None:
    found = loss(logits, labels, torch.zeros_like(labels).bool())
    found.backward()
    assert found == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@every_loss
def test_autocast_and_half_precision_change_no_sum(
    loss: Loss, logits: Tensor, labels: Tensor
) -> None:
    half = logits.detach().bfloat16()
    expected = loss(half.float(), labels, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(half, labels, None)
    assert found.dtype == torch.float32
    assert found == expected


@every_loss
def test_float32_sums_agree_with_float64(
    loss: Loss, logits: Tensor, labels: Tensor
) -> None:
    single = loss(logits.detach().float(), labels, None)
    torch.testing.assert_close(single.double(), loss(logits.detach(), labels, None))


@every_loss
def test_a_perfect_prediction_is_at_rest(name: str, loss: Loss, labels: Tensor) -> None:
    targets = {"bce_dice": labels > 0, "edges": edge_target(labels, 1)}
    targets["edges_bce"] = targets["edges"]
    sure = F.one_hot(targets.get(name, labels).long(), 3).movedim(-1, 1).double()
    perfect = (60 * sure).requires_grad_()
    loss(perfect, labels, None).backward()
    assert perfect.grad is not None
    assert perfect.grad.abs().max() < 1e-6
