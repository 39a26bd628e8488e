import sys

import pytest
import torch
from torch import nn

from e2miseg_core.errors import ConfigError, ModelError
from e2miseg_core.networks import (
    EHANet,
    EHANetConfig,
    TrainingOutputs,
    build_network,
    create_network,
    network_from_json,
    network_to_json,
    with_patch,
)


def config(**changes):
    return EHANetConfig(**{"in_channels": 1, "slice_size": (64, 32)} | changes)


def build(seed=3, **changes):
    torch.manual_seed(seed)
    return EHANet(config(**changes))


def volume(settings, n=2):
    generator = torch.Generator().manual_seed(5)
    size = (n, settings.in_channels, *settings.patch_size)
    return torch.randn(size, generator=generator)


@pytest.fixture(scope="module")
def network():
    return build(thickness=3).eval()


def count(parameters):
    return sum(p.numel() for p in parameters)


def test_the_published_form_has_the_published_number_of_parameters():
    with torch.device("meta"):
        published = EHANet(EHANetConfig(in_channels=3).as_published())
    assert count(p for p in published.parameters() if p.requires_grad) == 1_041_121
    # with all of MobileViT-S, classifier included
    assert count(published.parameters()) == 6_619_753


@pytest.mark.parametrize(
    ("axis", "patch"), [(0, (3, 64, 32)), (1, (64, 3, 32)), (2, (64, 32, 3))]
)
def test_slices_lie_across_the_axis(axis, patch, network):
    settings = config(axis=axis, thickness=3)
    assert settings.patch_size == patch
    turned = EHANet(settings).eval()
    turned.load_state_dict(network.state_dict())
    image = volume(network.config)  # slices across Z
    with torch.no_grad():
        across_z = network(image)
        across = turned(image.movedim(2, 2 + axis))
    assert across.shape == (2, 2, *patch)
    torch.testing.assert_close(across.movedim(2 + axis, 2), across_z)


def test_training_gives_five_levels_and_edges_at_full_size(network):
    image = volume(network.config)
    with torch.no_grad():
        outputs = network.forward_training(image)
        logits, edges = network.forward_with_edges(image)
        plain = network(image)
    assert isinstance(outputs, TrainingOutputs)
    assert [level.shape for level in outputs.levels] == [(2, 2, 3, 64, 32)] * 5
    assert outputs.edges.shape == (2, 2, 3, 64, 32)
    # of two classes, the sigmoid of one map
    assert all(bool((level[:, 0] == 0).all()) for level in outputs.levels)
    torch.testing.assert_close(outputs.levels[0], plain)
    torch.testing.assert_close(logits, plain)
    expected = torch.softmax(outputs.edges, dim=1)[:, 1:]
    torch.testing.assert_close(edges, expected)


