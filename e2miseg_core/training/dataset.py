"""Find the cases of a training set on disk."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from e2miseg_core.errors import ConfigError, DatasetError
from e2miseg_core.io import open_labels, split_suffix
from e2miseg_core.io.listing import list_images
from e2miseg_core.model_card import LabelInfo, default_color

__all__ = ["Case", "Dataset", "Split", "find_dataset", "pair_folders", "split_cases"]

N_FOLDS = 5
SELECTION_PART = 8  # one of so many training cases chooses the checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: a file a channel, and its labels."""

    name: str
    images: tuple[Path, ...]
    labels: Path


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
    """

    training: tuple[str, ...]
    selection: tuple[str, ...]
    unseen: tuple[str, ...]


def find_dataset(
    folder: str | Path, *, label_names: Mapping[int, str] | None = None
) -> Dataset:
    """Recognise a data set folder by its layout.

    Parameters
    ----------
    folder : str or Path
        Medical Segmentation Decathlon and nnU-Net v1 (`imagesTr`, `labelsTr`,
        `dataset.json` with a list of cases), nnU-Net v2 (`imagesTr` with `_0000`
        names), or `images` and `labels`.
    label_names : mapping, optional
        Names by label value, instead of those in `dataset.json`.

    Raises
    ------
    DatasetError
        If the layout is another one, or a case lacks a file.
    """
    folder = Path(folder)
    description = _read_description(folder / "dataset.json")
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
        Folders; a label file bears its image's name, less a channel's `_0000`.
    name : str, optional
        Of the data set.
    description : mapping, optional
        The contents of a `dataset.json`.
    label_names : mapping, optional
        Names by label value; without any, the values are read from the files.

    Raises
    ------
    DatasetError
        If no pair is found, or an image or label stands alone.
    """
    images, labels = Path(images), Path(labels)
    description = description or {}
    channels = _channel_names(description)
    cases = _pair(images, labels, len(channels))
    names = dict(label_names or _label_names(description) or _scan_labels(cases))
    return Dataset(
        name=name or images.resolve().parent.name,
        cases=cases,
        labels=tuple(
            LabelInfo(value=value, name=names[value], color=default_color(index))
            for index, value in enumerate(sorted(v for v in names if v != 0))
        ),
        channels=channels,
        licence=str(description.get("licence", description.get("license", "unknown"))),
    )


def split_cases(names: list[str], *, fold: int, seed: int = 12345) -> Split:
    """Split cases into training, selection and unseen ones.

    The order is that of a hash of seed and name, so adding a case moves no other
    between folds by more than its place.

    Parameters
    ----------
    names : list of str
        At least 3.
    fold : int
        0 to 4; the unseen fifth.
    seed : int

    Raises
    ------
    DatasetError
        If there are fewer than 3 cases.
    ConfigError
        If there is no such fold.
    """
    if len(names) < 3:
        raise DatasetError(
            found=f"{len(names)} labelled cases",
            needed="at least 3: to train, to choose the checkpoint, to report",
            do="label more cases",
        )
    if not 0 <= fold < N_FOLDS:
        raise ConfigError(
            found=f"fold {fold}", needed=f"0 to {N_FOLDS - 1}", do="choose another fold"
        )
    order = sorted(names, key=lambda n: hashlib.sha256(f"{seed} {n}".encode()).digest())
    n_folds = min(N_FOLDS, len(order))
    unseen = order[fold % n_folds :: n_folds]
    rest = [name for name in order if name not in set(unseen)]
    selection = rest[::SELECTION_PART]
    training = [name for name in rest if name not in set(selection)]
    if not training:  # three cases: one each
        training, selection = rest[1:], rest[:1]
    return Split(
        training=tuple(sorted(training)),
        selection=tuple(sorted(selection)),
        unseen=tuple(sorted(unseen)),
    )


def _read_description(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            found=f"{path} that is not readable JSON ({error})",
            needed="a description as the Decathlon or nnU-Net write it",
            do="mend the file, or remove it",
        ) from error
    return read if isinstance(read, dict) else {}


def _channel_names(description: Mapping[str, Any]) -> tuple[str, ...]:
    stated = description.get("channel_names", description.get("modality"))
    if not isinstance(stated, dict) or not stated:
        return ("image",)
    return tuple(str(stated[key]) for key in sorted(stated, key=int))


def _label_names(description: Mapping[str, Any]) -> dict[int, str]:
    """Names by value; the Decathlon maps value to name, nnU-Net v2 name to value."""
    stated = description.get("labels")
    if not isinstance(stated, dict):
        return {}
    try:
        if all(str(key).isdigit() for key in stated):
            return {int(value): str(name) for value, name in stated.items()}
        return {int(value): str(name) for name, value in stated.items()}
    except (TypeError, ValueError) as error:
        raise DatasetError(
            found=f"labels {stated} in dataset.json",
            needed="one whole number a label",
            do="train on plain labels; regions are not supported",
        ) from error


def _scan_labels(cases: tuple[Case, ...]) -> dict[int, str]:
    values: set[int] = set()
    for case in cases:
        volume = open_labels(case.labels)
        for block in volume.data.blocks.ravel():
            values.update(int(v) for v in np.unique(np.asarray(block)))
    return {value: f"label {value}" for value in sorted(values)}


def _pair(images: Path, labels: Path, n_channels: int) -> tuple[Case, ...]:
    by_label = {split_suffix(path)[0]: path for path in list_images(labels)}
    by_case: dict[str, list[Path]] = {}
    for path in list_images(images):
        by_case.setdefault(_case_name(path, by_label), []).append(path)
    alone = sorted(set(by_case) ^ set(by_label))
    if alone or not by_case:
        raise DatasetError(
            found=f"{len(alone)} names without a partner ({', '.join(alone[:3])})"
            if alone
            else f"no image in {images}",
            needed="for each image a label file of the same name",
            do=f"add or remove the odd files in {images} and {labels}",
        )
    for name, paths in by_case.items():
        if len(paths) != n_channels:
            raise DatasetError(
                found=f"{len(paths)} image files for the case {name}",
                needed=f"{n_channels}, one a channel",
                do="add the missing channel, or correct dataset.json",
            )
    return tuple(
        Case(name=name, images=tuple(by_case[name]), labels=by_label[name])
        for name in sorted(by_case)
    )


def _case_name(path: Path, by_label: Mapping[str, Path]) -> str:
    """Name of the case: the label's, to which nnU-Net adds a channel number.

    Cases may end in four digits themselves; only the labels can tell.
    """
    stem = split_suffix(path)[0]
    is_channel = stem[-5:-4] == "_" and stem[-4:].isdigit()
    return stem[:-5] if is_channel and stem not in by_label else stem
