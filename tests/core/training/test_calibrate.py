"""What calibration keeps of a case that is predicted slab by slab."""

import numpy as np
import pytest

from e2miseg_core.training.calibrate import VoxelSample


def case(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities in two precisions, and classes."""
    random = np.random.default_rng(7)
    fine = np.moveaxis(random.dirichlet(np.ones(3), shape), -1, 0).astype(np.float32)
    coarse = fine.astype(np.float16).astype(np.float32).round(1)
    return fine, coarse, random.integers(0, 3, shape).astype(np.uint8)


@pytest.mark.parametrize("most", [1, 10, 100, 10_000])
@pytest.mark.parametrize("height", [1, 2, 3, 9])
def test_every_nth_voxel_of_the_whole_case(most: int, height: int) -> None:
    fine, coarse, classes = case((9, 5, 7))
    kept = VoxelSample(classes, most, 2)
    for first in range(0, 9, height):
        for sink, probabilities in zip(kept.sinks, (fine, coarse), strict=True):
            sink(first, probabilities[:, first : first + height])
    step = 1 + classes.size // most
    probabilities, true = kept.sample()
    assert (probabilities == coarse.reshape(3, -1)[:, ::step]).all()
    assert (true == classes.reshape(-1)[::step]).all()
    assert true.size <= most
    equal = (fine.argmax(axis=0) == coarse.argmax(axis=0)).sum()
    assert 0 < kept.n_same == equal < classes.size


def test_one_precision_agrees_with_itself() -> None:
    fine, _, classes = case((4, 5, 6))
    kept = VoxelSample(classes, 1000, 1)
    (sink,) = kept.sinks
    sink(0, fine[:, :3])
    sink(3, fine[:, 3:])
    assert kept.n_same == classes.size
