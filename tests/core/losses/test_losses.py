"""Laws of the losses: specification A.5."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from e2miseg_core.errors import ConfigError
from e2miseg_core.losses import (
    SS_FORMS,
    LossSettings,
    deep_supervision_loss,
    scale_sensitive_loss,
    scale_weight,
    segmentation_loss,
)
from e2miseg_core.losses.deep_supervision import level_weights, resize_labels

volumes = st.floats(0, 1e5)
TWICE = LossSettings(ss_form="paper", ss_weight=2)
ONCE = LossSettings(ss_form="paper", ss_weight=1)


def certain(labels: Tensor, n_classes: int, logit: float = 30.0) -> Tensor:
    """Logits that are sure of `labels`."""
    one_hot = torch.nn.functional.one_hot(labels.long(), n_classes)
    return logit * one_hot.movedim(-1, 1).float()


@pytest.fixture
def labels() -> Tensor:
    found = torch.zeros(2, 4, 5, 6, dtype=torch.long)
    found[:, 1:3, 1:3, 1:4] = 1
    found[0, 0, 0, :2] = 2
    found[1, 3, 4, 3:] = 2
    return found


@pytest.mark.parametrize("form", SS_FORMS)
@given(first=volumes, second=volumes)
def test_scale_weight_is_symmetric_and_at_most_one(
    form: str, first: float, second: float
) -> None:
    p, t = torch.tensor([first]), torch.tensor([second])
    weight = scale_weight(p, t, form)
    assert weight == scale_weight(t, p, form)
    assert 0 < weight <= 1


@pytest.mark.parametrize("form", SS_FORMS)
@given(volume=volumes)
def test_scale_weight_is_one_where_volumes_agree(form: str, volume: float) -> None:
    p = torch.tensor([volume])
    assert scale_weight(p, p, form) == 1


@given(larger=st.floats(4, 1e6), share=st.floats(0, 1))
def test_paper_weight_keeps_its_bound(larger: float, share: float) -> None:
    weight = scale_weight(
        torch.tensor([larger], dtype=torch.float64),
        torch.tensor([larger * share], dtype=torch.float64),
        "paper",
    )
    assert 1 - weight.item() <= 1 / math.sqrt(larger) + 1e-9


def test_relative_weight_falls_monotonically_to_a_fifth() -> None:
    true = torch.full((101,), 1000.0)
    weight = scale_weight(torch.linspace(0, 1000, 101), true, "relative")
    assert (weight.diff() > 0).all()
    assert weight[0] == pytest.approx(0.2, abs=1e-4)
    ratio = torch.tensor(0.3)  # 1 - r / (1 + r^2 / 4)
    by_formula = 1 - ratio / (1 + ratio**2 / 4)
    assert weight[70] == pytest.approx(by_formula.item(), abs=1e-5)


def test_paper_weight_forgives_gross_errors_again() -> None:
    """The published form's known defect, kept: it is what `relative` mends."""
    true = torch.tensor([100.0, 100.0])
    near, far = scale_weight(torch.tensor([80.0, 0.0]), true, "paper")
    assert near < far


@pytest.mark.parametrize("form", SS_FORMS)
def test_a_perfect_prediction_has_the_least_loss(form: str, labels: Tensor) -> None:
    perfect = scale_sensitive_loss(certain(labels, 3), labels, form=form)
    assert perfect == pytest.approx(-1, abs=1e-5)
    worse = certain(labels, 3)
    worse[:, :, 2] = certain(torch.zeros_like(labels), 3)[:, :, 2]
    assert scale_sensitive_loss(worse, labels, form=form) > perfect + 0.05


def test_ss_term_by_hand() -> None:
    # One foreground class, four voxels: p = 1/2 everywhere, two are true.
    logits, labels = torch.zeros(1, 2, 1, 2, 2), torch.tensor([[[[0, 0], [1, 1]]]])
    labels = labels.reshape(1, 1, 2, 2)
    # P = T = 2, TP = 1: alpha = 1, Dice = 2 / 4.
    found = scale_sensitive_loss(logits, labels, form="paper")
    assert found == pytest.approx(-0.5, abs=1e-5)
    # p = 0.9 everywhere: P = 3.6, T = 2, TP = 1.8, v = 0.64.
    logits[:, 1] = math.log(9)
    dice, weight = 3.6 / 5.6, (2 + 0.64) / (3.6 + 0.64)
    found = scale_sensitive_loss(logits, labels, form="paper")
    assert found == pytest.approx(-dice * weight, abs=1e-4)
    weight = (2 + 0.64 / 3.6) / (3.6 + 0.64 / 3.6)
    found = scale_sensitive_loss(logits, labels, form="relative")
    assert found == pytest.approx(-dice * weight, abs=1e-4)


