"""Laws of the Lovász-softmax, from its definition."""

import itertools

import pytest
import torch
from torch import Tensor

from e2miseg_core.losses import lovasz_softmax
from e2miseg_core.losses.lovasz import lovasz_term


def jaccard_loss(is_class: Tensor, found: Tensor) -> float:
    """1 - intersection over union of two masks."""
    return 1 - float((is_class & found).sum() / (is_class | found).sum())


@pytest.mark.parametrize("found", list(itertools.product((False, True), repeat=4)))
def test_it_is_the_mean_jaccard_loss_where_decisions_are_hard(
    found: tuple[bool, ...],
) -> None:
    predicted = torch.tensor(found).reshape(1, 1, 2, 2)
    labels = torch.tensor([[[[0, 1], [1, 0]]]])
    logits = 80.0 * torch.stack([~predicted, predicted], 1)
    expected = [
        jaccard_loss(labels == 0, ~predicted),
        jaccard_loss(labels == 1, predicted),
    ]
    found_loss = lovasz_softmax(logits, labels)
    assert found_loss == pytest.approx(sum(expected) / 2, abs=1e-6)


def test_three_classes_hard() -> None:
    labels, predicted = torch.tensor([[[[0, 1, 2]]]]), torch.tensor([[[[0, 2, 2]]]])
    logits = 80.0 * torch.nn.functional.one_hot(predicted, 3).movedim(-1, 1)
    # Jaccard indices 1, 0 and 1 / 2.
    assert lovasz_softmax(logits, labels) == pytest.approx((0 + 1 + 0.5) / 3, abs=1e-6)


def test_soft_errors_by_hand() -> None:
    # Class 1 at the first of three voxels; errors of 1: 0.4, 0.9, 0.2.
    p = torch.tensor([0.6, 0.9, 0.2])
    labels = torch.tensor([[[[1, 0, 0]]]])
    # Sorted: 0.9 (not of the class): 1 - 1/2; 0.4 (of it): 1 - 0/2; 0.2: 1 - 0/3.
    class_1 = 0.9 * 0.5 + 0.4 * 0.5 + 0.2 * 0
    # Class 0 at the others, the same errors: 0.9: 1 - 1/2, 0.4: 1 - 1/3, 0.2: 1 - 0.
    class_0 = 0.9 * 0.5 + 0.4 * (2 / 3 - 1 / 2) + 0.2 * (1 - 2 / 3)
    probabilities = torch.stack([1 - p, p])[None, :, None, None]
    found = lovasz_term(probabilities, labels, None)
    assert found == pytest.approx((class_0 + class_1) / 2)


def test_absent_classes_are_left_out() -> None:
    labels = torch.zeros(1, 1, 2, 2, dtype=torch.long)
    probabilities = torch.full((1, 2, 1, 2, 2), 0.5)
    # Of class 0 alone: four errors of 1/2, a quarter each.
    assert lovasz_term(probabilities, labels, None) == pytest.approx(0.5)


def test_a_perfect_edge_costs_nothing() -> None:
    labels = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) > 0.7
    logits = 80.0 * torch.stack([~labels, labels], 1)
    assert lovasz_softmax(logits, labels) < 1e-30


def test_samples_are_pooled_and_only_counting_voxels_taken() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 2, 3, 4, generator=random)
    labels = torch.randint(0, 3, (2, 2, 3, 4), generator=random)
    joined = lovasz_softmax(
        torch.cat([logits[:1], logits[1:]], 2), torch.cat([labels[:1], labels[1:]], 1)
    )
    torch.testing.assert_close(lovasz_softmax(logits, labels), joined)
    valid = torch.zeros_like(labels).bool()
    valid[:, :, 1:] = True
    cut = lovasz_softmax(logits[:, :, :, 1:], labels[:, :, 1:])
    torch.testing.assert_close(lovasz_softmax(logits, labels, valid=valid), cut)


def test_steps_keep_their_digits_among_a_million_voxels() -> None:
    """In float32, differences of neighbouring Jaccard losses would be noise."""
    labels = torch.arange(1_000_000).reshape(1, 1, 1, -1) % 2
    probabilities = torch.full((1, 2, *labels.shape[1:]), 0.5, requires_grad=True)
    loss = lovasz_term(probabilities, labels, None)
    loss.backward()
    # All errors are 1/2 and the steps of each class sum to 1.
    assert loss.item() == pytest.approx(0.5, rel=1e-6)
    assert probabilities.grad is not None
    slopes = -probabilities.grad[0, 1].flatten()[1::2]  # of the class itself
    # One over what is then in the union, by the mean over two classes.
    assert slopes.min() > 0.5 / 1_000_001
    assert slopes.max() < 0.5 / 499_999
    total = probabilities.grad[0, 1].abs().sum()
    assert total == pytest.approx(0.5, rel=1e-5)
