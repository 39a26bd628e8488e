"""Which step is told, case by case."""

import pytest

from e2miseg_napari.panels.guide import Step, next_step
from e2miseg_napari.review_list import Stage


@pytest.mark.parametrize(
    ("stage", "what", "step"),
    [
        (Stage.NO_CASE, {}, Step.OPEN),
        (Stage.NO_CASE, {"volume": True}, Step.PREDICT),
        (Stage.NO_CASE, {"volume": True, "known": True}, Step.CONTINUE),
        (Stage.NO_CASE, {"volume": True, "obstacle": Step.UNFIT}, Step.UNFIT),
        (
            Stage.NO_CASE,
            {"volume": True, "known": True, "obstacle": Step.UNFIT},
            Step.CONTINUE,
        ),
        (Stage.NO_PREDICTION, {"volume": True}, Step.PREDICT),
        (Stage.NO_IMAGE, {"volume": True}, Step.FIND_IMAGE),
        (Stage.NOT_RANKED, {"volume": True, "done": 9}, Step.RANK),
        (Stage.READY, {"volume": True}, Step.NOTHING),
        (Stage.READY, {"volume": True, "edges": 9, "done": 5}, Step.REVIEW),
        (Stage.READY, {"volume": True, "edges": 9, "done": 6}, Step.FINE_TUNE),
    ],
)
def test_which_step_is_next(stage, what, step):
    known = {"volume": False, "known": False, "edges": 0, "done": 0, "needed": 6}
    assert next_step(stage, **(known | what)) == step
