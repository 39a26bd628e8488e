"""The uncertain edges of a case: found, ranked and written down."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_shape, box_slices, hide_boxes
from e2miseg_core.errors import ConfigError, ReadError
from e2miseg_core.model_card import ModelCard
from e2miseg_core.progress import Job, Progress
from e2miseg_core.project import (
    MACHINE,
    Case,
    CasePrediction,
    Edge,
    EdgeList,
    Project,
    Version,
    write_edges,
)
from e2miseg_core.uncertainty.belief import CaseBelief, Corrections, classes_of
from e2miseg_core.uncertainty.calibration import (
    MIN_CASES,
    Calibration,
    LabelledVoxels,
    fit_calibration,
)
from e2miseg_core.uncertainty.log_probabilities import (
    SMALLEST_KEPT,
    decode_log_probabilities,
)
from e2miseg_core.uncertainty.ranking import expected_gain
from e2miseg_core.uncertainty.regions import (
    UNITS,
    Region,
    box_size,
    propose_regions,
)

__all__ = [
    "calibration_in_force",
    "model_calibration",
    "rank_belief",
    "rank_edges",
    "rank_stores",
    "version_of",
]

EDGE, SMALL_EDGE = 9, 5  # voxels of a box along the finest axis
SMALL_OBJECT = 1000  # voxels; with a smaller class delivered, boxes are small
REVIEWED_BOXES = 4  # of a case, for it to count as corrected


def rank_edges(
    case: Case, *, prediction: CasePrediction | None = None
) -> Job[EdgeList]:
    """Rank the uncertain edges of a prediction, and write them into its folder.

    What humans said is known: it carries no doubt, whatever the model says.

    Parameters
    ----------
    case : Case
    prediction : CasePrediction, optional
        Else the newest one; need not be declared complete.

    Raises
    ------
    ConfigError
        If the case has no prediction.
    ReadError
        If a store of it is missing or damaged.
    """
    prediction = prediction or case.prediction
    if prediction is None:
        raise ConfigError(
            found=f"no prediction of the case {case.name!r}",
            needed="a prediction whose edges to rank",
            do="predict first",
        )
    version = version_of(case.project, prediction.version)
    yield Progress(done=0, total=0, stage="calibrating")
    calibration, note = calibration_in_force(case.project, version)
    ranked = yield from rank_stores(
        prediction.labels,
        prediction.log_probabilities,
        version.card,
        case.geometry.spacing,
        calibration=calibration,
        note=note,
        corrections=Corrections(
            labels=_open(case.labels_path), authority=_open(case.authority_path)
        ),
    )
    write_edges(prediction.edges_path, ranked)
    return ranked


def rank_stores(
    labels: Path,
    log_probabilities: Path,
    card: ModelCard,
    spacing: Sequence[float],
    *,
    calibration: Calibration,
    note: str,
    corrections: Corrections | None = None,
) -> Job[EdgeList]:
    """Rank the uncertain edges of a prediction's stores.

    Parameters
    ----------
    labels, log_probabilities : Path
        OME-Zarr stores.
    card : ModelCard
        Of the model that predicted.
    spacing : sequence of 3 float
        ZYX.
    calibration : Calibration
    note : str
        Where the calibration comes from, in words.
    corrections : Corrections, optional
    """
    belief = CaseBelief(
        log_probabilities=_open(log_probabilities),
        predicted=_open(labels),
        values=(0, *card.label_names),
        calibration=calibration,
        corrections=corrections,
    )
    edges = yield from rank_belief(belief, spacing)
    return EdgeList(
        edges=edges,
        total_expected=belief.expected_wrong,
        temperature=calibration.temperature,
        bias=calibration.bias,
        note=note,
    )


def rank_belief(belief: CaseBelief, spacing: Sequence[float]) -> Job[tuple[Edge, ...]]:
    """Propose boxes by expected errors and rank them by the gain of correcting them.

    Each voxel counts in one box, the first that holds it: expected errors and gains of
    different edges may be added up.
    """
    yield from belief.scan()
    objects = belief.sums.delivered[1:]
    small = bool(((objects > 0) & (objects < SMALL_OBJECT)).any())
    size = box_size(spacing, SMALL_EDGE if small else EDGE)
    regions = yield from propose_regions(belief, size, belief.total)
    found: list[tuple[float, Region, tuple[int, ...]]] = []
    for number, region in enumerate(regions):
        part = belief.read(region.box)
        fresh = _outside(region.box, [earlier.box for earlier in regions[:number]])
        gain = expected_gain(belief.sums, part.doubt(fresh))
        classes = tuple(belief.values[index] for index in np.unique(part.classes))
        found.append((gain, region, classes))
    found.sort(key=lambda entry: (-entry[0], -entry[1].units, entry[1].centre))
    return tuple(
        Edge(
            number=number,
            box=region.box,
            centre=region.centre,
            expected_wrong=region.units / UNITS,
            gain=gain,
            classes=classes,
        )
        for number, (gain, region, classes) in enumerate(found, start=1)
    )


def calibration_in_force(project: Project, version: Version) -> tuple[Calibration, str]:
    """The calibration of a version's predictions, and where it comes from.

    With three corrected cases the class bias is fitted anew, on the boxes that were
    reviewed in predictions of this very version: it was not trained on those, and on
    the boxes that it was trained on it looks better than it is.
    """
    own = model_calibration(version.card)
    voxels = [
        found for name in project.cases if (found := _voxels(project, name, version))
    ]
    if len(voxels) >= MIN_CASES:
        fitted = fit_calibration(
            [pair for case in voxels for pair in case],
            n_cases=len(voxels),
            temperature=own[0].temperature,
        )
        return fitted, f"refitted on {len(voxels)} corrected cases"
    return own


def model_calibration(card: ModelCard) -> tuple[Calibration, str]:
    """The calibration that a model comes with, and what it is, in words."""
    calibration = Calibration.from_card(card.calibration)
    if "temperature" not in card.calibration:
        return calibration, "the model was never calibrated"
    kind = "temperature and class bias" if calibration.bias else "temperature"
    return calibration, f"{kind} of the model"


def version_of(project: Project, number: int) -> Version:
    """The model version of a prediction.

    Raises
    ------
    ReadError
        If the project has no such version.
    """
    for version in project.versions:
        if version.number == number:
            return version
    raise ReadError(
        found=f"a prediction by version {number}, which {project.path.name} lacks",
        needed="the model version that predicted",
        do="predict again",
    )


def _voxels(project: Project, name: str, version: Version) -> list[LabelledVoxels]:
    """Probabilities and true classes in a case's reviewed boxes; empty if too few."""
    case = project.case(name)
    predictions = {
        p.number: p for p in case.predictions() if p.version == version.number
    }
    reviewed = [
        (predictions[number], box)
        for (number, box), verdict in case.review().latest().items()
        if number in predictions and verdict != "skipped"
    ]
    if len(reviewed) < REVIEWED_BOXES:
        return []
    corrections = Corrections(
        labels=_open(case.labels_path), authority=_open(case.authority_path)
    )
    values = (0, *version.card.label_names)
    found = [
        _voxels_in(box, _open(prediction.log_probabilities), corrections, values)
        for prediction, box in reviewed
    ]
    # A verdict may have been undone, and with it the voxels that it vouched for.
    known = [pair for pair in found if pair[1].size]
    return known if len(known) >= REVIEWED_BOXES else []


def _voxels_in(
    box: Box,
    log_probabilities: "zarr.Array[Any]",
    corrections: Corrections,
    values: Sequence[int],
) -> LabelledVoxels:
    where: tuple[slice, slice, slice] = box_slices(box)
    known = np.asarray(corrections.authority[where]) != MACHINE
    codes = np.asarray(log_probabilities[(slice(None), *where)])[:, known]
    truth = classes_of(np.asarray(corrections.labels[where])[known], values)
    # p taken as 0 may have been as large as this.
    return np.maximum(decode_log_probabilities(codes), SMALLEST_KEPT), truth


def _outside(box: Box, others: Sequence[Box]) -> NDArray[np.bool_]:
    """Voxels of a box that lie in none of the others."""
    fresh = np.ones(box_shape(box), bool)
    hide_boxes(fresh, box, others)
    return fresh


def _open(path: Path) -> "zarr.Array[Any]":
    """Level 0 of a store, for reading."""
    try:
        return zarr.open_array(str(path / "0"), mode="r")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ReadError(
            found=f"{path} is no readable store ({error})",
            needed="the stores of a whole prediction, log-probabilities too",
            do="predict again",
        ) from error
