"""What the options of `e2miseg evaluate` mean, and what can be told of them at once."""

from pathlib import Path
from typing import TYPE_CHECKING

from e2miseg_core.errors import ConfigError, WriteError

if TYPE_CHECKING:
    from e2miseg_core.evaluation import Judging, LesionRule, Structure

__all__ = [
    "check_outputs",
    "check_partners",
    "groups_of",
    "judging_of",
    "wanted_structures",
]


def check_outputs(outputs: list[Path | None], *, overwrite: bool) -> None:
    """What can be told before an hour of comparing."""
    wanted = [path for path in outputs if path is not None]
    if len({path.resolve() for path in wanted}) < len(wanted):
        raise WriteError(
            found="two reports of one name",
            needed="a name for each",
            do="choose different names",
        )
    for path in wanted:
        _check_output(path, overwrite=overwrite)


def check_partners(
    predicted: str, reference: str, images: str | None, other: str | None
) -> None:
    """What is used only in the end must be there, and fit, in the beginning."""
    from e2miseg_core.evaluation.pairing import beside, match
    from e2miseg_core.io.address import Address

    there = Address.parse(reference)
    cases = [case for case, _, _ in match(Address.parse(predicted), there)[0]]
    if images is not None:
        beside(Address.parse(images), cases, "images")
    if other is None:
        return
    theirs = {case for case, _, _ in match(Address.parse(other), there)[0]}
    if cases and theirs.isdisjoint(cases):
        raise ConfigError(
            found=f"no case of {predicted} in {other}",
            needed="another prediction of the same cases",
            do="name its files like the reference's",
        )


def _check_output(output: Path, *, overwrite: bool) -> None:
    if output.is_dir() or (output.exists() and not overwrite):
        raise WriteError(
            found=f"{output} exists already",
            needed="a new file for the report",
            do="choose another name"
            + ("" if output.is_dir() else ", or add --overwrite"),
        )
    if not output.absolute().parent.is_dir():
        raise WriteError(
            found=f"the folder {output.parent} is missing",
            needed="an existing folder",
            do="make it first, or choose another",
        )


def wanted_structures(
    preset: str | None, regions: list[str], *, instances: bool
) -> "list[Structure]":
    """What the user wants to be judged together; nothing: every label by itself."""
    from e2miseg_core.evaluation import INSTANCES, PRESETS, parse_region

    if preset is not None and preset not in PRESETS:
        raise ConfigError(
            found=f"the regions {preset}",
            needed=", ".join(PRESETS),
            do="choose one of these, or name regions by --region NAME=VALUES",
        )
    structures = [] if preset is None else list(PRESETS[preset])
    structures += [parse_region(text) for text in regions]
    if instances and structures:
        raise ConfigError(
            found="--instances together with regions",
            needed="one of them",
            do="leave the other out",
        )
    return [INSTANCES] if instances else structures


def judging_of(
    model: str | None,
    structures: "list[Structure]",
    tolerances: tuple[float, ...],
    rule: "LesionRule",
) -> "Judging":
    """Judge the named structures; without any the model's labels; without it all."""
    from e2miseg_core.evaluation import Judging
    from e2miseg_core.evaluation.structures import named_structures

    values = None
    if model is not None:
        names = _names_of(model)
        values = (0, *names)
        structures = structures or list(named_structures(names))
    return Judging(
        structures=tuple(structures) or None,
        tolerances_mm=tolerances,
        lesion_rule=rule,
        class_values=values,
    )


def _names_of(model: str) -> dict[int, str]:
    from e2miseg_core.model_card import read_card
    from e2miseg_core.models import find_model

    return read_card(find_model(model)).label_names


def groups_of(path: Path | None) -> dict[str, str] | None:
    """Group of each case, from a CSV file; None without one."""
    from e2miseg_core.evaluation.pairing import read_groups

    return None if path is None else read_groups(path)