def test_absent_classes_count_as_right(labels: Tensor) -> None:
    labels = torch.zeros_like(labels)
    found = scale_sensitive_loss(certain(labels, 3, 60.0), labels, form="paper")
    assert found == pytest.approx(-1, abs=1e-3)


def test_batch_dice_pools_the_samples(labels: Tensor) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, 6)
    pooled = scale_sensitive_loss(logits, labels, form="off", batch=True)
    joined = scale_sensitive_loss(
        torch.cat([logits[:1], logits[1:]], dim=2),
        torch.cat([labels[:1], labels[1:]], dim=1),
        form="off",
    )
    torch.testing.assert_close(pooled, joined)


def test_voxels_that_do_not_count_have_no_influence(labels: Tensor) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, 6, requires_grad=True)
    valid = torch.zeros(2, 4, 5, 6, dtype=torch.bool)
    valid[:, :2] = True
    loss = segmentation_loss(logits, labels, TWICE, valid)
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[:, :, 2:].any()
    assert logits.grad[:, :, :2].any()
    cut = segmentation_loss(logits[:, :, :2], labels[:, :2], TWICE)
    torch.testing.assert_close(loss, cut)


def test_without_any_counting_voxel_the_gradient_is_zero(labels: Tensor) -> None:
    logits = torch.randn(2, 3, 4, 5, 6, requires_grad=True)
    valid = torch.zeros(2, 4, 5, 6, dtype=torch.bool)
    segmentation_loss(logits, labels, TWICE, valid).backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_loss_is_near_minus_the_weight_for_a_perfect_prediction(
    labels: Tensor,
) -> None:
    found = segmentation_loss(
        certain(labels, 3), labels, LossSettings(ss_form="paper", ss_weight=1.45)
    )
    assert found == pytest.approx(-1.45, abs=1e-4)


def test_half_precision_logits_are_summed_in_float32(labels: Tensor) -> None:
    logits = torch.randn(2, 3, 4, 5, 6).bfloat16()
    half = segmentation_loss(logits, labels, ONCE)
    full = segmentation_loss(logits.float(), labels, ONCE)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full)


def test_level_weights_are_those_of_the_specification() -> None:
    assert level_weights(3) == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_deep_supervision_weighs_the_levels() -> None:
    levels = [torch.zeros(1, 2, n, n, n) for n in (8, 4, 2)]
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.long)
    sizes = {8: 1.0, 4: 10.0, 2: 100.0}
    found = deep_supervision_loss(
        levels, labels, lambda logits, _labels, _: torch.tensor(sizes[logits.shape[2]])
    )
    assert found == pytest.approx(4 / 7 + 20 / 7 + 100 / 7)


def test_labels_are_resized_to_their_nearest_neighbours() -> None:
    labels = torch.arange(12).reshape(1, 1, 1, 12)
    assert resize_labels(labels, (1, 1, 4)).flatten().tolist() == [1, 4, 7, 10]
    found = resize_labels(labels > 4, (1, 1, 4)).flatten().tolist()
    assert found == [False, False, True, True]


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_coarse_labels_lie_where_the_fine_ones_do(factor: int) -> None:
    """Not shifted towards the origin: at most half a fine voxel off."""
    places = torch.arange(8.0 * factor).reshape(1, 1, 1, -1)
    coarse = resize_labels(places, (1, 1, 8)).flatten()
    centres = factor * (torch.arange(8) + 0.5) - 0.5
    assert ((coarse - centres).abs() <= 0.5).all()


def test_unknown_forms_are_refused(labels: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"'sigmoid'.*paper, relative, off"):
        scale_sensitive_loss(certain(labels, 3), labels, form="sigmoid")
