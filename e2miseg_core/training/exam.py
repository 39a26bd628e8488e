"""What old and new model get wrong: on held-out places, elsewhere, on old cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.inference.engine import TilePredictor
from e2miseg_core.networks import E2MISegConfig
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.crops import load_crop
from e2miseg_core.training.gate import Evidence
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.validation import mean_dice, retold
from e2miseg_core.uncertainty.calibration import Calibration
from e2miseg_core.uncertainty.error_map import expected_error

__all__ = ["CONFIDENT", "HeldOut", "examine"]

CONFIDENT = 0.05  # expected error below which a label of the old model stands
STAGE = "testing"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Held-out corrections, each a crop of one patch; they are never trained on."""

    paths: tuple[Path, ...]

    @property
    def voxels(self) -> int:
        """Known voxels in all of them."""
        return sum(int(_valid(path).sum()) for path in self.paths)

    def wrong(self, predictor: TilePredictor) -> Job[tuple[int, ...]]:
        """Wrong voxels of a network in each of them."""
        found = []
        for number, path in enumerate(self.paths, start=1):
            crop = load_crop(path)
            predicted = predictor(crop.image).argmax(axis=0)
            found.append(int(((predicted != crop.classes) & _valid(path)).sum()))
            yield Progress(done=number, total=len(self.paths), stage=STAGE)
        return tuple(found)


def examine(
    old: TilePredictor,
    new: TilePredictor,
    held_out: HeldOut,
    *,
    anchors: Sequence[Path],
    replay: Sequence[PreparedCase],
    config: E2MISegConfig,
    calibration: Calibration,
) -> Job[Evidence]:
    """Measure both networks on everything that the gate looks at.

    Parameters
    ----------
    old, new : TilePredictor
    held_out : HeldOut
    anchors : sequence of Path
        Crops of one patch away from corrections; what is valid in them is not known.
    replay : sequence of PreparedCase
        Of the old model's first training, not learnt from again.
    config : E2MISegConfig
    calibration : Calibration
        The old model's.
    """
    before = yield from held_out.wrong(old)
    after = yield from held_out.wrong(new)
    confident = changed = 0
    expected = 0.0
    for number, path in enumerate(anchors, start=1):
        sure, moved, doubt = compare_anchor(old, new, path, calibration)
        confident, changed = confident + sure, changed + moved
        expected += doubt
        yield Progress(done=number, total=len(anchors), stage=STAGE)
    dice: list[float | None] = [None, None]
    if replay:
        for index, predictor in enumerate((old, new)):
            job = mean_dice(
                predictor.network,
                config,
                replay,
                predictor.device,
                predictor.precision,
            )
            dice[index] = yield from retold(
                job, Progress(done=index, total=2, stage=STAGE)
            )
    return Evidence(
        before=before,
        after=after,
        voxels=held_out.voxels,
        confident=confident,
        changed=changed,
        expected=expected,
        replay_before=dice[0],
        replay_after=dice[1],
        n_replay=len(replay),
    )


def compare_anchor(
    old: TilePredictor, new: TilePredictor, path: Path, calibration: Calibration
) -> tuple[int, int, float]:
    """Compare two networks where the old one is confident.

    Returns
    -------
    int
        Confident voxels.
    int
        Those of them that change.
    float
        Those of them that the old model expects to be wrong.
    """
    crop = load_crop(path)
    probabilities = old(crop.image)
    labels = probabilities.argmax(axis=0)
    error = expected_error(probabilities, labels, calibration)
    sure = (error < CONFIDENT) & _valid(path)
    moved = sure & (new(crop.image).argmax(axis=0) != labels)
    return int(sure.sum()), int(moved.sum()), float(error[sure].sum(dtype=np.float64))


def _valid(path: Path) -> NDArray[np.bool_]:
    crop = load_crop(path)
    return np.ones(crop.classes.shape, np.bool_) if crop.valid is None else crop.valid
