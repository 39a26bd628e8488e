"""The loop of a fine-tuning: a network, batches of crops, exact resume.

JOB/checkpoint.safetensors   state after every few steps
JOB/history.csv              one line a step; step 0 is the model as it was
"""

import copy
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from e2miseg_core.devices import (
    autocast,
    choose_device,
    choose_precision,
    lay_channels_last,
)
from e2miseg_core.errors import ConfigError
from e2miseg_core.helper_threads import helper_pool
from e2miseg_core.inference.engine import TilePredictor
from e2miseg_core.model import Model
from e2miseg_core.progress import Job, Progress
from e2miseg_core.project.jobs import CHECKPOINT
from e2miseg_core.training.checkpoint import (
    load_checkpoint,
    read_state,
    save_checkpoint,
)
from e2miseg_core.training.exam import HeldOut
from e2miseg_core.training.finetune_settings import FinetuneSettings
from e2miseg_core.training.forgetting import Watch
from e2miseg_core.training.history import append_rows
from e2miseg_core.training.tuning_batches import (
    Batch,
    Sampler,
    TuningBatches,
)
from e2miseg_core.training.tuning_loss import TuningLoss, keep_statistics
from e2miseg_core.training.tuning_state import FinetuneControl, TuningState
from e2miseg_core.training.validation import retold

__all__ = [
    "FinetuneControl",
    "Sampler",
    "Tuning",
    "TuningState",
]

HISTORY = "history.csv"
VERSION = 3  # of what a step does: runs of another one are not gone on with
COLUMNS = ("step", "learning_rate", "loss", "held_out_wrong")


