"""Named network configurations."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks.config import E2MISegConfig

__all__ = ["PRESETS", "Preset", "preset_config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A network size with a sentence that says when to take it."""

    config: E2MISegConfig
    summary: str


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "tiny": Preset(
            summary="for tests and first tries: trains in minutes on a laptop",
            config=E2MISegConfig(
                in_channels=1,
                n_classes=2,
                patch_size=(16, 32, 32),
                stem_stride=(1, 2, 2),
                base_width=8,
                widths=(16, 32),
                blocks=1,
                n_tokens=16,
                attention_dropout=0.0,
            ),
        ),
        "small": Preset(
            summary="the starter models: an hour of training on a two-core CPU",
            config=E2MISegConfig(
                in_channels=1,
                n_classes=2,
                patch_size=(32, 48, 32),
                stem_stride=(2, 2, 2),
                base_width=16,
                widths=(32, 64, 96),
                blocks=1,
                n_tokens=32,
                # Dropping attention weights costs a fifth of a CPU step, and runs
                # this short do not overfit.
                attention_dropout=0.0,
            ),
        ),
    }
)


def preset_config(name: str, **changes: Any) -> E2MISegConfig:
    """The configuration of a preset, with some fields changed.

    Parameters
    ----------
    name : str
        A key of `PRESETS`.
    **changes
        Fields of `E2MISegConfig`; above all `in_channels` and `n_classes`.

    Raises
    ------
    ConfigError
        If there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(
            found=f"the preset {name!r}",
            needed=f"one of {', '.join(PRESETS)}",
            do="see `e2miseg networks`",
        )
    return replace(PRESETS[name].config, **changes)
