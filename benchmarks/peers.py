"""Our `small` network against nnU-Net v2 and MONAI's DynUNet.

    python -m benchmarks.peers DATASET -o FOLDER --minutes 20 --nnunet ENV

Same fold, machine, threads and minutes of training for each, schedules pressed into
them; preparation is not counted. The unseen cases are predicted file to file and scored
alike. A contender that has finished is not run again; `--only` names some of them. One
that trained for longer than allowed is marked, and nothing is concluded from it. How
nnU-Net's environment is made stands at the head of `contender_nnunet.py`.

Fold 0 is the one that our recipe was chosen on: conclude from others.
"""

import argparse
import math
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS, run_contender
from benchmarks.contest import (
    FIGURES,
    Contest,
    figures_of,
    in_one_line,
    markdown,
    read_json,
    score,
    write_json,
    written,
)
from e2miseg_core.evaluation import Report
from e2miseg_core.evaluation.intervals import paired_difference

DEFAULT = ("small", "dynunet", "nnunet", "nnunet-batch2")
OURS, MARGIN = "small", 0.003
OVER = 1.01  # budgets: a training that took longer is invalid
COLUMNS = (
    "contender",
    *(title for title, _ in FIGURES.values()),
    "parameters",
    "passes",
    "s a case",
    "precision",
    "training, min",
    "steps",
    "samples",
    "peak, MiB",
)


def rows_of(contest: Contest, name: str) -> dict[str, tuple[dict[str, Any], Report]]:
    """What a contender told, and its scores, by how it predicted."""
    told = read_json(contest.result(name))
    return {
        f"{name}{', mirrored' if how == 'mirrored' else ''}": (
            told | told["predictions"][how],
            score(contest, written(contest.predicted(name, how))),
        )
        for how in ("plain", "mirrored")
    }


def is_over(told: dict[str, Any], minutes: float) -> bool:
    """Whether a training took longer than it was allowed to."""
    return not told["seconds"] <= OVER * minutes * 60


def row(name: str, told: dict[str, Any], report: Report, minutes: float) -> list[str]:
    over = ", INVALID: over budget" if is_over(told, minutes) else ""
    precisions = (told["precision"], told["predicted_in"])
    return [
        name,
        *figures_of(report),
        f"{told['parameters']:,}",
        str(told["passes"]),
        f"{told['seconds_per_case']:.2f}",
        "; predicted in ".join(dict.fromkeys(precisions)),
        f"{told['seconds'] / 60:.2f}{over}",
        f"{told['steps']:,}",
        f"{told['samples']:,}",
        f"{told['peak_mib']:,}",
    ]


def verdict(
    rows: dict[str, tuple[dict[str, Any], Report]], minutes: float
) -> list[dict[str, Any]]:
    """Our Dice minus each peer's, on the same cases and by the same way to predict."""
    found = []
    for name, (told, report) in rows.items():
        how = ", mirrored" if name.endswith("mirrored") else ""
        if name == OURS + how or OURS + how not in rows:
            continue
        its, ours = rows[OURS + how]
        gap = paired_difference(
            ours.case_means("dice"), report.case_means("dice"), ours.groups
        )
        valid = not (is_over(told, minutes) or is_over(its, minutes))
        found.append({"peer": name, "valid": valid, **gap.to_json()})
    return found


def words(gaps: list[dict[str, Any]]) -> str:
    lines = []
    for gap in gaps:
        low, high = gap["interval"] or (math.nan, math.nan)
        passed = "not below" if gap["difference"] >= -MARGIN else "below"
        concluded = f"{passed} the bar of -{MARGIN}"
        if low < -MARGIN <= high:
            concluded += " by the mean; the interval holds both"
        if not gap["valid"]:
            concluded = "INVALID: one of the two trained for too long"
        lines.append(
            f"- `{OURS}` minus {gap['peer']}: Dice {gap['difference']:+.4f} "
            f"({low:+.4f} to {high:+.4f}), {concluded}"
        )
    return "\n".join(lines) + "\n"


def tell(contest: Contest) -> str:
    """Score all who have finished, and write table.md and table.json."""
    rows: dict[str, tuple[dict[str, Any], Report]] = {}
    for name in CONTENDERS:
        if contest.result(name).is_file():
            rows |= rows_of(contest, name)
    minutes = contest.minutes
    gaps = verdict(rows, minutes)
    text = (
        f"{len(contest.unseen)} unseen cases of fold {contest.fold}; "
        f"{minutes:g} minutes on {contest.threads} threads; "
        f"{contest.settings['machine']}.\n"
        "In brackets: 95 % intervals by bootstrap over cases, or groups of them. "
        "Passes: versions of an image that are predicted and averaged. Peak: the "
        "process and its children.\n\n"
        + markdown(
            COLUMNS, (row(name, *found, minutes) for name, found in rows.items())
        )
        + "\n"
        + words(gaps)
    )
    (contest.folder / "table.md").write_text(text, encoding="utf-8")
    kept = {
        name: {k: v for k, v in told.items() if k not in ("losses", "predictions")}
        | {"evaluation": report.to_json()}
        for name, (told, report) in rows.items()
    }
    write_json(contest.folder / "table.json", {"contenders": kept, "differences": gaps})
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS)
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--groups", type=Path, help="table of the cases of one patient")
    parser.add_argument("--channel", help="name of the channel, as for `e2miseg train`")
    parser.add_argument("--nnunet", type=Path, help="its virtual environment")
    given = parser.parse_args()
    contest = Contest(
        source=given.dataset,
        folder=given.output,
        fold=given.fold,
        minutes=given.minutes,
        threads=given.threads,
        channel=given.channel,
        groups=given.groups,
    )
    for name in given.only or DEFAULT:
        run_contender(contest, name, given.nnunet)
        print(tell(contest), flush=True)


if __name__ == "__main__":
    in_one_line(main)
