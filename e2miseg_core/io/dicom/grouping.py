"""The stacks of a series: split by size and direction, moments told apart.

Frames at the same position are channels where one tag (echo time, b-value, temporal
position, ...) tells them apart at every position; parts of their own where the tag's
values have other positions (see `parting`); and else doubled.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import E2MISegError, ReadError
from e2miseg_core.io.dicom.frame_keys import Key
from e2miseg_core.io.dicom.moments import KEY_UNITS, name_moments, rank
from e2miseg_core.io.dicom.parting import (
    by_values,
    changes_within,
    key_sets,
    split_interleaved,
    split_parts,
)
from e2miseg_core.io.dicom.stack import Plane, Stack, distances, lay_stacks

__all__ = ["doubled_error", "find_stacks", "split_planes"]

_SAME_PLACE = 0.01  # of a pixel
_SAME_DIRECTION = 1e-3  # of a direction cosine
_MOST_DOUBLED = 64  # that are read and compared

_TOLD = ("echo time", "b-value")  # though another tag tells moments apart
_RANKS = ("temporal position", "trigger time", "acquisition time", "instance")


def split_planes(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Split the planes of a series by kind, size, pixels and direction.

    Parameters
    ----------
    planes : sequence of Plane
        Of one series.

    Returns
    -------
    list of lists of Plane
        In the order in which they were first met.
    """
    groups: dict[tuple[object, ...], list[Plane]] = defaultdict(list)
    directions: dict[tuple[object, ...], list[tuple[float, ...]]] = defaultdict(list)
    known: dict[tuple[object, ...], int] = {}
    for plane in planes:
        layout = plane.instance.layout
        if layout is None:
            continue
        kind = (
            plane.instance.sop_class,
            plane.header.modality,
            plane.header.reference_uid,
            (layout.rows, layout.columns, layout.samples, layout.kind),
            layout.photometric,
            plane.frame.position is None,
            tuple(round(size, 4) for size in plane.frame.spacing or ()),
        )
        turned = plane.frame.orientation or ()
        exact = (kind, turned)
        if exact not in known:
            known[exact] = _nearest(directions[kind], turned)
        groups[(kind, known[exact])].append(plane)
    return list(groups.values())


def _nearest(seen: list[tuple[float, ...]], turned: tuple[float, ...]) -> int:
    """Number of the direction that is the same but for rounding."""
    for index, other in enumerate(seen):
        if len(other) == len(turned) and (
            not turned
            or max(abs(a - b) for a, b in zip(other, turned, strict=True))
            <= _SAME_DIRECTION
        ):
            return index
    seen.append(turned)
    return len(seen) - 1


def find_stacks(planes: Sequence[Plane]) -> list[Stack | E2MISegError]:
    """Find the stacks of planes of one size and direction.

    Returns
    -------
    list of (Stack or E2MISegError)
        An error where no rule says how the planes belong together.
    """
    if any(p.frame.position is None or p.frame.orientation is None for p in planes):
        return lay_stacks(planes)
    planes = [_with_place(plane) for plane in planes]
    sites = _find_sites(planes)
    found = _apart(split_interleaved(planes, sites))
    if found and all(isinstance(each, Stack) for each in found):
        return found
    counts = np.bincount(sites)
    if counts.max() == 1:
        return [_noted(each, changes_within(planes)) for each in lay_stacks(planes)]
    if counts.min() == counts.max():
        moments = _as_moments(planes, sites) or _ranked(planes, sites)
        return [_joined(names, groups) for names, groups in [moments]]
    return _apart(split_parts(planes, sites)) or _without_doubled(planes, sites)


def _apart(parts: Sequence[tuple[str, list[Plane]]]) -> list[Stack | E2MISegError]:
    """Find the stacks of each part, and say of each what tells it from the others."""
    found: list[Stack | E2MISegError] = []
    for name, planes in parts:
        for each in find_stacks(planes):
            if isinstance(each, Stack):
                reason = ", ".join(filter(None, (name, each.reason)))
                found.append(replace(each, reason=reason))
            else:
                found.append(each)
    return found


def _noted(found: Stack | E2MISegError, notes: Sequence[str]) -> Stack | E2MISegError:
    if not isinstance(found, Stack):
        return found
    return replace(found, notes=(*notes, *found.notes))


def _with_place(plane: Plane) -> Plane:
    """Add where the plane lies within itself: stations of one stack differ in it."""
    frame = plane.frame
    turned = np.array(frame.orientation).reshape(2, 3)
    place = turned @ np.array(frame.position)
    keys = {**frame.keys, "place": tuple(round(float(at), 2) for at in place)}
    return Plane(plane.header, replace(frame, keys=keys))


