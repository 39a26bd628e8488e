"""What architectures are trained on: deep supervision with edges, and six terms."""

import pytest
import torch
from torch import Tensor

from e2miseg_core.errors import ConfigError
from e2miseg_core.losses import (
    LossSettings,
    Objective,
    bce_dice_loss,
    edge_loss,
    edge_target,
    lovasz_softmax,
    objective_of,
    segmentation_loss,
)
from e2miseg_core.losses.objective import (
    check_edge_head,
    deep_objective,
    six_term_objective,
)
from e2miseg_core.networks import (
    EHANetConfig,
    TrainingOutputs,
    build_network,
    preset_config,
)

SHAPE = (4, 8, 8)


@pytest.fixture
def labels() -> Tensor:
    found = torch.zeros(2, *SHAPE, dtype=torch.long)
    found[:, 1:3, 2:6, 2:7] = 1
    return found


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))


def sure(mask: Tensor) -> Tensor:
    """Logits that are certain of a mask."""
    return 40.0 * torch.stack([~mask, mask], 1)


def test_levels_and_edges_are_added_by_their_weights(labels: Tensor) -> None:
    levels = (drawn(0, 2, 4, 8, 8), drawn(1, 2, 4, 4, 4), drawn(2, 2, 2, 2, 2))
    edges = drawn(3, 2, *SHAPE)
    settings = LossSettings(ss_form="relative", ss_weight=2.0, edge_weight=0.5)
    targets = labels, labels[:, :, 1::2, 1::2], labels[:, 1::2, 2::4, 2::4]
    expected = sum(
        weight * segmentation_loss(logits, target, settings)
        for weight, logits, target in zip(
            (4 / 7, 2 / 7, 1 / 7), levels, targets, strict=True
        )
    )
    plain = deep_objective(TrainingOutputs(levels), labels, settings)
    torch.testing.assert_close(plain, expected)
    with_edges = deep_objective(TrainingOutputs(levels, edges), labels, settings)
    term = edge_loss(edges, labels, settings)
    torch.testing.assert_close(with_edges, expected + 0.5 * term)


def test_a_perfect_prediction_is_near_minus_the_weight(labels: Tensor) -> None:
    settings = LossSettings(ss_weight=1.45)
    outputs = TrainingOutputs(
        (sure(labels > 0), sure(labels[:, 1::2, 1::2, 1::2] > 0)),
        sure(edge_target(labels)),
    )
    found = deep_objective(outputs, labels, settings)
    assert found == pytest.approx(-1.45, abs=1e-4)


def test_six_terms_are_those_of_the_specification(labels: Tensor) -> None:
    maps = [drawn(seed, 2, *SHAPE) for seed in range(5)]
    edges = drawn(5, 2, *SHAPE)
    found = six_term_objective(
        TrainingOutputs(tuple(maps), edges), labels, LossSettings(edge_width=3)
    )
    target = edge_target(labels, 3, axes=(1, 2))
    expected = lovasz_softmax(edges, target)
    y = labels.double()
    for logits in maps:
        p = torch.sigmoid((logits[:, 1] - logits[:, 0]).double())
        entropy = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
        dice = (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
        expected = expected + 0.5 * entropy + 0.5 * (1 - dice)
    torch.testing.assert_close(found.double(), expected.double())


def test_six_perfect_terms_cost_nothing(labels: Tensor) -> None:
    outputs = TrainingOutputs(
        (sure(labels > 0),) * 5, sure(edge_target(labels, 2, axes=(0, 2)))
    )
    found = six_term_objective(outputs, labels, LossSettings(), axis=1)
    assert found == pytest.approx(0, abs=1e-5)


def test_cross_entropy_of_large_logits_is_finite(labels: Tensor) -> None:
    logits = (1e4 * drawn(0, 2, *SHAPE)).half().float().requires_grad_()
    loss = bce_dice_loss(logits, labels > 0)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("objective", [deep_objective, six_term_objective])
def test_unknown_voxels_have_no_part_in_any_term(
    objective: Objective, labels: Tensor
) -> None:
    levels = tuple(drawn(seed, 2, *SHAPE).requires_grad_() for seed in range(3))
    edges = drawn(3, 2, *SHAPE).requires_grad_()
    valid = torch.zeros_like(labels).bool()
    valid[0, :, 1:5, 3:] = True
    unknown = labels.masked_fill(~valid, 200)
    loss = objective(
        TrainingOutputs(levels, edges), unknown, LossSettings(boundary_weight=1), valid
    )
    loss.backward()
    for logits in (*levels, edges):
        assert logits.grad is not None
        assert not logits.grad[(~valid)[:, None].expand_as(logits)].any()
        assert logits.grad[valid[:, None].expand_as(logits)].any()


def test_e2miseg_is_trained_by_deep_supervision() -> None:
    config = preset_config("tiny", in_channels=1, n_classes=2)
    assert objective_of(config) is deep_objective


def test_ehanet_is_trained_in_the_plane_of_its_slices(labels: Tensor) -> None:
    outputs = TrainingOutputs((drawn(0, 2, *SHAPE),) * 5, drawn(1, 2, *SHAPE))
    settings = LossSettings()
    for axis in range(3):
        objective = objective_of(EHANetConfig(in_channels=1, axis=axis))
        found = objective(outputs, labels, settings, None)
        expected = six_term_objective(outputs, labels, settings, axis=axis)
        assert found == expected


def test_an_edge_head_learns_from_the_labels_alone() -> None:
    torch.manual_seed(0)
    config = preset_config(
        "tiny", in_channels=1, n_classes=2, patch_size=(8, 16, 16), edge_head=True
    )
    network = build_network(config)
    labels = torch.zeros(1, 8, 16, 16, dtype=torch.long)
    labels[:, 2:6, 4:12, 4:12] = 1
    image = labels[:, None].float()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        outputs = network.forward_training(image)
        assert outputs.edges is not None
        losses.append(edge_loss(outputs.edges, labels, LossSettings()).item())
        optimizer.zero_grad()
        objective_of(config)(outputs, labels, LossSettings(), None).backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.05


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ss_form": "sigmoid"}, "paper, relative, off"),
        ({"edge_loss": "mse"}, "lovasz, bce_dice"),
        ({"ss_weight": -1.0}, "ss weight -1.0"),
        ({"boundary_weight": float("nan")}, "boundary weight nan"),
        ({"edge_weight": float("inf")}, "edge weight inf"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    changes: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        LossSettings(**changes)  # type: ignore[arg-type]


def test_an_edge_head_that_nothing_teaches_is_refused() -> None:
    untaught = LossSettings(edge_weight=0.0)
    check_edge_head(preset_config("tiny"), untaught)
    check_edge_head(preset_config("tiny", edge_head=True), LossSettings())
    for config in (preset_config("tiny", edge_head=True), preset_config("ehanet")):
        with pytest.raises(ConfigError, match="random"):
            check_edge_head(config, untaught)
