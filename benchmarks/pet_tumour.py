"""The starter `pet-tumour` on unseen patients: against DynUNet and a fixed threshold.

    python -m tools.train_starter pet-tumour RUNS --fold 0                (to 4)
    python -m benchmarks.pet_tumour RUNS -o FOLDER --minutes 12 --fold 0   (to 4)
    python -m benchmarks.pet_tumour RUNS -o FOLDER --table

Each fold's starter predicts the patients that it has not seen; DynUNet is trained on
the same ones for the minutes given, which the starter must not have exceeded. The
threshold takes the voxels of at least 41 % of the largest SUV, both inside of the true
tumour's bounding box grown by 10 mm: it is told where to look. So are the networks in a
way, since the set's images end 5 cm around each tumour. Every patient is unseen in one
fold, so the table is over all of them. What has finished a fold is not run again.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders import run_contender
from benchmarks.contest import (
    FIGURES,
    Contest,
    in_one_line,
    kept_settings,
    markdown,
    mean_and_interval,
    predict_unseen,
    read_json,
    score,
    write_json,
    written,
)
from benchmarks.peers import is_over
from e2miseg_core.boxes import box_slices, make_box
from e2miseg_core.errors import ConfigError
from e2miseg_core.evaluation import Report
from e2miseg_core.evaluation.intervals import paired_difference
from e2miseg_core.io import open_labels, open_volume
from e2miseg_core.model import load_model
from e2miseg_core.model_card import read_card
from e2miseg_core.training.dataset import Case
from e2miseg_core.training.run_folder import MODEL
from e2miseg_core.training.splits import N_FOLDS
from tools.train_starter import STARTER
from tools.trained_with import options_of

SHARE, MARGIN_MM = 0.41, 10.0
THRESHOLD, OURS, PEER = "41 % of SUVmax", "pet-tumour", "dynunet"
NORMALIZATION = "--normalization"


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


def contest_of(
    runs: Path, folder: Path, fold: int, minutes: float, threads: int
) -> Contest:
    """The fold as the starter was trained on it, if it was."""
    normalization = None
    if (model := runs / OURS / f"fold{fold}" / MODEL).is_file():
        options = options_of(read_card(model))
        if NORMALIZATION in options:
            normalization = options[options.index(NORMALIZATION) + 1]
    return Contest(
        source=Path(STARTER[OURS].data.format(runs=runs)),
        folder=folder / f"fold{fold}",
        fold=fold,
        minutes=minutes,
        threads=threads,
        normalization=normalization,
    )


def enter_starter(contest: Contest, path: Path) -> None:
    """Let a fold's starter predict its unseen patients, unless it has.

    ConfigError if there is none, or it has seen them.
    """
    if contest.result(OURS).is_file():
        contest.keep_settings()
        return
    model = load_model(path)
    if (threads := model.card.training.get("threads")) != contest.threads:
        raise ConfigError(
            found=f"{path}, trained on {threads} threads",
            needed=f"{contest.threads}, as DynUNet here",
            do=f"add --threads {threads}",
        )
    if list(model.card.training["unseen"]) != list(contest.split.unseen):
        raise ConfigError(
            found=f"other unseen patients in {path} than fold {contest.fold} has",
            needed="the starter of this fold",
            do=f"train it: python -m tools.train_starter {OURS}",
        )
    contest.keep_settings()
    predictions = predict_unseen(contest, OURS, model)
    seconds = 60 * float(model.card.training["minutes"])
    told = {"seconds": seconds, "predictions": predictions}
    write_json(contest.result(OURS), told)


def reports(contests: list[Contest]) -> dict[str, list[Report]]:
    """Reports of the folds that a contender has finished, by contender and way."""
    found: dict[str, list[Report]] = {}
    for contest in contests:
        found.setdefault(THRESHOLD, []).append(score(contest, baseline))
        for name in (OURS, PEER):
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


def over_budget(contests: list[Contest], name: str) -> list[str]:
    """Folds whose training took longer than it was allowed to."""
    return [
        f"fold {contest.fold}"
        for contest in contests
        if (path := contest.result(name.partition(",")[0])).is_file()
        and is_over(read_json(path), contest.minutes)
    ]


def tell(contests: list[Contest], folder: Path) -> str:
    found = reports(contests)
    over = {name: over_budget(contests, name) for name in found}
    rows, patients = [], {}
    for name, folds in found.items():
        figures = {figure: joined(folds, figure) for figure in FIGURES}
        patients[name] = figures
        rows.append(
            [name, str(len(folds)), str(len(figures["dice"]))]
            + [", ".join(over[name]) or "none"]
            + [
                mean_and_interval([*figures[figure].values()], digits)
                for figure, (_, digits) in FIGURES.items()
            ]
        )
    columns = ("contender", "folds", "patients", "over budget")
    titles = tuple(title for title, _ in FIGURES.values())
    text = (
        _settings_told(contests)
        + markdown(columns + titles, rows)
        + "\n"
        + _gaps(patients, over)
    )
    (folder / "table.md").write_text(text, encoding="utf-8")
    write_json(folder / "table.json", patients)
    return text


def _settings_told(contests: list[Contest]) -> str:
    """What the folds were run with; ConfigError if they were not run alike."""
    kept = [found for c in contests if (found := kept_settings(c.folder)) is not None]
    alike = [{k: v for k, v in one.items() if k != "fold"} for one in kept]
    if any(one != alike[0] for one in alike):
        raise ConfigError(
            found="folds that were run with other settings than one another",
            needed="one budget, data set, machine and patch for all",
            do="see contest.json of each fold, and run some of them again",
        )
    if not alike:
        return ""
    one = alike[0]
    normalization = one.get("normalization") or "as planned"
    return (
        f"{one['minutes']:g} minutes on {one['threads']} threads a fold; "
        f"normalization {normalization}; {one['machine']}.\n\n"
    )


def _gaps(
    patients: dict[str, dict[str, dict[str, float]]], over: dict[str, list[str]]
) -> str:
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
        invalid = "; INVALID: folds over budget" if over[OURS] or over[name] else ""
        lines.append(
            f"- {OURS} minus {name}: Dice {gap.mean:+.3f}{around}, "
            f"{len(shared)} patients{invalid}"
        )
    return "\n".join(lines) + "\n"


def _as_kept(contest: Contest) -> Contest:
    """With the settings that its fold was run with, if it was."""
    kept = kept_settings(contest.folder)
    return contest if kept is None else replace(contest, minutes=kept["minutes"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path, help="as for tools.train_starter")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--fold", type=int, action="append")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="only score and tell")
    given = parser.parse_args()
    contests = [
        contest_of(given.runs, given.output, fold, given.minutes, given.threads)
        for fold in range(N_FOLDS)
    ]
    if given.table:
        contests = [_as_kept(contest) for contest in contests]
    given.output.mkdir(parents=True, exist_ok=True)
    for fold in () if given.table else given.fold or range(N_FOLDS):
        enter_starter(contests[fold], given.runs / OURS / f"fold{fold}" / MODEL)
        run_contender(contests[fold], PEER, None)
    print(tell(contests, given.output))


if __name__ == "__main__":
    in_one_line(main)