def _find_sites(planes: Sequence[Plane]) -> NDArray[np.int64]:
    """Number the positions along the normal; equal ones get one number."""
    along = distances(planes)
    order = np.argsort(along, kind="stable")
    tolerance = _SAME_PLACE * min(planes[0].frame.spacing or (1.0,))
    jumps = np.diff(along[order]) > tolerance
    sites = np.empty(len(planes), np.int64)
    sites[order] = np.concatenate([[0], np.cumsum(jumps)])
    return sites


def _as_moments(
    planes: Sequence[Plane], sites: NDArray[np.int64]
) -> tuple[tuple[str, ...], list[list[Plane]]] | None:
    """Group by tags so that each group holds every position once."""
    n_sites = int(sites.max()) + 1
    count = len(planes) // n_sites
    for names in key_sets(planes, tuple(KEY_UNITS)):
        groups = by_values(planes, names, count)
        if groups is None or len(groups) != count:
            continue
        if all(len(set(sites[index].tolist())) == n_sites for index in groups.values()):
            values = sorted(groups, key=rank)
            moments = [[planes[i] for i in groups[value]] for value in values]
            told = tuple(n for n in _TOLD if n not in names and _tells(n, moments))
            described = [
                (*value, *(moment[0].frame.keys[name] for name in told))
                for value, moment in zip(values, moments, strict=True)
            ]
            return name_moments((*names, *told), described), moments
    return None


def _tells(name: str, moments: Sequence[Sequence[Plane]]) -> bool:
    """Whether a tag has one value in each moment, and not the same in all."""
    found = [{plane.frame.keys.get(name) for plane in moment} for moment in moments]
    values = set[Key | None]().union(*found)
    is_one = all(len(each) == 1 for each in found)
    return is_one and None not in values and len(values) > 1


def _ranked(
    planes: Sequence[Plane], sites: NDArray[np.int64]
) -> tuple[tuple[str, ...], list[list[Plane]]]:
    """Number the planes at each position, where no tag is common to all of them."""
    at_site: dict[int, list[Plane]] = defaultdict(list)
    for plane, site in zip(planes, sites.tolist(), strict=True):
        at_site[site].append(plane)
    name = next((name for name in _RANKS if _tells_apart(at_site, name)), "")
    columns = [
        sorted(group, key=lambda plane: rank((plane.frame.keys.get(name, 0.0),)))
        for group in at_site.values()
    ]
    moments = [list(moment) for moment in zip(*columns, strict=True)]
    return tuple(f"frame {n + 1}" for n in range(len(moments))), moments


def _tells_apart(at_site: Mapping[int, Sequence[Plane]], name: str) -> bool:
    return all(
        len({plane.frame.keys.get(name) for plane in group}) == len(group)
        for group in at_site.values()
    )


def _joined(
    names: Sequence[str], moments: Sequence[Sequence[Plane]]
) -> Stack | E2MISegError:
    """Lay moments over each other on the grid of the first."""
    stacks = []
    for moment in moments:
        laid = lay_stacks(moment)
        if not isinstance(laid[0], Stack):
            return laid[0]
        if len(laid) > 1:
            return ReadError(
                found=f"{len(moments)} moments whose spacing changes along the stack",
                needed="one spacing",
                do="export the moments, or the parts of even spacing, one by one",
            )
        stacks.append(laid[0])
    first = stacks[0]
    how = f"{names[0]} to {names[-1]}"
    note = f"4D: {len(names)} images of {len(first.planes[0])} slices taken as channels"
    return replace(
        first,
        planes=tuple(stack.planes[0] for stack in stacks),
        channels=tuple(names),
        notes=(f"{note} ({how})", *first.notes),
    )


def _without_doubled(
    planes: Sequence[Plane], sites: NDArray[np.int64]
) -> list[Stack | E2MISegError]:
    """Keep one plane a position; that the others are equal is checked on opening."""
    kept: dict[int, Plane] = {}
    doubled: list[tuple[Plane, Plane]] = []
    for plane, site in zip(planes, sites.tolist(), strict=True):
        if site in kept:
            doubled.append((kept[site], plane))
        else:
            kept[site] = plane
    if len(doubled) > _MOST_DOUBLED:
        return [doubled_error(len(doubled), len(kept))]
    found = lay_stacks(list(kept.values()))
    # Where the spacing changes, all are checked with the first part.
    if isinstance(found[0], Stack):
        found[0] = replace(found[0], doubled=tuple(doubled))
    return found


def doubled_error(doubled: int, places: int) -> ReadError:
    """Say that several different slices lie at one position."""
    return ReadError(
        found=f"{doubled} slices lie at the places of others ({places} places), differ "
        "from them, and no tag tells them apart",
        needed="one slice at each place, or moments that a tag tells apart",
        do="take away the slices that do not belong to the series, or export it again",
    )
