"""Train a starter model fold by fold; write its page and its model file.

    python tools/train_starter.py hippocampus RUNS --fold 0 [--fold 1 ...]
    python tools/train_starter.py hippocampus RUNS --ship

The first trains what is not trained yet in RUNS/NAME/foldK (an interrupted fold goes
on) and puts that fold's report into docs/models. The second copies the model of fold 0
to the starters, its card with the figures of all folds that have a report, and writes
docs/models/NAME.md.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from e2miseg_core.evaluation.intervals import bootstrap_interval
from e2miseg_core.model import load_model, save_model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.models import STARTERS
from e2miseg_core.training.curves import history_panels, write_curves

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs" / "models"
DATA = ROOT.parent / "shared" / "data"
N_FOLDS = 5
FIGURES = {"dice": "Dice", "hd95_mm": "HD95 (mm)", "nsd": "NSD at 1 mm"}


@dataclass(frozen=True, kw_only=True)
class Starter:
    """What `e2miseg train` is told, and how the data are made where they are not there.

    Attributes
    ----------
    data : Path
        The training set; {runs} is the folder of the runs.
    make : tuple of str
        Command, after `python`, that makes it.
    options : tuple of str
        Of `e2miseg train`.
    about : mapping
        Texts of the card.
    replay : mapping
        How fine-tuning makes the training cases again, for made ones.
    """

    data: str
    options: tuple[str, ...]
    about: Mapping[str, str]
    make: tuple[str, ...] = ()
    replay: Mapping[str, Any] = field(default_factory=dict)


STARTER = {
    "hippocampus": Starter(
        data=str(DATA / "msd_hippocampus"),
        options=(
            *("--label", "1=anterior hippocampus"),
            *("--label", "2=posterior hippocampus"),
            *("--channel", "MR T1"),
        ),
        about={
            "licence": "CC BY-SA 4.0",
            "credit": "Trained on the Medical Segmentation Decathlon, task 4: "
            "Antonelli M. et al., The Medical Segmentation Decathlon, Nature "
            "Communications 13:4128 (2022); Simpson A. L. et al., arXiv:1902.09063 "
            "(2019).",
            "description": "Anterior and posterior hippocampus in T1-weighted MR, "
            "cropped around one hippocampus.",
            "intended-use": "Research and as a starting point for fine-tuning. "
            "Volumes of about 35 x 50 x 35 mm around one hippocampus at 1 mm; not "
            "whole heads. Not a medical device.",
        },
    ),
    "pet-tumour": Starter(
        data="{runs}/pet",
        make=(
            "tools/pet_dataset.py",
            str(DATA / "ibsi_soft_tissue_sarcoma"),
            "{runs}/pet",
        ),
        options=(),
        about={
            "licence": "CC BY 3.0",
            "credit": "Trained on Soft-tissue-Sarcoma: Vallieres M. et al., The Cancer "
            "Imaging Archive (2015), DOI 10.7937/K9/TCIA.2015.7GO2GSKS; Vallieres M. "
            "et al., Physics in Medicine and Biology 60:5471 (2015); Clark K. et al., "
            "Journal of Digital Imaging 26:1045 (2013); as converted by A. Zwanenburg "
            "for the Image Biomarker Standardization Initiative.",
            "description": "Gross tumour volume of soft-tissue sarcomas in FDG-PET "
            "(SUV), cropped 5 cm around the tumour.",
            "intended-use": "Research and as a starting point for fine-tuning. It "
            "has learned from 39 patients, each cropped around one tumour of a limb: "
            "elsewhere in the body it takes bladder, brain and heart for tumour. "
            "Not a medical device.",
        },
    ),
    "phantom-lesions": Starter(
        data="{runs}/phantoms",
        make=(
            *("-m", "e2miseg_core.samples", "{runs}/phantoms"),
            *("--cases", "60", "--seed", "1"),
        ),
        options=(),
        about={
            "licence": "BSD-3-Clause",
            "credit": "Trained on this project's own phantoms: python -m "
            "e2miseg_core.samples phantoms --cases 60 --seed 1.",
            "description": "Lesions of 2 to 40 mm in the synthetic phantoms of this "
            "project.",
            "intended-use": "Demonstration, tests and practice of the loop. It has "
            "seen no real scan: do not use it on any. Not a medical device.",
        },
        replay={"generator": "phantoms", "seed": 1, "cases": 60},
    ),
}


def train(name: str, runs: Path, fold: int, more: list[str]) -> None:
    """Train one fold, or go on with it; keep its report."""
    starter = STARTER[name]
    data = Path(starter.data.format(runs=runs))
    if starter.make and not data.exists():
        _python(*(part.format(runs=runs) for part in starter.make))
    folder = runs / name / f"fold{fold}"
    if not (folder / "model.safetensors").is_file():
        texts = [part for k, v in starter.about.items() for part in (f"--{k}", v)]
        begun = (folder / "checkpoint.safetensors").is_file()
        _python(
            *("-m", "e2miseg_core", "train", str(data), "-o", str(folder)),
            *("--name", name, "--fold", str(fold), *starter.options, *texts, *more),
            *(["--resume"] if begun else []),
        )
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    compact = json.dumps(report, separators=(",", ":"))
    kept = DOCS / f"{name}.fold{fold}.json"
    kept.write_text(compact + "\n", encoding="utf-8")


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)


def fold_reports(name: str) -> dict[int, dict[str, Any]]:
    """The reports of the folds that are trained."""
    paths = {fold: DOCS / f"{name}.fold{fold}.json" for fold in range(N_FOLDS)}
    return {
        fold: json.loads(path.read_text(encoding="utf-8"))
        for fold, path in paths.items()
        if path.is_file()
    }


def over_all(reports: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the cases of all folds, each unseen in its own; 95 % intervals."""
    cases = [c for r in reports.values() for c in r["evaluation"]["cases"]]
    found: dict[str, Any] = {"n_cases": len(cases)}
    for figure in FIGURES:
        of_cases = [fmean(s[figure] for s in c["classes"].values()) for c in cases]
        interval = bootstrap_interval(of_cases)
        found[figure] = fmean(of_cases)
        found[f"{figure}_interval"] = interval.to_json() if interval else None
    return found


