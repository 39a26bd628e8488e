import numpy as np
import pytest

from e2miseg_core.geometry import Geometry
from e2miseg_napari import wording
from e2miseg_napari.protocol import JobProgress


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "a few seconds"),
        (7.4, "about 7 s"),
        (21.9, "about 20 s"),
        (54, "about 55 s"),
        (58, "about 1 min"),
        (200, "about 3 min"),
        (3600, "about 1 h"),
        (4200, "about 1 h 10 min"),
    ],
)
def test_time(seconds, words):
    assert wording.time_in_words(seconds) == words


@pytest.mark.parametrize(
    ("done", "total", "stage", "left", "words"),
    [
        (11, 40, "predicting", 21.0, "tile 12 of 40, about 20 s left"),
        (0, 40, "predicting", None, "tile 1 of 40, estimating the time left…"),
        (40, 40, "predicting", 0.0, "tile 40 of 40, finishing…"),
        (3, 8, "reading intensities", None, "reading intensities, 37 %"),
        (0, 0, "", None, "working…"),
    ],
)
def test_progress(done, total, stage, left, words):
    step = JobProgress(id="j", done=done, total=total, stage=stage, seconds_left=left)
    assert wording.progress_in_words(step) == words


@pytest.mark.parametrize(
    ("voxels", "spacing", "unit", "words"),
    [
        (0, (1, 1, 1), "mm", "0 ml"),
        (12_300, (1, 1, 1), "mm", "12.3 ml"),
        (1_000, (2, 1, 0.5), "mm", "1 ml"),
        (5, (1, 1, 1), "mm", "5 µl"),
        (1_500_000, (1, 1, 1), "mm", "1500 ml"),
        (100, (1, 1, 1), "um", "100 µm³"),
        (2_000_000, (1, 1, 1), "um", "0.002 mm³"),
        (1000, (40, 4, 4), "nm", "640000 nm³"),
    ],
)
def test_volumes(voxels, spacing, unit, words):
    assert wording.volume_in_words(voxels, spacing, unit) == words


def test_grid_and_directions_and_bytes():
    geometry = Geometry.from_spacing((40, 256, 200), (1.25, 0.9, 0.9))
    assert wording.grid_in_words(geometry) == (
        "40 × 256 × 200 voxels of 1.25 × 0.9 × 0.9 mm"
    )
    assert wording.directions_in_words("SPL") == "superior, posterior, left"
    sizes = [(12, "12 bytes"), (1_400_000, "1.4 MB"), (3.2e12, "3200 GB")]
    for count, words in sizes:
        assert wording.bytes_in_words(np.float64(count)) == words
