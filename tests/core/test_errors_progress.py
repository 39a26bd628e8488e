"""Errors that travel between processes, and jobs that can be stopped."""

import pickle

import pytest

from e2miseg_core import errors
from e2miseg_core.errors import (
    Cancelled,
    Choice,
    ChoiceError,
    E2MISegError,
    ReadError,
)
from e2miseg_core.progress import Job, Progress, TimeLeft, run


@pytest.mark.parametrize("name", [n for n in errors.__all__ if n.endswith("Error")])
def test_an_error_says_found_needed_do_in_one_line_and_survives_a_pipe(
    name: str,
) -> None:
    kind: type[E2MISegError] = getattr(errors, name)
    error = kind(found="two\nlines", needed="one", do="join them")
    assert str(error) == "two lines; needed: one; join them"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)


def test_errors_are_also_the_fitting_builtin() -> None:
    assert issubclass(ReadError, OSError)
    assert str(pickle.loads(pickle.dumps(Cancelled("the run")))) == str(
        Cancelled("the run")
    )


def test_a_choice_lists_what_there_is_and_survives_a_pipe() -> None:
    choices = [Choice("/raw", "/raw", "4 x 5 x 6, uint8"), Choice("/labels", "labels")]
    error = ChoiceError.among("scan.h5", "datasets", choices)
    assert str(error) == (
        "scan.h5 holds 2 datasets (/raw, 4 x 5 x 6, uint8; /labels = labels); needed: "
        "one of them; name it, such as scan.h5#part=/raw"
    )
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ReadError)
    assert again.choices == tuple(choices)
    assert str(again) == str(error)


def test_a_choice_among_hundreds_stays_one_line_that_can_be_read() -> None:
    choices = [Choice(str(number), "CT") for number in range(1, 301)]
    error = ChoiceError.among("folder", "DICOM series", choices)
    assert len(error.choices) == 300
    assert "12 = CT; and 288 more)" in str(error)


def counting(total: int, closed: list[bool]) -> Job[str]:
    try:
        for done in range(1, total + 1):
            yield Progress(done=done, total=total, stage="counting")
    finally:
        closed.append(True)
    return "counted"


def test_run_reports_each_step_and_returns_the_result() -> None:
    steps: list[Progress] = []
    assert run(counting(3, []), steps.append) == "counted"
    assert [step.done for step in steps] == [1, 2, 3]


def test_a_cancelled_job_is_closed_at_once() -> None:
    closed: list[bool] = []
    seen: list[Progress] = []
    with pytest.raises(Cancelled):
        run(counting(100, closed), seen.append, cancelled=lambda: len(seen) == 2)
    assert closed == [True]
    assert len(seen) == 2


def test_time_left_leaves_out_the_warm_up() -> None:
    now = [0.0]
    clock = TimeLeft(lambda: now[0])
    assert clock.update(0, 10) is None
    now[0] = 30.0  # the first step took half a minute
    assert clock.update(1, 10) is None
    now[0] = 32.0
    assert clock.update(2, 10) == pytest.approx(16.0)
    now[0] = 33.0
    assert clock.update(4, 10) == pytest.approx(6.0)
    assert clock.update(10, 10) == 0
