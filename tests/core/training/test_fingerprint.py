"""The fingerprint of a training set: what it tells, and at what cost."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from e2miseg_core.errors import ConfigError, DatasetError
from e2miseg_core.io import write_image, write_labels
from e2miseg_core.progress import run
from e2miseg_core.training import survey
from e2miseg_core.training.dataset import Dataset, find_dataset
from e2miseg_core.training.fingerprint import Fingerprint
from e2miseg_core.training.survey import take_fingerprint
from e2miseg_core.volume import Volume

Make = Callable[..., Dataset]


@pytest.fixture
def make_dataset(tmp_path: Path) -> Make:
    """Write cases (image, labels) and find them as a data set."""

    def make(
        *cases: tuple[np.ndarray, np.ndarray],
        spacing: tuple[float, float, float] = (2.0, 1.0, 0.5),
        channels: tuple[str, ...] = ("MR",),
    ) -> Dataset:
        for part in ("images", "labels"):
            (tmp_path / part).mkdir()
        for number, (image, labels) in enumerate(cases):
            volume = Volume.from_array(labels, spacing=spacing)
            name = f"case_{number}.nii.gz"
            write_image(image, tmp_path / "images" / name, like=volume)
            write_labels(labels, tmp_path / "labels" / name, like=volume)
        return replace(find_dataset(tmp_path), channels=channels)

    return make


def boxes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A volume that is 0 outside of a box, with two labels in it."""
    rng = np.random.default_rng(seed)
    image = np.zeros((9, 12, 10), np.float32)
    image[2:8, 1:11, 3:9] = rng.normal(100, 20, (6, 10, 6))
    labels = np.zeros(image.shape, np.uint8)
    labels[3:6, 4:8, 4:6], labels[6, 4:8, 4:8] = 1, 7
    return image, labels


def test_a_fingerprint_by_hand(make_dataset: Make) -> None:
    image, labels = boxes(0)
    dataset = make_dataset((image, labels))
    fingerprint = run(take_fingerprint(dataset, dataset.cases))
    (case,) = fingerprint.cases
    assert case.shape == (9, 12, 10)
    assert case.spacing == pytest.approx((2.0, 1.0, 0.5))
    assert case.cropped_shape == (6, 10, 6)
    assert case.nonzero_share == pytest.approx(360 / 1080)
    assert case.voxels == {1: 24, 7: 16}
    (found,) = fingerprint.foreground
    seen = image[labels > 0]
    assert found is not None
    assert found.mean == pytest.approx(seen.mean(), rel=1e-5)
    assert found.std == pytest.approx(seen.std(), rel=1e-5)
    assert (found.low, found.high) == pytest.approx(np.percentile(seen, [0.5, 99.5]))
    summary = fingerprint.summary()
    assert summary["label_share"] == {
        "1": pytest.approx(24 / 1080, rel=1e-3),
        "7": pytest.approx(16 / 1080, rel=1e-3),
    }
    assert summary["spacing"]["median"] == pytest.approx([2.0, 1.0, 0.5])


def test_it_does_not_depend_on_how_volumes_are_cut(
    make_dataset: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(boxes(1), boxes(2))
    monkeypatch.setattr(survey, "CASE_SAMPLES", 11)  # of 40 labelled voxels
    whole = run(take_fingerprint(dataset, dataset.cases))
    monkeypatch.setattr(survey, "slab_thickness", lambda _data: 1)
    assert run(take_fingerprint(dataset, dataset.cases)) == whole
    assert whole.foreground[0] is not None


def test_every_labelled_voxel_is_as_likely_in_the_sample() -> None:
    # 30 voxels in three planes; 200 samples of 6 hold each of them 40 times or so.
    planes = np.arange(30, dtype=np.float32).reshape(3, 1, 2, 5)
    counts = np.zeros(30)
    for seed in range(200):
        sample = survey._VoxelSample(6, 1, np.random.default_rng(seed))
        for plane in planes:
            sample.add(plane, np.ones((2, 5), bool))
        assert sample.values.shape == (6, 1)
        counts[np.unique(sample.values.astype(int))] += 1
    assert counts.sum() == 1200
    assert 20 <= counts.min() <= counts.max() <= 62  # 40 +- 3.5 standard deviations


def test_it_is_stored_and_read_back(make_dataset: Make) -> None:
    dataset = make_dataset(boxes(3))
    fingerprint = run(take_fingerprint(dataset, dataset.cases))
    stored = json.loads(json.dumps(fingerprint.to_json()))
    assert Fingerprint.from_json(stored) == fingerprint
    for damaged in ({}, stored | {"version": 0}, stored | {"cases": [{"name": 1}]}):
        with pytest.raises(ConfigError, match=r"remove fingerprint\.json"):
            Fingerprint.from_json(damaged)


def test_an_empty_case_counts_as_a_whole_volume(make_dataset: Make) -> None:
    nothing = np.zeros((4, 5, 6), np.float32), np.zeros((4, 5, 6), np.uint8)
    dataset = make_dataset(nothing, boxes(4))
    fingerprint = run(take_fingerprint(dataset, dataset.cases[:1]))
    assert fingerprint.cases[0].cropped_shape == (4, 5, 6)
    assert fingerprint.cases[0].voxels == {}
    assert fingerprint.foreground == (None,)
    # A second case with labels is enough.
    both = run(take_fingerprint(dataset, dataset.cases))
    assert both.foreground[0] is not None


def test_cases_with_other_channels_are_refused(make_dataset: Make) -> None:
    dataset = make_dataset(boxes(5), channels=("T1", "T2"))
    with pytest.raises(DatasetError, match="1 channels in case_0"):
        run(take_fingerprint(dataset, dataset.cases))
