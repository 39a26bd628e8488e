"""What old and new model get wrong: on held-out places, elsewhere, on old cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.inference.engine import TilePredictor
from e2miseg_core.networks import NetworkConfig
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.crops import load_crop
from e2miseg_core.training.gate import Evidence
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.validation import mean_dice, retold
from e2miseg_core.uncertainty.calibration import Calibration
from e2miseg_core.uncertainty.error_map import expected_error

__all__ = ["CONFIDENT", "Anchor", "Baseline", "HeldOut", "examine", "measure_old"]

CONFIDENT = 0.05  # expected error below which a label of the old model stands
STAGE = "testing"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Held-out corrections, each a crop of one patch; they are never trained on."""

    paths: tuple[Path, ...]

    @property
    def voxels(self) -> int:
        """Known voxels in all of them."""
        return sum(int(load_crop(path).valid.sum()) for path in self.paths)

    def wrong(self, predictor: TilePredictor) -> Job[tuple[int, ...]]:
        """Wrong voxels of a network in each of them."""
        found = []
        for number, path in enumerate(self.paths, start=1):
            crop = load_crop(path)
            predicted = predictor(crop.image).argmax(axis=0)
            found.append(int(((predicted != crop.classes) & crop.valid).sum()))
            yield Progress(done=number, total=len(self.paths), stage=STAGE)
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """What the old model does on everything that the gate looks at.

    Attributes
    ----------
    held_out : HeldOut
    wrong : tuple of int
        Wrong voxels in each held-out place.
    anchors : tuple of Anchor
    replay : tuple of PreparedCase
        Of the first training, not learnt from again.
    dice : float or None
        Mean Dice on them, None without any.
    config : NetworkConfig
    """

    held_out: HeldOut
    wrong: tuple[int, ...]
    anchors: tuple["Anchor", ...]
    replay: tuple[PreparedCase, ...]
    dice: float | None
    config: NetworkConfig


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Anchor:
    """A crop of one patch away from corrections, as the old model labels it.

    `sure` is where it is confident, `expected` how many of these it expects wrong.
    """

    path: Path
    labels: NDArray[np.uint8]
    sure: NDArray[np.bool_]
    expected: float

    @classmethod
    def of(cls, path: Path, old: TilePredictor, calibration: Calibration) -> "Anchor":
        """Predict it with the old model."""
        crop = load_crop(path)
        probabilities = old(crop.image)
        labels = probabilities.argmax(axis=0)
        error = expected_error(probabilities, labels, calibration)
        sure = (error < CONFIDENT) & crop.valid
        return cls(
            path=path,
            labels=labels.astype(np.uint8),
            sure=sure,
            expected=float(error[sure].sum(dtype=np.float64)),
        )

    def changed(self, new: TilePredictor) -> int:
        """Confident voxels that another network labels otherwise."""
        labels = new(load_crop(self.path).image).argmax(axis=0)
        return int((self.sure & (labels != self.labels)).sum())


def measure_old(
    old: TilePredictor,
    held_out: HeldOut,
    *,
    anchors: Sequence[Path],
    replay: Sequence[PreparedCase],
    config: NetworkConfig,
    calibration: Calibration,
) -> Job[Baseline]:
    """Measure the old model, once for all new ones.

    Parameters
    ----------
    old : TilePredictor
    held_out : HeldOut
    anchors : sequence of Path
        Crops of one patch away from corrections; what is valid in them is not known.
    replay : sequence of PreparedCase
        Of the old model's first training, not learnt from again.
    config : NetworkConfig
    calibration : Calibration
        The old model's.
    """
    wrong = yield from held_out.wrong(old)
    labelled = []
    for number, path in enumerate(anchors, start=1):
        labelled.append(Anchor.of(path, old, calibration))
        yield Progress(done=number, total=len(anchors), stage=STAGE)
    dice = yield from _dice(old, replay, config)
    return Baseline(
        held_out=held_out,
        wrong=wrong,
        anchors=tuple(labelled),
        replay=tuple(replay),
        dice=dice,
        config=config,
    )


def examine(baseline: Baseline, new: TilePredictor) -> Job[Evidence]:
    """Compare a new model with the old one."""
    after = yield from baseline.held_out.wrong(new)
    changed = 0
    for number, anchor in enumerate(baseline.anchors, start=1):
        changed += anchor.changed(new)
        yield Progress(done=number, total=len(baseline.anchors), stage=STAGE)
    dice = yield from _dice(new, baseline.replay, baseline.config)
    return Evidence(
        before=baseline.wrong,
        after=after,
        voxels=baseline.held_out.voxels,
        confident=sum(int(anchor.sure.sum()) for anchor in baseline.anchors),
        changed=changed,
        expected=sum(anchor.expected for anchor in baseline.anchors),
        replay_before=baseline.dice,
        replay_after=dice,
        n_replay=len(baseline.replay),
    )


def _dice(
    predictor: TilePredictor, replay: Sequence[PreparedCase], config: NetworkConfig
) -> Job[float | None]:
    if not replay:
        return None
    job = mean_dice(
        predictor.network, config, replay, predictor.device, predictor.precision
    )
    return (yield from retold(job, Progress(done=0, total=0, stage=STAGE)))
