"""Edge targets by hand and against scipy's morphology; what an edge head is told."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from e2miseg_core.errors import ConfigError
from e2miseg_core.losses import LossSettings, edge_loss, edge_target


def row(*labels: int) -> Tensor:
    """A volume of one row."""
    return torch.tensor(labels).reshape(1, 1, 1, -1)


@pytest.fixture
def labels() -> Tensor:
    """Two blobs that touch, one at the border."""
    random = np.random.default_rng(4)
    smooth = ndimage.gaussian_filter(random.normal(size=(2, 9, 14, 12)), (0, 2, 2, 2))
    found = np.digitize(smooth, np.quantile(smooth, (0.6, 0.85)))
    return torch.from_numpy(found)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (1, [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]),
        (2, [0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0]),
        (3, [0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0]),
        (5, [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]),
    ],
)
def test_an_edge_is_as_thick_as_asked(width: int, expected: list[int]) -> None:
    found = edge_target(row(0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0), width)
    assert found.flatten().int().tolist() == expected


@pytest.mark.parametrize("union", [False, True])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
def test_it_is_dilation_minus_erosion_of_each_class(
    width: int, union: bool, labels: Tensor
) -> None:
    classes = [labels > 0] if union else [labels == 1, labels == 2]
    for sample, found in enumerate(edge_target(labels, width, union=union)):
        expected = np.zeros(found.shape, bool)
        for is_class in classes:
            mask = is_class[sample].numpy()
            size = [2 * r + 1 for r in (width // 2, width - width // 2)]
            dilated = ndimage.grey_dilation(mask, (size[0],) * 3, mode="nearest")
            eroded = ndimage.grey_erosion(mask, (size[1],) * 3, mode="nearest")
            expected |= dilated & ~eroded
        np.testing.assert_array_equal(found.numpy(), expected)


def test_classes_that_touch_have_an_edge_between_them_unless_united() -> None:
    touching = row(1, 1, 2, 2)
    assert edge_target(touching).flatten().tolist() == [False, True, True, False]
    assert not edge_target(touching, union=True).any()


def test_edges_of_slices_do_not_look_at_their_neighbours(labels: Tensor) -> None:
    found = edge_target(labels, 2, axes=(1, 2))
    for z in range(labels.shape[1]):
        alone = edge_target(labels[:, z : z + 1], 2)
        torch.testing.assert_close(found[:, z : z + 1], alone)
    assert (found != edge_target(labels, 2)).any()


def test_it_turns_with_the_labels(labels: Tensor) -> None:
    """So it may be made after augmentation."""
    turned = labels.flip(1).transpose(2, 3)
    expected = edge_target(labels, 3).flip(1).transpose(2, 3)
    torch.testing.assert_close(edge_target(turned, 3), expected)


def test_unknown_labels_make_no_edge() -> None:
    valid = row(1, 1, 1, 0, 0, 1, 1).bool()
    found = edge_target(row(0, 0, 1, 9, 9, 0, 0), 2, valid=valid)
    assert found.flatten().int().tolist() == [0, 1, 1, 0, 0, 0, 0]


def test_near_unknown_labels_only_edges_are_sure() -> None:
    settings = LossSettings(edge_width=2)
    labels, valid = row(0, 0, 1, 9, 0, 0, 0), row(1, 1, 1, 0, 1, 1, 1).bool()
    logits = torch.zeros(1, 2, 1, 1, 7, requires_grad=True)
    edge_loss(logits, labels, settings, valid).backward()
    assert logits.grad is not None
    counted = logits.grad[0].abs().sum(0).flatten() > 0
    # The edge at 1 and 2 is sure; whether there is one at 4 depends on voxel 3.
    assert not counted[[3, 4]].any()
    assert counted[[1, 2]].all()


@pytest.mark.parametrize("form", ["lovasz", "bce_dice"])
@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_the_loss_is_least_for_the_edge_itself(
    form: str, width: int, labels: Tensor
) -> None:
    settings = LossSettings(edge_loss=form, edge_width=width)
    target = edge_target(labels, width)
    perfect = 40.0 * torch.stack([~target, target], 1)
    assert edge_loss(perfect, labels, settings) == pytest.approx(0, abs=1e-6)
    shifted = perfect.roll(1, dims=4)
    assert edge_loss(shifted, labels, settings) > 0.1


def test_half_edges_by_hand() -> None:
    # Four voxels, two of them edge, all undecided: BCE log 2, Dice (2 + 1) / (4 + 1).
    settings = LossSettings(edge_loss="bce_dice", edge_width=2)
    found = edge_loss(torch.zeros(1, 2, 1, 1, 4), row(0, 0, 1, 1), settings)
    assert found == pytest.approx(0.5 * np.log(2) + 0.5 * (1 - 3 / 5))


@pytest.mark.parametrize("width", [0, -1])
def test_an_edge_has_a_thickness(width: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        edge_target(row(0, 1), width)
    with pytest.raises(ConfigError, match="at least 1"):
        LossSettings(edge_width=width)
