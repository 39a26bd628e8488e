"""Laws of the edge head: specification B.4 and B.9."""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import nn

from e2miseg_core.networks import E2MISeg, E2MISegConfig, preset_config
from e2miseg_core.networks.blocks import NormFactory, group_norm
from e2miseg_core.networks.edge_head import EdgeHead

OnNetwork = Callable[[nn.Module], None]


def make_network(**changes: object) -> E2MISeg:
    torch.manual_seed(0)
    config = preset_config("tiny", n_classes=3, patch_size=(8, 16, 16))
    assert isinstance(config, E2MISegConfig)
    return E2MISeg(replace(config, **{"edge_head": True, **changes}))  # type: ignore[arg-type]


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 1, 8, 16, 16, generator=torch.Generator().manual_seed(1))


def test_the_three_ways_forward_agree(image: torch.Tensor) -> None:
    network = make_network().eval()
    assert network.has_edges
    with torch.no_grad():
        logits, probability = network.forward_with_edges(image)
        outputs = network.forward_training(image)
        assert torch.equal(network(image), logits)
    assert torch.equal(outputs.levels[0], logits)
    assert outputs.edges is not None
    assert outputs.edges.shape == (2, 2, 8, 16, 16)
    expected = torch.softmax(outputs.edges, dim=1)[:, 1:]
    torch.testing.assert_close(probability, expected)
    assert probability.shape == (2, 1, 8, 16, 16)


def test_networks_without_an_edge_head_say_so(image: torch.Tensor) -> None:
    network = make_network(edge_head=False).eval()
    assert not network.has_edges
    assert network.forward_training(image).edges is None
    with pytest.raises(TypeError, match="no edge head"):
        network.forward_with_edges(image)


def test_every_parameter_learns_from_segmentation_or_edges(
    image: torch.Tensor, open_attention: OnNetwork, assert_all_learn: OnNetwork
) -> None:
    network = make_network()
    open_attention(network)
    outputs = network.forward_training(image)
    assert outputs.edges is not None
    total = torch.stack([x.square().mean() for x in (*outputs.levels, outputs.edges)])
    total.sum().backward()
    assert_all_learn(network)


def test_the_segmentation_learns_through_the_edge_feature_and_back(
    image: torch.Tensor,
) -> None:
    network = make_network()
    assert network.edge_head is not None
    network(image).square().mean().backward()
    # The shared input learns from the segmentation; the edge logits do not.
    assert network.edge_head.fine_in.weight.grad is not None
    assert network.edge_head.fine_in.weight.grad.any()
    assert all(p.grad is None for p in network.edge_head.logits.parameters())
    network = make_network()
    edges = network.forward_training(image).edges
    assert edges is not None
    edges.square().mean().backward()
    # Edges teach the skip at full resolution and the first stage, not the decoder.
    assert network.full_skip.first.weight.grad is not None
    assert all(p.grad is None for p in network.decoder.parameters())


@torch.no_grad()
@pytest.mark.parametrize("norm", [group_norm, nn.BatchNorm3d])
def test_it_computes_its_formulas(norm: NormFactory, hand: ModuleType) -> None:
    """Upsampling first, as specified; the head does it after its 1x1x1 convolution."""
    head = hand.randomise(EdgeHead(8, 16, norm))
    generator = torch.Generator().manual_seed(1)
    fine = torch.randn(2, 8, 4, 8, 6, generator=generator)
    coarse = torch.randn(2, 16, 4, 2, 3, generator=generator)
    logits, feature = hand.edge_head(head, fine, coarse)
    shared = head(fine, coarse)
    for found, expected in (
        (head.logits(shared), logits),
        (head.feature(shared), feature),
    ):
        assert expected.std() > 0.1
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_edge_logits_are_not_normalised_over_the_patch(hand: ModuleType) -> None:
    """A patch without edges must be able to say so everywhere."""
    head = hand.randomise(EdgeHead(8, 16))
    shared = torch.rand(1, 4, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    # A norm as last step would give every patch the same mean.
    means = [head.logits(x).mean().item() for x in (shared, shared**8)]
    assert abs(means[0] - means[1]) > 1e-2


def test_an_edge_head_works_at_any_size_and_in_the_published_form(
    image: torch.Tensor,
) -> None:
    with torch.no_grad():
        logits, _ = make_network().eval().forward_with_edges(image[..., :8])
        assert logits.shape[2:] == (8, 16, 8)
        published = make_network(norms="published")
        head = published.edge_head
        assert head is not None
        assert any(isinstance(m, nn.BatchNorm3d) for m in head.modules())
        assert torch.isfinite(published(image)).all()
