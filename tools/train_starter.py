"""Train a starter model fold by fold; write its page and its model file.

    python -m tools.train_starter hippocampus RUNS --fold 0 [--fold 1 ...]
    python -m tools.train_starter hippocampus RUNS --ship --machine "2 CPU cores"

In the repository's root. Options that this program does not know go to `e2miseg train`.
The first trains what is not trained yet in RUNS/NAME/foldK (an interrupted fold goes
on) and puts that fold's report into docs/models. The second copies the model of fold 0
to the starters, its card with the figures of all folds that have a report, and writes
docs/models/NAME.md; folds that were trained otherwise than fold 0 are refused.
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
from typing import Any

from benchmarks.contest import in_one_line
from e2miseg_core.errors import ConfigError
from e2miseg_core.model import load_model, save_model
from e2miseg_core.model_card import read_card
from e2miseg_core.models import STARTERS
from e2miseg_core.training.curves import history_panels, write_curves
from e2miseg_core.training.run_folder import MODEL
from e2miseg_core.training.splits import N_FOLDS
from tools.starter_page import check_alike, over_all, page
from tools.trained_with import options_of, switches_of

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs" / "models"
DATA = ROOT.parent / "shared" / "data"


@dataclass(frozen=True, kw_only=True)
class Starter:
    """What `e2miseg train` is told, and how the data are made where they are not there.

    Attributes
    ----------
    data : Path
        The training set; {runs} is the folder of the runs.
    make : tuple of str
        Command, after `python`, that makes it in {made}.
    options : tuple of str
        Of `e2miseg train`.
    about : mapping
        Texts of the card.
    notes : tuple of str
        Sentences on what the figures are worth, for page and card.
    replay : mapping
        How fine-tuning makes the training cases again, for made ones.
    """

    data: str
    options: tuple[str, ...]
    about: Mapping[str, str]
    make: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    replay: Mapping[str, Any] = field(default_factory=dict)


STARTER = {
    "hippocampus": Starter(
        data=str(DATA / "msd_hippocampus"),
        options=(
            *("--groups", str(DOCS / "hippocampus.groups.csv")),
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
        notes=(
            "Images 2k - 1 and 2k are taken for the two hippocampi of one subject, who "
            "is in one part of a fold only. The set does not say so, but in all 46 "
            "such pairs both are stored alike, equally bright: hippocampus.groups.csv.",
            "The learning rate of the preset was once chosen, among a few, by 39 of "
            "these images, which are now spread over the folds.",
        ),
    ),
    "pet-tumour": Starter(
        data="{runs}/pet",
        make=(
            "tools/pet_dataset.py",
            str(DATA / "ibsi_soft_tissue_sarcoma"),
            "{made}",
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
            *("-m", "e2miseg_core.samples", "{made}"),
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
    make_data(starter, data)
    folder = runs / name / f"fold{fold}"
    if (folder / MODEL).is_file():
        print(f"fold {fold} is trained; its options stay as they were")
    else:
        texts = [part for k, v in starter.about.items() for part in (f"--{k}", v)]
        begun = (folder / "checkpoint.safetensors").is_file()
        _python(
            *("-m", "e2miseg_core", "train", str(data), "-o", str(folder)),
            *("--name", name, "--fold", str(fold), *starter.options, *texts, *more),
            *(["--resume"] if begun else []),
        )
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    card = read_card(folder / MODEL)
    report["options"] = options_of(card)
    report["network"] = switches_of(card)
    compact = json.dumps(report, separators=(",", ":"))
    kept = DOCS / f"{name}.fold{fold}.json"
    kept.write_text(compact + "\n", encoding="utf-8")


def make_data(starter: Starter, data: Path) -> None:
    """Make a training set whole or not at all, where it is made and not there yet."""
    if not starter.make or data.exists():
        return
    made = data.with_name(f"{data.name}.unfinished")
    shutil.rmtree(made, ignore_errors=True)
    _python(*(part.format(made=made) for part in starter.make))
    made.rename(data)


def _python(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False)
    if done.returncode != 0:
        raise ConfigError(
            found=f"python {' '.join(arguments[:4])} ended with {done.returncode}",
            needed="an end without an error",
            do="see what it said above",
        )


def fold_reports(name: str) -> dict[int, dict[str, Any]]:
    """The reports of the folds that are trained."""
    paths = {fold: DOCS / f"{name}.fold{fold}.json" for fold in range(N_FOLDS)}
    return {
        fold: json.loads(path.read_text(encoding="utf-8"))
        for fold, path in paths.items()
        if path.is_file()
    }


def ship(name: str, runs: Path, machine: str) -> None:
    """Model of fold 0 with every fold's figures in its card; page; curve."""
    folder = runs / name / "fold0"
    reports = fold_reports(name)
    check_alike(reports)
    model = load_model(folder / MODEL)
    folds = {str(fold): report["means"] for fold, report in reports.items()}
    metrics = {**model.card.metrics, "folds": folds, "all_folds": over_all(reports)}
    training = dict(model.card.training)
    if STARTER[name].replay:
        training["replay"] = STARTER[name].replay
    if STARTER[name].notes:
        training["notes"] = list(STARTER[name].notes)
    card = replace(model.card, metrics=metrics, training=training)
    card = save_model(model.network, card, STARTERS / f"{name}.safetensors")
    history = DOCS / f"{name}.history.csv"
    shutil.copyfile(folder / "history.csv", history)
    with history.open(newline="", encoding="utf-8") as file:
        write_curves(DOCS / f"{name}.svg", history_panels(list(csv.DictReader(file))))
    text = page(card, reports, machine)
    (DOCS / f"{name}.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Train folds or ship, as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", choices=STARTER)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--fold", type=int, action="append", default=[])
    parser.add_argument("--ship", action="store_true")
    parser.add_argument(
        "--machine", default="", help="what it was trained on, for --ship"
    )
    given, more = parser.parse_known_args()
    runs = given.runs.resolve()
    for fold in given.fold:
        train(given.name, runs, fold, more)
    if given.ship:
        ship(given.name, runs, given.machine)


if __name__ == "__main__":
    in_one_line(main)
