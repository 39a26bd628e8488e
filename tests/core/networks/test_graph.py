"""The overall graph of E2MISeg written out: specification A.1 and B.9.

What the stages do inside is tested elsewhere; here they are called, and what goes into
each is the specification's.
"""

from types import ModuleType

import pytest
import torch

from e2miseg_core.networks import E2MISeg, E2MISegConfig


@torch.no_grad()
@pytest.mark.parametrize("edge_head", [False, True])
def test_the_graph_is_that_of_the_specification(
    hand: ModuleType, *, edge_head: bool
) -> None:
    config = E2MISegConfig(
        in_channels=2,
        n_classes=3,
        patch_size=(8, 16, 16),
        stem_stride=(1, 2, 2),
        base_width=8,
        widths=(16, 32, 64),
        blocks=1,
        n_tokens=4,
        edge_head=edge_head,
    )
    network = E2MISeg(config)
    hand.randomise(network)
    image = torch.randn(
        1, 2, *config.patch_size, generator=torch.Generator().manual_seed(1)
    )
    e0 = network.full_skip(image)
    e1 = network.encoder[0](network.stem(image))
    e2 = network.encoder[1](network.downsample[0](e1))
    x3 = network.encoder[2](network.downsample[1](e2))
    assert network.aggregate is not None
    mfga = network.aggregate
    x2 = network.decoder[2](network.upsample[2](x3) + hand.mfga(mfga[2], x3, e2))
    x1 = network.decoder[1](network.upsample[1](x2) + hand.mfga(mfga[1], x2, e1))
    x0 = network.decoder[0](network.upsample[0](x1) + hand.mfga(mfga[0], x1, e0))
    edges = None
    if network.edge_head is not None:
        edges, feature = hand.edge_head(network.edge_head, e0, e1)
        x0 = torch.cat((x0, feature), 1)
    expected = [
        hand.conv(head, x) for head, x in zip(network.heads, (x0, x1, x2), strict=True)
    ]
    found = network.forward_training(image)
    for level, wanted in zip(found.levels, expected, strict=True):
        assert wanted.std() > 0.1
        torch.testing.assert_close(level, wanted, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(network(image), expected[0], rtol=1e-3, atol=1e-3)
    assert (found.edges is None) == (edges is None)
    if edges is not None:
        torch.testing.assert_close(found.edges, edges, rtol=1e-3, atol=1e-3)
