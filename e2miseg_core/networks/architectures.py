"""Every architecture by the name that model files know it by."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks.config import E2MISegConfig
from e2miseg_core.networks.e2miseg import E2MISeg
from e2miseg_core.networks.ehanet import EHANet, EHANetConfig
from e2miseg_core.networks.sizes import Triple

__all__ = [
    "Network",
    "NetworkConfig",
    "build_network",
    "network_from_json",
    "network_to_json",
    "with_patch",
]

Network: TypeAlias = E2MISeg | EHANet
NetworkConfig: TypeAlias = E2MISegConfig | EHANetConfig

# by their names in model files
_CONFIGS: dict[str, type[NetworkConfig]] = {
    "e2miseg": E2MISegConfig,
    "ehanet": EHANetConfig,
}


def build_network(config: NetworkConfig) -> Network:
    """A network with random weights."""
    return EHANet(config) if isinstance(config, EHANetConfig) else E2MISeg(config)


def with_patch(config: NetworkConfig, patch_size: Triple) -> NetworkConfig:
    """The same network for patches (ZYX) of another size.

    But for `mfga.cap_dilation`, which makes dilations follow from the patch: weights of
    one patch then give another function.

    Raises
    ------
    ConfigError
        If the network's strides do not divide the patch.
    """
    if isinstance(config, EHANetConfig):
        return config.with_patch(patch_size)
    return replace(config, patch_size=patch_size)


def network_to_json(config: NetworkConfig) -> dict[str, Any]:
    """Architecture and configuration as JSON values, as model cards hold them."""
    names = {config_class: name for name, config_class in _CONFIGS.items()}
    return {"architecture": names[type(config)], "config": config.to_json()}


def network_from_json(values: Mapping[str, Any]) -> NetworkConfig:
    """Read what `network_to_json` wrote.

    Raises
    ------
    ConfigError
        For an unknown architecture, or a configuration that is not one of its own.
    """
    name = values.get("architecture") if isinstance(values, Mapping) else None
    if not isinstance(name, str) or name not in _CONFIGS:
        raise ConfigError(
            found=f"a network {name!r}",
            needed=f"one of {', '.join(_CONFIGS)}",
            do="update e2miseg-napari, or choose another model",
        )
    config = values.get("config")
    if isinstance(config, Mapping) and name == "e2miseg":
        # Before there was a choice.
        hfr = {"spatial_query": "unit", **config.get("hfr", {})}
        config = {**config, "hfr": hfr}
    if not isinstance(config, Mapping):
        raise ConfigError(
            found=f"a network {name!r} without its configuration",
            needed="a mapping of its settings",
            do="correct the network's configuration",
        )
    return _CONFIGS[name].from_json(config)
