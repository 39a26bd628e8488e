"""Time left, from what steps and validations took."""

import pytest

from e2miseg_core.training.clock import TrainingClock


def test_time_left_by_hand() -> None:
    clock = TrainingClock()
    clock.step(5.0, 5.0)  # warm-up: no measure
    assert clock.seconds_left(10, 1) is None
    clock.step(0.5, 1.5)
    clock.step(0.0, 4.0)
    assert clock.seconds_left(10, 2) == pytest.approx(30)
    clock.validated(7.0)
    assert clock.seconds_left(10, 2) == pytest.approx(44)
    assert clock.waiting_seconds == 5.5
    assert clock.training_seconds == 16
    clock.begin_epoch()
    assert (clock.waiting_seconds, clock.training_seconds) == (0, 0)
    assert clock.seconds_left(1, 0) == pytest.approx(3)


def test_laps_leave_no_time_out() -> None:
    times = iter([10.0, 12.0, 17.0, 17.5])
    clock = TrainingClock(now=lambda: next(times))
    assert [clock.lap() for _ in range(3)] == [2.0, 5.0, 0.5]


def test_a_resumed_run_knows_what_a_validation_takes() -> None:
    clock = TrainingClock(20.0)
    clock.step(0, 1)
    clock.step(0, 1)
    assert clock.seconds_left(2, 3) == pytest.approx(62)
