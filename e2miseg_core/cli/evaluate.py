"""`e2miseg evaluate`: how well predicted labels agree with a reference."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from e2miseg_core.cli.options import AsJson
from e2miseg_core.cli.output import Output
from e2miseg_core.errors import DatasetError, WriteError
from e2miseg_core.progress import run

if TYPE_CHECKING:
    from e2miseg_core.evaluation import Report

__all__ = ["evaluate"]

_MOST_ROWS = 60  # a longer table of cases scrolls the means away


def evaluate(
    predicted: Annotated[
        str,
        typer.Argument(
            metavar="PREDICTED",
            help="Labels to judge: a file, a folder of files, or an address such as "
            "labels.h5#part=/seg or https://...",
        ),
    ],
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REFERENCE",
            help="Labels taken as true: a file, an address, or a folder with files of "
            "the same names.",
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="REPORT",
            help="Also write everything to this file, report.json for example.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="M",
            help="Judge the structures of this model, and call them by its names. "
            "Without it, every label that occurs is judged.",
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            metavar="MM",
            help="Surfaces at most this far apart count as equal in the surface Dice "
            "(NSD). Take what two careful readers would differ by.",
        ),
    ] = 1.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a report that exists.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare labels with a reference: Dice, surface distance in mm, volumes.

    Dice: share of overlap, 0 to 1.
    NSD: share of the surfaces that lies within the tolerance, 0 to 1.
    HD95: distance in mm that 95 % of the surfaces stay within.

    A class that both leave empty counts as right (Dice 1, NSD 1, HD95 0); one that
    only one of them leaves empty as wrong (Dice 0, NSD 0, HD95 the image's diagonal).

    Both files must lie on the same grid.
    """
    from e2miseg_core.evaluation import evaluate_paths

    if output is not None:
        _check_output(output, overwrite=overwrite)
    names = _names_of(model) if model is not None else None
    with Output(as_json=as_json) as out:
        job = evaluate_paths(
            predicted, reference, label_names=names, tolerance_mm=tolerance
        )
        report = run(job, out.progress)
        if output is not None:
            _write(report, output)
        for problem in report.problems:
            out.warning(f"left out: {problem.message}")
        if len(report.cases) > 1 and len(report.table) <= _MOST_ROWS:
            out.table(_cases(report))
        out.result(report.to_json(), _means(report))
    _check_complete(report)


def _check_output(output: Path, *, overwrite: bool) -> None:
    """What can be told before an hour of comparing."""
    if output.is_dir() or (output.exists() and not overwrite):
        raise WriteError(
            found=f"{output} exists already",
            needed="a new file for the report",
            do="choose another name"
            + ("" if output.is_dir() else ", or add --overwrite"),
        )
    if not output.absolute().parent.is_dir():
        raise WriteError(
            found=f"the folder {output.parent} is missing",
            needed="an existing folder",
            do="make it first, or choose another",
        )


def _names_of(model: str) -> dict[int, str]:
    from e2miseg_core.model_card import read_card
    from e2miseg_core.models import find_model

    return read_card(find_model(model)).label_names


def _write(report: "Report", output: Path) -> None:
    from e2miseg_core.io.atomic import write_json

    write_json(output, report.to_json())


def _check_complete(report: "Report") -> None:
    """A mean over some of the cases must not pass for one over all."""
    if report.problems:
        total = len(report.cases) + len(report.problems)
        raise DatasetError(
            found=f"{len(report.problems)} of {total} cases could not be compared",
            needed="one prediction and one reference of each case, on one grid",
            do="see the notes above; the scores are of the other cases",
        )


def _means(report: "Report") -> Table:
    many = len(report.cases) > 1
    title = f"Mean of {len(report.cases)} cases" if many else report.cases[0].case
    table = _table(report, title, ["structure"])
    for value, mean in report.means.items():
        table.add_row(
            report.label_names[value],
            *(f"{score:.3f}" for score in (mean.dice, mean.nsd)),
            _mm(mean.hd95_mm, far=mean.n_one_empty > 0),
            *(f"{volume:.3f}" for volume in (mean.predicted_ml, mean.reference_ml)),
        )
    if len(report.label_names) > 1:
        table.add_section()
        table.add_row(
            "all structures",
            *(f"{score:.3f}" for score in (report.mean_dice, report.mean_nsd)),
            _mm(report.mean_hd95_mm, far=_far(report)),
        )
    if _far(report):
        table.caption = (
            "* where a structure is missing from one side, HD95 is set to the "
            "diagonal of the image"
        )
    return table


def _cases(report: "Report") -> Table:
    table = _table(report, "Cases", ["case", "structure"])
    for row in report.table:
        table.add_row(
            row["case"],
            row["name"],
            *(f"{row[score]:.3f}" for score in ("dice", "nsd")),
            _mm(row["hd95_mm"], far=row["predicted_empty"] != row["reference_empty"]),
            *(f"{row[volume]:.3f}" for volume in ("predicted_ml", "reference_ml")),
        )
    return table


def _table(report: "Report", title: str, first: list[str]) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    for name in first:
        table.add_column(name)
    for name in (
        "Dice",
        f"NSD at {report.tolerance_mm:g} mm",
        "HD95 (mm)",
        "predicted (ml)",
        "reference (ml)",
    ):
        table.add_column(name, justify="right")
    return table


def _far(report: "Report") -> bool:
    return any(mean.n_one_empty for mean in report.means.values())


def _mm(distance: float, *, far: bool) -> str:
    return f"{distance:.2f}{' *' if far else ''}"
