"""What each architecture is trained to make small."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from e2miseg_core.errors import ConfigError
from e2miseg_core.losses.binary import bce_dice_loss
from e2miseg_core.losses.boundary import ALL_AXES
from e2miseg_core.losses.compound import segmentation_loss
from e2miseg_core.losses.deep_supervision import deep_supervision_loss
from e2miseg_core.losses.edges import edge_loss
from e2miseg_core.losses.settings import LossSettings
from e2miseg_core.networks import EHANetConfig, NetworkConfig, TrainingOutputs

__all__ = [
    "Objective",
    "check_edge_head",
    "deep_objective",
    "edge_term",
    "objective_of",
    "six_term_objective",
]

Objective: TypeAlias = Callable[
    [TrainingOutputs, Tensor, LossSettings, Tensor | None], Tensor
]


def objective_of(config: NetworkConfig) -> Objective:
    """The loss of an architecture, `objective(outputs, labels, settings, valid)`.

    Parameters
    ----------
    config : NetworkConfig

    Returns
    -------
    callable
        `deep_objective` for E2MISeg, `six_term_objective` in the plane of its slices
        for EHANet.
    """
    if isinstance(config, EHANetConfig):
        return partial(six_term_objective, axis=config.axis)
    return deep_objective


def check_edge_head(config: NetworkConfig, settings: LossSettings) -> None:
    """Raise ConfigError where an edge head would stay as it was drawn at random."""
    has_edges = isinstance(config, EHANetConfig) or config.edge_head
    if has_edges and not settings.edge_weight:
        raise ConfigError(
            found="an edge head, and an edge weight of 0",
            needed="a loss that teaches it: its edges would be random",
            do="give edge_weight above 0, or leave the edge head out",
        )


def deep_objective(
    outputs: TrainingOutputs,
    labels: Tensor,
    settings: LossSettings,
    valid: Tensor | None = None,
) -> Tensor:
    """Deep supervision of `segmentation_loss`, plus the edge head's loss if any.

    Parameters
    ----------
    outputs : TrainingOutputs
    labels : Tensor of int, shape (N, Z, Y, X)
        As augmented; targets of all levels and of edges are made of these.
    settings : LossSettings
    valid : Tensor of bool, shape (N, Z, Y, X), optional
        Voxels that count.

    Returns
    -------
    Tensor, shape ()

    References
    ----------
    Specification A.5 and, for the edges, B.9.
    """

    def of_level(logits: Tensor, classes: Tensor, counted: Tensor | None) -> Tensor:
        return segmentation_loss(logits, classes, settings, counted)

    total = deep_supervision_loss(outputs.levels, labels, of_level, valid=valid)
    return total + edge_term(outputs, labels, settings, valid)


def six_term_objective(
    outputs: TrainingOutputs,
    labels: Tensor,
    settings: LossSettings,
    valid: Tensor | None = None,
    *,
    axis: int = 0,
) -> Tensor:
    """The loss of EHANet: five maps and the edges, all of weight 1 (B.6).

    Parameters
    ----------
    outputs : TrainingOutputs
        The result and four side outputs, each of two classes at full size, and the
        edges.
    labels : Tensor of int, shape (N, Z, Y, X)
        All but 0 are foreground.
    settings : LossSettings
        Only what it says of edges is looked at.
    valid : Tensor of bool, shape (N, Z, Y, X), optional
        Voxels that count.
    axis : int
        Of Z, Y, X; the one that slices are stacked along.

    Returns
    -------
    Tensor, shape ()
    """
    mask = labels > 0
    terms = [bce_dice_loss(maps, mask, valid=valid) for maps in outputs.levels]
    total = torch.stack(terms).sum()
    plane = [other for other in range(3) if other != axis]
    return total + edge_term(outputs, labels, settings, valid, axes=plane)


def edge_term(
    outputs: TrainingOutputs,
    labels: Tensor,
    settings: LossSettings,
    valid: Tensor | None = None,
    *,
    axes: Sequence[int] = ALL_AXES,
) -> Tensor | float:
    """`edge_loss` times its weight; 0 without an edge head or weight."""
    if outputs.edges is None or not settings.edge_weight:
        return 0.0
    edges = edge_loss(outputs.edges, labels, settings, valid, axes=axes)
    return settings.edge_weight * edges
