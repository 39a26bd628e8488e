"""Whether a fine-tuned model is kept: better where corrected, no worse elsewhere.

Pure arithmetic on counts; `exam` measures them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Evidence", "Verdict", "forgets", "judge", "not_trained"]

SURE = 0.9  # share of resamplings in which the new model must be better
LEAST_GAIN = 0.05  # of the wrong voxels; less may be chance and is not worth a version
RESAMPLINGS = 10_000
DICE_LOSS = 0.005  # on replayed cases
EXPECTED_TIMES = 2.0  # the changes that the old model's own doubt allows for
CHANGED = 0.005  # of the confident labels, allowed in any case


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Counts of an old and a new model on what neither of them was trained on.

    Attributes
    ----------
    before, after : tuple of int
        Wrong voxels of the old and the new model in each held-out place.
    voxels : int
        Known voxels in all held-out places.
    confident, changed : int
        Voxels away from corrections of whose label the old model is confident, and
        those of them that the new model labels otherwise.
    expected : float
        Wrong ones among the confident, by the old model's own calibration.
    replay_before, replay_after : float or None
        Mean Dice on cases of the first training that are replayed.
    n_replay : int
        Their number.
    share : float
        Of the way from the old weights to those that were trained.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    voxels: int
    confident: int = 0
    changed: int = 0
    expected: float = 0.0
    replay_before: float | None = None
    replay_after: float | None = None
    n_replay: int = 0
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Kept or not, in a sentence for the user, and the figures behind it."""

    kept: bool
    sentence: str
    figures: Mapping[str, Any]


def judge(evidence: Evidence) -> Verdict:
    """Keep a new model only if it is better, and nowhere worse.

    Better: at least 5 % fewer wrong voxels in the held-out places, and fewer in at
    least 90 % of resamplings of these places (paired bootstrap [1]_). Not worse: mean
    Dice on replayed cases at most 0.005 lower; of the labels of which the old model is
    confident, no more changed than twice the number that it expects to be wrong, or
    0.5 %.

    References
    ----------
    .. [1] B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman
       and Hall (1993), chapter 16.
    """
    sure = better_share(evidence.before, evidence.after)
    figures = _figures(evidence, sure)
    reasons = [*_not_better(evidence, sure), *_worse(evidence)]
    count = f"{len(evidence.before)} held-out corrections"
    old, new = sum(evidence.before), sum(evidence.after)
    if reasons:
        sentence = f"Not kept: {'; '.join(reasons)} ({count}, {old} -> {new} wrong)."
    else:
        sentence = (
            f"Kept{_part(evidence)}: {_percent(1 - new / old)} fewer wrong voxels on "
            f"{count} ({old} -> {new}){_elsewhere(evidence)}."
        )
    return Verdict(kept=not reasons, sentence=sentence, figures=figures)


def forgets(evidence: Evidence) -> bool:
    """Whether the new model is worse where nothing was corrected."""
    return bool(_worse(evidence))


def not_trained(reason: str, before: Sequence[int]) -> Verdict:
    """The verdict on a training that came to nothing."""
    return Verdict(
        kept=False,
        sentence=f"Not kept: {reason}.",
        figures={"held_out": len(before), "wrong_before": int(sum(before))},
    )


def better_share(before: Sequence[int], after: Sequence[int]) -> float:
    """Share of resamplings of the places in which `after` is less than `before`.

    Ties count half.
    """
    gain = np.asarray(before, np.int64) - np.asarray(after, np.int64)
    if not gain.size:
        return 0.0
    random = np.random.default_rng(0)
    drawn = random.integers(gain.size, size=(RESAMPLINGS, gain.size))
    sums = gain[drawn].sum(axis=1)
    return float((sums > 0).mean() + 0.5 * (sums == 0).mean())


def _not_better(evidence: Evidence, sure: float) -> list[str]:
    old, new = sum(evidence.before), sum(evidence.after)
    if not old:
        return ["the old model makes no mistake on the held-out corrections"]
    if new > old:
        return [f"{_percent(new / old - 1)} more wrong voxels"]
    if old - new < LEAST_GAIN * old:
        gain = _percent(1 - new / old)
        return [f"only {gain} fewer wrong voxels, needed {_percent(LEAST_GAIN)}"]
    if sure < SURE:
        return [
            f"fewer wrong voxels, but by chance perhaps: better in {100 * sure:.1f} % "
            f"of resamplings, needed {_percent(SURE)}"
        ]
    return []


def _worse(evidence: Evidence) -> list[str]:
    reasons = []
    before, after = evidence.replay_before, evidence.replay_after
    if before is not None and after is not None and before - after > DICE_LOSS:
        reasons.append(
            f"worse on {evidence.n_replay} cases of the first training "
            f"(Dice {before:.3f} -> {after:.3f})"
        )
    allowed = _allowed(evidence)
    if evidence.changed > allowed:
        share = evidence.changed / evidence.confident
        limit = allowed / evidence.confident
        reasons.append(
            f"{100 * share:.2f} % of the confident labels elsewhere changed, "
            f"allowed {100 * limit:.2f} %"
        )
    return reasons


def _allowed(evidence: Evidence) -> float:
    """Changed confident labels that are let pass."""
    return max(EXPECTED_TIMES * evidence.expected, CHANGED * evidence.confident)


def _part(evidence: Evidence) -> str:
    if evidence.share == 1:
        return ""
    return f", {_percent(evidence.share)} of the way from old to new weights"


def _elsewhere(evidence: Evidence) -> str:
    told = ""
    if evidence.confident:
        same = 100 * (1 - evidence.changed / evidence.confident)
        told = f"; elsewhere unchanged ({same:.1f} % of labels as before)"
    if evidence.replay_before is not None and evidence.replay_after is not None:
        told += (
            f"; Dice on {evidence.n_replay} cases of the first training "
            f"{evidence.replay_before:.3f} -> {evidence.replay_after:.3f}"
        )
    return told


def _figures(evidence: Evidence, sure: float) -> dict[str, Any]:
    return {
        "held_out": len(evidence.before),
        "share": evidence.share,
        "voxels": evidence.voxels,
        "wrong_before": sum(evidence.before),
        "wrong_after": sum(evidence.after),
        "wrong_allowed": math.floor((1 - LEAST_GAIN) * sum(evidence.before)),
        "better_share": round(sure, 4),
        "better_needed": SURE,
        "confident": evidence.confident,
        "changed": evidence.changed,
        "changed_allowed": round(_allowed(evidence), 1),
        "replay_cases": evidence.n_replay,
        "replay_dice_before": evidence.replay_before,
        "replay_dice_after": evidence.replay_after,
    }


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
