"""Every preset: shapes, gradients, and weights that are not tied to one patch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks import (
    E2MISeg,
    E2MISegConfig,
    HFRConfig,
    MFGAConfig,
    create_network,
    network_from_json,
    network_to_json,
    preset_config,
)
from e2miseg_core.networks.cost import network_cost, parameter_count

COMPUTABLE = ("tiny", "small")
OnNetwork = Callable[[nn.Module], None]


def config_of(preset: str, **changes: Any) -> E2MISegConfig:
    config = preset_config(preset, **changes)
    assert isinstance(config, E2MISegConfig)
    return config


@pytest.mark.parametrize("preset", COMPUTABLE)
@pytest.mark.parametrize(("channels", "n_classes"), [(1, 2), (3, 4)])
def test_levels_have_the_shapes_of_the_specification(
    preset: str, channels: int, n_classes: int
) -> None:
    config = config_of(preset, in_channels=channels, n_classes=n_classes)
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


@pytest.mark.parametrize("preset", COMPUTABLE)
def test_every_parameter_gets_a_gradient(
    preset: str, open_attention: OnNetwork, assert_all_learn: OnNetwork
) -> None:
    config = config_of(preset, in_channels=2, n_classes=3)
    torch.manual_seed(0)
    network = E2MISeg(config)
    open_attention(network)
    levels = network.forward_training(torch.randn(1, 2, *config.patch_size)).levels
    torch.stack([level.square().mean() for level in levels]).sum().backward()
    assert_all_learn(network)


@pytest.mark.parametrize("preset", COMPUTABLE)
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


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 16, 33, 32), r"for example \(16, 36, 32\)"),
        ((1, 2, 16, 32, 32), "1 channel,"),
        ((1, 16, 32, 32), "batch, 1 channel, Z, Y, X"),
    ],
)
def test_images_that_do_not_fit_are_refused_in_one_line(
    shape: tuple[int, ...], message: str
) -> None:
    network = create_network("tiny", in_channels=1, n_classes=2)
    for way in (network, network.forward_training):
        with pytest.raises(ConfigError, match=message):
            way(torch.zeros(shape))


def test_sizes_of_two_axes_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="three numbers"):
        create_network("tiny", in_channels=1, n_classes=2, patch_size=(32, 32))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="three numbers"):
        preset_config("tiny", stem_stride=(2, 2))


def test_published_norms_refuse_one_value_to_take_a_norm_over() -> None:
    config = config_of("tiny", norms="published", patch_size=(2, 4, 4))
    assert config.stage_size(1) == (1, 1, 1)
    image = torch.randn(2, 1, 2, 4, 4)
    with pytest.raises(ConfigError, match="one voxel at the coarsest stage"):
        config.check_batch(1)
    config.check_batch(2)
    E2MISeg(config)(image)  # as allowed
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        E2MISeg(config)(image[:1])  # else the library's own words
    config_of("tiny", patch_size=(2, 4, 4)).check_batch(1)  # group norms
    config_of("tiny", norms="published").check_batch(1)


def test_presets_have_no_other_fields_than_their_own() -> None:
    with pytest.raises(ConfigError, match="'depth' for E2MISegConfig"):
        preset_config("tiny", depth=3)
    with pytest.raises(ConfigError, match="'patch_size' for EHANetConfig"):
        preset_config("ehanet", patch_size=(1, 32, 32))


def test_cards_from_before_a_choice_mean_what_there_was() -> None:
    config = preset_config("tiny")
    stored = network_to_json(config)
    assert network_from_json(stored) == config
    del stored["config"]["hfr"]["spatial_query"]
    assert network_from_json(stored) == config.with_hfr(spatial_query="unit")
    del stored["config"]["hfr"]
    found = network_from_json(stored)
    assert isinstance(found, E2MISegConfig)
    assert found.hfr.spatial_query == "unit"


def test_config_survives_json_and_refuses_unknown_keys() -> None:
    config = preset_config("small", in_channels=2, n_classes=5)
    assert E2MISegConfig.from_json(config.to_json()) == config
    with pytest.raises(ConfigError, match="keys"):
        E2MISegConfig.from_json({**config.to_json(), "depth": 3})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_channels": "1"}, "in_channels = '1'"),
        ({"blocks": 2.0}, "blocks = 2.0"),
        ({"blocks": True}, "blocks = True"),
        ({"patch_size": [16, 32]}, "patch_size"),
        ({"norms": "layer"}, "'group', 'published'"),
        ({"hfr": {"fusion": "product"}}, "'concat', 'sum'"),
        ({"hfr": {"depth": 3}}, "keys"),
        ({"hfr": {"refinements": 0}}, "0 refinement blocks"),
        ({"hfr": {"qk_source": "token"}}, "nothing uses"),
        ({"hfr": {"attention": False}}, "nothing uses"),
        ({"n_tokens": [4, 4, 4]}, "token lengths"),
        ({"widths": [0, 0]}, "above 0"),
        ({"widths": [-16, 32]}, "above 0"),
        ({"widths": [32, 48], "norms": "published"}, "multiple of the one before"),
    ],
)
def test_values_that_do_not_fit_are_refused(
    change: dict[str, object], message: str
) -> None:
    values = preset_config("tiny").to_json()
    with pytest.raises(ConfigError, match=message):
        E2MISegConfig.from_json({**values, **change})


def test_configurations_of_older_model_files_mean_what_they_meant() -> None:
    stored = {
        "in_channels": 1,
        "n_classes": 3,
        "patch_size": [32, 48, 32],
        "stem_stride": [2, 2, 2],
        "base_width": 16,
        "widths": [32, 64, 96],
        "blocks": 1,
        "heads": 4,
        "n_tokens": 32,
        "attention_dropout": 0.0,
    }
    config = E2MISegConfig.from_json(stored)
    assert config == preset_config("small", n_classes=3)
    assert config.hfr == HFRConfig(
        branch="residual",
        refinements=1,
        token_maps="pooling",
        fusion="concat",
        qk_source="conv",
        conv_merge="attention",
        attention=True,
        position="depthwise",
        as_coded=False,
    )
    assert (config.norms, config.edge_head, config.mfga) == (
        "group",
        False,
        MFGAConfig(enabled=True, cap_dilation=False, softmax_mask=False),
    )


def test_unknown_presets_are_named() -> None:
    with pytest.raises(ConfigError, match=r"'huge'.*tiny, small"):
        create_network("huge", in_channels=1, n_classes=2)


def test_blocks_that_are_counted_and_not_run_cost_what_they_would() -> None:
    costs = [network_cost(preset_config("tiny", blocks=n)) for n in (1, 2, 4)]
    networks = [E2MISeg(config_of("tiny", blocks=n)) for n in (1, 2, 4)]
    assert [c.parameters for c in costs] == [parameter_count(n) for n in networks]
    for count in ("products", "norms"):
        one, two, four = (getattr(cost, count) for cost in costs)
        assert four - two == 2 * (two - one) > 0


def test_multiply_adds_of_the_stem_are_those_of_a_hand_count() -> None:
    # A network of one stage without a stem's stride has this one convolution more
    # work for each further channel: 16 outputs at each of the voxels; and the skip
    # at full resolution its first 3x3x3 and its 1x1x1 convolution, 4 outputs each.
    def products(in_channels: int) -> int:
        return network_cost(
            preset_config(
                "tiny",
                in_channels=in_channels,
                patch_size=(4, 4, 4),
                stem_stride=(1, 1, 1),
                widths=(16,),
                base_width=4,
            )
        ).products

    assert products(3) - products(2) == 64 * (16 + 27 * 4 + 4)


def test_memory_is_what_tensors_hold_at_once() -> None:
    # Twice the patch along one axis: twice the tensors, the same weights.
    small, large = (
        network_cost(preset_config("small", patch_size=(z, 32, 32))) for z in (32, 64)
    )
    weights = 4 * small.parameters
    ratio = (large.predict_bytes - weights) / (small.predict_bytes - weights)
    assert 1.95 < ratio < 2.01


def test_costs_count_what_a_hand_count_counts() -> None:
    network = create_network("tiny", in_channels=1, n_classes=2)
    # One more class adds exactly: a row in the head (8 + bias), and in each of the
    # two MFGA modules one mask row, one channel in four groups, norms and last map.
    more = create_network("tiny", in_channels=1, n_classes=3)
    heads = (8 + 1) + (16 + 1)
    mfga = sum((c + 1) + 2 + 4 * 28 + 2 * 4 + 4 * c for c in (8, 16))
    assert parameter_count(more) - parameter_count(network) == heads + mfga
