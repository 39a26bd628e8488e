"""`e2miseg edges`: the ranked uncertain edges, of an image or of a project."""

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from e2miseg_core.cli.options import AsJson, Device, Precision
from e2miseg_core.cli.output import Output
from e2miseg_core.errors import ConfigError, WriteError

if TYPE_CHECKING:
    from e2miseg_core.geometry import Geometry
    from e2miseg_core.project import EdgeList

__all__ = ["edges"]

COLUMNS = (
    *("case", "number", "z", "y", "x", "world_x_mm", "world_y_mm", "world_z_mm"),
    *("z_from", "z_to", "y_from", "y_to", "x_from", "x_to"),
    *("expected_wrong", "gain", "classes"),
)


@dataclass(frozen=True)
class _Ranked:
    """The edges of one image or case, and what their voxels mean."""

    name: str
    geometry: "Geometry"
    names: dict[int, str]
    found: "EdgeList"


def edges(  # noqa: PLR0913 - one parameter an option
    image: Annotated[
        str | None, typer.Argument(metavar="INPUT", help="An image, with --model.")
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", help="A .csv to write.")
    ],
    model: Annotated[
        str | None, typer.Option("--model", help="A model's name or file.")
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option("--project", metavar="P", help="A project instead of an image."),
    ] = None,
    case: Annotated[
        str | None,
        typer.Option("--case", metavar="C", help="Only this case of the project."),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a table that exists.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List where labels are probably wrong, what is worth most first.

    Voxels z, y, x count towards superior, posterior, left; the world is RAS+ in mm.

    A box reaches from ..._from to before ..._to.

    expected_wrong: voxels in the box that are expected to be wrong.
    gain: expected gain in mean Dice from correcting the box.

    In a project the newest predictions are ranked again: what humans said is known.
    """
    _check_output(output, overwrite=overwrite)
    with Output(as_json=as_json) as out:
        if project is not None and (image, model) == (None, None):
            ranked = _of_project(project, case, out)
        elif (
            image is not None and model is not None and (project, case) == (None, None)
        ):
            ranked = _of_image(image, model, device, precision, out)
        else:
            raise ConfigError(
                found="neither an image with its model nor a project alone",
                needed="INPUT --model M, or --project P [--case C]",
                do="give the one or the other",
            )
        _write(output, ranked)
        for one in ranked:
            out.result({**_values(one), "output": str(output)}, _sentence(one, output))


def _of_image(
    image: str, name: str, device: str, precision: str, out: Output
) -> list[_Ranked]:
    from e2miseg_core.io import open_volume

    volume = open_volume(image)  # what is wrong with it is told before torch is loaded
    from e2miseg_core.inference.prediction import PredictionOptions
    from e2miseg_core.inference.project import volume_edges_job
    from e2miseg_core.io.naming import short_name
    from e2miseg_core.model import load_model
    from e2miseg_core.progress import run

    model = load_model(name)
    options = PredictionOptions(device=device, precision=precision)
    found = run(volume_edges_job(volume, model, options), out.progress)
    names = model.card.label_names
    return [_Ranked(short_name(image), volume.geometry, names, found)]


def _of_project(path: Path, wanted: str | None, out: Output) -> list[_Ranked]:
    from e2miseg_core.progress import run
    from e2miseg_core.project import Project
    from e2miseg_core.uncertainty.edges import rank_edges

    project = Project.open(path)
    cases = [project.case(name) for name in ([wanted] if wanted else project.cases)]
    predicted = [case for case in cases if case.prediction is not None]
    for case in cases:
        if case not in predicted and predicted:
            out.warning(f"{case.name}: not predicted yet, so left out")
    if not predicted:
        raise ConfigError(
            found=f"no prediction in {path.name}" + (f" of {wanted}" if wanted else ""),
            needed="a predicted case",
            do="predict it first",
        )
    names = {label.value: label.name for label in project.classes}
    return [
        _Ranked(case.name, case.geometry, names, run(rank_edges(case), out.progress))
        for case in predicted
    ]


def _check_output(output: Path, *, overwrite: bool) -> None:
    if (
        output.suffix != ".csv"
        or output.is_dir()
        or not output.absolute().parent.is_dir()
    ):
        raise WriteError(
            found=f"{output} as the output",
            needed="a name that ends in .csv, in an existing folder",
            do="choose another name, or make the folder first",
        )
    if output.exists() and not overwrite:
        raise WriteError(
            found=f"{output} exists",
            needed="a new name",
            do="choose another name, or add --overwrite",
        )


def _write(output: Path, ranked: list[_Ranked]) -> None:
    from e2miseg_core.io.atomic import replacing

    with replacing(output) as partial, partial.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for one in ranked:
            table.writerows(_rows(one))


def _rows(ranked: _Ranked) -> Iterator[list[object]]:
    for edge in ranked.found.edges:
        yield [
            ranked.name,
            edge.number,
            *edge.centre,
            *(f"{mm:.3f}" for mm in _world(ranked, edge.centre)),
            *(bound for bounds in edge.box for bound in bounds),
            f"{edge.expected_wrong:.2f}",
            f"{edge.gain:.6f}",
            " ".join(str(value) for value in edge.classes),
        ]


def _world(ranked: _Ranked, voxel: tuple[int, int, int]) -> list[float]:
    return [float(mm) for mm in ranked.geometry.in_unit("mm").world(voxel)]


def _values(ranked: _Ranked) -> dict[str, Any]:
    listed = [
        {**asdict(edge), "world_mm": _world(ranked, edge.centre)}
        for edge in ranked.found.edges
    ]
    return {**asdict(ranked.found), "case": ranked.name, "edges": listed}


def _sentence(ranked: _Ranked, output: Path) -> str:
    found = ranked.found
    if not found.edges:
        return f"{ranked.name}: no uncertain edge (calibration: {found.note})"
    held = sum(edge.expected_wrong for edge in found.edges)
    first = found.edges[0]
    names = " / ".join(ranked.names.get(value, "background") for value in first.classes)
    return (
        f"{ranked.name} -> {output}: {len(found.edges)} uncertain edges hold "
        f"{held:.0f} of about {found.total_expected:.0f} wrong voxels; first at voxel "
        f"{first.centre} ({names}; about {first.expected_wrong:.0f} wrong, "
        f"+{first.gain:.3f} Dice); calibration: {found.note}"
    )
