"""What people have corrected in a project: what a fine-tuning could learn from."""

from dataclasses import dataclass

from e2miseg_core.progress import run
from e2miseg_core.project import Project
from e2miseg_core.project.sites import FEWEST_SITES, PAINTED, CaseSites, SiteFinder

__all__ = ["NEEDED", "CaseCorrections", "Corrections", "CorrectionsCounter"]

NEEDED = FEWEST_SITES  # places; a fine-tuning refuses to learn from fewer


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseCorrections:
    """What was corrected in one case.

    Attributes
    ----------
    name : str
        Of the case.
    corrected, fine : int
        Edges that were reviewed and not undone, by verdict.
    painted : int
        Places that were painted elsewhere.
    drawn : int
        Voxels that a human drew, anywhere.
    """

    name: str
    corrected: int = 0
    fine: int = 0
    painted: int = 0
    drawn: int = 0

    @property
    def places(self) -> int:
        """Places to learn from, or to be tested on."""
        return self.corrected + self.fine + self.painted


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """What was corrected in all cases of a project."""

    cases: tuple[CaseCorrections, ...] = ()

    @property
    def places(self) -> int:
        """Places in all cases."""
        return sum(case.places for case in self.cases)

    @property
    def drawn(self) -> int:
        """Voxels that a human drew, in all cases."""
        return sum(case.drawn for case in self.cases)

    @property
    def touched(self) -> tuple[CaseCorrections, ...]:
        """Cases in which there is anything."""
        return tuple(case for case in self.cases if case.places or case.drawn)

    @property
    def missing(self) -> int:
        """Places that are still needed before a fine-tuning can start."""
        return max(0, NEEDED - self.places)


class CorrectionsCounter:
    """Counts what a fine-tuning would find; quicker from the second time on.

    What is not in the stores yet is not counted: flush them first. Slow on large
    projects at first, so to be called in a thread.
    """

    def __init__(self) -> None:
        self._finder = SiteFinder()

    def count(self, project: Project) -> Corrections:
        """Count the corrections of a project's cases.

        Raises
        ------
        ReadError
            If the project is damaged.
        """
        found = run(self._finder.find(project))
        return Corrections(cases=tuple(_count(case) for case in found))


def _count(found: CaseSites) -> CaseCorrections:
    verdicts = [site.verdict for site in found.sites]
    return CaseCorrections(
        name=found.case,
        corrected=verdicts.count("corrected"),
        fine=verdicts.count("fine"),
        painted=verdicts.count(PAINTED),
        drawn=found.drawn,
    )
