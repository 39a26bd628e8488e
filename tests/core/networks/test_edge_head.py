"""Laws of the edge head: specification B.4 and B.9."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from e2miseg_core.networks import E2MISeg, E2MISegConfig, preset_config
from e2miseg_core.networks.edge_head import EdgeHead


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


def test_every_parameter_learns_from_segmentation_or_edges(image: torch.Tensor) -> None:
    network = make_network()
    outputs = network.forward_training(image)
    assert outputs.edges is not None
    total = torch.stack([x.square().mean() for x in (*outputs.levels, outputs.edges)])
    total.sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


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


def test_a_1x1x1_convolution_may_come_before_the_upsampling() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv3d(5, 2, 1, bias=False)
    coarse = torch.randn(1, 5, 3, 4, 2)

    def upsample(x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, size=(6, 16, 4), mode="trilinear")

    with torch.no_grad():
        torch.testing.assert_close(
            upsample(convolution(coarse)), convolution(upsample(coarse))
        )


def test_edge_logits_are_not_normalised_over_the_patch() -> None:
    """A patch without edges must be able to say so everywhere."""
    head = EdgeHead(8, 16)
    last = list(head.logits.children())[-1]
    assert isinstance(last, nn.Conv3d)
    assert last.bias is not None


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
