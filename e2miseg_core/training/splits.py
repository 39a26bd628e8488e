"""Which cases are learnt from, which choose the checkpoint, which are reported on."""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from e2miseg_core.errors import ConfigError, DatasetError
from e2miseg_core.evaluation.pairing import read_groups

__all__ = ["N_FOLDS", "Split", "SplitRule", "group_cases", "read_split", "split_cases"]

N_FOLDS = 5
SELECTION_PART = 8  # one of so many training cases chooses the checkpoint
SEED = 12345
# By the keys of a file: ours, and nnU-Net's splits_final.json.
_PARTS = {"training": "training", "selection": "selection", "unseen": "unseen"}
_NNUNET = {"train": "training", "val": "unseen"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Names of the cases by what they are used for; no case is in two of them.

    Attributes
    ----------
    training : tuple of str
        The network learns from them.
    selection : tuple of str
        They choose the checkpoint and fit the calibration.
    unseen : tuple of str
        Only reported on.
    groups : mapping
        The group, such as a patient, of each case that is in one; groups stay whole.
    """

    training: tuple[str, ...]
    selection: tuple[str, ...]
    unseen: tuple[str, ...]
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """The names by their use."""
        return {name: getattr(self, name) for name in _PARTS}

    def to_json(self) -> dict[str, Any]:
        """What a model's card keeps: the names by their use, and groups if any."""
        found: dict[str, Any] = {k: list(names) for k, names in self.parts.items()}
        return found | ({"groups": dict(self.groups)} if self.groups else {})

    def after(self, learnt: Collection[str]) -> "Split":
        """The split for a network that has learnt from some cases already.

        Those, and what is in one group with them, are not unseen any more: they are
        trained on. There may be no unseen case left.
        """
        known = {self.groups.get(name, name) for name in learnt}
        unseen = tuple(n for n in self.unseen if self.groups.get(n, n) not in known)
        moved = set(self.unseen) - set(unseen)
        training = tuple(sorted((*self.training, *moved)))
        return replace(self, training=training, unseen=unseen)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRule:
    """How cases are split.

    Attributes
    ----------
    file : Path or None
        A split that somebody made, see `read_split`; else it follows from the names.
    group : str or None
        Regular expression: cases in whose names it finds the same at the beginning
        are of one patient, and never fall into two parts.
    table : Path or None
        CSV file with the columns `case` and `group`, which says the same.
    """

    file: Path | None = None
    group: str | None = None
    table: Path | None = None

    def split(self, names: Sequence[str], *, fold: int) -> Split:
        """Split cases; an E2MISegError where that cannot be."""
        groups = self._groups(names)
        if self.file is None:
            return split_cases(names, fold=fold, groups=groups)
        return read_split(self.file, names, fold=fold, groups=groups)

    def _groups(self, names: Sequence[str]) -> dict[str, str] | None:
        if self.group is not None and self.table is not None:
            raise ConfigError(
                found="groups by a pattern and by a table",
                needed="one of the two",
                do="leave --group or --groups out",
            )
        if self.group is not None:
            return group_cases(names, self.group)
        if self.table is None:
            return None
        return _known_groups(self.table, names)


def split_cases(
    names: Sequence[str],
    *,
    fold: int,
    seed: int = SEED,
    groups: Mapping[str, str] | None = None,
) -> Split:
    """Split cases into training, selection and unseen ones.

    The order is that of a hash of seed and name. A case that is added goes between two
    others and moves those behind it on by a fold: keep a split as a file where it must
    outlast a growing data set.

    Parameters
    ----------
    names : sequence of str
        At least 3.
    fold : int
        0 to 4; the unseen fifth. With fewer than 5 cases, or groups, there are as many
        folds as these.
    seed : int
    groups : mapping, optional
        The group of each name; a group stays together, and is split in place of its
        cases.

    Raises
    ------
    DatasetError
        If there are fewer than 3 cases, or groups.
    ConfigError
        If there is no such fold.
    """
    members = _members(names, groups)
    if len(members) < 3:
        plural = "s" * (len(members) != 1)
        kind = "" if groups is None else f" in {len(members)} group{plural}"
        raise DatasetError(
            found=f"{len(names)} labelled cases{kind}",
            needed=f"at least 3{' groups' * bool(kind)}: to train, to choose the "
            "checkpoint, to report",
            do="label more cases" + " or make the groups smaller" * bool(kind),
        )
    n_folds = min(N_FOLDS, len(members))
    _check_fold(fold, n_folds)
    order = _in_order(members, seed)
    unseen = order[fold::n_folds]
    taken = set(unseen)
    training, selection = _with_selection([n for n in order if n not in taken])
    return Split(
        training=_cases_of(training, members),
        selection=_cases_of(selection, members),
        unseen=_cases_of(unseen, members),
        groups=dict(groups or {}),
    )


def group_cases(names: Iterable[str], pattern: str) -> dict[str, str]:
    """Tell of each case to which group, such as a patient, it belongs.

    Parameters
    ----------
    names : iterable of str
    pattern : str
        Regular expression, matched at the beginning of the names. What its first
        parenthesis holds is the group, or all of what it matches.

    Raises
    ------
    ConfigError
        If it is no regular expression.
    DatasetError
        If it does not match a name.
    """
    try:
        rule = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            found=f"the pattern {pattern!r} of groups ({error})",
            needed=r"a regular expression, such as patient\d+",
            do="correct it",
        ) from error
    found: dict[str, str] = {}
    for name in names:
        match = rule.match(name)
        group = "" if match is None else match[1 if rule.groups else 0]
        if not group:
            raise DatasetError(
                found=f"the case {name}, in which {pattern!r} finds no group",
                needed="a pattern that matches the beginning of every name",
                do="correct the pattern, or rename the case",
            )
        found[name] = group
    return found


