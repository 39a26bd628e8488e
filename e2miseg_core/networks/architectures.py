"""Every architecture by the name that model files know it by."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks.config import E2MISegConfig
from e2miseg_core.networks.e2miseg import E2MISeg

__all__ = [
    "Network",
    "NetworkConfig",
    "build_network",
    "network_from_json",
    "network_to_json",
]

Network: TypeAlias = E2MISeg
NetworkConfig: TypeAlias = E2MISegConfig

# name in model files: (configuration, network)
_ARCHITECTURES: dict[str, tuple[type[NetworkConfig], type[Network]]] = {
    "e2miseg": (E2MISegConfig, E2MISeg),
}


def build_network(config: NetworkConfig) -> Network:
    """A network with random weights."""
    for config_class, network_class in _ARCHITECTURES.values():
        if isinstance(config, config_class):
            return network_class(config)
    msg = f"no network for {type(config).__name__}"
    raise TypeError(msg)


def network_to_json(config: NetworkConfig) -> dict[str, Any]:
    """Architecture and configuration as JSON values, as model cards hold them."""
    for name, (config_class, _) in _ARCHITECTURES.items():
        if isinstance(config, config_class):
            return {"architecture": name, "config": config.to_json()}
    msg = f"no architecture for {type(config).__name__}"
    raise TypeError(msg)


def network_from_json(values: Mapping[str, Any]) -> NetworkConfig:
    """Read what `network_to_json` wrote.

    Raises
    ------
    ConfigError
        For an unknown architecture, or a configuration that is not one of its own.
    """
    name = values.get("architecture")
    if name not in _ARCHITECTURES:
        raise ConfigError(
            found=f"a network {name!r}",
            needed=f"one of {', '.join(_ARCHITECTURES)}",
            do="update e2miseg-napari, or choose another model",
        )
    config = values.get("config")
    if not isinstance(config, Mapping):
        raise ConfigError(
            found=f"a network {name!r} without its configuration",
            needed="a mapping of its settings",
            do="get the model file again from its source",
        )
    return _ARCHITECTURES[name][0].from_json(config)
