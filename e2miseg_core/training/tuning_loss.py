"""What a fine-tuning makes small."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from e2miseg_core.losses import (
    LossSettings,
    deep_supervision_loss,
    edge_term,
    objective_of,
    scale_sensitive_loss,
    segmentation_loss,
)
from e2miseg_core.networks import EHANetConfig, NetworkConfig, TrainingOutputs

__all__ = ["TuningLoss", "keep_statistics"]

CROSS_ENTROPY = LossSettings(ss_weight=0.0)


class TuningLoss:
    """The loss of a batch of corrections and of memory.

    Parameters
    ----------
    config : NetworkConfig
    recipe : mapping
        Of the first training, as the model's card has it; maybe empty.
    n_corrections : int
        The first patches of a batch show corrections.

    Notes
    -----
    For E2MISeg, cross-entropy of the batch; one Dice for corrections, one for memory.
    In one Dice, the few voxels that are known of corrections would drown; in one for
    each patch, what is wrongly found in an empty one costs nothing. An edge head is
    trained on, as in the first training. EHANet has the loss of its first training.
    """

    def __init__(
        self, config: NetworkConfig, recipe: Mapping[str, Any], n_corrections: int
    ) -> None:
        names = {f.name for f in fields(LossSettings)}
        self._settings = LossSettings(**{k: recipe[k] for k in names & set(recipe)})
        self._objective = objective_of(config)
        self._by_slices = isinstance(config, EHANetConfig)
        self._n_corrections = n_corrections

    def __call__(
        self, outputs: TrainingOutputs, classes: Tensor, valid: Tensor
    ) -> Tensor:
        """The loss of a batch.

        Parameters
        ----------
        outputs : TrainingOutputs
        classes : Tensor of int, shape (N, Z, Y, X)
        valid : Tensor of bool, shape (N, Z, Y, X)
            Voxels that count.

        Returns
        -------
        Tensor, shape ()
        """
        if self._by_slices:
            return self._objective(outputs, classes, self._settings, valid)
        total = deep_supervision_loss(outputs.levels, classes, self._level, valid=valid)
        return total + edge_term(outputs, classes, self._settings, valid)

    def _level(self, logits: Tensor, classes: Tensor, valid: Tensor | None) -> Tensor:
        total = segmentation_loss(logits, classes, CROSS_ENTROPY, valid)
        for part in (slice(self._n_corrections), slice(self._n_corrections, None)):
            term = scale_sensitive_loss(
                logits[part],
                classes[part],
                form=self._settings.ss_form,
                valid=None if valid is None else valid[part],
                batch=True,
            )
            share = len(logits[part]) / len(logits)
            total = total + self._settings.ss_weight * share * term
        return total


def keep_statistics(network: nn.Module) -> None:
    """Let batch norms use what they know: a few patches tell them little."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
