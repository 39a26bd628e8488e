"""Every preset: shapes, gradients, and weights that are not tied to one patch."""

import pytest
import torch

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks import (
    PRESETS,
    E2MISeg,
    E2MISegConfig,
    create_network,
    preset_config,
)
from e2miseg_core.networks.cost import multiply_adds, parameter_count, preset_costs


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("channels", "n_classes"), [(1, 2), (3, 4)])
def test_levels_have_the_shapes_of_the_specification(
    preset: str, channels: int, n_classes: int
) -> None:
    config = preset_config(preset, in_channels=channels, n_classes=n_classes)
    network = E2MISeg(config).eval()
    image = torch.randn(1, channels, *config.patch_size)
    with torch.no_grad():
        levels = network.forward_training(image).levels
        plain = network(image)
    patch, stem = config.patch_size, config.stem_stride
    assert levels[0].shape == (1, n_classes, *patch)
    for level, deeper in enumerate(levels[1:]):
        scale = [s * 2**level for s in stem]
        assert deeper.shape[2:] == tuple(
            p // s for p, s in zip(patch, scale, strict=True)
        )
    torch.testing.assert_close(levels[0], plain, rtol=0, atol=0)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_parameter_gets_a_gradient(preset: str) -> None:
    config = preset_config(preset, in_channels=2, n_classes=3)
    torch.manual_seed(0)
    network = E2MISeg(config)
    levels = network.forward_training(torch.randn(1, 2, *config.patch_size)).levels
    torch.stack([level.square().mean() for level in levels]).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, f"no gradient for {name}"
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("preset", PRESETS)
def test_the_same_weights_accept_any_patch_that_the_strides_divide(preset: str) -> None:
    network = create_network(preset, in_channels=1, n_classes=2).eval()
    stride = network.config.total_stride
    for factors in ((1, 1, 1), (2, 1, 3)):
        patch = tuple(s * f for s, f in zip(stride, factors, strict=True))
        with torch.no_grad():
            assert network(torch.randn(1, 1, *patch)).shape == (1, 2, *patch)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    network = create_network("tiny", in_channels=1, n_classes=2)
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout3d):
            module.eval()  # chance apart, training must not mix samples
    batch = torch.randn(3, 1, 8, 16, 16)
    with torch.no_grad():
        together, alone = network(batch)[1], network(batch[1:2])[0]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_patch_that_the_strides_do_not_divide_is_refused_with_one_that_fits() -> None:
    with pytest.raises(ConfigError, match=r"multiples of \(8, 8, 8\).*\(40, 56, 40\)"):
        create_network("small", in_channels=1, n_classes=2, patch_size=(39, 51, 40))


def test_config_survives_json_and_refuses_unknown_keys() -> None:
    config = preset_config("small", in_channels=2, n_classes=5)
    assert E2MISegConfig.from_json(config.to_json()) == config
    with pytest.raises(ConfigError, match="keys"):
        E2MISegConfig.from_json({**config.to_json(), "depth": 3})


def test_unknown_presets_are_named() -> None:
    with pytest.raises(ConfigError, match=r"'huge'.*tiny, small"):
        create_network("huge", in_channels=1, n_classes=2)


def test_costs_count_what_a_hand_count_counts() -> None:
    rows = {row["preset"]: row for row in preset_costs()}
    assert set(rows) == set(PRESETS)
    network = create_network("tiny", in_channels=1, n_classes=2)
    assert rows["tiny"]["parameters"] == parameter_count(network)
    assert rows["tiny"]["multiply_adds"] == multiply_adds(network)
    # One more class adds exactly: a row in the head (8 + bias), and in each of the
    # two MFGA modules one mask row, one channel in four groups, norms and last map.
    more = create_network("tiny", in_channels=1, n_classes=3)
    heads = (8 + 1) + (16 + 1)
    mfga = sum((c + 1) + 2 + 4 * 28 + 2 * 4 + 4 * c for c in (8, 16))
    assert parameter_count(more) - parameter_count(network) == heads + mfga
