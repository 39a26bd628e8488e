"""How one prediction differs from another, case by case."""

from collections.abc import Iterable, Mapping, Sequence

from e2miseg_core.evaluation.absence import that_occur
from e2miseg_core.evaluation.intervals import Difference, paired_difference
from e2miseg_core.evaluation.scores import (
    BOTH_EMPTY,
    FIGURES,
    CaseScores,
    mean,
)
from e2miseg_core.evaluation.structures import LabelKey

__all__ = ["case_differences", "too_few_words"]

_SIGNIFICANT = 0.05


def case_differences(
    first: Sequence[CaseScores], second: Sequence[CaseScores], keys: Iterable[LabelKey]
) -> dict[LabelKey, dict[str, Difference]]:
    """Paired differences of every figure, first minus second.

    Parameters
    ----------
    first, second : sequence of CaseScores
        Of two predictions; the cases that both have are compared.
    keys : iterable of int or str
        Structures. One that a case does not have is empty in both of its files.

    Returns
    -------
    dict
        By structure and figure; "" has the mean over the structures that some case of
        either side has.
    """
    theirs = {case.case: case for case in second}
    mine = [case for case in first if case.case in theirs]
    sides = mine, [theirs[case.case] for case in mine]
    groups = [case.group or case.case for case in mine]
    keys = list(keys)
    counted = that_occur([case for side in sides for case in side], keys)

    def difference(figure: str, some: list[LabelKey]) -> Difference:
        ours, others = (
            [mean([_value(case, key, figure) for key in some]) for case in side]
            for side in sides
        )
        return paired_difference(ours, others, groups)

    wanted: dict[LabelKey, list[LabelKey]] = {key: [key] for key in keys}
    return {
        key: {figure: difference(figure, some) for figure in FIGURES}
        for key, some in (wanted | {"": counted}).items()
    }


def too_few_words(differences: Mapping[LabelKey, Mapping[str, Difference]]) -> str:
    """Say so where no difference, however large, could have a p value below 0.05.

    Of the 2^n ways to swap n groups, two give the largest sum of differences: as it is,
    and with every group swapped.
    """
    one = differences[""]["dice"]
    if one.n_groups < 2:
        return "with one case or group there is no p value"
    least = 2.0 ** (1 - one.n_groups)
    if least < _SIGNIFICANT:
        return ""
    what = "cases" if one.n_groups == one.n_cases else "groups"
    return f"with {one.n_groups} {what} no p value below {least:g} is possible"


def _value(case: CaseScores, key: LabelKey, figure: str) -> float:
    if key not in case.classes:
        return BOTH_EMPTY[figure]
    value: float = getattr(case.classes[key], figure)
    return value
