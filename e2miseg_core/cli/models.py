"""`e2miseg models`: starter and installed models."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from e2miseg_core.cli.options import AsJson
from e2miseg_core.cli.output import Output
from e2miseg_core.model_card import ModelCard

__all__ = ["models"]

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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model of the same name.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Install a model file, so that it can be called by its name."""
    from e2miseg_core.models import add_model

    with Output(as_json=as_json) as output:
        entry = add_model(file, overwrite=overwrite)
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
        "spacing": " x ".join(f"{s:.4g}" for s in card.spacing) + " mm (Z, Y, X)",
        "patch": " x ".join(str(p) for p in card.patch_size) + " voxels",
        "licence": card.licence,
        "credit": card.credit,
        "calibration": ", ".join(f"{k} {v}" for k, v in card.calibration.items()),
        "unseen cases": len(card.training.get("unseen", [])),
        "figures": ", ".join(
            f"{k} {v:.4g}" for k, v in card.metrics.items() if isinstance(v, float)
        ),
        "parent": card.parent or "",
        "hash": card.hash,
    }
    for name, value in rows.items():
        if value not in ("", None):
            table.add_row(name, str(value))
    return table
