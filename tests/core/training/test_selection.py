"""Which weights are kept, by hand."""

from dataclasses import replace

import pytest

from e2miseg_core.training.checkpoint import RunState
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.selection import note_dice

RECIPE = Recipe(epochs=9, iterations=1, validate_every=1)


def test_a_moving_average_of_the_dice_chooses() -> None:
    """0.5; 0.9 x 0.5 + 0.1 x 1.0 = 0.55; 0.9 x 0.55 + 0 = 0.495."""
    state = RunState(settings={})
    told = [note_dice(state, RECIPE, e, d, None) for e, d in ((1, 0.5), (2, 1), (3, 0))]
    assert told == [True, True, False]
    assert state.smoothed == pytest.approx(0.495)
    assert (state.best_epoch, state.best_dice) == (2, 1)
    assert state.best == pytest.approx(0.55)


def test_looks_every_few_epochs_are_smoothed_as_far() -> None:
    state = RunState(settings={})
    recipe = replace(RECIPE, validate_every=3)
    note_dice(state, recipe, 3, 0.0, None)
    note_dice(state, recipe, 6, 1.0, None)
    assert state.smoothed == pytest.approx(1 - 0.9**3)


def test_the_average_of_weights_is_kept_where_it_is_better() -> None:
    state = RunState(settings={})
    assert note_dice(state, RECIPE, 1, 0.5, 0.4)
    assert not state.best_is_average
    assert note_dice(state, RECIPE, 2, 0.5, 1.0 + 0.5)  # 0.9 x 0.4 + 0.1 x 1.5 = 0.51
    assert state.best_is_average
    assert state.best == pytest.approx(0.51)
    assert state.best_dice == 1.5
    assert not note_dice(state, RECIPE, 3, 0.5, 0.5)
    assert state.best_epoch == 2
