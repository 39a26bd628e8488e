"""What two settings of a run do not have in common, in a few words."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["told_differences"]

MOST = 2  # that are told
LONGEST = 20  # characters of a value


def told_differences(given: Mapping[str, Any], stored: Mapping[str, Any]) -> str:
    """Name what differs, with both values.

    Parameters
    ----------
    given, stored : mapping
        JSON values; mappings inside are looked into.

    Returns
    -------
    str
        Such as "epochs 5, the run has 3; fold 1, the run has 0".
    """
    ours, theirs = _flat(given), _flat(stored)
    names = [n for n in {**theirs, **ours} if ours.get(n) != theirs.get(n)]
    told = [
        f"{name} {_short(ours.get(name))}, the run has {_short(theirs.get(name))}"
        for name in names[:MOST]
    ]
    more = len(names) - MOST
    return "; ".join(told) + (f"; and {more} more" if more > 0 else "")


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every value by its own name, as the option has it."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value) if isinstance(value, Mapping) else {name: value}
    return found


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
