"""The demonstration without a window: predict the sample, write pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.io import imsave
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from e2miseg_core.errors import ModelError
from e2miseg_core.evaluation import average_precision, dice
from e2miseg_core.fit import check_fit
from e2miseg_core.inference.files import OutputPaths, predict_file
from e2miseg_core.inference.prediction import PredictionOptions
from e2miseg_core.io import open_labels, open_volume
from e2miseg_core.model import load_model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.models import list_models
from e2miseg_core.progress import Progress, run
from e2miseg_core.samples import sample_labels_path, sample_path
from e2miseg_core.volume import Volume

__all__ = ["choose_demo_model", "run_headless"]

DEMO_MODEL = "phantom-lesions"
SHOWN_FROM, SHOWN_TO = 0.05, 0.6  # of the error map, as in the window
MAGENTA = (240, 0, 190)  # which no class of a starter model has
PANEL_HEIGHT = 480  # pixels


def choose_demo_model(volume: Volume) -> str:
    """The starter model for the sample; another that fits if it is not installed.

    Raises
    ------
    ModelError
        If no installed model fits.
    """
    entries = {entry.name: entry for entry in list_models()}
    for name in (DEMO_MODEL, *sorted(entries)):
        if name in entries:
            try:
                check_fit(volume, entries[name].card)
            except ModelError:
                continue
            return name
    raise ModelError(
        found="no model that fits the sample volume",
        needed=f"the starter model {DEMO_MODEL!r}",
        do="install the package again; it brings the model",
    )


def run_headless(
    folder: Path, on_progress: Callable[[Progress], None] | None = None
) -> str:
    """Predict the sample volume; write labels, error map and pictures.

    Parameters
    ----------
    folder : Path
        Made if need be; files of an earlier demonstration in it are replaced.
    on_progress : callable, optional

    Returns
    -------
    str
        What was done, with figures, for people.
    """
    folder.mkdir(parents=True, exist_ok=True)
    volume = open_volume(sample_path())
    model = load_model(choose_demo_model(volume))
    outputs = OutputPaths(
        labels=folder / "labels.nii.gz", error_map=folder / "error_map.nii.gz"
    )
    job = predict_file(
        sample_path(), outputs, model, PredictionOptions(), overwrite=True
    )
    result = run(job, on_progress)
    image = np.asarray(volume.data[0])
    labels = np.asarray(open_labels(outputs.labels).data[0])
    errors = np.asarray(open_volume(folder / "error_map.nii.gz").data[0])
    truth = np.asarray(open_labels(sample_labels_path()).data[0])
    picture = folder / "prediction.png"
    _write_picture(picture, volume, (image, labels, errors), model.card)
    return _summary(result.seconds, labels, truth, errors, [*outputs.wanted(), picture])


def _summary(
    seconds: float,
    labels: NDArray[Any],
    truth: NDArray[Any],
    errors: NDArray[np.float32],
    files: list[Path | Any],
) -> str:
    wrong = labels != truth
    found = average_precision(errors.ravel(), wrong.ravel())
    lines = [
        f"Predicted the sample volume in {seconds:.1f} s: "
        f"Dice {dice(labels > 0, truth > 0):.3f} against its exact truth.",
        f"The error map finds the wrong voxels with an average precision of {found:.2f}"
        f" (chance: {wrong.mean():.3f}).",
        "Written: " + ", ".join(str(file) for file in files),
        "The picture shows a slice three times: the image, the labels, and in magenta "
        "where the labels may be wrong.",
        "With a display, the demonstration opens napari instead.",
    ]
    return "\n".join(lines)


def _write_picture(
    path: Path,
    volume: Volume,
    arrays: tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]],
    card: ModelCard,
) -> None:
    """Image, labels and error map side by side, in the slice of most expected error."""
    image, labels, errors = arrays
    row = int(errors.sum(axis=(1, 2)).argmax())
    grey = _grey(image[row], image)
    height = volume.geometry.spacing[1] / volume.geometry.spacing[2]
    panels = [
        grey,
        _with_labels(grey, labels[row], card),
        _with_errors(grey, errors[row]),
    ]
    shape = grey.shape[:2]
    size = (PANEL_HEIGHT, round(PANEL_HEIGHT * shape[1] / (shape[0] * height)))
    # Nearest neighbour: a voxel stays a voxel.
    scaled = [
        resize(panel, size, order=0, preserve_range=True)  # type: ignore[no-untyped-call]
        for panel in panels
    ]
    joined = np.concatenate(scaled, axis=1)
    imsave(path, np.clip(joined, 0, 255).astype(np.uint8), check_contrast=False)


def _grey(plane: NDArray[Any], image: NDArray[Any]) -> NDArray[np.float64]:
    low, high = np.percentile(image, [1, 99.5])
    level = np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.repeat(level[..., None].astype(np.float64), 3, axis=2)


def _with_labels(
    grey: NDArray[np.float64], labels: NDArray[Any], card: ModelCard
) -> NDArray[np.float64]:
    shown = grey.copy()
    for label in card.labels:
        color = [int(label.color[i : i + 2], 16) for i in (1, 3, 5)]
        mask = labels == label.value
        edge = find_boundaries(mask, mode="inner")  # type: ignore[no-untyped-call]
        shown[mask] *= 0.8
        shown[mask] += 0.2 * np.array(color)
        shown[edge] = color
    return shown


def _with_errors(
    grey: NDArray[np.float64], errors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Magenta as in the window, stronger with the chance of error; none below 5 %."""
    level = np.clip((errors - SHOWN_FROM) / (SHOWN_TO - SHOWN_FROM), 0, 1)[..., None]
    color = np.array(MAGENTA, dtype=np.float32)
    opacity = np.where(errors[..., None] > SHOWN_FROM, 0.35 + 0.55 * level, 0)
    mixed: NDArray[np.float64] = grey * (1 - opacity) + color * opacity
    return mixed
