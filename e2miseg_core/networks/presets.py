"""Named network configurations.

`acdc`, `brain`, `pet` and `lung` are the published networks (specification A.1 and A.7;
`lung` by its formula, from UNETR++'s sizes), each in two forms. The published form
computes what the published code computes. The clean form keeps what was designed
for the data set (strides, widths, convolution branch, refinement, shared or separate
tokens, fusion, dropout) and replaces what is a slip, tied to one patch size or
dependent on the batch (specification A.8).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks.architectures import NetworkConfig
from e2miseg_core.networks.block_config import HFRConfig
from e2miseg_core.networks.config import E2MISegConfig
from e2miseg_core.networks.ehanet import EHANetConfig
from e2miseg_core.networks.sizes import Triple

__all__ = ["PRESETS", "Preset", "preset_config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A network size with a sentence that says when to take it.

    Attributes
    ----------
    config : NetworkConfig
        The clean form.
    summary : str
    published : NetworkConfig or None
        The published form, where there is one.
    """

    config: NetworkConfig
    summary: str
    published: NetworkConfig | None = None


def _published(
    token_maps: Literal["separate", "shared", "shared_matrix"],
    fusion: Literal["concat", "sum"],
    *,
    in_channels: int,
    n_classes: int,
    patch_size: Triple,
    stem_stride: Triple,
    attention_dropout: float = 0.1,
) -> E2MISegConfig:
    """A published network; only ACDC's blocks (and lung's) have norms in the branch."""
    of_acdc = token_maps == "separate"
    return E2MISegConfig(
        in_channels=in_channels,
        n_classes=n_classes,
        patch_size=patch_size,
        stem_stride=stem_stride,
        n_tokens=(64, 64, 64, 32),
        attention_dropout=attention_dropout,
        hfr=HFRConfig(
            branch="residual" if of_acdc else "plain",
            refinements=2 if of_acdc else 1,
            token_maps=token_maps,
            fusion=fusion,
            position="voxel",
            as_coded=True,
        ),
        norms="published",
        initialisation="encoder_linear",
    )


def _clean(published: E2MISegConfig) -> E2MISegConfig:
    """The clean form of a published network."""
    separate = published.hfr.token_maps == "separate"
    clean = replace(published, norms="group", initialisation="linear")
    return clean.with_hfr(
        token_maps="pooling" if separate else "shared_pooling",
        position="depthwise",
        as_coded=False,
    )


def _preset(published: E2MISegConfig, summary: str) -> Preset:
    return Preset(config=_clean(published), summary=summary, published=published)


ACDC = _published(
    "separate",
    "concat",
    in_channels=1,
    n_classes=4,
    patch_size=(16, 160, 160),
    stem_stride=(1, 4, 4),
)
BRAIN = _published(
    "shared_matrix",
    "sum",
    in_channels=4,
    n_classes=4,
    patch_size=(128, 128, 128),
    stem_stride=(4, 4, 4),
)
PET = _published(
    "shared",
    "concat",
    in_channels=1,
    n_classes=2,
    patch_size=(64, 128, 128),
    stem_stride=(2, 4, 4),
    attention_dropout=0.15,
)
LUNG = replace(ACDC, n_classes=2, patch_size=(32, 192, 192))

EHANET = EHANetConfig(in_channels=1)

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
        "acdc": _preset(ACDC, "cardiac MR with thick slices; needs a GPU"),
        "brain": _preset(BRAIN, "brain tumours in four MR contrasts; needs a GPU"),
        "pet": _preset(PET, "lymphoma in PET; needs a GPU"),
        "lung": _preset(LUNG, "lung tumours in CT; needs a GPU"),
        "ehanet": Preset(
            config=EHANET,
            published=EHANET.as_published(),
            summary="one structure, slice by slice or in 2D images",
        ),
    }
)


def preset_config(
    name: str, *, faithful: bool = False, **changes: Any
) -> NetworkConfig:
    """The configuration of a preset, with some fields changed.

    Parameters
    ----------
    name : str
        A key of `PRESETS`.
    faithful : bool
        The published form instead of the clean one.
    **changes
        Fields of its configuration; above all `in_channels` and `n_classes`.

    Raises
    ------
    ConfigError
        If there is no such preset, no published form of it, or no such field.
    """
    if name not in PRESETS:
        raise ConfigError(
            found=f"the preset {name!r}",
            needed=f"one of {', '.join(PRESETS)}",
            do="see `e2miseg networks`",
        )
    preset = PRESETS[name]
    if not faithful:
        return _changed(preset.config, changes)
    if preset.published is None:
        published = [n for n, p in PRESETS.items() if p.published is not None]
        raise ConfigError(
            found=f"the published form of {name!r}",
            needed=f"a published network: {', '.join(published)}",
            do="leave --faithful out, or choose one of these by --preset",
        )
    return _changed(preset.published, changes)


def _changed(config: NetworkConfig, changes: Mapping[str, Any]) -> NetworkConfig:
    names = [field.name for field in fields(config)]
    if unknown := [name for name in changes if name not in names]:
        raise ConfigError(
            found=f"the field {unknown[0]!r} for {type(config).__name__}",
            needed=f"one of {', '.join(names)}",
            do="correct the name",
        )
    return replace(config, **changes)
