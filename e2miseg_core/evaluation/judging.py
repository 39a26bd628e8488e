"""What is judged, and how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from e2miseg_core.errors import ConfigError
from e2miseg_core.evaluation.lesions import LesionRule
from e2miseg_core.evaluation.structures import Structure, check_structures
from e2miseg_core.evaluation.surface_scores import check_tolerance

__all__ = ["Judging", "check_groups"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """What is judged, and how.

    Attributes
    ----------
    structures : tuple of Structure, or None
        None: every value above 0 that is found in any file, named after its number.
    tolerances_mm : tuple of float
        Of the normalised surface Dice; the first is the one that means are told of.
    lesion_rule : LesionRule
    class_values : tuple of int, or None
        Label value of each channel of probabilities; None: 0, 1, 2 and so on.
    groups : mapping of str to str, or None
        Group of each case.
    """

    structures: tuple[Structure, ...] | None = None
    tolerances_mm: tuple[float, ...] = (1.0,)
    lesion_rule: LesionRule = field(default_factory=LesionRule)
    class_values: tuple[int, ...] | None = None
    groups: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without files."""
        for tolerance_mm in self.tolerances_mm:
            check_tolerance(tolerance_mm)
        if not self.tolerances_mm:
            raise ConfigError(
                found="no tolerance",
                needed="at least one, in mm",
                do="leave it out, or name one",
            )
        if self.structures is not None:
            check_structures(self.structures)


def check_groups(judging: Judging, cases: Sequence[str]) -> None:
    """Raise ConfigError unless every case has a group, or none."""
    missing = [case for case in cases if case not in (judging.groups or {})]
    if judging.groups is not None and missing:
        raise ConfigError(
            found=f"{len(missing)} cases without a group, the first {missing[0]}",
            needed="the group of every case",
            do="add a line for each of them",
        )
