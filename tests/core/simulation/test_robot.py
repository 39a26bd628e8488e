"""The robot: what it corrects is right, and it corrects nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from e2miseg_core.boxes import box_slices, whole_box
from e2miseg_core.errors import DatasetError
from e2miseg_core.io import write_labels
from e2miseg_core.model_card import LabelInfo
from e2miseg_core.progress import run
from e2miseg_core.project import ACCEPTED, HUMAN, MACHINE, Edge
from e2miseg_core.simulation.robot import (
    Robot,
    open_labelled_case,
    read_labels,
    read_predicted,
)
from e2miseg_core.training.dataset import Dataset

CLASSES = tuple(LabelInfo(value=v, name=f"class {v}", color="#E69F00") for v in (2, 7))


def test_correcting_the_whole_volume_gives_dice_1(bench):
    case, prediction = bench.subject.case, bench.subject.prediction
    with case.open_labels() as store:
        run(store.merge(prediction))
        assert bench.robot.dice(read_labels(store)) < 0.9
        bench.robot.correct(store, whole_box(case.geometry.shape))
        assert bench.robot.dice(read_labels(store)) == 1.0
        np.testing.assert_array_equal(read_labels(store), bench.robot.truth)
        assert (np.asarray(store.authority[:, :, :]) == HUMAN).all()


def test_a_correction_stays_in_its_box(bench):
    box = ((2, 7), (5, 12), (0, 4))
    with bench.subject.case.open_labels() as store:
        run(store.merge(bench.subject.prediction))
        before = read_labels(store)
        bench.robot.correct(store, box)
        after, authority = read_labels(store), np.asarray(store.authority[:, :, :])
    inside = np.zeros(before.shape, dtype=bool)
    inside[box_slices(box)] = True
    np.testing.assert_array_equal(after[inside], bench.robot.truth[inside])
    np.testing.assert_array_equal(after[~inside], before[~inside])
    np.testing.assert_array_equal(authority == HUMAN, inside)


def test_more_corrected_regions_never_lower_what_was_right(bench):
    edges = bench.subject.prediction.edges()
    assert len(edges) > 4
    with bench.subject.case.open_labels() as store:
        run(store.merge(bench.subject.prediction))
        wrong = [int((read_labels(store) != bench.robot.truth).sum())]
        for number, edge in enumerate(edges, start=1):
            bench.robot.correct(store, edge.box)
            errors = read_labels(store) != bench.robot.truth
            wrong.append(int(errors.sum()))
            for earlier in edges[:number]:
                assert not errors[box_slices(earlier.box)].any()
    assert wrong == sorted(wrong, reverse=True)


def test_its_verdict_says_whether_something_was_wrong(bench):
    case, prediction = bench.subject.case, bench.subject.prediction
    labels = read_predicted(prediction)
    box = ((3, 6), (4, 8), (5, 9))
    edge = Edge(
        number=1, box=box, centre=(4, 6, 7), expected_wrong=1.0, gain=0.1, classes=(2,)
    )
    other = replace(edge, number=2, box=((8, 10), (4, 8), (5, 9)))
    truth = labels.copy()
    truth[4, 5, 6] = 7 if labels[4, 5, 6] != 7 else 2
    robot, log = Robot(truth=truth, classes=CLASSES), case.review()
    with case.open_labels() as store:
        run(store.merge(prediction))
        assert robot.review(store, log, edge, 1) == "corrected"
        assert robot.review(store, log, other, 1) == "fine"
        np.testing.assert_array_equal(read_labels(store), truth)
        authority = np.asarray(store.authority[:, :, :])
    assert (authority[box_slices(box)] == HUMAN).all()
    assert (authority[box_slices(other.box)] == ACCEPTED).all()
    assert (authority == MACHINE).sum() == authority.size - 3 * 4 * 4 - 2 * 4 * 4
    assert log.sites() == [(box, "corrected"), (other.box, "fine")]


def test_dice_is_the_mean_over_the_classes():
    truth = np.zeros((1, 2, 4), np.uint8)
    truth[0, 0] = 2
    labels = truth.copy()
    labels[0, 0, :2] = 0  # 2 of 4 voxels: Dice 2 * 2 / (2 + 4)
    robot = Robot(truth=truth, classes=CLASSES)
    assert robot.dice(labels) == pytest.approx((4 / 6 + 1) / 2)  # 7 is in neither
    labels[0, 1, 0] = 7
    assert robot.dice(labels) == pytest.approx((4 / 6 + 0) / 2)


def test_labels_that_no_model_knows_are_told(
    labelled: Dataset, tmp_path: Path, labelled_folder: Path
):
    image, robot = open_labelled_case(labelled.cases[0], CLASSES)
    assert set(np.unique(robot.truth)) == {0, 2, 7}
    strange = robot.truth.copy()
    strange[0, 0, 0] = 5
    write_labels(strange, tmp_path / "case_0.nii.gz", like=image)
    case = replace(labelled.cases[0], labels=tmp_path / "case_0.nii.gz")
    with pytest.raises(DatasetError, match=r"the label 5 in .*one of 0, 2, 7"):
        open_labelled_case(case, CLASSES)
