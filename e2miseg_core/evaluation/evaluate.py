"""Comparing files of predicted labels with a reference, one or a folder of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ConfigError, E2MISegError, ReadError
from e2miseg_core.evaluation.calibration import ProbabilityMap, Reliability
from e2miseg_core.evaluation.case import evaluate_case
from e2miseg_core.evaluation.lesions import LesionRule, LesionScores
from e2miseg_core.evaluation.metrics import check_tolerance
from e2miseg_core.evaluation.pairing import beside, check_grids, is_case, match
from e2miseg_core.evaluation.report import Report
from e2miseg_core.evaluation.scores import CaseScores, ClassScores, Problem
from e2miseg_core.evaluation.structures import (
    LabelKey,
    Structure,
    check_structures,
    named_structures,
)
from e2miseg_core.io import known_suffixes, open_labels, open_volume
from e2miseg_core.io.address import Address, AnySource
from e2miseg_core.progress import Job, Progress

__all__ = ["Judging", "evaluate_paths"]

_SLAB_VOXELS = 8_000_000  # looked through at a time for the values there are


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
    _check_groups(judging, names)
    maps = None
    if probabilities is not None:
        maps = beside(Address.parse(probabilities), names, "probabilities")
    cases: list[CaseScores] = []
    others: set[int] = set()
    for done, (case, first, second) in enumerate(pairs, start=1):
        try:
            scores, unjudged = _compare(case, (first, second), judging, maps)
        except E2MISegError as error:
            if is_case(there):
                raise
            problems.append(Problem(case=case, message=str(error)))
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


def _check_groups(judging: Judging, cases: Sequence[str]) -> None:
    missing = [case for case in cases if case not in (judging.groups or {})]
    if judging.groups is not None and missing:
        raise ConfigError(
            found=f"{len(missing)} cases without a group, the first {missing[0]}",
            needed="the group of every case",
            do="add a line for each of them",
        )


def _compare(
    case: str,
    pair: tuple[Address, Address],
    judging: Judging,
    maps: Mapping[str, Address] | None,
) -> tuple[dict[LabelKey, ClassScores], set[int]]:
    """Scores of a case, and the label values that belong to no structure."""
    first, second = (open_labels(address) for address in pair)
    check_grids(pair[0], first.geometry, pair[1], second.geometry)
    labels = [np.asarray(volume.data[0].compute()) for volume in (first, second)]
    spacing = second.geometry.in_unit("mm").spacing
    values = _values(labels[0]) | _values(labels[1])
    structures = judging.structures
    if structures is None:
        structures = named_structures(dict.fromkeys(values, ""))
    probabilities = None
    if maps is not None:
        probabilities = _open_probabilities(case, maps, judging)
        check_grids(maps[case], probabilities[1], pair[1], second.geometry)
    scores = evaluate_case(
        labels[0],
        labels[1],
        spacing,
        structures,
        tolerance_mm=judging.tolerances_mm,
        lesion_rule=judging.lesion_rule,
        probabilities=probabilities[0] if probabilities else None,
    )
    if any(not structure.values for structure in structures):
        return scores, set()
    judged = {value for structure in structures for value in structure.values}
    return scores, values - judged


def _values(labels: NDArray[Any]) -> set[int]:
    """Label values above 0."""
    rows = max(1, _SLAB_VOXELS // max(1, labels[0].size))
    found: set[int] = set()
    for start in range(0, len(labels), rows):
        found.update(int(v) for v in np.unique(labels[start : start + rows]))
    return found - {0}


def _open_probabilities(
    case: str, maps: Mapping[str, Address], judging: Judging
) -> tuple[ProbabilityMap, Any]:
    if case not in maps:
        raise ReadError(
            found=f"{case}: no probabilities of this name",
            needed="a file for each case",
            do="predict it with --probabilities, or leave the option out",
        )
    volume = open_volume(maps[case])
    values = judging.class_values or tuple(range(volume.data.shape[0]))
    return ProbabilityMap(data=volume.data, class_values=values), volume.geometry


def _both_empty(judging: Judging, template: ClassScores | None) -> ClassScores:
    """Scores of a structure that neither file of a case has."""
    has_probabilities = template is not None and template.reliability is not None
    nothing = Reliability.of(np.empty(0), np.empty(0, dtype=bool))
    return ClassScores(
        dice=1.0,
        hd95_mm=0.0,
        nsd=1.0,
        predicted_ml=0.0,
        reference_ml=0.0,
        predicted_empty=True,
        reference_empty=True,
        hd_mm=0.0,
        assd_mm=0.0,
        lesions=LesionScores(lesions=(), n_predicted=0, n_false_positive=0),
        nsd_at=dict.fromkeys(judging.tolerances_mm, 1.0),
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
