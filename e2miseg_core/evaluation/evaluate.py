"""Comparing predicted labels with a reference: arrays, files, folders of files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import (
    ConfigError,
    E2MISegError,
    GeometryError,
    ReadError,
)
from e2miseg_core.evaluation.metrics import (
    Spacing,
    check_tolerance,
    dice,
    hd95,
    nsd,
)
from e2miseg_core.evaluation.report import CaseScores, ClassScores, Problem, Report
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import known_suffixes, open_labels, split_suffix
from e2miseg_core.io.address import Address, AnySource
from e2miseg_core.io.listing import list_images
from e2miseg_core.io.naming import exists, suggested_name
from e2miseg_core.progress import Job, Progress

__all__ = ["evaluate_case", "evaluate_paths"]

# Formats keep affines in float32, and rotations as quaternions; a mistake is larger.
_GRID_TOLERANCE, _GRID_VOXELS = 1e-4, 0.1
_BOTH_EMPTY = ClassScores(
    dice=1.0,
    hd95_mm=0.0,
    nsd=1.0,
    predicted_ml=0.0,
    reference_ml=0.0,
    predicted_empty=True,
    reference_empty=True,
)


def evaluate_case(
    predicted_labels: NDArray[Any],
    reference_labels: NDArray[Any],
    spacing: Spacing,
    label_names: Mapping[int, str],
    *,
    tolerance_mm: float = 1.0,
) -> dict[int, ClassScores]:
    """Compare labels of one image, class by class.

    Parameters
    ----------
    predicted_labels, reference_labels : integer array, shape (Z, Y, X)
    spacing : tuple of float
        ZYX in mm.
    label_names : mapping of int to str
        The classes to compare; 0, the background, is left out.
    tolerance_mm : float
        Of the normalised surface Dice.

    Returns
    -------
    dict of int to ClassScores
        By label value, in rising order.

    Raises
    ------
    GeometryError
        If the shapes differ, or the spacing is not positive.
    ConfigError
        If the tolerance is negative.
    """
    check_tolerance(tolerance_mm)
    return {
        value: _score(
            predicted_labels == value, reference_labels == value, spacing, tolerance_mm
        )
        for value in sorted(label_names)
        if value != 0
    }


def evaluate_paths(
    predicted: AnySource,
    reference: AnySource,
    *,
    label_names: Mapping[int, str] | None = None,
    tolerance_mm: float = 1.0,
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
        if the tolerance or the names are wrong.
    """
    check_tolerance(tolerance_mm)
    names = _checked_names(label_names)
    here, there = Address.parse(predicted), Address.parse(reference)
    pairs, problems = _match(here, there)
    single = _is_case(there)
    cases: list[CaseScores] = []
    for done, (case, first, second) in enumerate(pairs, start=1):
        try:
            scores = _compare(first, second, names, tolerance_mm)
        except E2MISegError as error:
            if single:
                raise
            problems.append(Problem(case=case, message=str(error)))
        else:
            paths = {"predicted": str(first), "reference": str(second)}
            cases.append(CaseScores(case=case, classes=scores, **paths))
        yield Progress(
            done=done, total=len(pairs), stage="comparing", details={"case": case}
        )
    if not cases:
        raise _nothing_compared(predicted, reference, problems)
    return _gather(cases, names, tolerance_mm, problems)


def _checked_names(label_names: Mapping[int, str] | None) -> dict[int, str] | None:
    if label_names is None:
        return None
    names = {value: name for value, name in sorted(label_names.items()) if value != 0}
    if len(set(names.values())) != len(names) or not names:
        raise ConfigError(
            found=f"the label names {', '.join(names.values()) or '(none)'}",
            needed="at least one class, each with its own name",
            do="mend the names",
        )
    return names


def _is_case(address: Address) -> bool:
    """Whether it is one image of labels, no folder of several."""
    if address.is_remote or address.part or address.frame is not None:
        return True
    return split_suffix(address.path)[1] != "" or address.path.is_file()


