"""What each part of the network and its loss contributes.

    python -m benchmarks.ablation DATASET -o FOLDER --minutes 6 --seeds 2

Seven variants of `small` on one fold, each with several seeds. All take the same number
of steps: as many as the base takes in the minutes given, measured once at the start.
Equal steps ask what a part contributes to what is learned from the same samples, and
keep the machine's mood out of the answer; what a part costs stands beside it as seconds
a step, looks and checkpoints included. A run that has finished is not repeated.
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.contender_small import (
    SmallSettings,
    contend,
    fitted,
    measure_pace,
    request_of,
)
from benchmarks.contenders import run_child
from benchmarks.contest import (
    FIGURES,
    Contest,
    in_one_line,
    markdown,
    read_json,
    score,
    write_json,
    written,
)
from e2miseg_core.evaluation.intervals import paired_difference
from e2miseg_core.networks.block_config import HFRConfig, MFGAConfig

BASE = "base: SS paper"
VARIANTS = {
    BASE: SmallSettings(recipe={"ss_form": "paper"}),
    "SS relative": SmallSettings(recipe={"ss_form": "relative"}),
    "SS off (soft Dice)": SmallSettings(recipe={"ss_form": "off"}),
    "query of length 1": SmallSettings(
        network={"hfr": HFRConfig(spatial_query="unit")}
    ),
    "MFGA off": SmallSettings(network={"mfga": MFGAConfig(enabled=False)}),
    # Without attention the convolution branch is all there is, so it must be added.
    "HFR attention off": SmallSettings(
        network={"hfr": HFRConfig(attention=False, conv_merge="add")}
    ),
    "edge head on": SmallSettings(network={"edge_head": True}),
}
FIRST_SEED = 12345
PACE = "steps.json"

Line = dict[str, Any]


def run_one(contest: Contest, variant: str, epochs: int) -> Line:
    """Train and score one variant with one seed."""
    name = name_of(contest, variant)
    told = contend(contest, name, VARIANTS[variant], epochs=epochs, ways=("plain",))
    report = score(contest, written(contest.predicted(name, "plain")))
    shutil.rmtree(contest.folder / name / "run" / "cases")  # made again in seconds
    return {
        "variant": variant,
        "seed": contest.seed,
        "epochs": epochs,
        "steps": told["steps"],
        "seconds": told["seconds"],
        "parameters": told["parameters"],
        "chosen": told["chosen"],
        "cases": [case.case for case in report.cases],
        "groups": report.groups,
        **{figure: report.case_means(figure) for figure in FIGURES},
    }


def name_of(contest: Contest, variant: str) -> str:
    """Of a run's folder."""
    words = "".join(c if c.isalnum() else " " for c in variant.lower()).split()
    return f"{'-'.join(words)}-seed{contest.seed}"


def keep_pace(contest: Contest) -> None:
    """Measure how many epochs the base takes in the minutes."""
    request = request_of(contest, "pace", VARIANTS[BASE])
    pace = measure_pace(request)
    fitting = fitted(request, pace, contest.minutes * 60)
    shutil.rmtree(contest.folder / "pace")
    values = {"epochs": fitting.recipe.epochs, "seconds": asdict(pace)}
    write_json(contest.folder / PACE, values)


def epochs_of(contest: Contest) -> int:
    """Epochs of every run; measured once, in a process like those of the runs."""
    path = contest.folder / PACE
    if not path.is_file():
        child(contest, None)
    return int(read_json(path)["epochs"])


def lines_of(folder: Path) -> list[Line]:
    """Every finished run."""
    return [read_json(path) for path in sorted(folder.glob("*/result.json"))]


def child(contest: Contest, variant: str | None, epochs: int = 0) -> None:
    """A run in a process of its own, so that none inherits another's memory.

    Without a variant it measures the pace.
    """
    name = "pace" if variant is None else name_of(contest, variant)
    path = contest.folder / f"{name}.json"
    values = {"contest": contest.to_json(), "variant": variant, "epochs": epochs}
    write_json(path, values)
    run_child("benchmarks.ablation", ["--child", str(path)], contest.threads)
    path.unlink()