def _known_groups(table: Path, names: Sequence[str]) -> dict[str, str]:
    """Groups of the cases by a table, which may name others too.

    DatasetError if it does not name one: it could be of a patient who is named.
    """
    groups = read_groups(table)
    missing = [name for name in names if name not in groups]
    if missing:
        raise DatasetError(
            found=f"{table} without {len(missing)} of {len(names)} cases, the first "
            f"{missing[0]}",
            needed=f"the group of every case, by names such as {names[0]}",
            do="complete the table; a case alone is a group of its own",
        )
    return {name: groups[name] for name in names}


def read_split(
    path: Path,
    names: Sequence[str],
    *,
    fold: int,
    groups: Mapping[str, str] | None = None,
) -> Split:
    """Read a split that somebody made.

    Parameters
    ----------
    path : Path
        JSON: lists of names under "training", "unseen" and, if wanted, "selection"; or
        nnU-Net's "train" and "val", which is reported on. One such split, or a list of
        them, of which `fold` chooses one. Cases that it does not name are not used.
    names : sequence of str
        Of the cases that there are.
    fold : int
        From 0.
    groups : mapping, optional
        The group of each name.

    Raises
    ------
    DatasetError
        If it is no such file, names a case that there is not, or names a case or group
        in two parts.
    ConfigError
        If there is no such fold.
    """
    entry = _entry(path, fold)
    keys = _NNUNET if "train" in entry else _PARTS
    parts: dict[str, list[str]] = {"training": [], "selection": [], "unseen": []}
    for key, stated in entry.items():
        if key not in keys or not isinstance(stated, list):
            raise _unusable(path, f"with {key!r:.40}")
        parts[keys[key]] = [str(name) for name in stated]
    _check(path, parts, names, groups)
    if not parts["selection"]:
        members = _members(parts["training"], groups)
        training, selection = _with_selection(_in_order(members, SEED))
        parts["training"] = list(_cases_of(training, members))
        parts["selection"] = list(_cases_of(selection, members))
    for part, found in parts.items():
        if not found:
            raise _unusable(path, f"that leaves no case for {part}")
    sorted_parts = {part: tuple(sorted(found)) for part, found in parts.items()}
    return Split(**sorted_parts, groups=dict(groups or {}))


def _entry(path: Path, fold: int) -> dict[str, Any]:
    """One of the splits of a file."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(
            found=f"the split file {path} cannot be read ({error.strerror or error})",
            needed="a JSON file that says which case is for what",
            do="check the path after --split",
        ) from error
    except ValueError as error:
        raise _unusable(path, f"that cannot be read ({error!s:.200})") from error
    entries = read if isinstance(read, list) else [read]
    if not entries:
        raise _unusable(path, "without any split")
    _check_fold(fold, len(entries), f" of the {len(entries)} in {path}")
    entry = entries[fold]
    if not isinstance(entry, dict):
        raise _unusable(path, "without lists of names")
    return entry


def _check(
    path: Path,
    parts: Mapping[str, Sequence[str]],
    names: Sequence[str],
    groups: Mapping[str, str] | None,
) -> None:
    known, place = set(names), dict[str, str]()
    for part, found in parts.items():
        for name in found:
            if name not in known:
                raise _unusable(path, f"with {name!r:.60}, which is no case")
            group = name if groups is None else groups.get(name, name)
            if place.setdefault(group, part) != part:
                raise _unusable(
                    path, f"with {group!r:.60} in {place[group]} and {part}"
                )
        if len(set(found)) < len(found):
            raise _unusable(path, f"with a case twice in {part}")


def _unusable(path: Path, what: str) -> DatasetError:
    return DatasetError(
        found=f"the split file {path} {what}",
        needed='JSON such as {"training": [NAMES], "unseen": [NAMES]}, or nnU-Net\'s '
        "splits_final.json, every case and group in one part",
        do="correct the file",
    )


def _check_fold(fold: int, n_folds: int, place: str = "") -> None:
    if not 0 <= fold < n_folds:
        last = n_folds - 1
        raise ConfigError(
            found=f"fold {fold}{place}",
            needed=f"0 to {last}" if last else "0, the only one",
            do="choose another --fold",
        )


def _members(
    names: Iterable[str], groups: Mapping[str, str] | None
) -> dict[str, list[str]]:
    """Cases by group; without groups each is its own."""
    members: dict[str, list[str]] = {}
    for name in names:
        group = name if groups is None else groups.get(name, name)
        members.setdefault(group, []).append(name)
    return members


def _in_order(groups: Iterable[str], seed: int) -> list[str]:
    """In an order that depends on seed and names alone."""
    return sorted(groups, key=lambda n: hashlib.sha256(f"{seed} {n}".encode()).digest())


def _with_selection(order: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part what is not reported on into training and selection."""
    selection = list(order[::SELECTION_PART])
    taken = set(selection)
    return [name for name in order if name not in taken], selection


def _cases_of(
    groups: Iterable[str], members: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    return tuple(sorted(name for group in groups for name in members[group]))
