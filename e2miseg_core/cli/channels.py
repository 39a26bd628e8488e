"""The channels of a case from several files, named or numbered."""

import re
from pathlib import Path

from e2miseg_core.errors import ConfigError
from e2miseg_core.model_card import read_card
from e2miseg_core.models import find_model

__all__ = ["named_case", "with_numbered_cases"]

_NUMBERED = re.compile(r"(.+)_(\d{4})")  # of nnU-Net: case, and its channel
_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")  # stacks of TIFF bear numbers too


def named_case(channels: list[str], model: Path | str) -> str:
    """Return the address of the images given as NAME=FILE, in the model's order.

    Parameters
    ----------
    channels : list of str
        The first one's grid is that of the case.
    model : Path or str
        File or name.

    Raises
    ------
    ConfigError
        If they are not exactly the model's channels.
    """
    from e2miseg_core.io.channels.names import channels_address

    wanted = read_card(find_model(model)).channels
    known = {name.casefold(): name for name in wanted}
    given: dict[str, str] = {}
    for word in channels:
        name, _, file = word.partition("=")
        own = known.get(name.strip().casefold(), name.strip())
        if not own or not file or own in given:
            raise ConfigError(
                found=f"the channel {word!r}",
                needed="NAME=FILE, every name once",
                do="write it so, such as --channels CT=ct.nii.gz",
            )
        given[own] = file
    if set(given) != set(wanted):
        raise ConfigError(
            found=f"the channels {', '.join(given)}",
            needed=f"those of the model: {', '.join(wanted)}",
            do="name each of them once with --channels NAME=FILE",
        )
    ordered = {name: given[name] for name in wanted}
    return str(channels_address(ordered, grid=next(iter(given))))


def with_numbered_cases(images: list[str], model: Path | str) -> dict[str, str]:
    """Replace folders of nnU-Net's CASE_0000.nii.gz by the cases in them.

    Returns names of cases by addresses; empty where the address gives the name.

    Parameters
    ----------
    images : list of str
        Folders that hold no such files, and all else, stay as they are.
    model : Path or str
        File or name; its channels have the numbers 0000, 0001, ...

    Raises
    ------
    ConfigError
        If a case has other channels than the model.
    """
    cases: dict[str, str] = {}
    for image in images:
        found = _numbered(Path(image).expanduser())
        cases.update(_addresses(found, model) if found else {image: ""})
    return cases


def _numbered(folder: Path) -> dict[str, dict[int, Path]]:
    """Files by case and number of the channel."""
    from e2miseg_core.io import split_suffix

    found: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        stem, suffix = split_suffix(path)
        match = _NUMBERED.fullmatch(stem)
        if match and suffix.lower() in _SUFFIXES and path.is_file():
            found.setdefault(match[1], {})[int(match[2])] = path
    return found


def _addresses(cases: dict[str, dict[int, Path]], model: Path | str) -> dict[str, str]:
    from e2miseg_core.io.channels.names import channels_address

    wanted = read_card(find_model(model)).channels
    addresses = {}
    for case, files in cases.items():
        if sorted(files) != list(range(len(wanted))):
            numbers = ", ".join(f"{number:04d}" for number in sorted(files))
            raise ConfigError(
                found=f"the channels {numbers} of the case {case}",
                needed=f"one for each of the model's: {', '.join(wanted)}",
                do="add the missing files, or choose another model",
            )
        named = {name: files[number] for number, name in enumerate(wanted)}
        only = len(wanted) == 1
        addresses[str(files[0] if only else channels_address(named))] = case
    return addresses
