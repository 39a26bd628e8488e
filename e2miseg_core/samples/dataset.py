"""Phantoms as files: a data set to train on, and the bundled sample."""

import gzip
import json
from pathlib import Path

import nibabel as nib

from e2miseg_core.errors import ConfigError, WriteError
from e2miseg_core.progress import Job, Progress
from e2miseg_core.samples.phantom import (
    DEFAULT_SHAPE,
    Phantom,
    check_kind,
    generate_phantom,
)

__all__ = [
    "generate_sample",
    "write_phantom",
    "write_phantom_dataset",
    "write_phantoms",
    "write_sample",
]

CHANNEL = "MR"
LABELS = {"background": 0, "lesion": 1}
MOST_CASES = 10000  # and the first seed of a set
SAMPLE_SEED = 28
SAMPLE_SHAPE = (64, 112, 96)


def write_phantom(phantom: Phantom, image: Path, labels: Path) -> None:
    """Write a phantom as two .nii.gz files; the same phantom gives the same bytes.

    Parameters
    ----------
    phantom : Phantom
    image, labels : Path
        Files that are replaced where they exist.
    """
    for array, path in ((phantom.image, image), (phantom.labels, labels)):
        affine = phantom.geometry.affine_xyz
        nifti = nib.Nifti1Image(array.T, affine)  # type: ignore[no-untyped-call]
        nifti.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
        nifti.set_qform(affine, code=1)  # type: ignore[no-untyped-call]
        nifti.set_sform(affine, code=1)  # type: ignore[no-untyped-call]
        # No time stamp and no name, which would make each run's bytes its own.
        path.write_bytes(gzip.compress(nifti.to_bytes(), compresslevel=9, mtime=0))


def write_phantoms(
    folder: str | Path,
    n_cases: int,
    seed: int,
    *,
    shape: tuple[int, int, int] = DEFAULT_SHAPE,
    lesion_kind: str = "bright",
) -> Job[Path]:
    """Write a training set of phantoms, a step for each case.

    Parameters
    ----------
    folder : str or Path
        Made where it is absent; gets imagesTr, labelsTr and dataset.json, the layout of
        the Medical Segmentation Decathlon.
    n_cases : int
        At least 1.
    seed : int
        Not negative. Case number i is the phantom of seed (`seed` + 1) * 10000 + i, so
        that no set holds the bundled sample.
    shape : tuple of int
        Voxels of each case, ZYX.
    lesion_kind : str
        "bright" or "ringed", see `generate_phantom`. Cases of ringed lesions are named
        after them, so that nobody takes them for those a model was trained on.

    Yields
    ------
    Progress

    Returns
    -------
    Path
        Of dataset.json.

    Raises
    ------
    ConfigError
        If there are no cases or more than 10000, the seed is negative, or there is no
        such kind of lesion.
    WriteError
        If the folder holds a data set already, or cannot be written.
    """
    folder = Path(folder)
    if not 1 <= n_cases <= MOST_CASES or seed < 0:
        raise ConfigError(
            found=f"{n_cases} cases with seed {seed}",
            needed=f"1 to {MOST_CASES} cases, and a seed of 0 or more",
            do="ask for other numbers",
        )
    check_kind(lesion_kind)
    card = folder / "dataset.json"
    if card.exists():
        raise WriteError(
            found=f"{card} exists already",
            needed="a folder without a data set",
            do="choose another folder, or remove this one",
        )
    _make_folders(folder)
    stem = "phantom" if lesion_kind == "bright" else lesion_kind
    cases = [f"{stem}_{number:04d}" for number in range(n_cases)]
    for number, case in enumerate(cases):
        phantom = generate_phantom(
            (seed + 1) * MOST_CASES + number, shape, lesion_kind=lesion_kind
        )
        name = f"{case}.nii.gz"
        write_phantom(phantom, folder / "imagesTr" / name, folder / "labelsTr" / name)
        yield Progress(done=number + 1, total=n_cases, stage="making phantoms")
    description = _describe(cases, seed, shape, lesion_kind)
    card.write_text(json.dumps(description, indent=2) + "\n")
    return card


def write_phantom_dataset(
    folder: str | Path,
    n_cases: int,
    seed: int,
    *,
    shape: tuple[int, int, int] = DEFAULT_SHAPE,
    lesion_kind: str = "bright",
) -> Path:
    """Like `write_phantoms`, all at once."""
    job = write_phantoms(folder, n_cases, seed, shape=shape, lesion_kind=lesion_kind)
    while True:
        try:
            next(job)
        except StopIteration as end:
            return Path(end.value)


def generate_sample() -> Phantom:
    """Make the bundled sample anew."""
    return generate_phantom(SAMPLE_SEED, SAMPLE_SHAPE, n_lesions=7)


def write_sample(folder: str | Path) -> tuple[Path, Path]:
    """Write the bundled sample, image and labels, into a folder that exists."""
    image = Path(folder) / "phantom.nii.gz"
    labels = Path(folder) / "phantom_labels.nii.gz"
    write_phantom(generate_sample(), image, labels)
    return image, labels


def _make_folders(folder: Path) -> None:
    for name in ("imagesTr", "labelsTr"):
        try:
            (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(
                found=f"{folder / name} cannot be made ({error.strerror})",
                needed="a folder that may be written",
                do="choose another folder",
            ) from error


def _describe(
    cases: list[str], seed: int, shape: tuple[int, int, int], lesion_kind: str
) -> dict[str, object]:
    bright = lesion_kind == "bright"
    kind = "lesions" if bright else f"{lesion_kind} lesions"
    return {
        "name": "phantom-lesions" if bright else f"phantom-{lesion_kind}-lesions",
        "description": f"Seeded phantoms with {kind} (seed {seed}, shape {shape})",
        "licence": "CC0-1.0",
        "tensorImageSize": "3D",
        "channel_names": {"0": CHANNEL},
        "modality": {"0": CHANNEL},
        "labels": LABELS,
        "file_ending": ".nii.gz",
        "numTraining": len(cases),
        "numTest": 0,
        "training": [
            {
                "image": f"./imagesTr/{case}.nii.gz",
                "label": f"./labelsTr/{case}.nii.gz",
            }
            for case in cases
        ],
        "test": [],
    }
