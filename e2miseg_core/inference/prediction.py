"""Predict a volume: labels and the expected-error map in one pass."""

import atexit
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dask.array as da
import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from e2miseg_core.devices import choose_device, choose_precision
from e2miseg_core.fit import check_fit
from e2miseg_core.inference.engine import (
    MIRRORS,
    TilePredictor,
    stream_probabilities,
)
from e2miseg_core.inference.grids import SlabResampler
from e2miseg_core.inference.results import ResultStores
from e2miseg_core.inference.tiling import TileGrid
from e2miseg_core.model import Model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.preprocess import ModelView, measure_normalization
from e2miseg_core.progress import Job, Progress, run
from e2miseg_core.project.predictions import (
    EDGE_MAP,
    ERROR_MAP,
    LABELS,
    PROBABILITIES,
)
from e2miseg_core.uncertainty.calibration import Calibration
from e2miseg_core.uncertainty.error_map import from_uint8
from e2miseg_core.volume import Volume

__all__ = ["Prediction", "PredictionOptions", "predict", "predict_job"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionOptions:
    """How to predict.

    Attributes
    ----------
    device : str
        "auto", "cpu", "cuda", "cuda:1", "mps".
    precision : str
        "auto", "float32", "bfloat16" or "float16".
    overlap : float
        Fraction of a tile shared with its neighbour, in [0, 1).
    mirror : bool
        Average over the mirrored versions that the model was trained with.
    keep_edge_map : bool
        Also work out and store the probability of an edge, if the network has an edge
        head.
    keep_probabilities : bool
        Also store the class probabilities.
    keep_log_probabilities : bool
        Also store them in a byte a class, where there is doubt: what ranking and
        calibration need.
    calibration : Calibration, optional
        Of the error map, instead of the model card's.
    """

    device: str = "auto"
    precision: str = "auto"
    overlap: float = 0.5
    mirror: bool = False
    keep_edge_map: bool = False
    keep_probabilities: bool = False
    keep_log_probabilities: bool = False
    calibration: Calibration | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """The result of a prediction, on the volume's grid, canonical orientation.

    Attributes
    ----------
    labels : dask array of unsigned int, shape (Z, Y, X)
        Label values of the model's card.
    error_map : dask array of float32, shape (Z, Y, X)
        Calibrated chance that the label is wrong, in steps of 1/255.
    edge_map : dask array of float32, shape (Z, Y, X), or None
        Probability that a class ends at the voxel, in steps of 1/255, as the edge
        head of the network sees it; only if it was kept and there is a head.
    probabilities : dask array of float16, shape (C, Z, Y, X), or None
        Only if they were kept.
    folder : Path
        Of the OME-Zarr stores behind these arrays.
    voxels : dict of int to int
        Voxels of each label value.
    expected_wrong : float
        Expected number of wrong voxels: the sum of the error map before it was
        rounded to bytes, which loses what lies below 1/510.
    seconds : float
        Time taken.
    device, precision : str
        What was computed with.
    """

    labels: da.Array
    error_map: da.Array
    edge_map: da.Array | None
    probabilities: da.Array | None
    folder: Path
    voxels: dict[int, int]
    expected_wrong: float
    seconds: float
    device: str
    precision: str


def predict(
    volume: Volume,
    model: Model,
    *,
    options: PredictionOptions | None = None,
    folder: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Prediction:
    """Predict labels and error map; more where the options ask for it.

    Parameters
    ----------
    volume : Volume
        As `open_volume` gives it.
    model : Model
        As `load_model` gives it.
    options : PredictionOptions, optional
    folder : str or Path, optional
        Where the result's stores go. Without it they go to a temporary folder that
        is removed when Python ends.
    on_progress : callable, optional
        Called after every tile.

    Returns
    -------
    Prediction

    Raises
    ------
    ModelError
        If the volume's channels or spacing are not what the model needs.
    DeviceError, ConfigError
        If an option cannot be honoured here.
    """
    if folder is None:
        folder = tempfile.mkdtemp(prefix="e2miseg-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    job = predict_job(volume, model, Path(folder), options or PredictionOptions())
    return run(job, on_progress)


def predict_job(
    volume: Volume, model: Model, folder: Path, options: PredictionOptions
) -> Job[Prediction]:
    """`predict` as a job: it reports after every tile and can be stopped there.

    Yields
    ------
    Progress
        `details["stores"]` of the first step of prediction tells where the stores
        lie, `details["box"]` of later ones which voxels have become final in them.
    """
    started = time.monotonic()
    predictor = _predictor(model, options)
    check_fit(volume, model.card)
    rules = yield from measure_normalization(volume.data, model.card.normalizations)
    view = ModelView(volume, model.card.spacing, rules)
    grid = TileGrid(
        shape=view.shape, patch_size=model.card.patch_size, overlap=options.overlap
    )
    stores = ResultStores(
        folder,
        volume.geometry,
        model.card,
        calibration=options.calibration,
        keep_edge_map=predictor.edge_map,
        keep_probabilities=options.keep_probabilities,
        keep_log_probabilities=options.keep_log_probabilities,
    )
    complete = False
    try:
        where = {name: str(path) for name, path in stores.paths.items()}
        yield Progress(
            done=0, total=grid.n_tiles, stage="predicting", details={"stores": where}
        )
        yield from _fill(predictor, view, grid, stores)
        complete = True
    finally:
        if not complete:  # half a prediction is no prediction
            stores.remove()
    return _read_back(folder, options, stores, time.monotonic() - started, predictor)


def _predictor(model: Model, options: PredictionOptions) -> TilePredictor:
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device, model.card.precisions)
    return TilePredictor(
        network=model.network.to(device),
        device=device,
        precision=precision,
        mirrors=mirrors(model.card) if options.mirror else ((),),
        edge_map=options.keep_edge_map and model.has_edges,
    )


def mirrors(card: ModelCard) -> tuple[tuple[int, ...], ...]:
    """Mirrored versions a model is averaged over: of axes it was trained to mirror."""
    trained = {axis + 2 for axis in card.training.get("mirror_axes", ())}
    return tuple(axes for axes in MIRRORS if set(axes) <= trained)


def _fill(
    predictor: TilePredictor, view: ModelView, grid: TileGrid, stores: ResultStores
) -> Job[None]:
    """Stream tiles to the stores, adding to each step the box it made final."""
    resampler = SlabResampler(grid.shape, stores.geometry.shape)
    finished = []

    def sink(_first: int, slab: NDArray[np.float32]) -> None:
        box = stores.add(resampler.push(slab)[1])
        if box is not None:
            finished.append(box)

    n_channels = len(stores.voxels) + 1 + predictor.edge_map
    for step in stream_probabilities(predictor, view, grid, n_channels, sink):
        details: dict[str, object] = {"box": finished.pop()} if finished else {}
        yield Progress(
            done=step.done, total=step.total, stage=step.stage, details=details
        )


def _read_back(
    folder: Path,
    options: PredictionOptions,
    stores: ResultStores,
    seconds: float,
    predictor: TilePredictor,
) -> Prediction:
    def lazy(name: str) -> da.Array:
        stored = zarr.open_array(str(folder / name / "0"), mode="r")
        array: da.Array = da.from_zarr(stored)  # type: ignore[no-untyped-call]
        return array

    def chances(name: str) -> da.Array:
        shown: da.Array = da.map_blocks(  # type: ignore[no-untyped-call]
            from_uint8, lazy(name), dtype=np.float32
        )
        return shown

    return Prediction(
        labels=lazy(LABELS),
        error_map=chances(ERROR_MAP),
        edge_map=chances(EDGE_MAP) if predictor.edge_map else None,
        probabilities=lazy(PROBABILITIES) if options.keep_probabilities else None,
        folder=folder,
        voxels=stores.voxels,
        expected_wrong=stores.expected_wrong,
        seconds=seconds,
        device=str(torch.device(predictor.device)),
        precision=predictor.precision,
    )
