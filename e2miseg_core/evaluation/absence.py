"""Structures that no case has, which would only raise a mean over structures."""

from collections.abc import Iterable, Sequence

from e2miseg_core.evaluation.scores import CaseScores
from e2miseg_core.evaluation.structures import LabelKey

__all__ = ["absent_words", "that_occur"]


def that_occur(cases: Iterable[CaseScores], keys: Iterable[LabelKey]) -> list[LabelKey]:
    """Structures that some case has; all of them where no case has any.

    One that no file has is right in every case and would only raise the mean.
    """
    keys = list(keys)
    found = {
        key for case in cases for key, scores in case.classes.items() if scores.occurs
    }
    return [key for key in keys if key in found] or keys


def absent_words(names: Sequence[str]) -> str:
    """Which structures count in no mean over structures, in a sentence."""
    plural = len(names) > 1
    occur, count = ("occur", "count") if plural else ("occurs", "counts")
    return f"{', '.join(names)} {occur} in no case and {count} in no mean"
