"""Find the cases of a training set on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from e2miseg_core.errors import DatasetError
from e2miseg_core.io import Address, open_labels, open_volume, split_suffix
from e2miseg_core.io.listing import list_images
from e2miseg_core.model_card import LabelInfo, default_color
from e2miseg_core.training.description import (
    read_description,
    stated_channels,
    stated_labels,
)

__all__ = ["Case", "Dataset", "find_dataset", "pair_folders"]

Source: TypeAlias = Path | Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: an image, or one a channel, and its labels.

    Label values of `background` are read as 0.
    """

    name: str
    images: tuple[Source, ...]
    labels: Source
    background: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The cases of a training set, with names for labels and channels.

    Attributes
    ----------
    name : str
    cases : tuple of Case
        In the order of their names.
    labels : tuple of LabelInfo
        Foreground labels by value.
    channels : tuple of str
    licence : str
        As the data set states it, else "unknown".
    """

    name: str
    cases: tuple[Case, ...]
    labels: tuple[LabelInfo, ...]
    channels: tuple[str, ...]
    licence: str = "unknown"

    @property
    def label_names(self) -> dict[int, str]:
        """Name of each label value above 0."""
        return {label.value: label.name for label in self.labels}

    def only(self, wanted: str) -> "Dataset":
        """The data set with one label, by name or value; the others are background.

        Raises
        ------
        DatasetError
            If there is no such label.
        """
        kept = tuple(
            label
            for label in self.labels
            if wanted.casefold() in (label.name.casefold(), str(label.value))
        )
        if len(kept) != 1:
            known = ", ".join(f"{v} ({name})" for v, name in self.label_names.items())
            raise DatasetError(
                found=f"{len(kept) or 'no'} labels {wanted!r}",
                needed=f"the name or value of one of {known}",
                do="correct --only-label",
            )
        others = tuple(v for v in self.label_names if v != kept[0].value)
        cases = tuple(replace(case, background=others) for case in self.cases)
        return replace(self, labels=kept, cases=cases)


def find_dataset(
    folder: str | Path, *, label_names: Mapping[int, str] | None = None
) -> Dataset:
    """Recognise a data set folder by its layout.

    Parameters
    ----------
    folder : str or Path
        Medical Segmentation Decathlon and nnU-Net v1 (`imagesTr`, `labelsTr`,
        `dataset.json` with a list of cases), nnU-Net v2 (`imagesTr` with `_0000`
        names), or `images` and `labels`. Images may be files or folders of any format
        that is read.
    label_names : mapping, optional
        Names by label value, instead of those in `dataset.json`.

    Raises
    ------
    DatasetError
        If the layout is another one, or a case lacks a file.
    """
    folder = Path(folder)
    description = read_description(folder / "dataset.json")
    if (folder / "imagesTr").is_dir():
        images, labels = folder / "imagesTr", folder / "labelsTr"
    else:
        images, labels = folder / "images", folder / "labels"
    if not images.is_dir() or not labels.is_dir():
        raise DatasetError(
            found=f"{folder} without the folders of a data set",
            needed="imagesTr and labelsTr with dataset.json, or images and labels",
            do="arrange the files so",
        )
    return pair_folders(
        images,
        labels,
        name=folder.resolve().name,
        description=description,
        label_names=label_names,
    )


def pair_folders(
    images: str | Path,
    labels: str | Path,
    *,
    name: str | None = None,
    description: Mapping[str, Any] | None = None,
    label_names: Mapping[int, str] | None = None,
) -> Dataset:
    """Pair the images of one folder with the labels of another by file name.

    Parameters
    ----------
    images, labels : str or Path
        Folders; a label file bears its image's name, less a channel's `_0000`. As text
        also with what to open in each file, such as ``cases#part=/label``.
    name : str, optional
        Of the data set.
    description : mapping, optional
        The contents of a `dataset.json`. Where it names no channels, there are as many
        as files of a case, or as in its one file.
    label_names : mapping, optional
        Names by label value; without any, the values are read from the files.

    Raises
    ------
    DatasetError
        If no pair is found, or an image or label stands alone.
    """
    description = description or {}
    ending = str(description.get("file_ending", ""))
    cases = _pair(_list(images, ending), _list(labels, ending), images, labels)
    channels = stated_channels(description) or _found_channels(cases)
    _check_channels(cases, channels)
    names = dict(label_names or stated_labels(description) or _scan_labels(cases))
    if not any(names):
        raise DatasetError(
            found=f"no label value above 0 in {labels}",
            needed="at least one structure to learn",
            do="label it, or name the folder of labels",
        )
    _check_names(names)
    return Dataset(
        name=name or Address.parse(str(images)).path.resolve().parent.name,
        cases=cases,
        labels=tuple(
            LabelInfo(value=value, name=names[value], color=default_color(index))
            for index, value in enumerate(sorted(v for v in names if v != 0))
        ),
        channels=channels,
        licence=str(description.get("licence", description.get("license", "unknown"))),
    )


def _check_names(names: Mapping[int, str]) -> None:
    """DatasetError where two labels have one name: their figures could not be told."""
    values: dict[str, int] = {}
    for value, name in names.items():
        first = values.setdefault(name, value)
        if value != 0 and first != value:
            raise DatasetError(
                found=f"the name {name!r} for the labels {first} and {value}",
                needed="a name of its own for each",
                do="correct dataset.json, or name them by --label",
            )


def _scan_labels(cases: tuple[Case, ...]) -> dict[int, str]:
    values: set[int] = set()
    for case in cases:
        volume = open_labels(case.labels)
        for block in volume.data.blocks.ravel():
            values.update(int(v) for v in np.unique(np.asarray(block)))
    return {value: f"label {value}" for value in sorted(values)}


def _list(folder: str | Path, ending: str) -> dict[str, Source]:
    """The images in a folder by file name, less the suffix, in order."""
    address = Address.parse(folder)
    try:
        paths = [path for path in list_images(address.path) if _ends(path, ending)]
    except OSError as error:
        raise DatasetError(
            found=f"{address.place} cannot be read ({error.strerror or error})",
            needed="a folder of images, and one of labels",
            do="check the path",
        ) from error
    found: dict[str, Source] = {}
    for path in paths:
        stem = split_suffix(path)[0]
        if stem in found:
            raise DatasetError(
                found=f"{found[stem]} and {path.name}",
                needed="one image of a name",
                do="remove one of them",
            )
        inside = replace(address, place=str(path))
        found[stem] = path if str(inside) == str(path) else inside
    return found


def _ends(path: Path, ending: str) -> bool:
    return path.name.endswith(ending)


def _pair(
    images: Mapping[str, Source],
    labels: Mapping[str, Source],
    image_folder: str | Path,
    label_folder: str | Path,
) -> tuple[Case, ...]:
    by_case: dict[str, list[str]] = {}
    for stem in images:
        by_case.setdefault(_case_name(stem, labels), []).append(stem)
    if not by_case:
        raise DatasetError(
            found=f"no image in {image_folder}",
            needed="for each image a label file of the same name",
            do="check the path",
        )
    odd = _told(sorted(set(by_case) - set(labels)), "image", "a label file")
    odd += _told(sorted(set(labels) - set(by_case)), "label file", "an image")
    if odd:
        raise DatasetError(
            found=", and ".join(odd),
            needed="for each image a label file of the same name",
            do=f"add or remove the odd files in {image_folder} and {label_folder}",
        )
    for name, stems in by_case.items():
        wanted = [f"{name}_{n:04d}" for n in range(len(stems))]
        if len(stems) > 1 and stems != wanted:
            (missing, *_) = [stem for stem in wanted if stem not in stems]
            raise DatasetError(
                found=f"the files {', '.join(stems)} of the case {name}: {missing} is "
                "missing",
                needed=f"{name}_0000, {name}_0001 and so on, one a channel",
                do="add the missing channel, or correct the names",
            )
    return tuple(
        Case(
            name=name,
            images=tuple(images[stem] for stem in by_case[name]),
            labels=labels[name],
        )
        for name in sorted(by_case)
    )


def _told(names: Sequence[str], what: str, partner: str) -> list[str]:
    """Files without their partner in a few words, if there are any."""
    if not names:
        return []
    some = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
    return [f"{len(names)} {what}{'s' * (len(names) > 1)} without {partner} ({some})"]


def _case_name(stem: str, labels: Mapping[str, Source]) -> str:
    """Name of the case: the label's, to which nnU-Net adds a channel number.

    Cases may end in four digits themselves; only the labels can tell.
    """
    is_channel = stem[-5:-4] == "_" and stem[-4:].isdigit()
    return stem[:-5] if is_channel and stem[:-5] in labels else stem


def _found_channels(cases: Sequence[Case]) -> tuple[str, ...]:
    """Names of the channels where nobody states them."""
    n_files = len(cases[0].images)
    if n_files > 1:
        return tuple(f"channel {number}" for number in range(n_files))
    volume = open_volume(cases[0].images[0])
    return volume.channels if volume.n_channels > 1 else ("image",)


def _check_channels(cases: Sequence[Case], channels: Sequence[str]) -> None:
    """Raise DatasetError where a case has neither one file nor one a channel."""
    for case in cases:
        if len(case.images) not in (1, len(channels)):
            fewer = len(case.images) < len(channels)
            missing = f": {case.name}_{len(case.images):04d} is missing" * fewer
            raise DatasetError(
                found=f"{len(case.images)} image files for the case {case.name}"
                + missing,
                needed=f"{len(channels)}, one a channel ({', '.join(channels)})",
                do="add the missing channel, or correct dataset.json",
            )
