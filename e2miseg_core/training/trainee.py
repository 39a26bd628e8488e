"""A network in training, with everything of it that a checkpoint keeps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from e2miseg_core.devices import lay_channels_last
from e2miseg_core.losses import objective_of
from e2miseg_core.networks import (
    Network,
    NetworkConfig,
    TrainingOutputs,
    build_network,
)
from e2miseg_core.training.checkpoint import (
    KeptWeights,
    RunState,
    load_checkpoint,
    save_checkpoint,
)
from e2miseg_core.training.distributed import Team
from e2miseg_core.training.optimisers import WeightAverage, make_optimizer
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.start import give_first_weights
from e2miseg_core.training.steps import OptimizerStep
from e2miseg_core.training.validation import Validator

__all__ = ["Trainee"]

RESCUE_MOMENTUM = 0.95  # of SGD that has found nothing (A.6)


class Trainee:
    """Network, optimiser, moving average of the weights, and the best ones so far.

    Parameters
    ----------
    config : NetworkConfig
    recipe : Recipe
    device : torch.device
    team : Team
        All of it begins with the weights of the first.

    Attributes
    ----------
    network : Network
    optimizer : torch.optim.Optimizer
    average : WeightAverage or None
    best : dict of Tensor
        Empty until `keep_best`.
    """

    def __init__(
        self, config: NetworkConfig, recipe: Recipe, device: torch.device, team: Team
    ) -> None:
        self._config, self._recipe = config, recipe
        self._device, self._team = device, team
        self.network = self._new_network(recipe.seed)
        self.optimizer = make_optimizer(self.network, recipe)
        self.average: WeightAverage | None = None
        self.begin_average()
        self.best: dict[str, Tensor] = {}

    def begin_with(self, weights: Path | None) -> None:
        """Take what `e2miseg_core.training.start` found; the rest stays random.

        The team takes what the first has found.
        """
        give_first_weights(self.network, weights)
        self._team.copy_first(list(self.network.state_dict().values()))
        self.begin_average()

    def optimizer_step(self, precision: str, scaler: dict[str, Any]) -> OptimizerStep:
        """What trains the network on a batch.

        Parameters
        ----------
        precision : str
        scaler : dict
            State of a checkpoint; empty in the beginning.
        """
        objective, settings = objective_of(self._config), self._recipe

        def loss(outputs: TrainingOutputs, classes: Tensor) -> Tensor:
            return objective(outputs, classes, settings, None)

        step = OptimizerStep(
            self.network,
            self.optimizer,
            loss,
            recipe=self._recipe,
            device=self._device,
            precision=precision,
            team=self._team,
        )
        if scaler:  # a new one has begun already
            step.scaler.load_state_dict(scaler)
        return step

    def validator(self, cases: Sequence[PreparedCase], precision: str) -> Validator:
        """What looks at the selection cases."""
        return Validator(
            self._config,
            cases,
            device=self._device,
            precision=precision,
            patches=self._recipe.validation_patches,
            seed=self._recipe.seed,
            team=self._team,
        )

    def keep_best(self, *, average: bool) -> None:
        """Keep the present weights, or their average, as the best so far."""
        source = self.network.state_dict()
        if average and self.average is not None:
            source = self.average.state_dict()
        self.best = {k: v.detach().cpu().clone() for k, v in source.items()}

    def begin_anew(self) -> None:
        """Take new random weights, and less momentum, with an optimiser that forgot.

        What is not trained stays.
        """
        fresh = self._new_network(self._recipe.seed + 1).state_dict()
        frozen = {
            name
            for name, module in self.network.named_modules()
            if not all(p.requires_grad for p in module.parameters(recurse=False))
        }
        kept = {
            name: value
            for name, value in self.network.state_dict().items()
            if name.rpartition(".")[0] in frozen
        }
        self.network.load_state_dict(fresh | kept)
        self.optimizer.state.clear()
        self._lower_momentum()
        self.begin_average()

    def begin_average(self) -> None:
        """Let the moving average begin with the weights as they are now."""
        largest = self._recipe.weight_average
        self.average = WeightAverage(self.network, largest) if largest else None

    def save(self, path: Path, state: RunState) -> None:
        """Write a checkpoint; WriteError if the disk refuses."""
        state.average_updates = 0 if self.average is None else self.average.updates
        average = None if self.average is None else self.average.state_dict()
        kept = KeptWeights(best=self.best, average=average or {})
        save_checkpoint(path, state, self.network, self.optimizer, kept)

    def load(self, path: Path, state: RunState) -> None:
        """Go on from a checkpoint, of which `state` was read; ReadError if damaged."""
        kept = load_checkpoint(path, self.network, self.optimizer)
        self.best = dict(kept.best)
        if self.average is not None:
            self.average.load_state_dict(kept.average, state.average_updates)
        if state.rescued:
            self._lower_momentum()

    def _new_network(self, seed: int) -> Network:
        torch.manual_seed(seed)
        network = build_network(self._config).to(self._device)
        self._team.copy_first(list(network.state_dict().values()))
        lay_channels_last(network)
        return network

    def _lower_momentum(self) -> None:
        for group in self.optimizer.param_groups:
            if "momentum" in group:
                group["momentum"] = min(group["momentum"], RESCUE_MOMENTUM)
