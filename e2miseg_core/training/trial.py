"""Train a candidate, test it against the model in use, keep it or not.

JOB/checkpoint.safetensors   state of the training, see `tuning`
JOB/history.csv              its curve
"""

import copy
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from e2miseg_core.inference.engine import TilePredictor
from e2miseg_core.model import Model, load_model, save_model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.networks import Network
from e2miseg_core.progress import Job, Progress
from e2miseg_core.project.jobs import UNFINISHED
from e2miseg_core.training.exam import Baseline, HeldOut, examine, measure_old
from e2miseg_core.training.finetune_settings import FinetuneSettings
from e2miseg_core.training.forgetting import Watch
from e2miseg_core.training.gate import (
    Evidence,
    Verdict,
    forgets,
    judge,
    not_trained,
)
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.tuning import FinetuneControl, Sampler, Tuning
from e2miseg_core.uncertainty.calibration import Calibration

__all__ = ["Material", "blend", "choose", "run_trial"]

SHARES = (1.0, 0.5, 0.25)  # of the way to the trained weights, until nothing is lost
SHOWN = ("held_out", "wrong_before", "wrong_after", "replay_dice_after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a model is fine-tuned on, and tested with.

    Attributes
    ----------
    corrections, memory : Sampler
        The two parts of a batch: what is new, and what must not be forgotten.
    watch : Watch or None
        Finds what is being forgotten, where old cases can be had.
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
    watch: Watch | None = None
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
    rival: Callable[[], Model],
    number: int,
) -> Job[tuple[Verdict, Model | None]]:
    """Train from `model` on, or from the checkpoint in `folder`, and judge.

    Parameters
    ----------
    folder : Path
        Of the job.
    model : Model
    settings : FinetuneSettings
    material : Material
    control : FinetuneControl
    rival : callable
        Asked after the training, which may take long, for the model that the new one
        has to beat.
    number : int
        Version that the new model will be, for its name.

    Returns
    -------
    Verdict
    Model or None
        The new model, kept or not; None where the training came to nothing.
    """
    tuning = Tuning(
        folder,
        model,
        settings,
        corrections=material.corrections,
        memory=material.memory,
        watch=material.watch,
    )
    if tuning.checkpoint.exists():
        tuning.resume()
    yield Progress(done=tuning.state.step, total=settings.steps, stage="training")
    yield from tuning.train(material.held_out, control)
    in_use = rival()
    old = TilePredictor(
        network=in_use.network.to(tuning.device).eval(),
        device=tuning.device,
        precision=tuning.precision,
    )
    if tuning.state.diverged:
        before = yield from material.held_out.wrong(old)
        step = tuning.state.step + 1
        reason = f"the loss became no number at step {step}"
        return not_trained(reason, before), None
    base = model.network.to(tuning.device)
    way = (
        (share, _as_stored(folder, blend(base, tuning.network, share), model.card))
        for share in SHARES
    )
    verdict, network = yield from _judge(in_use, old, material, way)
    card = _card(model.card, verdict, material, tuning, number)
    return verdict, Model(network=network, card=card)


def _judge(
    in_use: Model,
    old: TilePredictor,
    material: Material,
    way: Iterable[tuple[float, Network]],
) -> Job[tuple[Verdict, Network]]:
    started = time.monotonic()
    baseline = yield from measure_old(
        old,
        material.held_out,
        anchors=material.anchors,
        replay=material.replay,
        config=in_use.network.config,
        calibration=Calibration.from_card(in_use.card.calibration),
    )
    evidence, network = yield from choose(baseline, old, way)
    verdict = judge(evidence)
    seconds = round(time.monotonic() - started, 1)
    figures = {**verdict.figures, "test_seconds": seconds}
    return replace(verdict, figures=figures), network


def choose(
    baseline: Baseline, old: TilePredictor, way: Iterable[tuple[float, Network]]
) -> Job[tuple[Evidence, Network]]:
    """The first network on the way back to the old one that forgets nothing [1]_.

    How far to go is decided on what must not be forgotten alone; the held-out
    corrections are looked at for the verdict only. Where all forget, it is the last.

    Parameters
    ----------
    baseline : Baseline
        What `old` does.
    old : TilePredictor
    way : iterable of (float, Network)
        Shares of the way to the trained weights, and the networks there.

    References
    ----------
    .. [1] M. Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022:
       weights between the old and the fine-tuned ones keep most of both.
    """
    for share, network in way:
        predictor = replace(old, network=network.to(old.device))
        found = yield from examine(baseline, predictor)
        evidence = replace(found, share=share)
        if not forgets(evidence):
            break
    return evidence, network


def _as_stored(folder: Path, network: Network, card: ModelCard) -> Network:
    """In half precision: what is tested is what is kept."""
    unfinished = folder / UNFINISHED
    try:
        save_model(network, card, unfinished)
        return load_model(unfinished).network
    finally:
        unfinished.unlink(missing_ok=True)


def blend(old: Network, new: Network, share: float) -> Network:
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
