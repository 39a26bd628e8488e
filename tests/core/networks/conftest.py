"""Published networks, whole and in a size that a test can compute."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from e2miseg_core.networks import E2MISegConfig, preset_config
from e2miseg_core.networks.hfr import HFRBlock

WIDTHS = (16, 32)


@pytest.fixture(scope="session")
def hand() -> ModuleType:
    """`by_hand.py` beside this file: tests cannot import each other by name."""
    path = Path(__file__).with_name("by_hand.py")
    spec = importlib.util.spec_from_file_location("by_hand", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def open_attention() -> Callable[[nn.Module], None]:
    """Set layer scales to 1: at their first 1e-6 hardly a gradient gets through."""

    def give(network: nn.Module) -> None:
        for module in network.modules():
            if isinstance(module, HFRBlock) and module.attention is not None:
                nn.init.ones_(module.layer_scale)

    return give


@pytest.fixture(scope="session")
def assert_all_learn() -> Callable[[nn.Module], None]:
    """Every parameter has a gradient that is no rounding error."""

    def check(network: nn.Module) -> None:
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, f"no gradient for {name}"
            assert torch.isfinite(parameter.grad).all(), name
            if not name.endswith("scores.bias"):  # a softmax takes it out again
                assert parameter.grad.abs().max() > 1e-9, name

    return check


@pytest.fixture(scope="session")
def config_of() -> Callable[..., E2MISegConfig]:
    """Give the configuration of an E2MISeg preset."""

    def give(name: str, *, faithful: bool) -> E2MISegConfig:
        config = preset_config(name, faithful=faithful)
        assert isinstance(config, E2MISegConfig)
        return config

    return give


@pytest.fixture(scope="session")
def shrunken() -> Callable[[E2MISegConfig], E2MISegConfig]:
    """Give it two narrow stages of one block, and 4 x 4 x 4 coarsest voxels."""

    def shrink(config: E2MISegConfig) -> E2MISegConfig:
        z, y, x = (4 * 2 * s for s in config.stem_stride)
        return replace(
            config,
            widths=WIDTHS,
            base_width=8,
            blocks=1,
            n_tokens=(6, 5),
            patch_size=(z, y, x),
        )

    return shrink
