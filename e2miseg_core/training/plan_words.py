"""A plan in plain words: reasons, numbers, notes on the data."""

from collections.abc import Mapping, Sequence

from e2miseg_core.training.fingerprint import Fingerprint

__all__ = ["AXES", "by", "count_cases", "notes_on", "number", "told"]

AXES = "ZYX"


def notes_on(fingerprint: Fingerprint, labels: Mapping[int, str]) -> tuple[str, ...]:
    """What the user should know about the data."""
    cases, notes = fingerprint.cases, []
    assumed = sum(case.assumed_spacing for case in cases)
    if assumed:
        notes.append(
            f"{assumed} of {count_cases(len(cases))} do not state the size of their "
            "voxels, which was taken as 1 mm; distances and the plan depend on it"
        )
    empty = [case.name for case in cases if not case.voxels]
    if empty:
        notes.append(
            f"{len(empty)} of {count_cases(len(cases))} have no labelled voxel "
            f"({', '.join(empty[:3])}{', ...' * (len(empty) > 3)})"
        )
    seen = {value for case in cases for value in case.voxels}
    absent = [f"{value} {name}" for value, name in labels.items() if value not in seen]
    if absent:
        notes.append(
            f"no training case has the label {', '.join(absent)}, so it will not be "
            "learnt; check the values of the labels, or the split"
        )
    coarse = {
        case.spacing.index(max(case.spacing))
        for case in cases
        if max(case.spacing) > 2 * sorted(case.spacing)[1]
    }
    if len(coarse) > 1:
        notes.append(
            "the coarse axis is not the same in all cases "
            f"({', '.join(AXES[axis] for axis in sorted(coarse))}), so medians of "
            "spacing mix two directions; state --spacing, or turn the images alike"
        )
    return tuple(notes)


def told(wanted: object, why: str, rule: str) -> str:
    """The reason; where the user chose, what the rules would have said."""
    return why if wanted is None else f"your choice; the rules say {rule}: {why}"


def count_cases(count: int) -> str:
    """How many cases."""
    return "1 case" if count == 1 else f"{count} cases"


def by(values: Sequence[float]) -> str:
    """Numbers along Z, Y, X."""
    return " x ".join(number(value) for value in values)


def number(value: float) -> str:
    """A whole number as it is, another to three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
