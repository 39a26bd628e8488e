"""Order, verdicts and progress of the review, without a window."""

import math

import pytest

from e2miseg_core.boxes import make_box
from e2miseg_core.project import Edge, EdgeList
from e2miseg_napari.review_queue import Entry, ReviewQueue, Tally, boxes_as_edges
from e2miseg_napari.review_wording import (
    count_in_words,
    figures_in_words,
    foreground_in_words,
    gain_in_words,
    hit_rate_in_words,
    next_step_in_words,
    place_in_words,
    tally_in_words,
)

NAMES = {0: "background", 1: "lesion", 2: "cyst"}


def box(place: int):
    return make_box((place, 0, 0), (1, 9, 9))


def edge(number: int, wrong: float, *, place: int | None = None, classes=(0, 1)):
    where = box(number if place is None else place)
    return Edge(
        number=number,
        box=where,
        centre=(where[0][0], 4, 4),
        expected_wrong=wrong,
        gain=wrong / 1000,
        classes=classes,
    )


def ranked(*wrong: float, total: float = 100.0) -> EdgeList:
    edges = tuple(edge(number, value) for number, value in enumerate(wrong, start=1))
    return EdgeList(
        edges=edges, total_expected=total, temperature=1.0, bias=(), note="made up"
    )


def go(queue: ReviewQueue, step: int) -> int:
    return queue.choose(queue.after(step).edge.number).edge.number


def test_next_goes_over_the_undecided_from_the_worst_and_round():
    queue = ReviewQueue(ranked(40, 30, 20, 10))
    assert [go(queue, 1) for _ in range(5)] == [1, 2, 3, 4, 1]
    queue.choose(2)
    queue.decide("fine")
    queue.choose(1)
    assert [go(queue, 1) for _ in range(4)] == [3, 4, 1, 3]
    assert [go(queue, -1) for _ in range(4)] == [1, 4, 3, 1]


def test_previous_begins_at_the_end():
    assert go(ReviewQueue(ranked(40, 30, 20)), -1) == 3


def test_the_last_undecided_edge_is_next_to_itself():
    queue = ReviewQueue(ranked(40, 30), {box(1): "fine"})
    assert [go(queue, 1), go(queue, 1), go(queue, -1)] == [2, 2, 2]


def test_once_all_are_decided_the_keys_go_over_all():
    queue = ReviewQueue(ranked(40, 30), {box(1): "fine", box(2): "corrected"})
    assert [go(queue, 1) for _ in range(3)] == [1, 2, 1]


def test_skipped_ones_come_after_the_undecided_and_go_round():
    given = {box(1): "skipped", box(3): "skipped", box(4): "fine"}
    queue = ReviewQueue(ranked(40, 30, 20, 10), given)
    assert [go(queue, 1) for _ in range(2)] == [2, 2]
    queue.decide("fine")
    assert [go(queue, 1) for _ in range(3)] == [3, 1, 3]
    assert [go(queue, -1) for _ in range(3)] == [1, 3, 1]


def test_an_empty_list_has_nothing_to_go_to():
    queue = ReviewQueue(ranked())
    assert queue.after(1) is None
    assert queue.choose(1) is None
    assert queue.tally() == Tally(share=0.0)


def test_progress_is_counted_by_hand():
    queue = ReviewQueue(ranked(40, 30, 20, 10, total=200.0))
    for number, verdict in ((1, "corrected"), (2, "fine"), (3, "skipped")):
        queue.choose(number)
        queue.decide(verdict)
    tally = queue.tally()
    assert tally == Tally(edges=4, corrected=1, fine=1, skipped=1, share=0.35)
    assert (tally.done, tally.undecided) == (2, 1)
    queue.choose(1)
    queue.decide("fine")  # a later verdict replaces the earlier
    assert queue.tally() == Tally(edges=4, corrected=0, fine=2, skipped=1, share=0.35)


def test_verdicts_are_kept_by_box_through_a_new_ranking():
    first = ReviewQueue(ranked(40, 30, 20, 10, total=100.0))
    for number, verdict in ((1, "corrected"), (2, "skipped"), (3, "fine")):
        first.choose(number)
        first.decide(verdict)
    # Box 1 and 3 are known by now; 2 and 4 change places and 9 is new.
    edges = (edge(1, 12, place=4), edge(2, 11, place=2), edge(3, 5, place=9))
    again = EdgeList(
        edges=edges, total_expected=40.0, temperature=1.0, bias=(), note=""
    )
    queue = ReviewQueue(again, {box(2): "skipped"}, first.entries)
    assert [(one.edge.number, one.edge.box, one.verdict) for one in queue.entries] == [
        (1, box(4), None),
        (2, box(2), "skipped"),
        (3, box(9), None),
        (4, box(1), "corrected"),
        (5, box(3), "fine"),
    ]
    # 60 of the 60 + 40 voxels expected in all
    assert queue.tally().share == pytest.approx(0.6)
    assert queue.choose_box(box(9)).edge.number == 3
    assert queue.choose_box(box(7)) is None


