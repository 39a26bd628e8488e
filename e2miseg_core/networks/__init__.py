"""Networks, their configurations and presets."""

from dataclasses import replace

from e2miseg_core.networks.architectures import (
    Network,
    NetworkConfig,
    build_network,
    network_from_json,
    network_to_json,
    with_patch,
)
from e2miseg_core.networks.block_config import HFRConfig, MFGAConfig
from e2miseg_core.networks.changes import change_network
from e2miseg_core.networks.config import E2MISegConfig
from e2miseg_core.networks.e2miseg import E2MISeg
from e2miseg_core.networks.ehanet import EHANet, EHANetConfig
from e2miseg_core.networks.initialisation import undecayed_parameters
from e2miseg_core.networks.outputs import TrainingOutputs
from e2miseg_core.networks.presets import PRESETS, Preset, preset_config
from e2miseg_core.networks.sizes import Triple

__all__ = [
    "PRESETS",
    "E2MISeg",
    "E2MISegConfig",
    "EHANet",
    "EHANetConfig",
    "HFRConfig",
    "MFGAConfig",
    "Network",
    "NetworkConfig",
    "Preset",
    "TrainingOutputs",
    "build_network",
    "change_network",
    "create_network",
    "network_from_json",
    "network_to_json",
    "preset_config",
    "undecayed_parameters",
    "with_patch",
]


def create_network(
    preset: str,
    *,
    in_channels: int,
    n_classes: int,
    patch_size: Triple | None = None,
    faithful: bool = False,
) -> Network:
    """Build a network with random weights.

    Every weight that the result depends on can be trained; a training that finds
    pretrained weights of EHANet's encoder freezes those (`e2miseg_core.training`).

    Parameters
    ----------
    preset : str
        A key of `PRESETS`.
    in_channels, n_classes : int
        `n_classes` counts the background.
    patch_size : tuple of 3 int, optional
        Patch (ZYX); the preset's own when left out.
    faithful : bool
        The form that was published, slips included, instead of the clean one. Its
        weights are tied to the patch size.

    Returns
    -------
    Network

    Raises
    ------
    ConfigError
        For an unknown preset, one that was never published, a patch that the
        strides do not divide, or numbers of channels and classes that the network
        does not take.
    ModelError
        If a package that the network needs is not installed: timm, for EHANet.

    Notes
    -----
    EHANet's encoder is frozen where it has its ImageNet weights, so not here. To
    begin with them: ``EHANet(EHANetConfig(in_channels=1))``, whose encoder is frozen
    from the start, and then `load_weights` with what `fetch_weights` found, both of
    `e2miseg_core.networks.ehanet.pretrained`.
    """
    config = preset_config(
        preset, faithful=faithful, in_channels=in_channels, n_classes=n_classes
    )
    if isinstance(config, EHANetConfig):
        config = replace(config, pretrained=False)
    return build_network(
        config if patch_size is None else with_patch(config, patch_size)
    )
