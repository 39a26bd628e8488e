"""What the Dice term does about samples, backgrounds and voxels that do not count."""

import pytest
import torch
from torch import Tensor

from e2miseg_core.losses import (
    SS_FORMS,
    LossSettings,
    scale_sensitive_loss,
    segmentation_loss,
)


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(2, 3, 3, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels() -> Tensor:
    return torch.randint(0, 3, (2, 3, 4, 5), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", SS_FORMS)
def test_a_sample_without_counting_voxels_is_not_rewarded(
    form: str, logits: Tensor, labels: Tensor
) -> None:
    """Its absent classes would all count as perfectly found."""
    valid = torch.ones_like(labels).bool()
    valid[1] = False
    found = scale_sensitive_loss(logits, labels, form=form, valid=valid)
    alone = scale_sensitive_loss(logits[:1], labels[:1], form=form)
    torch.testing.assert_close(found, alone)


def test_a_batch_without_samples_has_no_loss() -> None:
    logits = torch.zeros(0, 3, 2, 2, 2)
    labels = torch.zeros(0, 2, 2, 2, dtype=torch.long)
    assert scale_sensitive_loss(logits, labels, form="paper", batch=True) == 0


@pytest.mark.parametrize("form", SS_FORMS)
def test_the_background_counts_as_one_class_more(
    form: str, logits: Tensor, labels: Tensor
) -> None:
    foreground = scale_sensitive_loss(logits, labels, form=form)
    whole = scale_sensitive_loss(logits, labels, form=form, background=True)
    # Among two classes that are swapped, the background is the only foreground.
    p = torch.softmax(logits, 1)
    merged = torch.stack([p[:, 1:].sum(1), p[:, 0]], 1).log()
    background = scale_sensitive_loss(merged, (labels == 0).long(), form=form)
    torch.testing.assert_close(whole, (2 * foreground + background) / 3)


def test_ignored_labels_may_be_any_number(logits: Tensor, labels: Tensor) -> None:
    valid = labels != 2
    strange = labels.to(torch.uint8).masked_fill(~valid, 255)
    settings = LossSettings(ss_form="paper", ss_weight=1)
    found = segmentation_loss(logits, strange, settings, valid)
    usual = segmentation_loss(logits, labels, settings, valid)
    assert found == usual
