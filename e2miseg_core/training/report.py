"""Figures of a model on cases that it has not seen, by the same path as `predict`."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.evaluation import (
    CaseScores,
    ProbabilityMap,
    Report,
    average_precision_of_parts,
    evaluate_case,
)
from e2miseg_core.evaluation.page import (
    CasePicture,
    WorstPictures,
    draw_case,
    render_page,
    write_page,
)
from e2miseg_core.evaluation.structures import named_structures
from e2miseg_core.inference.prediction import (
    Prediction,
    PredictionOptions,
    predict_job,
)
from e2miseg_core.io.naming import short_name
from e2miseg_core.model import Model
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.case_files import open_case
from e2miseg_core.training.dataset import Case
from e2miseg_core.training.validation import retold
from e2miseg_core.uncertainty.error_map import entropy
from e2miseg_core.volume import Volume

__all__ = ["card_metrics", "report_on_cases"]


def report_on_cases(
    model: Model,
    cases: Sequence[Case],
    *,
    groups: Mapping[str, str] | None = None,
    device: str = "auto",
    html: Path | None = None,
) -> Job[dict[str, Any]]:
    """Predict unseen cases and compare with their labels.

    Parameters
    ----------
    model : Model
    cases : sequence of Case
        At least one.
    groups : mapping, optional
        The group of a case by its name, such as a patient: intervals draw groups.
    device : str
    html : Path, optional
        Gets the report as a page, with pictures of the worst cases.

    Returns
    -------
    dict
        JSON values: the `evaluation` report; for every case and on average the area
        under the precision-recall curve of true errors (`error_map`) for the
        expected-error map, softmax entropy and chance, and the ratio of expected to
        actual wrong voxels.
    """
    options = PredictionOptions(device=device, keep_probabilities=True)
    names = model.card.label_names
    scores, maps, worst = [], [], WorstPictures()
    for number, case in enumerate(cases, start=1):
        step = Progress(done=number, total=len(cases), stage="predicting unseen cases")
        yield step
        image, labels = open_case(case)
        truth = np.asarray(labels.data[0])
        with tempfile.TemporaryDirectory(prefix="e2miseg-") as folder:
            job = predict_job(image, model, Path(folder), options)
            result = yield from retold(job, step)
            predicted = np.asarray(result.labels)
            maps.append(_error_figures(result, predicted, truth))
            judged = _judge(case, model, result, (predicted, truth), image)
            judged = replace(judged, group=(groups or {}).get(case.name, case.name))
        scores.append(judged)
        if html is not None:
            draw = partial(_draw, judged, names, (predicted, truth), image)
            worst.offer(judged.mean("dice"), draw)
    report = Report(
        cases=tuple(scores), label_names=dict(names.items()), tolerance_mm=1.0
    )
    if html is not None:
        title = f"{model.card.name}: {len(cases)} unseen cases"
        write_page(html, render_page(report, worst.pictures, title=title))
    return _told(model, report, maps)


def _judge(
    case: Case,
    model: Model,
    result: Prediction,
    labels: tuple[NDArray[Any], NDArray[Any]],
    image: Volume,
) -> CaseScores:
    """Compare a case while its probabilities are still on disk."""
    names = model.card.label_names
    return CaseScores(
        case=case.name,
        predicted="",
        reference=short_name(case.labels),
        classes=evaluate_case(
            *labels,
            image.geometry.in_unit("mm").spacing,
            names,
            probabilities=ProbabilityMap(
                data=result.probabilities, class_values=(0, *names)
            ),
        ),
    )


def _draw(
    case: CaseScores,
    names: Mapping[int, str],
    labels: tuple[NDArray[Any], NDArray[Any]],
    image: Volume,
) -> CasePicture:
    structures = {one.key: one for one in named_structures(names)}
    spacing = image.geometry.in_unit("mm").spacing
    return draw_case(case.case, labels, structures, spacing, image.data[0])


def _told(
    model: Model, report: Report, maps: Sequence[Mapping[str, float | None]]
) -> dict[str, Any]:
    """Everything as JSON values."""
    interval = report.mean_intervals["dice"]
    means = {
        "dice": report.mean_dice,
        "hd95_mm": report.mean_hd95_mm,
        "nsd": report.mean_nsd,
        "assd_mm": report.mean_assd_mm,
        "ece": report.mean_ece,
        "dice_interval": interval.to_json() if interval else None,
    }
    if report.in_pieces:
        means["lesion_f1"] = report.mean_lesion_f1
    return {
        "model": model.card.name,
        "evaluation": report.to_json(),
        "means": means,
        "error_map": {
            key: _mean_where_any([m[key] for m in maps])
            for key in ("auprc_expected_error", "auprc_entropy", "auprc_chance")
        }
        | {"expected_over_actual": _ratio(maps)},
        "error_map_cases": [
            {"case": case.case, **figures}
            for case, figures in zip(report.cases, maps, strict=True)
        ],
    }


def card_metrics(report: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that a model card carries."""
    means, maps = report["means"], report["error_map"]
    told = {
        "data": f"{len(report['error_map_cases'])} unseen cases",
        "mean_dice": means["dice"],
        "mean_dice_interval": means["dice_interval"],
        "mean_hd95_mm": means["hd95_mm"],
        "mean_assd_mm": means["assd_mm"],
        "mean_nsd_1mm": means["nsd"],
        "mean_ece": means["ece"],
        "error_map_auprc": maps["auprc_expected_error"],
        "entropy_auprc": maps["auprc_entropy"],
        "chance_auprc": maps["auprc_chance"],
    }
    if "lesion_f1" in means:
        told["lesion_f1"] = means["lesion_f1"]
    return told


def _error_figures(
    result: Prediction, predicted: NDArray[Any], truth: NDArray[Any]
) -> dict[str, float | None]:
    """How well the maps find the errors, read in slabs of the stores' chunks."""
    probabilities: Any = result.probabilities

    def expected(rows: slice) -> NDArray[Any]:
        return np.asarray(result.error_map[rows])

    def uncertain(rows: slice) -> NDArray[Any]:
        return entropy(np.asarray(probabilities[:, rows]))

    step = int(result.error_map.chunksize[0])
    slabs = [slice(z, z + step) for z in range(0, len(predicted), step)]
    actual = sum(int((predicted[rows] != truth[rows]).sum()) for rows in slabs)

    def precision(read: Callable[[slice], NDArray[Any]]) -> float | None:
        if actual == 0:  # there is no error to find
            return None
        return average_precision_of_parts(
            lambda: ((read(rows), predicted[rows] != truth[rows]) for rows in slabs)
        )

    return {
        "auprc_expected_error": precision(expected),
        "auprc_entropy": precision(uncertain),
        "auprc_chance": actual / predicted.size,
        "expected_wrong": result.expected_wrong,
        "actual_wrong": float(actual),
    }


def _mean_where_any(values: Sequence[float | None]) -> float | None:
    """Mean over the cases that have a value; None if none has."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _ratio(maps: Sequence[Mapping[str, Any]]) -> float:
    """Expected over actual wrong voxels, pooled over the cases."""
    actual = sum(m["actual_wrong"] for m in maps)
    return float(sum(m["expected_wrong"] for m in maps) / max(1.0, actual))
