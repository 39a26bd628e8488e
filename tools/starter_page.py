"""The page of a starter model: its recipe, and its figures on unseen cases."""

import shlex
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from benchmarks.contest import FIGURES
from e2miseg_core.errors import ConfigError
from e2miseg_core.evaluation.intervals import bootstrap_interval
from e2miseg_core.model_card import ModelCard
from e2miseg_core.training.splits import N_FOLDS
from tools.trained_with import options_of

__all__ = ["check_alike", "over_all", "page"]

TITLES = [title for title, _ in FIGURES.values()]


def check_alike(reports: Mapping[int, Mapping[str, Any]]) -> None:
    """ConfigError if fold 0 lacks, or folds were trained with other options than it."""
    if 0 not in reports:
        raise ConfigError(
            found="no report of fold 0",
            needed="the fold whose model is shipped",
            do="train it with --fold 0",
        )
    first = reports[0]
    other = [
        fold
        for fold, found in reports.items()
        if any(found.get(key) != first.get(key) for key in ("options", "network"))
    ]
    if other:
        options = reports[other[0]].get("options")
        raise ConfigError(
            found=f"fold {other[0]}, trained with {options} or another network",
            needed=f"{first.get('options')} and the network of fold 0: only such folds "
            "have a mean",
            do="train them alike, or delete the report of one",
        )


def over_all(reports: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the cases of all folds, each unseen in its own; 95 % intervals.

    Intervals draw groups of cases, such as those of a patient.
    """
    cases = [c for r in reports.values() for c in r["evaluation"]["cases"]]
    names = [c["case"] for c in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            found=f"the case {twice[0]}, unseen in two folds",
            needed="folds of one split",
            do="train them with the same groups, or delete the report of one",
        )
    groups = [c["group"] for c in cases]
    found: dict[str, Any] = {"n_cases": len(cases), "n_groups": len(set(groups))}
    for figure in FIGURES:
        of_cases = [fmean(s[figure] for s in c["classes"].values()) for c in cases]
        interval = bootstrap_interval(of_cases, groups)
        found[figure] = fmean(of_cases)
        found[f"{figure}_interval"] = interval.to_json() if interval else None
    return found


def page(
    card: ModelCard, reports: Mapping[int, Mapping[str, Any]], machine: str = ""
) -> str:
    """The page as Markdown; `machine` says what fold 0 was trained on."""
    return "\n".join(
        [
            f"# {card.name}\n\n{card.description}\n",
            f"**Intended use.** {card.intended_use}\n",
            f"**Licence.** {card.licence}. {card.credit}\n",
            *_recipe(card, machine),
            *_fold_table(reports),
            *(f"{note}\n" for note in card.training.get("notes", ())),
            *_fold_zero(card, reports[0]),
        ]
    )


def _recipe(card: ModelCard, machine: str) -> list[str]:
    training = card.training
    options = shlex.join(options_of(card))
    command = f"python -m tools.train_starter {card.name} RUNS --fold 0 {options}"
    where = f" on {machine}" if machine else ""
    return [
        "## Recipe\n",
        f"    {command.strip()}\n",
        f"Preset `{training['preset']}`, fold 0, seed {training['recipe']['seed']}, "
        f"{training['precision']}, {training['minutes']} minutes{where}; best "
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
        f"| fold | cases | {' | '.join(TITLES)} |",
        "|---|---|---|---|---|",
        *rows,
        f"| all, with 95 % interval | {whole['n_cases']} | {' | '.join(means)} |\n",
    ]


def _fold_zero(card: ModelCard, report: Mapping[str, Any]) -> list[str]:
    maps = report["error_map"]
    return [
        "## Fold 0, the model that is shipped\n",
        f"| structure | {' | '.join(TITLES)} |",
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
