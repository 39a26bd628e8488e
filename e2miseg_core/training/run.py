"""A training run: its loop, and exact resume."""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from e2miseg_core.devices import choose_device, choose_precision
from e2miseg_core.errors import ConfigError
from e2miseg_core.losses.objective import check_edge_head
from e2miseg_core.networks import Network, NetworkConfig, network_to_json
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.augment import Augmentation
from e2miseg_core.training.batches import (
    Batch,
    BatchMaker,
    batches_ahead,
    default_workers,
    recipe_augmentation,
)
from e2miseg_core.training.checkpoint import RunState, read_state
from e2miseg_core.training.clock import TrainingClock
from e2miseg_core.training.differences import told_differences
from e2miseg_core.training.distributed import ALONE, Team
from e2miseg_core.training.logs import RunLog
from e2miseg_core.training.patches import PatchSampler
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.run_folder import CHECKPOINT
from e2miseg_core.training.selection import note_dice
from e2miseg_core.training.trained_network import TrainedNetwork
from e2miseg_core.training.trainee import Trainee
from e2miseg_core.training.validation import Validation, Validator, wearing

__all__ = ["TrainedNetwork", "TrainingRun"]

# Of the checkpoint: 2 draws dropout sample by sample, 3 takes coarse targets at the
# centre of a voxel.
VERSION = 3
MAX_SKIPPED = 20  # batches in a row whose loss is no number


