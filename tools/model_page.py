"""Write a model's page under docs/models from its training run.

    python tools/model_page.py RUN NAME "COMMAND"

Needs matplotlib (extra `dev`) for the curve.
"""

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Any

from e2miseg_core.model_card import ModelCard, read_card

DOCS = Path(__file__).resolve().parents[1] / "docs" / "models"


def draw_curve(history: list[dict[str, str]], path: Path) -> None:
    """Training loss and selection Dice over the epochs, as SVG."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "e2miseg"  # the same file from the same run
    from matplotlib import pyplot as plt

    figure, left = plt.subplots(figsize=(6, 3), layout="constrained")
    epochs = [int(row["epoch"]) for row in history]
    left.plot(epochs, [float(row["loss"]) for row in history], color="#0072B2")
    left.set(xlabel="epoch", ylabel="training loss")
    left.yaxis.label.set_color("#0072B2")
    scored = [row for row in history if row["selection_dice"]]
    right = left.twinx()
    right.plot(
        [int(row["epoch"]) for row in scored],
        [float(row["selection_dice"]) for row in scored],
        color="#D55E00",
        marker="o",
        markersize=3,
    )
    right.set_ylabel("selection Dice", color="#D55E00")
    figure.savefig(path, metadata={"Date": None})


def page(card: ModelCard, report: dict[str, Any], command: str) -> str:
    """The page as Markdown."""
    training, maps = card.training, report["error_map"]
    classes = report["evaluation"]["classes"]
    lines = [
        f"# {card.name}",
        "",
        card.description,
        "",
        f"**Intended use.** {card.intended_use}",
        "",
        f"**Licence.** {card.licence}. {card.credit}",
        "",
        "## Recipe",
        "",
        f"    {command}",
        "",
        "and the texts of the card by `--name --licence --credit --description "
        "--intended-use`.",
        "",
        f"Preset `{training['preset']}`, fold {training['fold']}, seed "
        f"{training['recipe']['seed']}, {training['precision']}, "
        f"{training['minutes']} minutes on 2 CPU cores; best epoch "
        f"{training['best_epoch']} of {training['recipe']['epochs']}. "
        f"{len(training['training'])} cases trained on, "
        f"{len(training['selection'])} chose the checkpoint and fitted the "
        f"temperature ({card.temperature:.3f}), {len(training['unseen'])} unseen. "
        "Every number of the recipe and the names of all cases stand in the card: "
        f"`e2miseg models show {card.name} --json`.",
        "",
        f"![curve]({card.name}.svg)",
        "",
        f"## Figures on the {len(training['unseen'])} unseen cases",
        "",
        "Means over cases. Both masks empty: Dice 1, HD95 0, NSD 1; one empty: Dice 0, "
        "NSD 0, HD95 the image's diagonal.",
        "",
        "| class | Dice | HD95 (mm) | NSD at 1 mm |",
        "|---|---|---|---|",
    ]
    for name, mean in classes.items():
        lines.append(
            f"| {name} | {mean['dice']:.4f} | {mean['hd95_mm']:.2f} "
            f"| {mean['nsd']:.4f} |"
        )
    means = report["means"]
    lines += [
        f"| **mean** | **{means['dice']:.4f}** | {means['hd95_mm']:.2f} "
        f"| {means['nsd']:.4f} |",
        "",
        "| area under the precision-recall curve for wrong voxels | |",
        "|---|---|",
        f"| expected-error map | {maps['auprc_expected_error']:.4f} |",
        f"| softmax entropy | {maps['auprc_entropy']:.4f} |",
        f"| chance (share of wrong voxels) | {maps['auprc_chance']:.4f} |",
        f"| expected / actual wrong voxels | {maps['expected_over_actual']:.3f} |",
        "",
        f"`{card.name}.report.json` has every case, `{card.name}.history.csv` every "
        "epoch.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write page, curve, history and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("command")
    given = parser.parse_args()
    DOCS.mkdir(parents=True, exist_ok=True)
    history = DOCS / f"{given.name}.history.csv"
    shutil.copyfile(given.run / "history.csv", history)
    with history.open(newline="", encoding="utf-8") as file:
        draw_curve(list(csv.DictReader(file)), DOCS / f"{given.name}.svg")
    report = json.loads((given.run / "report.json").read_text(encoding="utf-8"))
    compact = json.dumps(report, separators=(",", ":"))
    (DOCS / f"{given.name}.report.json").write_text(compact + "\n", encoding="utf-8")
    card = read_card(given.run / "model.safetensors")
    text = page(card, report, given.command)
    (DOCS / f"{given.name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
