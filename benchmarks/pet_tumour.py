"""`pet-tumour` on unseen patients: our network, DynUNet, and a fixed threshold.

    python tools/pet_dataset.py ../shared/data/ibsi_soft_tissue_sarcoma PET
    python -m benchmarks.pet_tumour PET -o FOLDER --minutes 12 --fold 0   (to --fold 4)
    python -m benchmarks.pet_tumour PET -o FOLDER --table

The threshold takes the voxels of at least 41 % of the largest SUV, both inside of the
true tumour's bounding box grown by 10 mm: it is told where to look. So are the networks
in a way, since the set's images end 5 cm around each tumour. Every patient is unseen in
one fold, so the table is over all of them. A contender that has finished a fold is not
run again.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders import CONTENDERS, run_contender
from benchmarks.contest import (
    Contest,
    markdown,
    mean_and_interval,
    score,
    write_json,
    written,
)
from e2miseg_core.boxes import box_slices, make_box
from e2miseg_core.evaluation import Report
from e2miseg_core.evaluation.intervals import paired_difference
from e2miseg_core.io import open_labels, open_volume
from e2miseg_core.training.dataset import Case

FIGURES = {"dice": 3, "hd95_mm": 1, "nsd": 3}
N_FOLDS = 5
SHARE, MARGIN_MM = 0.41, 10.0
THRESHOLD, OURS = "41 % of SUVmax", "small"


def thresholded(
    image: NDArray[np.floating], truth: NDArray[np.bool_], spacing: tuple[float, ...]
) -> NDArray[np.uint8]:
    """Voxels of at least 41 % of SUVmax, in the truth's bounding box and 10 mm more."""
    found = np.zeros(truth.shape, np.uint8)
    where = np.argwhere(truth)
    if not len(where):
        return found
    grow = [math.ceil(MARGIN_MM / step) for step in spacing]
    first = [max(0, a - g) for a, g in zip(where.min(0), grow, strict=True)]
    last = [
        min(n, b + 1 + g)
        for b, g, n in zip(where.max(0), grow, truth.shape, strict=True)
    ]
    box = box_slices(make_box(first, [b - a for a, b in zip(first, last, strict=True)]))
    found[box] = image[box] >= SHARE * image[box].max()
    return found


def baseline(case: Case) -> NDArray[np.uint8]:
    image, labels = open_volume(case.images[0]), open_labels(case.labels)
    spacing = labels.geometry.in_unit("mm").spacing
    truth = np.asarray(labels.data[0]) > 0
    return thresholded(np.asarray(image.data[0]), truth, spacing)


def reports(contests: list[Contest]) -> dict[str, list[Report]]:
    """Reports of the folds that a contender has finished, by contender and way."""
    found: dict[str, list[Report]] = {}
    for contest in contests:
        found.setdefault(THRESHOLD, []).append(score(contest, baseline))
        for name in CONTENDERS:
            if not contest.result(name).is_file():
                continue
            for how, said in (("plain", name), ("mirrored", f"{name}, mirrored")):
                folder = contest.predicted(name, how)
                found.setdefault(said, []).append(score(contest, written(folder)))
    return found


def joined(folds: list[Report], figure: str) -> dict[str, float]:
    """A figure of every patient, over all folds."""
    return {
        case.case: value
        for report in folds
        for case, value in zip(report.cases, report.case_means(figure), strict=True)
    }


def tell(contests: list[Contest], folder: Path) -> str:
    found = reports(contests)
    rows, patients = [], {}
    for name, folds in found.items():
        figures = {figure: joined(folds, figure) for figure in FIGURES}
        patients[name] = figures
        rows.append(
            [name, str(len(folds)), str(len(figures["dice"]))]
            + [mean_and_interval([*figures[f].values()], d) for f, d in FIGURES.items()]
        )
    columns = ("contender", "folds", "patients", "Dice", "HD95, mm", "NSD at 1 mm")
    text = markdown(columns, rows) + "\n" + _gaps(patients)
    (folder / "table.md").write_text(text, encoding="utf-8")
    write_json(folder / "table.json", patients)
    return text


def _gaps(patients: dict[str, dict[str, dict[str, float]]]) -> str:
    """Our Dice minus the others', over the patients that both have."""
    if OURS not in patients:
        return ""
    ours, lines = patients[OURS]["dice"], []
    for name, figures in patients.items():
        shared = sorted(set(ours) & set(figures["dice"]))
        if name == OURS or not shared:
            continue
        gap = paired_difference(
            [ours[case] for case in shared], [figures["dice"][case] for case in shared]
        )
        around = ""
        if gap.interval is not None:
            around = f" ({gap.interval.low:+.3f} to {gap.interval.high:+.3f})"
        lines.append(
            f"- {OURS} minus {name}: Dice {gap.mean:+.3f}{around}, "
            f"{len(shared)} patients"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--fold", type=int, action="append")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nnunet", type=Path, help="its virtual environment")
    parser.add_argument("--table", action="store_true", help="only score and tell")
    given = parser.parse_args()
    contests = [
        Contest(
            source=given.dataset,
            folder=given.output / f"fold{fold}",
            fold=fold,
            minutes=given.minutes,
            threads=given.threads,
        )
        for fold in range(N_FOLDS)
    ]
    given.output.mkdir(parents=True, exist_ok=True)
    for fold in () if given.table else given.fold or range(N_FOLDS):
        for name in given.only or (OURS, "dynunet"):
            run_contender(contests[fold], name, given.nnunet)
    print(tell(contests, given.output))


if __name__ == "__main__":
    main()
