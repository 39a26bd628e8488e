"""Parameter counts by hand: the formulas of specification part C, test 1.

Written from the formulas, not from the modules: an independent count.
"""

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from e2miseg_core.networks import E2MISeg, E2MISegConfig, preset_config
from e2miseg_core.networks.cost import network_cost, parameter_count

ConfigOf = Callable[..., E2MISegConfig]

PUBLISHED = {
    "acdc": 85_131_796,
    "brain": 60_999_124,
    "pet": 61_283_222,
    "lung": 139_506_806,
}
CLEAN = {
    "acdc": 55_834_100,
    "brain": 37_851_668,
    "pet": 38_134_518,
    "lung": 55_830_486,
}


def res_block(a: int, b: int, norm: int) -> int:
    """`norm` parameters a channel for each norm: 2 for batch and group, 0 instance."""
    skip = a * b + norm * b if a != b else 0
    return 27 * a * b + 27 * b * b + 2 * norm * b + skip


def hfr(config: E2MISegConfig, width: int, stage: int) -> int:
    """One HFR block with the convolution feature as query and key."""
    made = config.hfr
    c, p = width, config.stage_tokens(stage)
    n = math.prod(config.stage_size(stage))
    position = n * c if made.position == "voxel" else 27 * c
    linear = (4 if made.as_coded else 2) * c * c
    maps = {
        "separate": 2 * (n * p + p),
        "shared": n * p + p,
        "shared_matrix": n * p,
        "pooling": 2 * (c * p + p),
        "shared_pooling": c * p + p,
    }[made.token_maps]
    fusion = 2 * (c * c // 2 + c // 2) if made.fusion == "concat" else 0
    branch = 54 * c * c + (4 * c if made.branch == "residual" else 0)
    refinement = made.refinements * res_block(c, c, 2)
    rest = 2 * c + c + 2 * config.heads + (c * c + c) + c * c  # LN, gamma, tau, W8, W9
    return position + linear + maps + fusion + branch + refinement + rest


def mfga(width: int, coarse: int, n_classes: int, factor: int) -> int:
    """`coarse` is twice the width in the published networks, as in the formula."""
    c, k = width, n_classes
    group = c // 2 + k
    return (
        coarse * c * factor
        + (c * k + k)
        + 2 * group
        + 4 * 28 * group
        + 2 * (2 * c + 4 * k)
        + (2 * c + 4 * k) * c
    )


def network_parameters(config: E2MISegConfig) -> int:
    """Every parameter of a network whose base width is half its first stage's."""
    widths, base, k = config.widths, config.base_width, config.n_classes
    stem = math.prod(config.stem_stride)
    at_full = 0 if config.norms == "published" else 2
    total = config.in_channels * widths[0] * stem + 2 * widths[0]
    total += sum(8 * a * b + 2 * b for a, b in itertools.pairwise(widths))
    total += res_block(config.in_channels, base, at_full)
    total += res_block(base, base, at_full)
    for stage, width in enumerate(widths):
        in_decoder = stage < len(widths) - 1
        blocks = config.blocks * (2 if in_decoder else 1)
        total += blocks * hfr(config, width, stage)
    total += mfga(base, widths[0], k, stem) + widths[0] * base * stem
    for fine, coarse in itertools.pairwise(widths):
        total += mfga(fine, coarse, k, 8) + coarse * fine * 8
    heads = [base, *widths][: min(3, len(widths))]
    return total + sum(w * k + k for w in heads)


def on_meta(config: E2MISegConfig) -> E2MISeg:
    """The full network, with shapes and no values."""
    with torch.device("meta"):
        return E2MISeg(config)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_the_published_ones(
    name: str, config_of: ConfigOf
) -> None:
    config = config_of(name, faithful=True)
    assert parameter_count(on_meta(config)) == PUBLISHED[name]
    assert network_parameters(config) == PUBLISHED[name]


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_starter_parameter_counts_follow_the_hand_count(
    name: str, config_of: ConfigOf
) -> None:
    config = config_of(name, faithful=False)
    count = {"tiny": 200_144, "small": 2_475_296}[name]
    assert parameter_count(on_meta(config)) == network_parameters(config) == count


@pytest.mark.parametrize(
    ("faithful", "every", "trained", "giga"),
    [(False, 5_878_271, 1_044_319, 4.2), (True, 6_619_753, 1_041_121, 4.1)],
)
def test_ehanet_costs_what_the_documentation_says(
    *, faithful: bool, every: int, trained: int, giga: float
) -> None:
    cost = network_cost(preset_config("ehanet", faithful=faithful))
    assert (cost.parameters, cost.trained) == (every, trained)
    assert round(cost.multiply_adds / 1e9, 1) == giga
    if faithful:
        assert round(cost.products / 1e9, 3) == 4.045
        assert round(cost.norms / 1e9, 3) == 0.063


@pytest.mark.parametrize("name", CLEAN)
def test_clean_parameter_counts_follow_the_hand_count(
    name: str, config_of: ConfigOf
) -> None:
    config = config_of(name, faithful=False)
    assert parameter_count(on_meta(config)) == CLEAN[name]
    assert network_parameters(config) == CLEAN[name]
