"""Which weights of a run are kept: the best on the selection cases, smoothed."""

from e2miseg_core.training.checkpoint import RunState
from e2miseg_core.training.recipe import Recipe

__all__ = ["note_dice"]

SMOOTHING = 0.9  # an epoch, of the moving average that chooses the weights (A.6)


def note_dice(
    state: RunState, recipe: Recipe, epoch: int, dice: float, average_dice: float | None
) -> bool:
    """Note the selection Dice of an epoch; says whether it is the best so far.

    Parameters
    ----------
    state : RunState
        What it says of the best is changed.
    recipe : Recipe
    epoch : int
        1-based.
    dice : float
        Of the weights.
    average_dice : float or None
        Of their moving average, where there is one; both are smoothed on their own.
    """
    kept = SMOOTHING**recipe.validate_every  # of the mean, since the last look
    state.smoothed = _smoothed(state.smoothed, dice, kept)
    found, best_dice, is_average = state.smoothed, dice, False
    if average_dice is not None:
        old = state.smoothed_average
        state.smoothed_average = _smoothed(old, average_dice, kept)
        if state.smoothed_average > found:
            found, best_dice, is_average = state.smoothed_average, average_dice, True
    if state.best is not None and found < state.best:
        return False
    state.best, state.best_epoch, state.best_dice = found, epoch, best_dice
    state.best_is_average = is_average
    return True


def _smoothed(old: float | None, new: float, kept: float) -> float:
    return new if old is None else kept * old + (1 - kept) * new
