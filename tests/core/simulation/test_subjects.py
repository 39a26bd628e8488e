"""Which cases a model is judged on, and how the steps of their jobs are told."""

from dataclasses import replace

import pytest

from e2miseg_core.errors import DatasetError
from e2miseg_core.progress import Progress, run
from e2miseg_core.simulation.subjects import choose_cases, told


def card_of(model, **training):
    return replace(model.card, training=training)


def names(cases):
    return [case.name for case in cases]


def test_of_the_model_s_own_data_set_only_unseen_cases_are_taken(labelled, tiny_model):
    card = card_of(
        tiny_model,
        training=["case_0"],
        selection=["case_2"],
        unseen=["case_1", "case_3", "case_77"],
    )
    assert names(choose_cases(labelled, card)) == ["case_1", "case_3"]
    assert names(choose_cases(labelled, card, 1)) == ["case_1"]
    with pytest.raises(DatasetError, match=r"2 cases that the model .* not seen"):
        choose_cases(labelled, card, 3)


def test_of_another_data_set_all_cases_are_taken(labelled, tiny_model):
    other = card_of(tiny_model, training=["case_0", "scan_4"], unseen=["case_1"])
    every = [f"case_{number}" for number in range(4)]
    assert names(choose_cases(labelled, other)) == every
    assert names(choose_cases(labelled, card_of(tiny_model))) == every
    assert names(choose_cases(labelled, other, 2)) == every[:2]
    for count in (0, 5):
        with pytest.raises(DatasetError, match="4 cases"):
            choose_cases(labelled, other, count)


def test_steps_are_told_with_what_they_are_of():
    ended = []

    def job():
        try:
            yield Progress(done=1, total=2, stage="predicting")
            yield Progress(done=2, total=2, stage="predicting")
        finally:
            ended.append(True)
        return 7

    steps = []
    assert run(told(job(), "case 1 of 3"), steps.append) == 7
    assert [(s.done, s.total, s.stage) for s in steps] == [
        (1, 2, "case 1 of 3: predicting"),
        (2, 2, "case 1 of 3: predicting"),
    ]
    stopped = told(job(), "case 2 of 3")
    next(stopped)
    stopped.close()
    assert ended == [True, True]
