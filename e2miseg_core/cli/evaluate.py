"""`e2miseg evaluate`: how well predicted labels agree with a reference."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from e2miseg_core.cli import evaluate_steps as steps
from e2miseg_core.cli.evaluate_options import (
    check_outputs,
    check_partners,
    groups_of,
    judging_of,
    wanted_structures,
)
from e2miseg_core.cli.options import AsJson
from e2miseg_core.cli.output import Output
from e2miseg_core.progress import run

__all__ = ["evaluate"]


def evaluate(  # noqa: PLR0913 - one parameter an option
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
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="PAGE",
            help="Also write one page with tables, plots and pictures of the worst "
            "cases, which opens in any browser.",
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="TABLE",
            help="Also write a row for each case and structure.",
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
    preset: Annotated[
        str | None,
        typer.Option(
            "--regions",
            metavar="SET",
            help="Judge the regions of a benchmark: acdc, brats (1 edema, 2 "
            "non-enhancing, 3 enhancing), brats2017 (4 enhancing), brats2023.",
        ),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            "--region",
            metavar="NAME=VALUES",
            help="Judge labels together, WT=1+2+3 for example; again for the next.",
        ),
    ] = None,
    instances: Annotated[
        bool,
        typer.Option(
            "--instances",
            help="The numbers count objects, such as cells, and are not the same in "
            "both files: match them one to one (--lesion-iou 0.5).",
        ),
    ] = False,
    tolerance: Annotated[
        list[float] | None,
        typer.Option(
            "--tolerance",
            metavar="MM",
            help="Surfaces at most this far apart count as equal in the surface Dice "
            "(NSD): what two careful readers would differ by; 1 without it. Again "
            "for further ones.",
        ),
    ] = None,
    probabilities: Annotated[
        str | None,
        typer.Option(
            "--probabilities",
            metavar="PROBS",
            help="What `predict --probabilities` wrote: also judge the calibration.",
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            "--images", metavar="IMAGES", help="Images for the pictures of the page."
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="OTHER",
            help="Another prediction of the same cases: tell the differences, with "
            "intervals and p values.",
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups",
            metavar="CSV",
            help="A table with the columns case,group: cases of one group, such as a "
            "patient's, are drawn together for the intervals.",
        ),
    ] = None,
    connectivity: Annotated[
        int,
        typer.Option(
            "--connectivity", help="Neighbours that make one lesion: 6, 18 or 26."
        ),
    ] = 26,
    lesion_iou: Annotated[
        float | None,
        typer.Option(
            "--lesion-iou",
            help="Match lesions one to one, at least so alike (intersection over "
            "union). 0, without --instances: found if touched.",
        ),
    ] = None,
    lesion_ml: Annotated[
        float,
        typer.Option("--lesion-ml", help="Leave smaller lesions out, in ml."),
    ] = 0.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a report that exists.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare labels with a reference: Dice, surface distance in mm, volumes.

    Dice: share of overlap, 0 to 1.
    NSD: share of the surfaces that lies within the tolerance, 0 to 1.
    HD95: distance in mm that 95 % of the surfaces stay within.
    ASSD: mean distance of the surfaces in mm.

    A class that both leave empty counts as right (Dice 1, NSD 1, distances 0); one
    that only one of them leaves empty as wrong (Dice 0, NSD 0, distances the image's
    diagonal).

    Both files must lie on the same grid.
    """
    from e2miseg_core.evaluation import LesionRule

    check_outputs([output, html, table], overwrite=overwrite)
    check_partners(predicted, reference, images, compare)
    if lesion_iou is None:
        lesion_iou = 0.5 if instances else 0.0
    rule = LesionRule(connectivity=connectivity, min_iou=lesion_iou, min_ml=lesion_ml)
    wanted = wanted_structures(preset, region or [], instances=instances)
    judging = judging_of(model, wanted, tuple(tolerance or [1.0]), rule)
    judging = replace(judging, groups=groups_of(groups))
    with Output(as_json=as_json) as out:
        job = steps.compare(predicted, reference, judging, probabilities, compare)
        report, lacking = run(job, out.progress)
        steps.write(report, output, table)
        steps.warn(out, report, lacking)
        if html is not None:
            run(steps.draw(report, html, images), out.progress)
        steps.show(out, report)
    steps.check_complete(report)
