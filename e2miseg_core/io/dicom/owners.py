"""Whose the series of a folder are: letters instead of names."""

from collections.abc import Sequence
from string import ascii_uppercase

from e2miseg_core.io.dicom.header import Header

__all__ = ["name_owners"]


def name_owners(headers: Sequence[Header]) -> list[str]:
    """Tell patients apart, or studies where a patient's number is blank.

    Parameters
    ----------
    headers : sequence of Header
        One a series.

    Returns
    -------
    list of str
        Such as "patient A", one a series; all empty where there is one patient only.
    """
    is_known = all(header.patient_key for header in headers)
    owners = [
        header.patient_key if is_known else header.study_uid for header in headers
    ]
    order = {owner: number for number, owner in enumerate(dict.fromkeys(owners))}
    if len(order) < 2 or "" in order:
        return [""] * len(owners)
    word = "patient" if is_known else "study"
    return [f"{word} {_letters(order[owner])}" for owner in owners]


def _letters(number: int) -> str:
    """A to Z, then AA, AB, as the columns of a table."""
    before, last = divmod(number, len(ascii_uppercase))
    return (_letters(before - 1) if before else "") + ascii_uppercase[last]
