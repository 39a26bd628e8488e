"""Comparing files of predicted labels with a reference, one or a folder of them."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from e2miseg_core.errors import ConfigError, E2MISegError
from e2miseg_core.evaluation.calibration import Reliability
from e2miseg_core.evaluation.case_files import compare_files
from e2miseg_core.evaluation.judging import Judging, check_groups
from e2miseg_core.evaluation.lesions import LesionScores
from e2miseg_core.evaluation.pairing import beside, is_case, match
from e2miseg_core.evaluation.report import Report
from e2miseg_core.evaluation.scores import BOTH_EMPTY, CaseScores, ClassScores, Problem
from e2miseg_core.evaluation.structures import LabelKey, named_structures
from e2miseg_core.io import known_suffixes
from e2miseg_core.io.address import Address, AnySource
from e2miseg_core.progress import Job, Progress

__all__ = ["evaluate_paths"]


def evaluate_paths(
    predicted: AnySource,
    reference: AnySource,
    *,
    label_names: Mapping[int, str] | None = None,
    tolerance_mm: float = 1.0,
    judging: Judging | None = None,
    probabilities: AnySource | None = None,
) -> Job[Report]:
    """Compare two label files, or two folders of them whose names match.

    Parameters
    ----------
    predicted, reference : str, Path or Address
        Two images of labels, or two folders of such files; `a.nii.gz` is compared
        with `a.nii.gz` or `a.ome.zarr`.
    label_names : mapping of int to str, optional
        The classes to compare, such as a model card's. Without it every value above 0
        that is found in any file is a class, named after its number.
    tolerance_mm : float
        Of the normalised surface Dice.
    judging : Judging, optional
        Instead of the two above, where more is to be said.
    probabilities : str, Path or Address, optional
        What `predict --probabilities` wrote: a file, or a folder of the same names.

    Yields
    ------
    Progress
        After each case.

    Returns
    -------
    Report
        In a folder, a case without partner, or one that cannot be compared, is told
        in `problems` and counts in no mean.

    Raises
    ------
    ReadError
        If a path is missing, or a single file cannot be read.
    GeometryError
        If two single files lie on different grids.
    ConfigError
        If one path is a file and the other a folder, if no case can be compared, or
        if the tolerance, the names or the groups are wrong.
    """
    if judging is None:
        structures = None if label_names is None else named_structures(label_names)
        judging = Judging(structures=structures, tolerances_mm=(tolerance_mm,))
    here, there = Address.parse(predicted), Address.parse(reference)
    pairs, problems = match(here, there)
    names = [case for case, _, _ in pairs]
    check_groups(judging, names)
    maps = None
    if probabilities is not None:
        maps = beside(Address.parse(probabilities), names, "probabilities")
    cases: list[CaseScores] = []
    others: set[int] = set()
    for done, (case, first, second) in enumerate(pairs, start=1):
        try:
            scores, unjudged = compare_files(case, (first, second), judging, maps)
        except E2MISegError as error:
            if is_case(there):
                raise
            told = str(error).removeprefix(f"{case}: ")
            problems.append(Problem(case=case, message=f"{case}: {told}"))
        else:
            cases.append(_case(case, first, second, scores, judging))
            others |= unjudged
        yield Progress(
            done=done, total=len(pairs), stage="comparing", details={"case": case}
        )
    if not cases:
        raise _nothing_compared(predicted, reference, problems)
    return _gather(cases, judging, problems, others)


def _case(
    case: str,
    predicted: Address,
    reference: Address,
    scores: dict[LabelKey, ClassScores],
    judging: Judging,
) -> CaseScores:
    return CaseScores(
        case=case,
        predicted=str(predicted),
        reference=str(reference),
        classes=scores,
        group=(judging.groups or {}).get(case, case),
    )


def _both_empty(judging: Judging, template: ClassScores | None) -> ClassScores:
    """Scores of a structure that neither file of a case has."""
    has_probabilities = template is not None and template.reliability is not None
    nothing = Reliability.of(np.empty(0), np.empty(0, dtype=bool))
    return ClassScores(
        **BOTH_EMPTY,
        predicted_ml=0.0,
        reference_ml=0.0,
        predicted_empty=True,
        reference_empty=True,
        lesions=LesionScores(lesions=(), n_predicted=0, n_false_positive=0),
        nsd_at=dict.fromkeys(judging.tolerances_mm, BOTH_EMPTY["nsd"]),
        reliability=nothing if has_probabilities else None,
    )


def _gather(
    cases: list[CaseScores],
    judging: Judging,
    problems: list[Problem],
    others: set[int],
) -> Report:
    """Give every case the same classes, for the means to be over the same cases."""
    names: dict[LabelKey, str]
    if judging.structures is None:
        found = {key: one for case in cases for key, one in case.classes.items()}
        names = {key: f"label {key}" for key in sorted(found, key=int)}
    else:
        names = {one.key: one.name for one in judging.structures}
    some = next((one for case in cases for one in case.classes.values()), None)
    empty = _both_empty(judging, some)
    whole = [
        replace(case, classes={key: case.classes.get(key, empty) for key in names})
        for case in cases
    ]
    return Report(
        cases=tuple(whole),
        label_names=names,
        tolerance_mm=judging.tolerances_mm[0],
        problems=tuple(problems),
        lesion_rule=judging.lesion_rule,
        other_values=tuple(sorted(others)),
        every_value=judging.structures is None,
    )


def _nothing_compared(
    predicted: AnySource, reference: AnySource, problems: list[Problem]
) -> E2MISegError:
    first = f" ({problems[0].message})" if problems else ""
    return ConfigError(
        found=f"no case of {predicted} could be compared with {reference}{first}",
        needed="label files of the same names, ending in "
        + ", ".join(known_suffixes()),
        do="check both folders",
    )
