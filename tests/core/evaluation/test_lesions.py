"""Lesions: what is one, what is found, what is a false positive."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2miseg_core.errors import ConfigError
from e2miseg_core.evaluation import LesionRule, lesion_scores
from e2miseg_core.evaluation.lesions import pooled_lesions, size_strata

MM = (1.0, 1.0, 1.0)
ANY = LesionRule()


def rows(*runs, length=40):
    """A row of voxels with runs from start to stop."""
    mask = np.zeros((1, 1, length), dtype=bool)
    for start, stop in runs:
        mask[0, 0, start:stop] = True
    return mask


def test_three_lesions_two_found_one_invented_by_hand():
    reference = rows((0, 4), (10, 12), (20, 30))
    predicted = rows((2, 6), (20, 28), (35, 37))
    found = lesion_scores(predicted, reference, MM, ANY)
    assert [one.found for one in found.lesions] == [True, False, True]
    assert [one.dice for one in found.lesions] == pytest.approx([4 / 8, 0, 16 / 18])
    assert [one.volume_ml for one in found.lesions] == pytest.approx(
        [0.004, 0.002, 0.01]
    )
    assert (found.n_predicted, found.n_false_positive) == (3, 1)
    assert found.sensitivity == pytest.approx(2 / 3)
    assert found.precision == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(4 / (4 + 1 + 1))
    assert found.mean_dice == pytest.approx((0.5 + 16 / 18) / 3)


def test_one_piece_over_two_lesions_finds_both_unless_matches_are_one_to_one():
    reference, predicted = rows((0, 6), (8, 10)), rows((0, 10))
    both = lesion_scores(predicted, reference, MM, ANY)
    assert [one.dice for one in both.lesions] == pytest.approx([12 / 16, 4 / 12])
    assert (both.n_found, both.n_false_positive) == (2, 0)
    single = lesion_scores(predicted, reference, MM, LesionRule(min_iou=0.1))
    assert [one.found for one in single.lesions] == [True, False]
    assert single.n_false_positive == 0


def test_a_lesion_found_in_two_pieces_counts_once():
    reference, predicted = rows((0, 10)), rows((0, 3), (5, 9))
    touching = lesion_scores(predicted, reference, MM, ANY)
    assert (touching.n_found, touching.n_false_positive) == (1, 0)
    assert touching.lesions[0].dice == pytest.approx(14 / 17)
    matched = lesion_scores(predicted, reference, MM, LesionRule(min_iou=0.3))
    assert (matched.n_found, matched.n_false_positive) == (1, 1)
    assert matched.lesions[0].dice == pytest.approx(8 / 14)  # the larger piece
    strict = lesion_scores(predicted, reference, MM, LesionRule(min_iou=0.5))
    assert (strict.n_found, strict.n_false_positive) == (0, 2)


@pytest.mark.parametrize(("connectivity", "pieces"), [(6, 3), (18, 2), (26, 1)])
def test_neighbours_by_faces_edges_and_corners(connectivity, pieces):
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[0, 1, 1] = mask[1, 2, 2] = True  # an edge, then a corner
    rule = LesionRule(connectivity=connectivity)
    assert len(lesion_scores(mask, mask, MM, rule).lesions) == pieces


def test_small_lesions_are_neither_missed_nor_wrongly_found():
    reference = rows((0, 2), (10, 20), (24, 26))
    predicted = rows((0, 5), (10, 20), (30, 31), (33, 39))
    found = lesion_scores(predicted, reference, MM, LesionRule(min_ml=0.003))
    assert [one.volume_ml for one in found.lesions] == pytest.approx([0.01])
    assert found.n_found == 1
    assert found.n_predicted == 3
    assert found.n_false_positive == 1  # of six voxels; the one touches a small lesion


def test_nothing_to_find():
    empty, some = rows(), rows((3, 5))
    nothing = lesion_scores(empty, empty, MM, ANY)
    assert (nothing.f1, nothing.sensitivity, nothing.precision) == (1.0, None, None)
    invented = lesion_scores(some, empty, MM, ANY)
    assert (invented.f1, invented.sensitivity, invented.precision) == (0.0, None, 0.0)
    missed = lesion_scores(empty, some, MM, LesionRule(min_iou=0.5))
    assert (missed.f1, missed.sensitivity, missed.precision) == (0.0, 0.0, None)
    assert nothing.mean_dice is None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.2, 0.6]))
def test_laws(seed, min_iou):
    """Equal masks are perfect; missed and invented change places with the masks."""
    random = np.random.default_rng(seed)
    first, second = random.random((2, 6, 7, 8)) < 0.08
    rule = LesionRule(min_iou=min_iou, connectivity=18)
    equal = lesion_scores(first, first, MM, rule)
    assert equal.f1 == 1
    assert equal.n_false_positive == 0
    assert all(one.dice == 1 for one in equal.lesions)
    there, back = (
        lesion_scores(*pair, MM, rule) for pair in ((first, second), (second, first))
    )
    missed = len(there.lesions) - there.n_found
    assert missed == back.n_false_positive
    assert there.n_predicted == len(back.lesions)


def test_cases_together_and_by_size():
    one = lesion_scores(rows((0, 1), (5, 7)), rows((0, 1), (10, 20)), MM, ANY)
    two = lesion_scores(rows((0, 20)), rows((0, 20)), MM, ANY)
    both = pooled_lesions([one, two])
    assert (len(both.lesions), both.n_found, both.n_false_positive) == (3, 2, 1)
    strata = size_strata(both, (0.005, 0.015))
    assert [row["n_reference"] for row in strata] == [1, 1, 1]
    assert [row["sensitivity"] for row in strata] == [1.0, 0.0, 1.0]
    assert strata[-1]["to_ml"] is None


def test_wrong_rules_are_told():
    with pytest.raises(ConfigError, match="6, 18 or 26"):
        LesionRule(connectivity=8)
    with pytest.raises(ConfigError, match="IoU from 0 to 1"):
        LesionRule(min_iou=50)


def test_objects_are_matched_whatever_their_numbers():
    """Objects that touch stay apart: IoU 8/10 and 2/3, and one of three is missed."""
    reference, predicted = np.zeros((2, 1, 1, 20), np.uint16)
    reference[0, 0, 0:10], reference[0, 0, 10:13], reference[0, 0, 15:17] = 7, 3, 900
    predicted[0, 0, 2:10], predicted[0, 0, 10:12], predicted[0, 0, 18:20] = 3, 7, 1
    found = lesion_scores(predicted, reference, MM, LesionRule(min_iou=0.5))
    by_volume = {round(one.volume_ml * 1000): one for one in found.lesions}
    assert by_volume[10].dice == pytest.approx(16 / 18)
    assert by_volume[3].dice == pytest.approx(4 / 5)
    assert not by_volume[2].found
    assert (found.n_predicted, found.n_false_positive) == (3, 1)
    assert found.panoptic_quality == pytest.approx((0.8 + 2 / 3) / 2 * 2 / 3)
    renamed = np.where(predicted > 0, 1000 - predicted, 0)
    again = lesion_scores(renamed, reference, MM, LesionRule(min_iou=0.5))
    assert again.panoptic_quality == pytest.approx(found.panoptic_quality)


def test_nothing_to_match_has_no_panoptic_quality():
    empty = np.zeros((1, 1, 4), np.uint8)
    assert lesion_scores(empty, empty, MM, ANY).panoptic_quality is None
    assert lesion_scores(empty + 1, empty, MM, ANY).panoptic_quality == 0
