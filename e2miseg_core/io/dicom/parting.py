"""Planes of one series that make several stacks, told apart by a tag.

Sets that interleave would make one even stack of two contrasts, so they are parted
although no position is taken twice.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.io.dicom.frame_keys import Key
from e2miseg_core.io.dicom.moments import KEY_UNITS, name_moments, rank
from e2miseg_core.io.dicom.stack import Plane, distances

__all__ = [
    "by_values",
    "changes_within",
    "key_sets",
    "split_interleaved",
    "split_parts",
]

_MOST_KEYS = 3  # together
_PARTS = (
    "stack",
    "acquisition",
    "image type",
    "temporal position",
    "echo time",
    "b-value",
    "place",
)
_CONTRASTS = ("echo time", "b-value")  # slices that differ in them are no one stack
_SAME = 0.01  # of the value: some scanners state what they measured
_WIDER = 1.5  # spacing stated for a set, as a multiple of that of all together


def key_sets(
    planes: Sequence[Plane], names: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """Names that may tell planes apart, alone first, then together."""
    useful = [
        name
        for name in names
        if len({plane.frame.keys.get(name, "") for plane in planes}) > 1
    ]
    for count in range(1, _MOST_KEYS + 1):
        yield from itertools.combinations(useful, count)


def by_values(
    planes: Sequence[Plane], names: Sequence[str], most: int
) -> dict[tuple[Key, ...], list[int]] | None:
    """Number planes by the values of tags; None if there are more than `most`."""
    groups: dict[tuple[Key, ...], list[int]] = defaultdict(list)
    for index, plane in enumerate(planes):
        groups[tuple(plane.frame.keys.get(name, "") for name in names)].append(index)
        if len(groups) > most:
            return None
    return groups


def split_parts(
    planes: Sequence[Plane], sites: NDArray[np.int64]
) -> list[tuple[str, list[Plane]]]:
    """Group by tags so that each group holds positions of its own, each equally often.

    Parameters
    ----------
    planes : sequence of Plane
        Of one size and direction.
    sites : ndarray
        Number of the position of each along the normal.

    Returns
    -------
    list of (str, list of Plane)
        What tells each part apart, and its planes; empty if no tag does.
    """
    for names in key_sets(planes, _PARTS):
        groups = by_values(planes, names, len(planes) // 2)
        if groups is None or min(map(len, groups.values())) < 2:
            continue
        if all(
            np.ptp(np.bincount(sites[index])[np.unique(sites[index])]) == 0
            for index in groups.values()
        ):
            return _named(names, groups, planes)
    return []


def split_interleaved(
    planes: Sequence[Plane], sites: NDArray[np.int64]
) -> list[tuple[str, list[Plane]]]:
    """Group by a tag whose values alternate along the positions.

    Acquisitions of one image may alternate as well: they are parts only where the
    distance of slices that is stated is theirs, and not that of all together.

    Parameters
    ----------
    planes, sites
        As for `split_parts`.

    Returns
    -------
    list of (str, list of Plane)
        What tells each set apart, and its planes; empty if none alternates.
    """
    for name in (*_CONTRASTS, "acquisition"):
        groups = by_values(planes, (name,), len(planes) // 2)
        if groups is None or len(groups) < 2 or min(map(len, groups.values())) < 2:
            continue
        if _alternate(groups.values(), sites) and (
            name in _CONTRASTS or _is_wider(planes)
        ):
            return _named((name,), groups, planes)
    return []


def changes_within(planes: Sequence[Plane]) -> list[str]:
    """Say what contrast changes from slice to slice of one stack."""
    notes = []
    for name in _CONTRASTS:
        found = {plane.frame.keys.get(name) for plane in planes}
        values = sorted(value for value in found if isinstance(value, float))
        if values and values[-1] - values[0] > _SAME * values[-1]:
            unit = KEY_UNITS[name]
            notes.append(
                f"the {name} changes from slice to slice, {values[0]:g} to "
                f"{values[-1]:g}{unit}: taken as one image"
            )
    return notes


def _named(
    names: Sequence[str],
    groups: dict[tuple[Key, ...], list[int]],
    planes: Sequence[Plane],
) -> list[tuple[str, list[Plane]]]:
    values = sorted(groups, key=rank)
    return [
        (name, [planes[index] for index in groups[value]])
        for name, value in zip(name_moments(names, values), values, strict=True)
    ]


def _alternate(groups: Iterable[Sequence[int]], sites: NDArray[np.int64]) -> bool:
    """Whether groups have positions of their own that lie between each other's."""
    owner = np.full(int(sites.max()) + 1, -1)
    count = 0
    for count, index in enumerate(groups, 1):
        taken = np.unique(sites[index])
        if (owner[taken] >= 0).any():
            return False
        owner[taken] = count
    return int((np.diff(owner) != 0).sum()) > count - 1


def _is_wider(planes: Sequence[Plane]) -> bool:
    """Whether the stated distance of slices is more than the one between neighbours."""
    stated = planes[0].frame.between
    gaps = np.diff(np.sort(distances(planes)))
    gaps = gaps[gaps > 0]
    return stated is not None and bool(stated >= _WIDER * np.median(gaps))
