"""Weights near boundaries, by hand and by a distance transform."""

import math

import pytest
import torch
from scipy import ndimage

from e2miseg_core.losses import LossSettings, boundary_weights, segmentation_loss
from e2miseg_core.losses.boundary import REACH, SIGMA


def fading(distance: float) -> float:
    return math.exp(-(distance**2) / (2 * SIGMA**2))


def test_weights_fade_with_the_distance_to_another_class() -> None:
    labels = torch.tensor([0] * 8 + [1] * 2 + [2]).reshape(1, 1, 1, 11)
    distances = [7.5, 6.5, 5.5, 4.5, 3.5, 2.5, 1.5, 0.5, 0.5, 0.5, 0.5]
    expected = [1 + 3 * fading(d) * (d < REACH) for d in distances]
    found = boundary_weights(labels, 3.0).flatten().tolist()
    assert found == pytest.approx(expected)


def test_distances_are_those_of_a_chessboard() -> None:
    mask = torch.rand(6, 9, 11, generator=torch.Generator().manual_seed(2)) > 0.97
    chessboard = ndimage.distance_transform_cdt(~mask.numpy(), "chessboard")
    expected = 1 + torch.tensor(
        [fading(d - 0.5) if d <= REACH else 0.0 for d in chessboard.flat]
    ).reshape(mask.shape)
    found = boundary_weights(mask[None].long(), 1.0)[0]
    torch.testing.assert_close(found[~mask], expected[~mask].float())


def test_unknown_labels_are_no_boundary_and_weigh_nothing() -> None:
    labels = torch.tensor([0, 0, 5, 0, 0]).reshape(1, 1, 1, 5)
    valid = labels != 5
    found = boundary_weights(labels, 3.0, valid=valid)
    assert found.flatten().tolist() == [1, 1, 0, 1, 1]


def test_the_cross_entropy_becomes_a_weighted_mean() -> None:
    settings = LossSettings(ss_weight=0.0, boundary_weight=4.0)
    labels = torch.tensor([0] * 9 + [1]).reshape(1, 1, 1, 10)
    weights = boundary_weights(labels, 4.0).flatten()
    # Voxels are wrong by as much as their place in the row says.
    logits = torch.stack([-torch.arange(10.0), torch.zeros(10)])[None, :, None, None]
    entropy = torch.log1p(torch.exp(torch.arange(10.0)))
    entropy[9] -= 9  # the last one is of class 1
    entropy[9] = torch.log1p(torch.exp(torch.tensor(-9.0)))
    found = segmentation_loss(logits, labels, settings)
    expected = (entropy * weights).sum() / weights.sum()
    torch.testing.assert_close(found, expected)


def test_undecided_voxels_cost_the_same_whatever_their_weight() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1]).reshape(1, 1, 1, 5)
    settings = LossSettings(ss_weight=0.0, boundary_weight=7.0)
    found = segmentation_loss(torch.zeros(1, 2, 1, 1, 5), labels, settings)
    assert found == pytest.approx(math.log(2))
