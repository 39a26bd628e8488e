import torch
from torch import nn

from e2miseg_core.devices import lay_channels_last


def test_channels_come_last_in_networks_of_both_kinds():
    network = nn.ModuleList(
        [nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3), nn.Conv1d(2, 2, 3), nn.Linear(3, 4)]
    )
    image = torch.randn(1, 3, 5, 5)
    before = network[0](image)
    lay_channels_last(network)
    plane, solid = network[0].weight, network[1].weight
    assert plane.is_contiguous(memory_format=torch.channels_last)
    assert solid.is_contiguous(memory_format=torch.channels_last_3d)
    assert all(p.requires_grad for p in network.parameters())
    torch.testing.assert_close(network[0](image), before)
