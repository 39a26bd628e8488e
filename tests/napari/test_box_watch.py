"""Which class an edge is painted with."""

import numpy as np
import pytest

from e2miseg_napari.box_watch import class_to_paint

LABELS = np.array([0, 0, 0, 0, 1, 2, 2, 3, 3, 3])  # 1 of class 1, 2 of class 2


@pytest.mark.parametrize(
    ("classes", "chosen", "wanted"),
    [
        ((0, 1), 1, 1),
        ((0, 1), 0, 0),  # the background is one of them: somebody erases
        ((0, 1), 3, 1),
        ((1, 2), 0, 2),  # most of the box, of those that meet there
        ((0, 1, 2), 3, 2),
        ((0, 1, 2), 1, 1),  # chosen by hand
        ((0,), 3, 3),  # nothing to go by
        ((), 3, 3),
        ((0, 7), 3, 7),  # expected, though nothing has it yet
    ],
)
def test_the_class_stays_if_it_meets_there_else_the_largest_is_taken(
    classes, chosen, wanted
):
    assert class_to_paint(LABELS, classes, chosen) == wanted