def _match(
    predicted: Address, reference: Address
) -> tuple[list[tuple[str, Address, Address]], list[Problem]]:
    """Pairs of files with the name of their case, and what has no partner."""
    for address in (predicted, reference):
        if not exists(address):
            raise ReadError(
                found=f"{address.place} is missing",
                needed="a file or folder of labels",
                do="check the path",
            )
    if _is_case(predicted) != _is_case(reference):
        raise ConfigError(
            found=f"a file and a folder: {predicted} and {reference}",
            needed="two files, or two folders",
            do="name the file in the folder",
        )
    if _is_case(reference):
        return [(suggested_name(reference), predicted, reference)], []
    first, second = _cases(predicted.path), _cases(reference.path)
    pairs = [(case, first[case], second[case]) for case in second if case in first]
    lonely = [
        Problem(case=case, message=f"{case}: no file of this name in {folder}")
        for there, here, folder in (
            (second, first, predicted),
            (first, second, reference),
        )
        for case in there
        if case not in here
    ]
    return pairs, lonely


def _cases(folder: Path) -> dict[str, Address]:
    """Find the label files of a folder by the name of their case, sorted."""
    found: dict[str, Path] = {}
    for path in list_images(folder):
        case = split_suffix(path)[0]
        if case in found:
            raise ConfigError(
                found=f"{found[case].name} and {path.name} in {folder}",
                needed="one file a case",
                do="move one of them away",
            )
        found[case] = path
    return {case: Address(str(path)) for case, path in found.items()}


def _compare(
    predicted: Address,
    reference: Address,
    names: dict[int, str] | None,
    tolerance_mm: float,
) -> dict[int, ClassScores]:
    first, second = open_labels(predicted), open_labels(reference)
    _check_grids(predicted, first.geometry, reference, second.geometry)
    labels = [np.asarray(volume.data[0].compute()) for volume in (first, second)]
    spacing = second.geometry.in_unit("mm").spacing
    if names is None:
        values = set(np.unique(labels[0])) | set(np.unique(labels[1]))
        names = {int(value): "" for value in values}
    return evaluate_case(
        labels[0], labels[1], spacing, names, tolerance_mm=tolerance_mm
    )


def _check_grids(
    predicted: Address, first: Geometry, reference: Address, second: Geometry
) -> None:
    if first.matches(second, _GRID_TOLERANCE, voxels=_GRID_VOXELS):
        return
    if first.shape != second.shape:
        what = f"{predicted} has {_sizes(first)} voxels, {reference} {_sizes(second)}"
    else:
        corners = first.in_unit("mm").corners() - second.in_unit("mm").corners()
        shift = float(np.linalg.norm(corners, axis=-1).max())
        what = f"{predicted} lies up to {shift:.3g} mm away from {reference}"
    raise GeometryError(
        found=what,
        needed="the same grid",
        do="predict on the image that the reference was drawn on, or resample one",
    )


def _sizes(geometry: Geometry) -> str:
    return " x ".join(str(size) for size in geometry.shape)


def _score(
    predicted: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing: Spacing,
    tolerance_mm: float,
) -> ClassScores:
    voxel_ml = float(np.prod(spacing)) / 1000.0
    return ClassScores(
        dice=dice(predicted, reference),
        hd95_mm=hd95(predicted, reference, spacing),
        nsd=nsd(predicted, reference, spacing, tolerance_mm),
        predicted_ml=int(np.count_nonzero(predicted)) * voxel_ml,
        reference_ml=int(np.count_nonzero(reference)) * voxel_ml,
        predicted_empty=not predicted.any(),
        reference_empty=not reference.any(),
    )


def _gather(
    cases: list[CaseScores],
    names: dict[int, str] | None,
    tolerance_mm: float,
    problems: list[Problem],
) -> Report:
    """Give every case the same classes, for the means to be over the same cases."""
    if names is None:
        values = sorted({value for case in cases for value in case.classes})
        names = {value: f"label {value}" for value in values}
    whole = [
        replace(case, classes={v: case.classes.get(v, _BOTH_EMPTY) for v in names})
        for case in cases
    ]
    return Report(
        cases=tuple(whole),
        label_names=names,
        tolerance_mm=tolerance_mm,
        problems=tuple(problems),
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