def ship(name: str, runs: Path, more: list[str]) -> None:
    """Model of fold 0 with every fold's figures in its card; page; curve."""
    folder = runs / name / "fold0"
    reports = fold_reports(name)
    model = load_model(folder / "model.safetensors")
    folds = {str(fold): report["means"] for fold, report in reports.items()}
    metrics = {**model.card.metrics, "folds": folds, "all_folds": over_all(reports)}
    training = dict(model.card.training)
    if STARTER[name].replay:
        training["replay"] = STARTER[name].replay
    card = replace(model.card, metrics=metrics, training=training)
    card = save_model(model.network, card, STARTERS / f"{name}.safetensors")
    history = DOCS / f"{name}.history.csv"
    shutil.copyfile(folder / "history.csv", history)
    with history.open(newline="", encoding="utf-8") as file:
        write_curves(DOCS / f"{name}.svg", history_panels(list(csv.DictReader(file))))
    text = page(card, reports, " ".join(more))
    (DOCS / f"{name}.md").write_text(text, encoding="utf-8")


def page(
    card: ModelCard, reports: Mapping[int, Mapping[str, Any]], options: str
) -> str:
    """The page as Markdown."""
    return "\n".join(
        [
            f"# {card.name}\n\n{card.description}\n",
            f"**Intended use.** {card.intended_use}\n",
            f"**Licence.** {card.licence}. {card.credit}\n",
            *_recipe(card, options),
            *_fold_table(reports),
            *_fold_zero(card, reports[0]),
        ]
    )


def _recipe(card: ModelCard, options: str) -> list[str]:
    training = card.training
    command = f"python tools/train_starter.py {card.name} RUNS --fold 0 {options}"
    return [
        "## Recipe\n",
        f"    {command.strip()}\n",
        f"Preset `{training['preset']}`, fold 0, seed {training['recipe']['seed']}, "
        f"{training['precision']}, {training['minutes']} minutes on 2 CPU cores; best "
        f"epoch {training['best_epoch']} of {training['recipe']['epochs']}. "
        f"{len(training['training'])} cases trained on, {len(training['selection'])} "
        f"chose the weights and fitted the temperature ({card.temperature:.3f}), "
        f"{len(training['unseen'])} unseen. Every number of the recipe, the plan with "
        "its reasons and the names of all cases stand in the card: "
        f"`e2miseg models show {card.name} --json`.\n",
        f"![curves]({card.name}.svg)\n",
    ]


def _fold_table(reports: Mapping[int, Mapping[str, Any]]) -> list[str]:
    whole = over_all(reports)
    rows = [
        f"| {fold} | {len(report['evaluation']['cases'])} | "
        + " | ".join(f"{report['means'][figure]:.4f}" for figure in FIGURES)
        + " |"
        for fold, report in reports.items()
    ]
    means = [
        f"**{whole[figure]:.4f}** ({whole[f'{figure}_interval'][0]:.4f} to "
        f"{whole[f'{figure}_interval'][1]:.4f})"
        for figure in FIGURES
    ]
    return [
        f"## Figures on unseen cases, {len(reports)} of {N_FOLDS} folds\n",
        "Means over structures and cases. Both masks empty: Dice 1, HD95 0, NSD 1; one "
        "empty: Dice 0, NSD 0, HD95 the image's diagonal. The model that is shipped is "
        "that of fold 0.\n",
        f"| fold | cases | {' | '.join(FIGURES.values())} |",
        "|---|---|---|---|---|",
        *rows,
        f"| all, with 95 % interval | {whole['n_cases']} | {' | '.join(means)} |\n",
    ]


def _fold_zero(card: ModelCard, report: Mapping[str, Any]) -> list[str]:
    maps = report["error_map"]
    return [
        "## Fold 0, the model that is shipped\n",
        f"| structure | {' | '.join(FIGURES.values())} |",
        "|---|---|---|---|",
        *(
            f"| {name} | "
            + " | ".join(f"{mean[figure]:.4f}" for figure in FIGURES)
            + " |"
            for name, mean in report["evaluation"]["classes"].items()
        ),
        "",
        "| area under the precision-recall curve for wrong voxels | |",
        "|---|---|",
        f"| expected-error map | {maps['auprc_expected_error']:.4f} |",
        f"| softmax entropy | {maps['auprc_entropy']:.4f} |",
        f"| chance (share of wrong voxels) | {maps['auprc_chance']:.4f} |",
        f"| expected / actual wrong voxels | {maps['expected_over_actual']:.3f} |\n",
        f"`{card.name}.foldK.json` has every case of fold K, "
        f"`{card.name}.history.csv` every epoch of fold 0.\n",
    ]


def main() -> None:
    """Train folds or ship, as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", choices=STARTER)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--fold", type=int, action="append", default=[])
    parser.add_argument("--ship", action="store_true")
    given, more = parser.parse_known_args()
    runs = given.runs.resolve()
    for fold in given.fold:
        train(given.name, runs, fold, more)
    if given.ship:
        ship(given.name, runs, more)


if __name__ == "__main__":
    main()