def be_child(path: Path) -> None:
    import torch

    values = read_json(path)
    contest = Contest.from_json(values["contest"])
    torch.set_num_threads(contest.threads)
    if values["variant"] is None:
        keep_pace(contest)
        return
    line = run_one(contest, values["variant"], values["epochs"])
    write_json(contest.result(name_of(contest, values["variant"])), line)


def table(lines: Sequence[Line]) -> str:
    """A row a variant: figures of each seed, and the difference to the base."""
    by_variant = {
        name: sorted(
            (line for line in lines if line["variant"] == name),
            key=lambda line: line["seed"],
        )
        for name in VARIANTS
    }
    base = {line["seed"]: line for line in by_variant[BASE]}
    columns = ("variant", *(title for title, _ in FIGURES.values()))
    columns += ("Dice minus base", "over cases, 95 %", "parameters", "s a step")
    rows = [
        _row(name, found, base) for name, found in by_variant.items() if len(found) > 0
    ]
    return markdown(columns, rows)


def _row(name: str, found: Sequence[Line], base: dict[int, Line]) -> list[str]:
    figures = [
        ", ".join(f"{mean(line[figure]):.{digits}f}" for line in found)
        for figure, (_, digits) in FIGURES.items()
    ]
    pairs = [(line, base[line["seed"]]) for line in found if line["seed"] in base]
    gaps, over_cases = "-", "-"
    if name != BASE and pairs:
        gaps = ", ".join(
            f"{mean(mine['dice']) - mean(its['dice']):+.4f}" for mine, its in pairs
        )
        over_cases = _interval(pairs)
    pace = mean(line["seconds"] / line["steps"] for line in found)
    cost = (f"{found[0]['parameters']:,}", f"{pace:.3f}")
    return [name, *figures, gaps, over_cases, *cost]


def _interval(pairs: Sequence[tuple[Line, Line]]) -> str:
    """Difference of each case, averaged over the seeds, with a bootstrap."""
    mine, its = (
        [
            mean(values)
            for values in zip(*(pair[side]["dice"] for pair in pairs), strict=True)
        ]
        for side in (0, 1)
    )
    gap = paired_difference(mine, its, pairs[0][0]["groups"])
    if gap.interval is None:
        return f"{gap.mean:+.4f}"
    return f"{gap.mean:+.4f} ({gap.interval.low:+.4f} to {gap.interval.high:+.4f})"


def tell(contest: Contest) -> str:
    lines = lines_of(contest.folder)
    text = (
        f"{len(contest.unseen)} unseen cases of fold {contest.fold}, {len(lines)} runs "
        f"of {epochs_of(contest)} epochs on {contest.threads} threads; "
        f"{contest.settings['machine']}.\nFigures and differences of each "
        "seed in turn; the differences between seeds of the base show the noise. "
        "The interval is of the mean over seeds, by bootstrap over cases, or groups of "
        "them.\n\n" + table(lines)
    )
    (contest.folder / "table.md").write_text(text, encoding="utf-8")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS))
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--groups", type=Path, help="table of the cases of one patient")
    parser.add_argument("--channel", help="name of the channel, as for `e2miseg train`")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        be_child(given.child)
        return
    if given.dataset is None or given.output is None:
        parser.error("DATASET and -o are needed")
    first = Contest(
        source=given.dataset,
        folder=given.output,
        fold=given.fold,
        minutes=given.minutes,
        threads=given.threads,
        channel=given.channel,
        groups=given.groups,
        seed=FIRST_SEED,
    )
    first.keep_settings()
    epochs = epochs_of(first)
    # Seed by seed, so that all variants are there once before any is there twice.
    for seed in range(FIRST_SEED, FIRST_SEED + given.seeds):
        for variant in given.only or VARIANTS:
            done = {(line["variant"], line["seed"]) for line in lines_of(first.folder)}
            if (variant, seed) not in done:
                child(replace(first, seed=seed), variant, epochs)
                print(tell(first), flush=True)


if __name__ == "__main__":
    in_one_line(main)
