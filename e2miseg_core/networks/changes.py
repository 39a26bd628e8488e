"""Switches of a network by their names, as the command line has them."""

import json
from collections.abc import Sequence
from typing import Any

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks.architectures import NetworkConfig
from e2miseg_core.networks.reading import check_setting

__all__ = ["change_network"]


def change_network(config: NetworkConfig, settings: Sequence[str]) -> NetworkConfig:
    """Change some fields of a configuration.

    Parameters
    ----------
    config : NetworkConfig
    settings : sequence of str
        NAME=VALUE each; fields of a group as GROUP.NAME, such as
        ``edge_head=true``, ``mfga.enabled=false`` or ``hfr.qk_source=token``. Values
        are JSON; words need no quotation marks.

    Returns
    -------
    NetworkConfig

    Raises
    ------
    ConfigError
        For a name that the network does not have, or a value that does not fit.
    """
    values = config.to_json()
    for text in settings:
        name, equals, value = text.partition("=")
        *groups, last = name.strip().replace("-", "_").split(".")
        place: Any = values
        for group in groups:
            place = place.get(group) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict) or last not in place:
            raise ConfigError(
                found=f"the network's setting {text!r}",
                needed=f"NAME=VALUE with one of {', '.join(_names(config.to_json()))}",
                do="see docs/networks.md",
            )
        place[last] = _value(value.strip())
        check_setting(type(config), [*groups, last], place[last])
    return type(config).from_json(values)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _names(values: dict[str, Any]) -> list[str]:
    """Every field that can be set, those of groups with a dot."""
    found = []
    for name, value in values.items():
        inner = _names(value) if isinstance(value, dict) else [""]
        found += [f"{name}.{part}" if part else name for part in inner]
    return found
