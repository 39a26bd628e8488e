"""One optimiser step: forward, loss, backward, and what to do with a bad batch."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from e2miseg_core.devices import autocast
from e2miseg_core.networks import Network
from e2miseg_core.networks.outputs import TrainingOutputs
from e2miseg_core.training.batches import Batch
from e2miseg_core.training.distributed import Team
from e2miseg_core.training.dropout import SampleDropout
from e2miseg_core.training.recipe import Recipe

__all__ = ["OptimizerStep"]

BatchLoss = Callable[[TrainingOutputs, Tensor], Tensor]
SMALLEST_SCALE = 1.0  # of gradients in float16; healthy ones allow 2^10 and more


class OptimizerStep:
    """Trains a network on one batch.

    Parameters
    ----------
    network : nn.Module
    optimizer : torch.optim.Optimizer
    loss : callable
        Of outputs and classes (N, Z, Y, X) of the whole batch.
    recipe : Recipe
    device : torch.device
    precision : str
    team : Team
        The batch given is this process' share.
    """

    def __init__(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        loss: BatchLoss,
        *,
        recipe: Recipe,
        device: torch.device,
        precision: str,
        team: Team,
    ) -> None:
        self._network, self._optimizer, self._loss = network, optimizer, loss
        self._recipe, self._team = recipe, team
        self._device, self._precision = device, precision
        self._trained = [p for p in network.parameters() if p.requires_grad]
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")

    def __call__(self, step: int, batch: Batch) -> float | None:
        """Train on a batch; gives its loss, None where it was no number.

        Weights and statistics are then as they were. In float16, gradients that
        overflow lower their scale and change no weight, as is usual; such a step is
        none of the bad ones unless the scale has become too small for a healthy one.
        """
        torch.manual_seed(self._recipe.seed + step)
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate_at(step)
        before = [buffer.clone() for buffer in self._network.buffers()]
        loss = self._forward(step, batch)
        value = float(loss.detach())
        if math.isfinite(value) and self._backward(loss):
            return value
        self._optimizer.zero_grad(set_to_none=True)
        for buffer, old in zip(self._network.buffers(), before, strict=True):
            buffer.copy_(old)
        return None

    def _forward(self, step: int, batch: Batch) -> Tensor:
        """Loss of the whole batch."""
        image, classes = (part.to(self._device, non_blocking=True) for part in batch)
        image = image.contiguous(memory_format=torch.channels_last_3d)
        count, seed = self._recipe.batch_size, self._recipe.seed
        self._network.train()
        with (
            SampleDropout(seed, step, self._team.share(count), self._device),
            autocast(self._device, self._precision),
        ):
            outputs = self._network.forward_training(image)
        return self._loss(
            self._team.whole_outputs(outputs, count),
            self._team.whole_batch(classes, count),
        )

    def _backward(self, loss: Tensor) -> bool:
        """Change the weights; False, and no change, where gradients are no numbers."""
        self._optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self._team.sum_gradients(self._trained)
        self.scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._trained, self._recipe.gradient_clip)
        if not self.scaler.is_enabled() and not bool(torch.isfinite(norm)):
            return False
        if not self.scaler.is_enabled():
            self._optimizer.step()
            return True
        before = self.scaler.get_scale()
        self.scaler.step(self._optimizer)
        self.scaler.update()
        after = self.scaler.get_scale()
        # The scale only falls where the scaler has left the weights alone.
        return after >= min(before, SMALLEST_SCALE)
