"""Why the pixels of a file cannot be shown, and what helps."""

from dataclasses import dataclass

__all__ = ["MOSAIC", "Problem", "cut_off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is the matter with a file.

    Attributes
    ----------
    found : str
        What follows the name of the file in a sentence.
    kind : str
        What such files are, in a note on the others of the series.
    needed, do : str
        As in an error.
    """

    found: str
    kind: str
    needed: str
    do: str


# Their true places stand in a vendor's own tags only.
MOSAIC = Problem(
    found="is a mosaic of slices side by side in one picture",
    kind="mosaics of slices",
    needed="one picture a slice",
    do="convert the series, for example with dcm2niix",
)


def cut_off(found: str) -> Problem:
    """Describe a file that holds less than it announces."""
    return Problem(
        found=found,
        kind="cut off",
        needed="a whole file",
        do="copy or export the series again",
    )
