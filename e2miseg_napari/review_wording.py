"""The review in words: edges, verdicts, progress, and what to do next."""

from collections.abc import Mapping
from dataclasses import replace
from math import floor, isnan, log10

from e2miseg_core.project import Edge, Verdict
from e2miseg_napari.review_queue import Tally

__all__ = [
    "VERDICT_NAMES",
    "as_fine_in_words",
    "classes_in_words",
    "count_in_words",
    "figures_in_words",
    "foreground_in_words",
    "gain_in_words",
    "hit_rate_in_words",
    "next_step_in_words",
    "place_in_words",
    "polygon_in_words",
    "redone_in_words",
    "slices_in_words",
    "step_in_words",
    "tally_in_words",
    "tally_tip_in_words",
    "undone_in_words",
]

VERDICT_NAMES: Mapping[Verdict, str] = {
    "corrected": "Corrected",
    "fine": "Fine as it is",
    "skipped": "Skipped",
}
_ENOUGH = 5  # decided edges before a rate says anything


def classes_in_words(edge: Edge, names: Mapping[int, str]) -> str:
    """Return "lesion, background": what is labelled at an edge, background last."""
    values = sorted(edge.classes, key=lambda value: (value == 0, value))
    return ", ".join(names.get(value, f"label {value}") for value in values)


def foreground_in_words(edge: Edge, names: Mapping[int, str]) -> str:
    """Return the classes at an edge, the background only where it is alone."""
    objects = tuple(value for value in edge.classes if value)
    return classes_in_words(replace(edge, classes=objects or edge.classes), names)


def place_in_words(edge: Edge, names: Mapping[int, str]) -> str:
    """Return "Edge 3: lesion meets background."."""
    if isnan(edge.expected_wrong):
        return f"Edge {edge.number}, from an earlier ranking."
    return f"Edge {edge.number}: {_where(edge, names)}."


def figures_in_words(edge: Edge) -> str:
    """Return "About 37 wrong voxels, +0.012 Dice.", empty where nobody knows."""
    if isnan(edge.expected_wrong):
        return ""
    wrong = count_in_words(edge.expected_wrong)
    noun = "voxel" if wrong in {"1", "< 1"} else "voxels"
    size = f"About {wrong}".replace("About <", "Less than")
    return f"{size} wrong {noun}, {gain_in_words(edge.gain)} Dice."


def count_in_words(voxels: float) -> str:
    """Return an expected number of voxels with two digits that count."""
    if isnan(voxels):
        return "–"
    if voxels < 0.95:
        return "< 1"
    if voxels < 100:
        return f"{voxels:.0f}"
    digits = len(str(int(voxels))) - 2
    return f"{round(voxels, -digits):.0f}"


def gain_in_words(gain: float) -> str:
    """Return an expected gain in Dice with two digits that count, as "+0.012"."""
    if isnan(gain):
        return "–"
    if abs(gain) < 0.00001:
        return "+0.000"
    return f"{gain:+.{max(3, 1 - floor(log10(abs(gain))))}f}"


def as_fine_in_words(edge: Edge) -> str:
    """Tell that "corrected" was noted as "fine"."""
    return f"No label was changed in edge {edge.number}: noted as fine."


def polygon_in_words() -> str:
    """Tell why nothing is moved or decided while a polygon is open."""
    return "Finish the polygon with Enter or drop it with Escape first."


def undone_in_words(edge: Edge) -> str:
    """Tell that a verdict was undone."""
    return f"Undone: edge {edge.number} has no verdict any more."


def redone_in_words(edge: Edge, verdict: Verdict) -> str:
    """Tell that a verdict was brought back."""
    return f"Redone: edge {edge.number}, {VERDICT_NAMES[verdict].lower()}."


def step_in_words(
    done: str, name: str, slices: tuple[int, int] | None, *, on_show: bool
) -> str:
    """Return "Undone: paint in slice 31, which is not on show.".

    Parameters
    ----------
    done : str
        "Undone" or "Redone".
    name : str
        Of the step; empty where there was none.
    slices : tuple of int, optional
        First and last one that it changed; None in three dimensions.
    on_show : bool
        Whether the slice on show is one of them.
    """
    if not name:
        return f"Nothing left to {'undo' if done == 'Undone' else 'redo'}."
    what = {"accept": "a verdict"}.get(name, name)
    if slices is None:
        return f"{done}: {what}."
    first, last = slices
    hint = f", which {'is' if first == last else 'are'} not on show"
    return f"{done}: {what} in {slices_in_words(slices)}{'' if on_show else hint}."


def slices_in_words(slices: tuple[int, int]) -> str:
    """Return "slice 31" or "slices 31 to 35"."""
    first, last = slices
    return f"slice {first}" if first == last else f"slices {first} to {last}"


def tally_in_words(tally: Tally) -> str:
    """Return "4 of 17 done, 1 skipped, 62 % of expected errors"; short: one line."""
    line = f"{tally.done} of {tally.edges} done"
    if tally.skipped:
        line += f", {tally.skipped} skipped"
    if tally.share is not None:
        line += f", {_percent(tally.share)} of expected errors"
    return line


def tally_tip_in_words(note: str) -> str:
    """Tell what the share means; `note` is how the chances were calibrated."""
    line = "Expected errors: how many of them lay in the edges that are done."
    return f"{line} Calibration: {note}" if note else line


def hit_rate_in_words(tally: Tally) -> str:
    """Tell how often the list was right; empty while too few edges are decided."""
    if tally.done < _ENOUGH:
        return ""
    number = str(tally.corrected) if tally.corrected else "None"
    verb = "was" if tally.corrected == 1 else "were"
    return f"{number} of the {tally.done} edges you looked at {verb} really wrong."


def next_step_in_words(tally: Tally) -> str:
    """Tell what to do once every edge has a verdict; empty before."""
    if not tally.edges or tally.undecided:
        return ""
    if not tally.done:
        return "All edges are skipped: press . to see them again, or look for more."
    line = f"Fine-tune on {_edges(tally.done, 'reviewed')}, or add another case."
    if not tally.skipped:
        return line
    verb, them = ("is", "it") if tally.skipped == 1 else ("are", "them")
    skipped = f"{_edges(tally.skipped, 'skipped')} {verb} left"
    return f"{skipped}: press . to see {them} again. {line}"


def _where(edge: Edge, names: Mapping[int, str]) -> str:
    *others, last = classes_in_words(edge, names).split(", ")
    if not edge.classes:
        return "no label"
    if not others:
        return f"only {last} is labelled here"
    if len(others) == 1:
        return f"{others[0]} meets {last}"
    return f"{', '.join(others[:-1])} and {others[-1]} meet {last}"


def _edges(count: int, what: str) -> str:
    return f"{count} {what} edge" if count == 1 else f"{count} {what} edges"


def _percent(share: float) -> str:
    # 99.6 % dealt with is not all.
    return f"{min(round(100 * share), 99 if share < 1 else 100)} %"
