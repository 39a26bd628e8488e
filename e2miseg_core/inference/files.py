"""From an image file to files of labels, errors and more on its exact grid."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from e2miseg_core.errors import ModelError, WriteError
from e2miseg_core.inference.prediction import (
    Prediction,
    PredictionOptions,
    predict_job,
)
from e2miseg_core.io import (
    is_writable_suffix,
    known_suffixes,
    open_volume,
    write_image,
    write_labels,
)
from e2miseg_core.io.address import AnySource
from e2miseg_core.io.sources import check_no_source, files_of, places_of
from e2miseg_core.model import Model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.progress import Job, Progress
from e2miseg_core.volume import Volume

__all__ = [
    "FilePrediction",
    "OutputPaths",
    "check_edge_map",
    "check_outputs",
    "predict_file",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPaths:
    """Files to write for one image; None where nothing is wanted."""

    labels: Path
    error_map: Path | None = None
    edge_map: Path | None = None
    probabilities: Path | None = None

    def wanted(self) -> list[Path]:
        """The files that will be written."""
        return [self.labels, *self.maps().values()]

    def maps(self) -> dict[str, Path]:
        """Files of numbers; they and fields of `Prediction` have the same names."""
        every = {
            "error_map": self.error_map,
            "edge_map": self.edge_map,
            "probabilities": self.probabilities,
        }
        return {name: path for name, path in every.items() if path is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePrediction:
    """What was written for one image.

    Attributes
    ----------
    image : str
        Its address, as it was given.
    outputs : OutputPaths
    volumes_ml : dict of int to float
        Volume of each label value, in millilitres.
    voxels : dict of int to int
    seconds : float
        Of the prediction; writing comes on top.
    device, precision : str
    notes : tuple of str
        Rules that were applied to read the image.
    """

    image: str
    outputs: OutputPaths
    volumes_ml: dict[int, float]
    voxels: dict[int, int]
    seconds: float
    device: str
    precision: str
    notes: tuple[str, ...]


def check_outputs(
    outputs: OutputPaths, *, overwrite: bool, inputs: Iterable[AnySource] = ()
) -> None:
    """Raise WriteError before any work if an output cannot be written.

    Parameters
    ----------
    outputs : OutputPaths
    overwrite : bool
        Whether existing files may be replaced.
    inputs : iterable of str, Path or Address
        Images, which are never written over, whatever `overwrite` says.
    """
    wanted = outputs.wanted()
    sources = [place for image in inputs for place in places_of(image)]
    for path in wanted:
        check_no_source(path, sources)
    if len({p.resolve() for p in wanted}) < len(wanted):
        raise WriteError(
            found="two outputs with one name",
            needed="a name for each",
            do="give each output a name of its own",
        )
    for path in wanted:
        if not is_writable_suffix(path):
            raise WriteError(
                found=f"the output name {path.name}",
                needed=f"a name ending in {', '.join(known_suffixes(writable=True))}",
                do="choose another name",
            )
        if path.exists() and not overwrite:
            raise WriteError(
                found=f"{path} exists",
                needed="a new name",
                do="choose another name, or add --overwrite",
            )
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise WriteError(
                found=f"no folder {path.parent} to write into",
                needed="a folder that exists and that you may write to",
                do="make the folder, or choose another one",
            )


def check_edge_map(outputs: OutputPaths, model: Model) -> None:
    """Raise ModelError if an edge map is wanted of a model without an edge head."""
    if outputs.edge_map is not None and not model.has_edges:
        raise ModelError(
            found=f"an edge map is wanted of {model.card.name}, without an edge head",
            needed="a model whose network has one",
            do="leave --edge-map out, or train a model with an edge head",
        )


def predict_file(
    image: AnySource,
    outputs: OutputPaths,
    model: Model,
    options: PredictionOptions,
    *,
    overwrite: bool = False,
) -> Job[FilePrediction]:
    """Predict an image file and write the results.

    Intermediate stores lie in a hidden folder beside the labels, which is removed
    whatever happens; files appear under their names when they are complete. What to
    keep follows from `outputs`, whatever `options` say.

    Raises
    ------
    ReadError, GeometryError
        If the image cannot be read.
    WriteError
        If an output cannot be written.
    ModelError
        If the model does not fit the image, or has no edge head for an edge map.
    """
    check_edge_map(outputs, model)
    check_outputs(outputs, overwrite=overwrite, inputs=[image])
    volume = open_volume(image)
    for path in outputs.wanted():  # not only when all is done
        check_no_source(path, list(files_of(volume)))
    options = replace(
        options,
        keep_edge_map=outputs.edge_map is not None,
        keep_probabilities=outputs.probabilities is not None,
        keep_log_probabilities=False,
    )
    beside = outputs.labels.parent
    folder = beside / f".{outputs.labels.name}.{os.getpid()}.partial"
    try:
        result = yield from predict_job(volume, model, folder, options)
        yield Progress(done=0, total=0, stage="writing")
        _write(result, outputs, model.card, like=volume, overwrite=overwrite)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    voxel_ml = volume.geometry.voxel_ml
    return _summary(image, outputs, result, voxel_ml, volume.notes)


def _write(
    result: Prediction,
    outputs: OutputPaths,
    card: ModelCard,
    *,
    like: Volume,
    overwrite: bool,
) -> None:
    write_labels(
        result.labels,
        outputs.labels,
        like=like,
        names=card.label_names,
        colors=card.label_colors,
        model=card.name,
        overwrite=overwrite,
    )
    for name, path in outputs.maps().items():
        write_image(getattr(result, name), path, like=like, overwrite=overwrite)


def _summary(
    image: AnySource,
    outputs: OutputPaths,
    result: Prediction,
    voxel_ml: float,
    notes: tuple[str, ...],
) -> FilePrediction:
    return FilePrediction(
        image=str(image),
        outputs=outputs,
        volumes_ml={value: n * voxel_ml for value, n in result.voxels.items()},
        voxels=result.voxels,
        seconds=result.seconds,
        device=result.device,
        precision=result.precision,
        notes=notes,
    )
