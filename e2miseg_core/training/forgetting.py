"""Where a network in training forgets: what of its old cases it newly gets wrong.

FOLDER/forgotten_STEP.npz   voxels (n, 3) of each case that were found before a step
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.inference.engine import TilePredictor, stream_probabilities
from e2miseg_core.inference.tiling import TileGrid
from e2miseg_core.io.atomic import replacing, writing_to
from e2miseg_core.progress import Job
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.replay import CaseSampler

__all__ = ["Watch"]

Triple = tuple[int, int, int]
Voxels = NDArray[np.intp]


@dataclass(slots=True, kw_only=True, eq=False)
class Watch:
    """Looks at replayed cases for what is being forgotten, to have it shown again [1]_.

    A network forgets in few places, such as an organ that begins to look like a lesion;
    random patches rarely show them.

    Attributes
    ----------
    sampler : CaseSampler
        Draws patches of the cases. It is told what was found.
    patch_size : tuple of 3 int
    n_classes : int
    folder : Path
        Where the findings are kept, for a run that is resumed.

    References
    ----------
    .. [1] A. Shrivastava, A. Gupta, R. Girshick, "Training region-based object
       detectors with online hard example mining", CVPR 2016.
    """

    sampler: CaseSampler
    patch_size: Triple
    n_classes: int
    folder: Path
    _right: list[NDArray[np.bool_]] = field(default_factory=list)

    def look(self, old: TilePredictor, new: TilePredictor, step: int) -> Job[None]:
        """Find what `old` has right and `new` wrong; what was found before is read.

        Parameters
        ----------
        old, new : TilePredictor
            The network as it was, and as it is now.
        step : int
            Steps that were done.

        Yields
        ------
        Progress
        """
        path = self.folder / f"forgotten_{step:06d}.npz"
        if path.exists():
            self.sampler.show_again(_read(path))
            return
        found = []
        for index, case in enumerate(self.sampler.cases):
            if len(self._right) == index:
                labels = yield from self._predict(old, case)
                self._right.append(labels == case.classes)
            labels = yield from self._predict(new, case)
            found.append(np.argwhere((labels != case.classes) & self._right[index]))
        _write(path, found)
        self.sampler.show_again(found)

    def _predict(
        self, predictor: TilePredictor, case: PreparedCase
    ) -> Job[NDArray[np.intp]]:
        """Labels of a case by tiles side by side: quick, and good enough to look."""
        grid = TileGrid(shape=case.shape, patch_size=self.patch_size, overlap=0.0)
        labels = np.zeros(case.shape, np.intp)

        def keep(first: int, slab: NDArray[np.float32]) -> None:
            labels[first : first + slab.shape[1]] = slab.argmax(axis=0)

        yield from stream_probabilities(predictor, case, grid, self.n_classes, keep)
        return labels


def _write(path: Path, found: Sequence[Voxels]) -> None:
    """In one step, so that what is there is whole."""
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, *found, allow_pickle=False)


def _read(path: Path) -> list[Voxels]:
    with np.load(path, allow_pickle=False) as stored:
        return [stored[f"arr_{index}"] for index in range(len(stored.files))]
