"""Which files belong together: predictions, references, and what lies beside them."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from e2miseg_core.errors import ConfigError, GeometryError, ReadError
from e2miseg_core.evaluation.scores import Problem
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import split_suffix
from e2miseg_core.io.address import Address
from e2miseg_core.io.listing import list_images
from e2miseg_core.io.naming import exists, suggested_name

__all__ = ["beside", "check_exists", "check_grids", "is_case", "match", "read_groups"]

# Formats keep affines in float32, and rotations as quaternions; a mistake is larger.
_GRID_TOLERANCE, _GRID_VOXELS = 1e-4, 0.1
_HEADINGS = ("case", "group")


def is_case(address: Address) -> bool:
    """Whether it is one image of labels, no folder of several."""
    if address.is_remote or address.part or address.frame is not None:
        return True
    return split_suffix(address.path)[1] != "" or address.path.is_file()


def match(
    predicted: Address, reference: Address
) -> tuple[list[tuple[str, Address, Address]], list[Problem]]:
    """Pairs of files with the name of their case, and what has no partner."""
    for address in (predicted, reference):
        check_exists(address, "labels")
    if is_case(predicted) != is_case(reference):
        raise ConfigError(
            found=f"a file and a folder: {predicted} and {reference}",
            needed="two files, or two folders",
            do="name the file in the folder",
        )
    if is_case(reference):
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


def beside(
    place: Address | None, cases: Iterable[str], what: str
) -> dict[str, Address]:
    """Files of further things, such as images, by the case they belong to.

    A folder gives what bears the name of a case, or of its first channel (`_0000`); a
    single file belongs to the only case. What a case lacks is not in the answer.

    Raises
    ------
    ReadError
        If the place is missing.
    ConfigError
        If there is one file and there are several cases, or two files of one case.
    """
    if place is None:
        return {}
    check_exists(place, what)
    cases = list(cases)
    if not is_case(place):
        found = _cases(place.path)
        named = {case: found.get(case, found.get(f"{case}_0000")) for case in cases}
        return {case: file for case, file in named.items() if file is not None}
    if len(cases) != 1:
        raise ConfigError(
            found=f"the single file {place} for {len(cases)} cases",
            needed=f"a folder of {what}, named like the labels",
            do="name the folder",
        )
    return {cases[0]: place}


def read_groups(path: Path) -> dict[str, str]:
    """Read the group of each case from a CSV file with the columns `case`, `group`.

    Raises
    ------
    ReadError
        If it is missing, or is no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, headings = list(reader), reader.fieldnames or []
    except OSError as error:
        raise ReadError(
            found=f"the table {path} cannot be read ({error.strerror or error})",
            needed="a CSV file whose first line is case,group",
            do="check the path after --groups",
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _no_groups(path, str(error)) from error
    if not set(_HEADINGS) <= set(headings):
        raise _no_groups(path, f"a first line {','.join(headings)!r:.60}")
    pairs = [[(row.get(name) or "").strip() for name in _HEADINGS] for row in rows]
    if not pairs or not all(map(all, pairs)):
        raise _no_groups(path, "a table without case or group in each row")
    groups: dict[str, str] = {}
    for case, group in pairs:
        if groups.setdefault(case, group) != group:
            raise _no_groups(path, f"{case} in two groups, {groups[case]} and {group}")
    return groups


def check_grids(
    predicted: Address, first: Geometry, reference: Address, second: Geometry
) -> None:
    """Raise GeometryError unless both lie on one grid."""
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


def check_exists(address: Address, what: str) -> None:
    """Raise ReadError unless something is there."""
    if not exists(address):
        raise ReadError(
            found=f"{address.place} is missing",
            needed=f"a file or folder of {what}",
            do="check the path",
        )


def _no_groups(path: Path, found: str) -> ReadError:
    return ReadError(
        found=f"{path}: {found}",
        needed="a CSV file whose first line is case,group",
        do="write one line for each case",
    )


def _sizes(geometry: Geometry) -> str:
    return " x ".join(str(size) for size in geometry.shape)


def _cases(folder: Path) -> dict[str, Address]:
    """Find the files of a folder by the name of their case, sorted."""
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
