"""EHANet against its formulas, written out step by step: specification B.1 to B.5."""

from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from e2miseg_core.networks import EHANet, EHANetConfig
from e2miseg_core.networks.ehanet.blocks import AHFA

SIZE = (64, 96)
FORMS = {
    "clean": EHANetConfig(in_channels=1, slice_size=SIZE, edge_input="encoder"),
    "published": EHANetConfig(in_channels=1, slice_size=SIZE).as_published(),
}


@pytest.fixture(scope="module", params=FORMS)
def network(request: pytest.FixtureRequest, hand: ModuleType) -> EHANet:
    made = EHANet(FORMS[request.param])
    encoder = {k: v.clone() for k, v in made.encoder.state_dict().items()}
    hand.randomise(made)
    made.encoder.load_state_dict(encoder)  # its own is not what is looked at here
    return made


def close(found: Tensor, expected: Tensor) -> None:
    assert expected.std() > 1e-3  # there is something to compare
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_encoder_has_five_outputs_of_the_specification(network: EHANet) -> None:
    with torch.no_grad():
        features = network.encoder(torch.randn(1, 1, *SIZE))
    assert [(f.shape[1], SIZE[0] // f.shape[2]) for f in features] == [
        (32, 2),
        (64, 4),
        (96, 8),
        (128, 16),
        (160, 32),
    ]


@torch.no_grad()
def test_the_network_computes_its_formulas(network: EHANet, hand: ModuleType) -> None:
    config = network.config
    x = torch.randn(2, 1, *SIZE, generator=torch.Generator().manual_seed(2))
    f = network.encoder(x)
    f = [feature / feature.std() for feature in f]
    g = [
        hand.efa(gate, feature) for gate, feature in zip(network.gates, f, strict=True)
    ]
    steps = list(network.decoder)  # finest first
    d = [g[4]]  # then d1 (128 channels) to d4 (32)
    for level in (3, 2, 1, 0):
        d.append(hand.ahfa(steps[level], g[level], d[-1]))
    assert [x.shape[1] for x in d[1:]] == [128, 96, 64, 32]
    s = [
        hand.resize(
            hand.side_output(network.sides[level], d[4 - level]), SIZE, aligned=True
        )
        for level in (3, 2, 1, 0)
    ]  # s1 to s4
    seen = g if config.edge_input == "gated" else f
    e = hand.iem(network.edges, seen[0], seen[1])
    s_g = hand.final(network.head, d[4], hand.edge_feature(network.edges, e))

    handle = network.encoder.register_forward_hook(lambda *_: f)
    outputs = network.forward_training(x[:, :, None])
    handle.remove()
    expected = (s_g, *reversed(s))
    for found, logits in zip(outputs.levels, expected, strict=True):
        close(found[:, 1:, 0], logits)
    assert outputs.edges is not None
    close(outputs.edges[:, :, 0], hand.edge_logits(network.edges, e))


def test_squeezes_and_biases_are_those_of_the_specification(network: EHANet) -> None:
    published = network.config.se_reduction == 0
    for step, width in zip(network.decoder, (32, 64, 96, 128), strict=True):
        assert isinstance(step, AHFA)
        down = list(list(step.point)[2].weight)[1]
        assert isinstance(down, nn.Conv2d)
        assert down.out_channels == (1 if published else width // 16)
    biased = {
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d)
        and module.bias is not None
        and not name.startswith("encoder.")
    }
    expected = {f"gates.{i}.channel_gate" for i in range(5)}
    expected |= {
        f"decoder.{i}.{part}"
        for i in range(4)
        for part in ("point.0", "area.0", "area.3")
    }
    expected |= {"head.0", "head.3", "head.6"}
    assert biased == expected | (set() if published else {"edges.edge_out"})
