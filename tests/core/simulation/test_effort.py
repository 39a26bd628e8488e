"""Effort curves: they begin at the prediction, and leave the case as it was."""

import numpy as np
import pytest

from e2miseg_core.boxes import box_slices, clip_box, whole_box
from e2miseg_core.progress import run
from e2miseg_core.project import read_edges
from e2miseg_core.simulation.effort import correct_step_by_step, measure_effort
from e2miseg_core.simulation.guides import GUIDES
from e2miseg_core.simulation.robot import read_labels, read_predicted
from e2miseg_core.simulation.settings import StudySettings

SETTINGS = StudySettings(regions=(0, 2, 5), finetune=0, device="cpu")


@pytest.fixture
def effort(bench):
    subject = bench.subject
    job = measure_effort(subject.case, subject.prediction, bench.robot, SETTINGS)
    return run(job)


def test_without_corrections_it_is_the_prediction(bench, effort):
    expected = bench.robot.dice(read_predicted(bench.subject.prediction))
    assert {guide: dice[0] for guide, dice in effort.dice.items()} == dict.fromkeys(
        GUIDES, pytest.approx(expected, abs=1e-12)
    )
    assert all(len(dice) == 3 for dice in effort.dice.values())


def test_the_case_is_left_as_it_was(bench, effort):
    with bench.subject.case.open_labels() as store:
        np.testing.assert_array_equal(
            read_labels(store), read_predicted(bench.subject.prediction)
        )
        assert not np.asarray(store.authority[:, :, :]).any()
    assert bench.subject.case.review().latest() == {}
    assert effort.case == bench.subject.case.name


def test_the_product_s_guide_takes_its_edges_in_order(bench, effort):
    labels = read_predicted(bench.subject.prediction)
    edges = bench.subject.prediction.edges()
    for edge in edges[:5]:
        assert clip_box(edge.box, labels.shape) == edge.box
        where = box_slices(edge.box)
        labels[where] = bench.robot.truth[where]
    assert effort.dice["error-map"][2] == pytest.approx(bench.robot.dice(labels))


def test_expected_and_actual_errors_are_of_the_same_voxels(bench, effort):
    listed = read_edges(bench.subject.prediction.edges_path)
    wrong = read_predicted(bench.subject.prediction) != bench.robot.truth
    seen = np.zeros(wrong.shape, dtype=bool)
    for edge in listed.edges:
        seen[box_slices(edge.box)] = True
    assert effort.wrong == wrong.sum()
    assert effort.wrong_in_edges == (wrong & seen).sum()
    assert effort.edges == len(listed.edges)
    assert effort.expected == listed.total_expected
    assert 0 < effort.expected_in_edges <= effort.expected * (1 + 1e-6)


def test_where_boxes_run_out_nothing_changes_any_more(bench):
    case = bench.subject.case
    whole = whole_box(case.geometry.shape)
    with case.open_labels() as store:
        run(store.merge(bench.subject.prediction))
        scores = correct_step_by_step(store, bench.robot, [whole, whole], [0, 1, 9])
    assert scores[0] < 1
    assert scores[1:] == [1.0, 1.0]


def test_the_same_again(bench, effort):
    subject = bench.subject
    again = run(measure_effort(subject.case, subject.prediction, bench.robot, SETTINGS))
    assert again == effort
