"""Train a candidate, test it against the model it came from, keep it or not.

JOB/checkpoint.safetensors   state of the training, see `tuning`
JOB/history.csv              its curve
JOB/model.safetensors        the new model, if it is kept
"""

import copy
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from e2miseg_core.inference.engine import TilePredictor
from e2miseg_core.model import Model, load_model, save_model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.networks import E2MISeg
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.exam import HeldOut, examine, measure_old
from e2miseg_core.training.gate import Verdict, forgets, judge, not_trained
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.tuning import (
    FinetuneControl,
    FinetuneSettings,
    Sampler,
    Tuning,
)
from e2miseg_core.uncertainty.calibration import Calibration

__all__ = ["MODEL", "Material", "run_trial"]

MODEL = "model.safetensors"
SHARES = (1.0, 0.5, 0.25)  # of the way to the trained weights, until nothing is lost
SHOWN = ("held_out", "wrong_before", "wrong_after", "replay_dice_after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a model is fine-tuned on, and tested with.

    Attributes
    ----------
    corrections, memory : Sampler
        The two parts of a batch: what is new, and what must not be forgotten.
    held_out : HeldOut
        Never trained on.
    anchors : tuple of Path
        Crops of one patch away from corrections.
    replay : tuple of PreparedCase
        Cases of the first training to be tested on.
    facts : mapping
        What the new model's card says about it, JSON values.
    """

    corrections: Sampler
    memory: Sampler
    held_out: HeldOut
    anchors: tuple[Path, ...]
    replay: tuple[PreparedCase, ...]
    facts: Mapping[str, Any]


def run_trial(
    folder: Path,
    model: Model,
    settings: FinetuneSettings,
    material: Material,
    *,
    control: FinetuneControl,
    number: int,
) -> Job[Verdict]:
    """Train from `model` on, or from the checkpoint in `folder`, and judge.

    Parameters
    ----------
    folder : Path
        Of the job. It holds `model.safetensors` afterwards if, and only if, the new
        model is to be kept.
    model : Model
    settings : FinetuneSettings
    material : Material
    control : FinetuneControl
    number : int
        Version that the new model will be, for its name.
    """
    tuning = Tuning(
        folder,
        model,
        settings,
        corrections=material.corrections,
        memory=material.memory,
    )
    if tuning.checkpoint.exists():
        tuning.resume()
    old = TilePredictor(
        network=model.network.to(tuning.device).eval(),
        device=tuning.device,
        precision=tuning.precision,
    )
    yield Progress(done=tuning.state.step, total=settings.steps, stage="training")
    yield from tuning.train(material.held_out, control)
    if tuning.state.diverged:
        before = yield from material.held_out.wrong(old)
        step = tuning.state.step + 1
        return not_trained(f"the loss became no number at step {step}", before)
    verdict, network = yield from _judge(folder, old, tuning.network, material, model)
    if verdict.kept:
        card = _card(model.card, verdict, material, tuning, number)
        save_model(network, card, folder / MODEL)
    return verdict


def _judge(
    folder: Path, old: TilePredictor, trained: E2MISeg, material: Material, model: Model
) -> Job[tuple[Verdict, E2MISeg]]:
    """Judge the trained network, or one on the way to it that forgets nothing [1]_.

    How far to go is decided on what must not be forgotten alone; the held-out
    corrections are looked at for the verdict only.

    References
    ----------
    .. [1] M. Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022:
       weights between the old and the fine-tuned ones keep most of both.
    """
    started = time.monotonic()
    baseline = yield from measure_old(
        old,
        material.held_out,
        anchors=material.anchors,
        replay=material.replay,
        config=model.network.config,
        calibration=Calibration.from_card(model.card.calibration),
    )
    for share in SHARES:
        network = _as_stored(folder, blend(model.network, trained, share), model.card)
        predictor = replace(old, network=network.to(old.device))
        evidence = yield from examine(baseline, predictor)
        if not forgets(evidence):
            break
    verdict = judge(replace(evidence, share=share))
    seconds = round(time.monotonic() - started, 1)
    figures = {**verdict.figures, "test_seconds": seconds}
    return replace(verdict, figures=figures), network


def _as_stored(folder: Path, network: E2MISeg, card: ModelCard) -> E2MISeg:
    """In half precision: what is tested is what is kept."""
    unfinished = folder / ".unfinished.safetensors"
    try:
        save_model(network, card, unfinished)
        return load_model(unfinished).network
    finally:
        unfinished.unlink(missing_ok=True)


def blend(old: E2MISeg, new: E2MISeg, share: float) -> E2MISeg:
    """A network whose weights lie on the way from `old` (0) to `new` (1)."""
    between = copy.deepcopy(new)
    if share < 1:
        start, end = old.state_dict(), new.state_dict()
        between.load_state_dict(
            {name: torch.lerp(start[name], end[name], share) for name in start}
        )
    return between


def _card(
    old: ModelCard, verdict: Verdict, material: Material, tuning: Tuning, number: int
) -> ModelCard:
    """The new model's card; figures of the old weights are not carried over."""
    figures = {k: verdict.figures.get(k) for k in SHOWN}
    state = tuning.state
    return replace(
        old,
        name=f"{re.sub(r' v[0-9]+$', '', old.name)} v{number}",
        parent=old.hash,
        training={
            **old.training,
            "finetuning": {
                "settings": tuning.settings.to_json(),
                "steps": state.step,
                "precision": tuning.precision,
                "minutes": round(state.seconds / 60, 1),
                **material.facts,
            },
        },
        metrics={
            "data": f"{verdict.figures['held_out']} held-out corrections",
            **{k: v for k, v in figures.items() if v is not None},
        },
    )
