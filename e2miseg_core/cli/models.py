"""`e2miseg models`: starter and installed models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from e2miseg_core.cli.options import AsJson
from e2miseg_core.cli.output import Output
from e2miseg_core.cli.plan import rule_words
from e2miseg_core.model_card import ModelCard

__all__ = ["models"]

SLICES = "ehanet"  # a network of slices, which sees edges always
FIGURES = {
    "mean_dice": "Dice",
    "mean_hd95_mm": "HD95 (mm)",
    "mean_assd_mm": "ASSD (mm)",
    "mean_nsd_1mm": "NSD (1 mm)",
    "mean_ece": "calibration error",
    "error_map_auprc": "average precision of the error map",
    "entropy_auprc": "of entropy",
    "chance_auprc": "of chance",
}

models = typer.Typer(
    help="List, show and add models.", no_args_is_help=True, add_completion=False
)


@models.command("list")
def list_all(*, as_json: AsJson = False) -> None:
    """List the models that can be called by name."""
    from e2miseg_core.models import list_models

    with Output(as_json=as_json) as output:
        entries = list_models()
        table = Table()
        for name in ("name", "labels", "spacing (mm)", "licence", "unseen Dice"):
            table.add_column(name)
        rows = []
        for entry in entries:
            card = entry.card
            dice = card.metrics.get("mean_dice")
            table.add_row(
                entry.name,
                ", ".join(label.name for label in card.labels),
                " x ".join(f"{s:.3g}" for s in card.spacing),
                card.licence,
                "not stated" if dice is None else f"{dice:.3f}",
            )
            rows.append(
                {
                    "name": entry.name,
                    "path": str(entry.path),
                    "starter": entry.starter,
                    "labels": card.label_names,
                    "licence": card.licence,
                    "mean_dice": dice,
                }
            )
        output.result({"models": rows}, table if rows else "No model is installed.")


@models.command()
def show(
    name: Annotated[str, typer.Argument(help="A model's name, or its file.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show a model's card: what it needs, how good it is, what it was trained on."""
    from e2miseg_core.model_card import read_card
    from e2miseg_core.models import find_model

    with Output(as_json=as_json) as output:
        path = find_model(name)
        card = read_card(path)
        output.result({"path": str(path), "card": card.to_json()}, _card_table(card))


@models.command()
def add(
    file: Annotated[Path, typer.Argument(help="A model file (.safetensors).")],
    *,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="What to call it; else as the file, or as the card of a RUN's "
            "model.safetensors says.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model of the same name.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Install a model file, so that it can be called by its name."""
    from e2miseg_core.models import add_model

    with Output(as_json=as_json) as output:
        entry = add_model(file, name=name, overwrite=overwrite)
        output.result(
            {"name": entry.name, "path": str(entry.path)},
            f"Installed as {entry.name!r} in {entry.path.parent}",
        )


def _card_table(card: ModelCard) -> Table:
    table = Table.grid(padding=(0, 2))
    rows: dict[str, Any] = {
        "name": card.name,
        "what it does": card.description,
        "intended use": card.intended_use,
        "labels": ", ".join(f"{v} {n}" for v, n in card.label_names.items()),
        "channels": ", ".join(card.channels),
        **_network_rows(card),
        "spacing": " x ".join(f"{s:.4g}" for s in card.spacing) + " mm (Z, Y, X)",
        "patch": " x ".join(str(p) for p in card.patch_size) + " voxels",
        "normalisation": "; ".join(
            dict.fromkeys(rule_words(rule) for rule in card.normalizations)
        ),
        "licence": card.licence,
        "credit": card.credit,
        "calibration": ", ".join(
            f"{k.replace('_', ' ')} {v}" for k, v in card.calibration.items()
        ),
        **_case_rows(card),
        "figures": ", ".join(_figures(card.metrics)),
        "parent": card.parent or "",
        "hash": card.hash,
    }
    for name, value in rows.items():
        if value not in ("", None):
            table.add_row(name, str(value))
    return table


def _network_rows(card: ModelCard) -> dict[str, str]:
    """Its kind and preset, whether it sees edges, how it cuts volumes."""
    kind = str(card.network.get("architecture", ""))
    config = card.network.get("config", {})
    preset = card.training.get("preset")
    rows = {
        "network": kind if preset in (None, kind) else f"{kind}, preset {preset}",
        "edge head": "no",
    }
    if kind == SLICES or config.get("edge_head"):
        rows["edge head"] = "yes, for `e2miseg predict --edge-map`"
    if kind == SLICES:
        rows["slices"] = f"across {'ZYX'[config.get('axis', 0)]}"
    return rows


def _case_rows(card: ModelCard) -> dict[str, str]:
    parts = ("training", "selection", "unseen")
    counts = {part: len(card.training.get(part) or ()) for part in parts}
    if not any(counts.values()):
        return {}
    return {
        "cases": f"{counts['training']} trained on, {counts['selection']} chose the "
        f"weights, {counts['unseen']} unseen"
    }


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    """Figures with the names that reports give them; others as they are called."""
    return [
        f"{FIGURES.get(name, name.replace('_', ' '))} {value:.4g}"
        for name, value in metrics.items()
        if isinstance(value, float)
    ]
