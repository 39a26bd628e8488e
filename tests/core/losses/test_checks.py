"""Losses tell in one line what does not fit."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from e2miseg_core.errors import ConfigError, GeometryError
from e2miseg_core.losses import (
    LossSettings,
    bce_dice_loss,
    boundary_weights,
    lovasz_softmax,
    scale_sensitive_loss,
    segmentation_loss,
)

Loss = Callable[..., Tensor]
LOSSES = [
    partial(scale_sensitive_loss, form="paper"),
    lovasz_softmax,
    bce_dice_loss,
    lambda logits, labels, valid=None: segmentation_loss(
        logits, labels, LossSettings(), valid
    ),
]


@pytest.mark.parametrize("loss", LOSSES)
def test_labels_have_no_axis_of_channels(loss: Loss) -> None:
    logits, labels = torch.randn(2, 2, 3, 4, 5), torch.zeros(2, 3, 4, 5).long()
    loss(logits, labels)
    for wrong in (labels[:, None], labels[:1], labels[..., :4]):
        with pytest.raises(GeometryError, match="axis of channels"):
            loss(logits, wrong)


@pytest.mark.parametrize("loss", LOSSES)
def test_masks_are_of_truths(loss: Loss) -> None:
    logits, labels = torch.randn(2, 2, 3, 4, 5), torch.zeros(2, 3, 4, 5).long()
    valid = torch.rand(2, 3, 4, 5) < 0.5
    loss(logits, labels, valid=valid)
    for wrong in (valid.int(), valid.float(), valid[:, None]):
        with pytest.raises(GeometryError, match=r"needed: \(2, 3, 4, 5\) of torch"):
            loss(logits, labels, valid=wrong)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_loss_of_two_classes_takes_no_other_number(channels: int) -> None:
    with pytest.raises(GeometryError, match=r"\(N, 2, Z, Y, X\)"):
        bce_dice_loss(torch.zeros(1, channels, 2, 2, 2), torch.zeros(1, 2, 2, 2))


def test_edges_have_a_whole_width_and_boundaries_a_height() -> None:
    with pytest.raises(ConfigError, match=r"edge 2\.5 voxels wide"):
        LossSettings(edge_width=2.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="counts -3 more"):
        boundary_weights(torch.zeros(1, 2, 2, 2).long(), -3)
