"""Prediction into a project, and the uncertain edges that come with it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from e2miseg_core.inference.prediction import (
    Prediction,
    PredictionOptions,
    predict_job,
)
from e2miseg_core.model import Model
from e2miseg_core.progress import Job
from e2miseg_core.project import (
    Case,
    CasePrediction,
    EdgeList,
    LabelStore,
    ProjectInUse,
    ProjectLock,
    complete_prediction,
)
from e2miseg_core.project.lock import updating
from e2miseg_core.project.predictions import LABELS, LOG_PROBABILITIES, PREDICTION
from e2miseg_core.uncertainty.edges import (
    calibration_in_force,
    model_calibration,
    rank_edges,
    rank_stores,
    version_of,
)
from e2miseg_core.volume import Volume

__all__ = ["predict_case_job", "predict_into_labels_job", "volume_edges_job"]


def predict_case_job(
    case: Case, model: Model, options: PredictionOptions, *, version: int
) -> Job[CasePrediction]:
    """Predict a case of a project and rank its uncertain edges.

    The new prediction is not merged into the labels: that is for the program that
    holds the project's lock.

    Parameters
    ----------
    case : Case
    model : Model
        That of `version`.
    options : PredictionOptions
        Calibration, log-probabilities and edge map are seen to here.
    version : int
        Number of the project's model version.

    Returns
    -------
    CasePrediction
        Complete: all its stores, its edges and its figures.

    Yields
    ------
    Progress
        As `predict_job`, then of the ranking.

    Raises
    ------
    ReadError
        If the image is gone or another one, or the project lacks the version.
    ModelError, DeviceError, ConfigError, WriteError
        As `predict_job`.
    """
    volume = case.open_image()
    calibration, _ = calibration_in_force(
        case.project, version_of(case.project, version)
    )
    options = replace(
        options,
        keep_edge_map=True,
        keep_log_probabilities=True,
        calibration=calibration,
    )
    with _new_folder(case) as folder:
        result = yield from predict_job(volume, model, folder, options)
        begun = CasePrediction(
            number=int(folder.name), folder=folder, version=version, figures={}, made=""
        )
        ranked = yield from rank_edges(case, prediction=begun)
        figures = _figures(result, ranked)
        complete_prediction(folder, version=version, figures=figures)
    return next(p for p in case.predictions() if p.number == begun.number)


def predict_into_labels_job(
    store: LabelStore, model: Model, options: PredictionOptions, *, version: int
) -> Job[CasePrediction]:
    """Predict a case, and give its labels to all voxels without a human's word.

    Parameters
    ----------
    store : LabelStore
        Labels of the case, open for editing.
    model, options, version
        As for `predict_case_job`.

    Yields
    ------
    Progress
        As `predict_case_job`, then of the merge.
    """
    prediction = yield from predict_case_job(
        store.case, model, options, version=version
    )
    yield from store.merge(prediction)
    return prediction


def volume_edges_job(
    volume: Volume, model: Model, options: PredictionOptions
) -> Job[EdgeList]:
    """Predict a volume and rank its uncertain edges, keeping nothing else.

    Parameters
    ----------
    volume : Volume
    model : Model
        Its card's calibration is used.
    options : PredictionOptions

    Raises
    ------
    ModelError, DeviceError, ConfigError
        As `predict_job`.
    """
    calibration, note = model_calibration(model.card)
    options = replace(options, keep_log_probabilities=True, calibration=calibration)
    with tempfile.TemporaryDirectory(prefix="e2miseg-") as name:
        folder = Path(name)
        yield from predict_job(volume, model, folder, options)
        return (
            yield from rank_stores(
                folder / LABELS,
                folder / LOG_PROBABILITIES,
                model.card,
                volume.geometry.spacing,
                calibration=calibration,
                note=note,
            )
        )


@contextmanager
def _new_folder(case: Case) -> Iterator[Path]:
    """A folder for a prediction, removed if the block does not end well.

    What nobody needs any more goes first. The lock in it tells others that its maker
    lives.
    """
    parent = case.folder / "predictions"
    with updating(parent):  # nobody sees a folder before its lock is in it
        for folder in _not_needed(case):
            shutil.rmtree(folder, ignore_errors=True)
        folder = case.new_prediction_folder()
        lock = ProjectLock(folder)
    complete = False
    try:
        yield folder
        complete = True
    finally:
        if not complete:  # half a prediction is no prediction
            shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _not_needed(case: Case) -> list[Path]:
    """Predictions that died half done, and old ones that nothing rests on.

    Needed are the newest, the one that the labels hold or are about to hold, and those
    with reviewed edges: calibrations are fitted on them.
    """
    needed = {prediction for prediction, _ in case.review().latest()}
    for kept in (case.prediction, case.merged, case.merging):
        needed |= set() if kept is None else {kept.number}
    old = [p.folder for p in case.predictions() if p.number not in needed]
    folders = [f for f in case.folder.glob("predictions/*") if f.name.isdigit()]
    half = [f for f in folders if not (f / PREDICTION).exists() and not _is_made(f)]
    return old + half


def _is_made(folder: Path) -> bool:
    """Whether a living program writes a prediction's folder."""
    try:
        ProjectLock(folder).close()
    except ProjectInUse:
        return True
    return False


def _figures(result: Prediction, ranked: EdgeList) -> dict[str, object]:
    return {
        "voxels": {str(value): n for value, n in result.voxels.items()},
        "expected_wrong": result.expected_wrong,
        "edges": len(ranked.edges),
        "seconds": round(result.seconds, 3),
        "device": result.device,
        "precision": result.precision,
    }