def test_boxes_known_from_the_log_only_are_counted_without_a_share():
    entries = boxes_as_edges({box(5): "corrected", box(6): "skipped"})
    queue = ReviewQueue(ranked(40), {}, entries)
    assert [one.verdict for one in queue.entries] == [None, "corrected"]
    assert queue.entries[1].edge.centre == (5, 4, 4)
    assert queue.tally() == Tally(edges=2, corrected=1, share=None)
    assert tally_in_words(queue.tally()) == "1 of 2 done"
    line = "Edge 2, from an earlier ranking."
    assert place_in_words(queue.entries[1].edge, NAMES) == line
    assert figures_in_words(queue.entries[1].edge) == ""
    assert count_in_words(math.nan) == gain_in_words(math.nan) == "–"


def test_a_gain_has_two_digits_that_count():
    gains = {0.03: "+0.030", 0.0034: "+0.0034", 0.00271: "+0.0027", 0.0: "+0.000"}
    assert {gain: gain_in_words(gain) for gain in gains} == gains
    assert gain_in_words(0.000123) == "+0.00012"


def test_a_verdict_goes_and_comes_with_the_labels_it_vouches_for():
    queue = ReviewQueue(ranked(40, 30), {box(1): "fine", box(2): "skipped"})
    gone = {box(1)}
    (changed,) = queue.check(lambda where: where not in gone)
    assert changed == Entry(queue.entries[0].edge)
    assert [one.verdict for one in queue.entries] == [None, "skipped"]
    assert not queue.check(lambda where: where not in gone)
    gone.clear()
    assert queue.check(lambda where: where not in gone)
    assert queue.entries[0] == Entry(queue.entries[0].edge, "fine")


def test_what_is_undone_is_told_in_the_order_of_the_verdicts():
    queue = ReviewQueue(ranked(40, 30, 20), {box(1): "fine", box(2): "fine"})
    for number in (3, 1):  # a verdict that is given again counts as a new one
        queue.choose(number)
        queue.decide("fine")
    undone = queue.check(lambda _: False)
    assert [one.edge.number for one in undone] == [2, 3, 1]


def test_a_verdict_is_taken_back_unless_another_has_replaced_it():
    queue = ReviewQueue(ranked(40, 30), {box(1): "fine"})
    queue.choose(1)
    queue.decide("corrected")
    queue.choose(2)
    queue.decide("skipped")
    queue.take_back(box(1), "skipped", None)
    assert [one.verdict for one in queue.entries] == ["corrected", "skipped"]
    queue.take_back(box(1), "corrected", "fine")
    queue.take_back(box(2), "skipped", None)
    assert [one.verdict for one in queue.entries] == ["fine", None]
    assert not queue.check(lambda _: True)


def test_progress_in_words():
    tally = Tally(edges=17, corrected=3, fine=1, share=0.62)
    assert tally_in_words(tally) == ("4 of 17 done, 62 % of expected errors")
    tally = Tally(edges=17, corrected=3, fine=13, skipped=1, share=0.999)
    assert tally_in_words(tally) == (
        "16 of 17 done, 1 skipped, 99 % of expected errors"
    )


def test_the_hit_rate_is_told_from_five_edges_on():
    assert hit_rate_in_words(Tally(edges=17, corrected=4, skipped=9)) == ""
    line = hit_rate_in_words(Tally(edges=17, corrected=9, fine=3))
    assert line == "9 of the 12 edges you looked at were really wrong."
    line = hit_rate_in_words(Tally(edges=17, corrected=1, fine=4))
    assert line == "1 of the 5 edges you looked at was really wrong."
    line = hit_rate_in_words(Tally(edges=17, fine=5))
    assert line == "None of the 5 edges you looked at were really wrong."


def test_what_next_once_all_is_done():
    assert next_step_in_words(Tally(edges=3, corrected=2)) == ""
    line = next_step_in_words(Tally(edges=13, corrected=9, fine=3, skipped=1))
    more = "Fine-tune on 12 reviewed edges, or add another case."
    assert line == f"1 skipped edge is left: press . to see it again. {more}"
    assert next_step_in_words(Tally(edges=12, corrected=9, fine=3)) == more
    line = next_step_in_words(Tally(edges=3, fine=1, skipped=2))
    assert line.startswith("2 skipped edges are left: press . to see them again. ")
    line = next_step_in_words(Tally(edges=1, fine=1))
    assert line == "Fine-tune on 1 reviewed edge, or add another case."
    assert "look for more" in next_step_in_words(Tally(edges=2, skipped=2))


@pytest.mark.parametrize(
    ("classes", "wrong", "words"),
    [
        ((0, 1), 37.2, "lesion meets background. About 37 wrong voxels, +0.037 Dice."),
        (
            (0, 1, 2),
            1.2,
            "lesion and cyst meet background. About 1 wrong voxel, +0.001",
        ),
        ((0,), 0.3, "only background is labelled here. Less than 1 wrong voxel"),
        ((2,), 1234, "only cyst is labelled here. About 1200 wrong voxels, +1.234"),
        ((1, 7), 5, "lesion meets label 7. About 5 wrong voxels"),
    ],
)
def test_an_edge_in_words(classes, wrong, words):
    one = edge(3, wrong, classes=classes)
    line = f"{place_in_words(one, NAMES)} {figures_in_words(one)}"
    assert line.startswith(f"Edge 3: {words}")


def test_the_background_is_named_only_where_it_is_alone():
    assert foreground_in_words(edge(1, 5, classes=(0, 2, 1)), NAMES) == "lesion, cyst"
    assert foreground_in_words(edge(1, 5, classes=(0,)), NAMES) == "background"