class Tuning:
    """Goes on training a model's network on corrections and on what it knew before.

    Random numbers depend on (seed, step, sample) alone and the state is on disk every
    few steps, so a run that was killed and resumed gives the same weights as one that
    ran through.

    Parameters
    ----------
    folder : Path
        Of the job; must exist.
    model : Model
        To begin with; it is not changed.
    settings : FinetuneSettings
    corrections, memory : Sampler
        Where the two parts of a batch come from.
    watch : Watch, optional
        Tells `memory` what is being forgotten.
    """

    def __init__(
        self,
        folder: Path,
        model: Model,
        settings: FinetuneSettings,
        *,
        corrections: Sampler,
        memory: Sampler,
        watch: Watch | None = None,
    ) -> None:
        self.folder, self.settings = folder, settings
        self.device = choose_device(settings.device)
        self.precision = training_precision(settings.precision, self.device)
        self.network = copy.deepcopy(model.network).to(self.device)
        self._old = copy.deepcopy(model.network).to(self.device).eval()
        self._watch = watch
        lay_channels_last(self.network)
        self.optimizer = torch.optim.AdamW(
            [p for p in self.network.parameters() if p.requires_grad],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        n_corrections = max(1, settings.batch // 3)
        n_memory = settings.batch - n_corrections
        recipe = model.card.training.get("recipe", {})
        self._loss = TuningLoss(model.network.config, recipe, n_corrections)
        self._batches = TuningBatches(
            [corrections] * n_corrections + [memory] * n_memory,
            settings.seed,
        )
        self.state = TuningState(
            settings={
                **settings.to_json(),
                "precision": self.precision,
                "parent": model.card.hash,
                "version": VERSION,
            }
        )
        self._rows: list[tuple[object, ...]] = []

    @property
    def checkpoint(self) -> Path:
        """File of the state after the last few steps."""
        return self.folder / CHECKPOINT

    @property
    def predictor(self) -> TilePredictor:
        """The network as it is now, for looking at."""
        return self._predictor(self.network.eval())

    def _predictor(self, network: nn.Module) -> TilePredictor:
        return TilePredictor(
            network=network, device=self.device, precision=self.precision
        )

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises
        ------
        ReadError
            If there is no usable checkpoint.
        ConfigError
            If it was written with other settings, or for another model.
        """
        state = read_state(self.checkpoint, TuningState)
        if state.settings != self.state.settings:
            raise ConfigError(
                found=f"other settings, model or version than those of {self.folder}",
                needed="what the fine-tuning was begun with",
                do="start a new one",
            )
        load_checkpoint(self.checkpoint, self.network, self.optimizer)
        self.state = state

    def train(self, held_out: HeldOut, control: FinetuneControl) -> Job[None]:
        """Train to the end of the settings, or until `control.finish`.

        Yields
        ------
        Progress
            After each step: loss and, now and then, wrong voxels on what is held out;
            these before the first step, too.
        """
        if self.state.step == 0 and not self.state.ended:
            yield from self._report_start(held_out)
        with helper_pool(1, "crops") as pool:
            while not self.state.ended:
                if not control.finish:
                    yield from self._look_back()
                yield from self._train_on(pool, held_out, control)
            self.save()

    def save(self) -> None:
        """Put the state on disk; what was there stays if that fails."""
        save_checkpoint(self.checkpoint, self.state, self.network, self.optimizer)
        append_rows(self.folder / HISTORY, COLUMNS, self._rows)
        self._rows = []

    def _look_back(self) -> Job[None]:
        """Find out what is being forgotten; a run that is resumed reads that."""
        begun = self.state.step - self.state.step % self.settings.watch_every
        if self._watch is None or begun == 0:
            return
        at = Progress(done=self.state.step, total=self.settings.steps, stage="training")
        old, new = self._predictor(self._old), self.predictor
        yield from retold(self._watch.look(old, new, begun), at)

    def _train_on(
        self, pool: ThreadPoolExecutor, held_out: HeldOut, control: FinetuneControl
    ) -> Job[None]:
        """Train to the next look back, or to the end."""
        state, settings = self.state, self.settings
        stop = state.step - state.step % settings.watch_every + settings.watch_every
        steps = range(state.step, min(stop, settings.steps))
        batches = self._batches.ahead(pool, steps)
        while not state.ended:
            if control.finish or state.step >= settings.steps:
                state.ended = True
                break
            batch = next(batches, None)
            if batch is None:
                break
            started = time.monotonic()
            loss = self._step(state.step, batch)
            state.seconds += time.monotonic() - started
            yield from self._report(loss, held_out)

    def _report_start(self, held_out: HeldOut) -> Job[None]:
        """What the curve begins with."""
        at = Progress(done=0, total=self.settings.steps, stage="training")
        wrong = sum((yield from retold(held_out.wrong(self.predictor), at)))
        self._rows.append((0, "", "", wrong))
        yield replace(at, details={"held_out_wrong": wrong})

    def _report(self, loss: float, held_out: HeldOut) -> Job[None]:
        state, settings = self.state, self.settings
        if not math.isfinite(loss):
            state.ended = state.diverged = True
            return
        rate = settings.learning_rate_at(state.step)
        state.step += 1
        details: dict[str, object] = {"loss": round(loss, 4)}
        wrong: object = ""
        if state.step % settings.test_every == 0 or state.step == settings.steps:
            at = Progress(done=state.step, total=settings.steps, stage="training")
            counts = yield from retold(held_out.wrong(self.predictor), at)
            details["held_out_wrong"] = wrong = sum(counts)
        self._rows.append((state.step, f"{rate:.6g}", f"{loss:.6f}", wrong))
        if state.step % settings.checkpoint_every == 0:
            self.save()
        yield Progress(
            done=state.step, total=settings.steps, stage="training", details=details
        )

    def _step(self, step: int, batch: Batch) -> float:
        """One optimiser step; returns the loss, and steps only if it is a number."""
        torch.manual_seed(self.settings.seed + step)  # dropout
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate_at(step)
        self.network.train()
        keep_statistics(self.network)
        image, classes, valid = (part.to(self.device) for part in batch)
        image = image.contiguous(memory_format=torch.channels_last_3d)
        with autocast(self.device, self.precision):
            outputs = self.network.forward_training(image)
        loss = self._loss(outputs, classes, valid)
        value = float(loss.detach())
        if not math.isfinite(value):
            return value
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(
            self.network.parameters(), self.settings.gradient_clip
        )
        self.optimizer.step()
        return value


def training_precision(asked: str, device: torch.device) -> str:
    """The precision to train in; ConfigError for float16."""
    precision = choose_precision(asked, device)
    if precision == "float16":
        raise ConfigError(
            found="fine-tuning in float16",
            needed="bfloat16 or float32: small gradients vanish in float16",
            do="leave the precision out",
        )
    return precision
