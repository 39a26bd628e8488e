"""A training run: its folder, its loop, and exact resume.

RUN/cases/               prepared cases
RUN/checkpoint.safetensors   state after the last epoch
RUN/history.csv          one line an epoch
RUN/model.safetensors    the result
RUN/report.json          figures on the unseen cases
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from e2miseg_core.devices import autocast, choose_device, choose_precision
from e2miseg_core.errors import ConfigError, WriteError
from e2miseg_core.losses import compound_loss, deep_supervision_loss
from e2miseg_core.networks import (
    Network,
    NetworkConfig,
    build_network,
    network_to_json,
)
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.augment import Augmentation
from e2miseg_core.training.checkpoint import (
    RunState,
    load_checkpoint,
    read_state,
    save_checkpoint,
)
from e2miseg_core.training.history import append_rows
from e2miseg_core.training.patches import PatchSampler, sample_generator
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.validation import mean_dice

__all__ = ["TrainedNetwork", "TrainingRun"]

SMOOTHING = 0.9  # an epoch, of the moving average that chooses the checkpoint (A.6)
MODEL = "model.safetensors"
COLUMNS = ("epoch", "learning_rate", "loss", "selection_dice", "smoothed", "seconds")


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedNetwork:
    """The best network of a run and how it came to be."""

    network: Network
    best_epoch: int
    selection_dice: float
    seconds: float
    precision: str


class TrainingRun:
    """Trains a network on prepared cases.

    The state after every epoch is on disk; random numbers depend on seed and step
    alone, so an interrupted and resumed run gives the same weights as one that ran
    through.

    Parameters
    ----------
    folder : Path
        Where checkpoint and history go.
    config : NetworkConfig
    recipe : Recipe
    device, precision : str
        See `e2miseg_core.devices`.
    facts : mapping, optional
        JSON values of what else a resumed run must have in common, such as the split.

    Raises
    ------
    ConfigError
        For float16, whose small gradients would vanish.
    """

    def __init__(
        self,
        folder: Path,
        config: NetworkConfig,
        recipe: Recipe,
        *,
        device: str = "auto",
        precision: str = "auto",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.config, self.recipe = folder, config, recipe
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        if self.precision == "float16":
            raise ConfigError(
                found="training in float16",
                needed="bfloat16 or float32: small gradients vanish in float16",
                do="leave --precision out",
            )
        torch.manual_seed(recipe.seed)
        network = build_network(config).to(self.device)
        self.network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        )
        self.best: dict[str, Tensor] = {}
        self.state = RunState(
            settings=json.loads(
                json.dumps(
                    {
                        "network": network_to_json(config),
                        "recipe": recipe.to_json(),
                        "precision": self.precision,
                        **(facts or {}),
                    }
                )
            )
        )

    @property
    def checkpoint(self) -> Path:
        """File of the state after the last epoch."""
        return self.folder / "checkpoint.safetensors"

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises
        ------
        ReadError
            If there is no usable checkpoint.
        ConfigError
            If it was written with other settings.
        """
        state = read_state(self.checkpoint, RunState)
        if state.settings != self.state.settings:
            raise ConfigError(
                found=f"other settings than those of the run in {self.folder}",
                needed="the same data, fold, preset, recipe and precision",
                do="repeat the options of the first call, or choose another folder",
            )
        self.best = load_checkpoint(self.checkpoint, self.network, self.optimizer)
        self.state = state

    def train(
        self, training: Sequence[PreparedCase], selection: Sequence[PreparedCase]
    ) -> Job[TrainedNetwork]:
        """Train to the end of the recipe.

        Yields
        ------
        Progress
            After each step, with loss, epoch and, when known, selection Dice.
        """
        recipe = self.recipe
        sampler = PatchSampler(training, self.config.patch_size, recipe.batch_size)
        augment = Augmentation(self.config.patch_size, recipe.mirror_axes)
        first = self.state.epoch * recipe.iterations
        with ThreadPoolExecutor(1, "patches") as pool:
            batches = _prefetched(pool, sampler, augment, recipe, first)
            while self.state.epoch < recipe.epochs:
                started = time.monotonic()
                losses = []
                for step, image, classes in batches:
                    losses.append(self._step(step, image, classes))
                    yield self._progress(step + 1, losses)
                    if (step + 1) % recipe.iterations == 0:
                        break
                yield from self._finish_epoch(losses, selection, started)
        self.network.load_state_dict(self.best)
        self.network.eval()
        return TrainedNetwork(
            network=self.network,
            best_epoch=self.state.best_epoch,
            selection_dice=self.state.best_dice or 0.0,
            seconds=self.state.seconds,
            precision=self.precision,
        )

    def _step(self, step: int, image: Tensor, classes: Tensor) -> float:
        """One optimiser step; returns the loss."""
        torch.manual_seed(self.recipe.seed + step)  # dropout
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate_at(step)
        self.network.train()
        image = image.to(self.device).contiguous(memory_format=torch.channels_last_3d)
        with autocast(self.device, self.precision):
            outputs = self.network.forward_training(image)
        loss = deep_supervision_loss(
            outputs.levels, classes.to(self.device), self._loss
        )
        if not torch.isfinite(loss):
            raise ConfigError(
                found=f"a loss that is no number at step {step + 1}",
                needed="finite images and a stable training",
                do="look for damaged images, or train with --precision float32",
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(
            self.network.parameters(), self.recipe.gradient_clip
        )
        self.optimizer.step()
        return float(loss.detach())

    def _loss(self, logits: Tensor, classes: Tensor, valid: Tensor | None) -> Tensor:
        return compound_loss(
            logits,
            classes,
            ss_form=self.recipe.ss_form,
            ss_weight=self.recipe.ss_weight,
            valid=valid,
        )

    def _finish_epoch(
        self, losses: list[float], selection: Sequence[PreparedCase], started: float
    ) -> Job[None]:
        """Validate where it is due, then put the state on disk."""
        state, recipe = self.state, self.recipe
        epoch = state.epoch + 1
        dice: float | None = None
        if epoch % recipe.validate_every == 0 or epoch == recipe.epochs:
            dice = yield from mean_dice(
                self.network, self.config, selection, self.device, self.precision
            )
            self._choose(epoch, dice)
        state.epoch = epoch
        state.seconds += time.monotonic() - started
        row = (
            epoch,
            f"{recipe.learning_rate_at(epoch * recipe.iterations - 1):.6g}",
            f"{sum(losses) / len(losses):.6f}",
            "" if dice is None else f"{dice:.6f}",
            "" if dice is None else f"{state.smoothed:.6f}",
            f"{state.seconds:.1f}",
        )
        append_rows(self.folder / "history.csv", COLUMNS, [row])
        save_checkpoint(self.checkpoint, state, self.network, self.best, self.optimizer)

    def _choose(self, epoch: int, dice: float) -> None:
        """Keep the weights if the smoothed selection Dice is the best so far."""
        state = self.state
        old = dice if state.smoothed is None else state.smoothed
        kept = SMOOTHING**self.recipe.validate_every  # of the average, since last time
        state.smoothed = kept * old + (1 - kept) * dice
        if state.best is None or state.smoothed >= state.best:
            state.best, state.best_epoch = state.smoothed, epoch
            state.best_dice = dice
            self.best = {
                k: v.detach().cpu().clone()
                for k, v in self.network.state_dict().items()
            }

    def _progress(self, done: int, losses: list[float]) -> Progress:
        return Progress(
            done=done,
            total=self.recipe.steps,
            stage="training",
            details={
                "epoch": self.state.epoch + 1,
                "loss": round(losses[-1], 4),
                "selection_dice": self.state.smoothed,
            },
        )


def check_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise WriteError where a run would write over another one; changes nothing."""
    begun = any((folder / name).exists() for name in ("checkpoint.safetensors", MODEL))
    if begun and not resume and not overwrite:
        raise WriteError(
            found=f"a training run in {folder}",
            needed="an empty folder",
            do="add --resume to go on with it, or --overwrite to begin anew",
        )


def clear_folder(folder: Path) -> None:
    """Remove the state of an earlier run; its model stays until a new one is there."""
    for name in ("checkpoint.safetensors", "history.csv"):
        (folder / name).unlink(missing_ok=True)


def _prefetched(
    pool: ThreadPoolExecutor,
    sampler: PatchSampler,
    augment: Augmentation,
    recipe: Recipe,
    first: int,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Batches from step `first` on, the next one made while one is trained on."""

    def make(step: int) -> tuple[Tensor, Tensor]:
        pairs = []
        for index in range(recipe.batch_size):
            random = sample_generator(recipe.seed, step, index)
            pairs.append(augment(sampler.sample(index, random), random))
        images, classes = zip(*pairs, strict=True)
        return torch.stack(images), torch.stack(classes)

    if first >= recipe.steps:
        return
    coming = pool.submit(make, first)
    for step in range(first, recipe.steps):
        image, classes = coming.result()
        if step + 1 < recipe.steps:
            coming = pool.submit(make, step + 1)
        yield step, image, classes