class TrainingRun:
    """Trains a network on prepared cases.

    The state after every epoch is on disk; random numbers depend on seed, step and
    sample alone, so an interrupted and resumed run gives the same weights as one that
    ran through.

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
    team : Team
        Processes that share every batch; a resumed run may have another one.

    Raises
    ------
    ConfigError
        If the batch is too small for the team, or a share of it for the network, or
        nothing teaches its edge head.
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
        team: Team = ALONE,
    ) -> None:
        team.check_batch(recipe.batch_size)
        config.check_batch(recipe.batch_size // team.size)  # of the smallest share
        check_edge_head(config, recipe)
        self.folder, self.config, self.recipe, self.team = folder, config, recipe, team
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self._trainee = Trainee(config, recipe, self.device, team)
        settings = {
            "network": network_to_json(config),
            "recipe": recipe.to_json(),
            "precision": self.precision,
            **(facts or {}),
        }
        self.state = RunState(
            version=VERSION, settings=json.loads(json.dumps(settings))
        )
        self._log = RunLog(folder, writes=team.is_first)

    @property
    def network(self) -> Network:
        """In training; the best one after it."""
        return self._trainee.network

    @property
    def checkpoint(self) -> Path:
        """File of the state after the last epoch."""
        return self.folder / CHECKPOINT

    def begin_with(self, weights: Path | None) -> None:
        """Begin a new run with what `e2miseg_core.training.start` found."""
        self._trainee.begin_with(weights)

    def say(self, text: str) -> None:
        """Add a line to the run's log."""
        self._log.say(text)

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises
        ------
        ReadError
            If there is no usable checkpoint.
        ConfigError
            If it was written with other settings, or by an earlier version.
        """
        state = read_state(self.checkpoint, RunState)
        if state.version != VERSION:
            raise ConfigError(
                found=f"a checkpoint of format {state.version} in {self.folder}",
                needed=f"format {VERSION}, which goes on bit for bit",
                do="finish the run with the version that began it, or begin anew with "
                "--overwrite",
            )
        if state.settings != self.state.settings:
            raise ConfigError(
                found=f"other settings than those of the run in {self.folder} "
                f"({told_differences(self.state.settings, state.settings)})",
                needed="the same data, fold, preset, recipe and precision",
                do="repeat the options of the first call, or choose another folder",
            )
        self._trainee.load(self.checkpoint, state)
        self.state = state
        self._log.say(f"resumed after epoch {state.epoch}")

    def train(
        self,
        training: Sequence[PreparedCase],
        selection: Sequence[PreparedCase],
        augment: Augmentation | None = None,
        *,
        workers: int | None = None,
    ) -> Job[TrainedNetwork]:
        """Train to the end of the recipe.

        Parameters
        ----------
        training, selection : sequence of PreparedCase
            To learn from, and to choose the weights by.
        augment : Augmentation, optional
            By the recipe alone where left out.
        workers : int, optional
            Batches made at a time, see `e2miseg_core.training.batches`.

        Yields
        ------
        Progress
            After each step, with loss, epoch and, when known, the smoothed Dice on the
            selection cases and seconds left.
        """
        patch_size, recipe = self.config.patch_size, self.recipe
        if self.device.type == "cuda":  # patches are all of one size
            torch.backends.cudnn.benchmark = True
        self._clock = TrainingClock(self.state.validation_seconds)
        self._step = self._trainee.optimizer_step(self.precision, self.state.scaler)
        make = BatchMaker(
            sampler=PatchSampler(training, patch_size, recipe.batch_size),
            augment=augment or recipe_augmentation(recipe, patch_size),
            seed=recipe.seed,
            samples=self.team.share(recipe.batch_size),
        )
        workers = workers or default_workers(self.device, self.team.size)
        steps = range(self.state.epoch * recipe.iterations, recipe.steps)
        validator = self._trainee.validator(selection, self.precision)
        try:
            with closing(batches_ahead(make, steps, self.device, workers)) as batches:
                while self.state.epoch < recipe.epochs:
                    yield from self._epoch(batches, validator)
        except (GeneratorExit, KeyboardInterrupt):
            self._log.say(f"stopped; --resume goes on after epoch {self.state.epoch}")
            raise
        finally:
            self._log.close()
        return self._trained()

    def _epoch(
        self, batches: Generator[Batch, None, None], validator: Validator
    ) -> Job[None]:
        """One epoch, after which the state is on disk."""
        self._clock.begin_epoch()
        losses: list[float] = []
        first = self.state.epoch * self.recipe.iterations
        for step in range(first, first + self.recipe.iterations):
            asked = self._clock.now()
            batch = next(batches)
            begun = self._clock.now()
            loss = self._step(step, batch)
            self._clock.step(begun - asked, self._clock.now() - begun)
            self._count(step, loss, losses)
            yield self._progress(step + 1, losses)
        epoch = self.state.epoch + 1
        looks: list[Validation] = []
        if self.recipe.validates(epoch):
            looks = yield from self._validate(epoch, validator)
        self.state.epoch = epoch
        self.state.seconds += self._clock.lap()
        self._finish_epoch(losses, looks)

    def _count(self, step: int, loss: float | None, losses: list[float]) -> None:
        """Note a step's loss; ConfigError where too many were no number."""
        state, last = self.state, (step + 1) % self.recipe.iterations == 0
        if loss is not None:
            losses.append(loss)
            state.skipped_in_row = 0
            if self._trainee.average is not None:
                self._trainee.average.update(self.network)
            return
        state.skipped += 1
        state.skipped_in_row += 1
        self._log.say(f"step {step + 1}: the loss was no number; batch left out")
        if state.skipped_in_row >= MAX_SKIPPED or (last and not losses):
            raise ConfigError(
                found=f"{state.skipped_in_row} batches in a row whose loss is no "
                f"number, up to step {step + 1}",
                needed="finite images and a stable training",
                do="look for damaged images, or train with --precision float32 or a "
                "smaller --learning-rate",
            )

    def _validate(self, epoch: int, validator: Validator) -> Job[list[Validation]]:
        """Look at the weights and at their average, keep the best, rescue the lost."""
        started = self._clock.now()
        self.team.copy_first(list(self.network.buffers()))
        looks = [(yield from validator.look(self.network))]
        average_dice: float | None = None
        if self._trainee.average is not None:
            averages = self._trainee.average.state_dict()
            self.team.copy_first(list(averages.values()))
            with wearing(self.network, averages):
                looks.append((yield from validator.look(self.network)))
            average_dice = looks[1].dice
        if note_dice(self.state, self.recipe, epoch, looks[0].dice, average_dice):
            self._trainee.keep_best(average=self.state.best_is_average)
        self._rescue(epoch)
        self._clock.validated(self._clock.now() - started)
        self.state.validation_seconds = self._clock.validation_seconds
        return looks

    def _rescue(self, epoch: int) -> None:
        """Begin anew with less momentum if nothing has been found for long (A.6)."""
        state, share = self.state, self.recipe.rescue_after
        late = bool(share) and epoch >= share * self.recipe.epochs
        if state.rescued or state.best != 0 or not late:
            return
        state.rescued = True
        self._trainee.begin_anew()
        self._log.say(f"nothing found by epoch {epoch}: beginning anew")

    def _finish_epoch(self, losses: list[float], looks: list[Validation]) -> None:
        """Put the epoch into the history and the state on disk."""
        state, clock = self.state, self._clock
        samples = self.recipe.iterations * self.recipe.batch_size
        state.samples += samples
        state.training_seconds += clock.training_seconds
        state.scaler = self._step.scaler.state_dict()
        last = state.epoch * self.recipe.iterations - 1
        self._log.epoch(
            {
                "epoch": state.epoch,
                "learning_rate": self.recipe.learning_rate_at(last),
                "loss": sum(losses) / len(losses),
                "selection_dice": looks[0].dice if looks else None,
                "smoothed": state.smoothed if looks else None,
                "average_dice": looks[1].dice if len(looks) > 1 else None,
                "skipped": state.skipped,
                "samples_per_second": samples / max(clock.training_seconds, 1e-9),
                "waiting_seconds": clock.waiting_seconds,
                "seconds": state.seconds,
            },
            looks[-1].shown if looks else None,
        )
        if self.team.is_first:
            self._trainee.save(self.checkpoint, state)

    def _trained(self) -> TrainedNetwork:
        state = self.state
        self.network.load_state_dict(self._trainee.best)
        self.network.eval()
        return TrainedNetwork(
            network=self.network,
            best_epoch=state.best_epoch,
            averaged=state.best_is_average,
            selection_dice=state.best_dice or 0.0,
            seconds=state.seconds,
            samples_per_second=state.samples / max(state.training_seconds, 1e-9),
            skipped=state.skipped,
            precision=self.precision,
            device=self.device.type,
            threads=torch.get_num_threads(),
        )

    def _progress(self, done: int, losses: list[float]) -> Progress:
        recipe, state = self.recipe, self.state
        looks = sum(
            recipe.validates(e) for e in range(state.epoch + 1, recipe.epochs + 1)
        )
        left = self._clock.seconds_left(recipe.steps - done, looks)
        return Progress(
            done=done,
            total=recipe.steps,
            stage="training",
            details={
                "epoch": state.epoch + 1,
                "loss": round(losses[-1], 4) if losses else None,
                "smoothed_dice": state.smoothed,
                "seconds_left": None if left is None else round(left, 1),
            },
        )