def test_slices_do_not_see_each_other(network):
    image = volume(network.config)
    order = [2, 0, 1]
    with torch.no_grad():
        found, permuted = network(image), network(image[:, :, order])
        alone = network(image[:1, :, 1:2])
        mirrored = network(image.flip(2)).flip(2)
    torch.testing.assert_close(permuted, found[:, :, order])
    torch.testing.assert_close(alone, found[:1, :, 1:2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mirrored, found)


@pytest.mark.parametrize(
    "changes",
    [
        {"pretrained": True},
        {"pretrained": False},
        {"pretrained": True, "norm": "batch", "se_reduction": 0},
        {"pretrained": True, "whole_encoder": True, "edge_input": "encoder"},
    ],
)
def test_every_trained_parameter_gets_a_gradient_and_no_other(changes):
    reached = set()
    for seed in range(4):  # the few units of a squeeze may all be off at first
        network = build(seed, **changes).train()
        for (
            norm
        ) in network.encoder.modules():  # timm's residual blocks begin as nothing
            if isinstance(norm, nn.GroupNorm):
                nn.init.ones_(norm.weight)
        outputs = network.forward_training(volume(network.config))
        # Random weights, as sums of normed maps have no gradient.
        every = torch.cat([*outputs.levels, outputs.edges], dim=1)
        (every * torch.randn(every.shape)).sum().backward()
        parameters = dict(network.named_parameters())
        trained = {name for name, p in parameters.items() if p.requires_grad}
        got = {name for name, p in parameters.items() if p.grad is not None}
        assert got == trained
        reached |= {n for n in got if float(parameters[n].grad.abs().sum()) > 0}
    assert trained == reached
    encoder = {name for name in parameters if name.startswith("encoder.")}
    assert trained & encoder == (set() if changes["pretrained"] else encoder)


def test_a_frozen_encoder_stays_as_it_is_in_training():
    network = build(norm="batch")  # a new network is in training
    assert network.training
    assert not any(module.training for module in network.encoder.modules())
    network.train()
    assert not any(module.training for module in network.encoder.modules())
    before = {k: v.clone() for k, v in network.encoder.state_dict().items()}
    network.forward_training(volume(network.config) * 3 + 1)
    for name, tensor in network.encoder.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    # What is trained does follow the data in the published form.
    assert int(network.head[1].num_batches_tracked) == 1


def test_the_clean_form_has_no_norm_across_the_batch():
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    random = build(pretrained=False)
    assert not any(isinstance(m, kinds) for m in random.modules())
    random.train().forward_training(volume(random.config, n=1))
    # Without dropout, one slice gives what it gives among others.
    image = volume(random.config)
    one = random.forward_training(image[:1]).levels[0]
    both = random.forward_training(image).levels[0]
    torch.testing.assert_close(both[:1], one, atol=1e-5, rtol=1e-4)


def test_grey_is_taken_for_all_three_colours():
    grey, colour = build(), build(in_channels=3)
    colour.load_state_dict(grey.state_dict())
    image = volume(grey.config)
    with torch.no_grad():
        expected = grey.eval()(image)
        found = colour.eval()(image.expand(-1, 3, -1, -1, -1))
    torch.testing.assert_close(found, expected)


def test_the_encoder_sees_grey_levels_like_those_it_was_trained_on(network):
    seen = []
    handle = network.encoder.stem.register_forward_pre_hook(
        lambda _module, inputs: seen.append(inputs[0])
    )
    with torch.no_grad():
        network(volume(network.config))
    handle.remove()
    assert seen[0].shape == (6, 3, 64, 32)
    assert float(seen[0].mean()) == pytest.approx(0.449, abs=0.01)
    assert float(seen[0].std()) == pytest.approx(0.226, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"n_classes": 3}, "train one model for each structure"),
        ({"in_channels": 2}, "1 or 3"),
        ({"slice_size": (64, 48)}, r"for example \(1, 64, 64\)"),
        ({"slice_size": (64,)}, "two numbers"),
        ({"axis": 3}, "axis 0, 1 or 2"),
        ({"norm": "layer"}, "norm"),
    ],
)
def test_what_cannot_be_is_refused_in_words(changes, needed):
    with pytest.raises(ConfigError, match=needed):
        config(**changes)


def test_a_patch_of_another_size_keeps_the_axis():
    changed = with_patch(config(axis=1), (96, 2, 32))
    assert changed == config(axis=1, slice_size=(96, 32), thickness=2)
    with pytest.raises(ConfigError, match="multiples of"):
        with_patch(config(axis=1), (96, 2, 33))
    for odd in ((96, 32), (96, 2, 32, 1)):
        with pytest.raises(ConfigError, match="three numbers"):
            with_patch(config(axis=1), odd)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 3, 64, 33), r"for example \(3, 64, 64\)"),
        ((1, 3, 3, 64, 32), "1 channel,"),
        ((1, 3, 64, 32), "batch, 1 channel, Z, Y, X"),
    ],
)
def test_images_that_do_not_fit_are_refused_in_one_line(shape, message, network):
    for way in (network, network.forward_training, network.forward_with_edges):
        with pytest.raises(ConfigError, match=message):
            way(torch.zeros(shape))


def test_batch_norms_refuse_batches_of_one_slice(network):
    published = config(norm="batch")
    with pytest.raises(ConfigError, match="one slice in a batch"):
        published.check_batch(1)
    published.check_batch(2)
    config(norm="batch", thickness=2).check_batch(1)
    network.config.check_batch(1)  # group norms
    config().check_batch(1)


@pytest.mark.parametrize("faithful", [False, True])
def test_a_new_network_without_pretrained_weights_trains_all_of_them(faithful):
    made = create_network(
        "ehanet", in_channels=1, n_classes=2, faithful=faithful, patch_size=(1, 32, 32)
    )
    frozen = {n for n, p in made.named_parameters() if not p.requires_grad}
    # The published object's classifier, which nothing uses.
    unused = ("encoder.final_conv.", "encoder.head.") if faithful else ()
    assert all(name.startswith(unused) for name in frozen)
    assert bool(frozen) == faithful
    assert all(m.training for m in made.encoder.stem.modules())


def test_a_configuration_survives_json():
    settings = config(axis=2, norm="batch", pretrained=False)
    values = network_to_json(settings)
    assert values["architecture"] == "ehanet"
    assert network_from_json(values) == settings
    assert isinstance(build_network(settings), EHANet)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"e2miseg-napari\[ehanet\]"):
        build()
