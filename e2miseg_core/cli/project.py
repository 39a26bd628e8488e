"""`e2miseg project`: annotation projects on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from e2miseg_core.cli.options import AsJson, Device, Precision
from e2miseg_core.cli.output import Output
from e2miseg_core.errors import ConfigError

if TYPE_CHECKING:
    from e2miseg_core.project import Case, Project
    from e2miseg_core.project.sites import CaseSites

__all__ = ["project"]

project = typer.Typer(
    help="Make annotation projects, add and predict images, export corrected labels.",
    no_args_is_help=True,
    add_completion=False,
)

Name = Annotated[Path, typer.Argument(metavar="NAME.e2m", help="The project's folder.")]


@project.command()
def create(
    name: Name,
    images: Annotated[
        list[str] | None, typer.Argument(metavar="[IMAGE]...", help="Its cases.")
    ] = None,
    *,
    model: Annotated[
        str, typer.Option("--model", help="Name or file of the model to begin with.")
    ],
    as_json: AsJson = False,
) -> None:
    """Make a project around a model; images are taken in by reference."""
    from e2miseg_core.fit import check_fit
    from e2miseg_core.io import open_volume
    from e2miseg_core.model_card import read_card
    from e2miseg_core.models import find_model
    from e2miseg_core.project import Project

    with Output(as_json=as_json) as output:
        _check_new(images or [], [], name.name)
        volumes = [open_volume(image) for image in images or []]
        card = read_card(find_model(model))
        for volume in volumes:  # before anything is made
            check_fit(volume, card)
        made = Project.create(name, model=model)
        for volume in volumes:
            made.add_case(volume)
        output.result(_values(made), f"Made {made.path} with {_cases(made)}")


@project.command()
def add(
    name: Name,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="One case each.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Add images by reference: they stay where they are."""
    from e2miseg_core.io import open_volume
    from e2miseg_core.project import Project

    with Output(as_json=as_json) as output:
        opened = Project.open(name)
        volumes = [open_volume(image) for image in images]
        known = [opened.case(case).image_uri for case in opened.cases]
        _check_new(images, known, opened.path.name)
        added = [opened.add_case(volume).name for volume in volumes]
        output.result(
            {"added": added, **_values(opened)},
            f"Added {', '.join(added)}: {opened.path} has {_cases(opened)}",
        )


@project.command()
def predict(
    name: Name,
    *,
    cases: Annotated[
        list[str] | None,
        typer.Option("--case", help="Only this case; may be given several times."),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
) -> None:
    """Predict cases with the project's model; what a human said stays."""
    from e2miseg_core.project import Project

    opened = Project.open(name)
    chosen = [opened.case(case) for case in cases or opened.cases]
    from e2miseg_core.inference.prediction import PredictionOptions
    from e2miseg_core.inference.project import predict_into_labels_job
    from e2miseg_core.model import load_model
    from e2miseg_core.progress import run

    options = PredictionOptions(device=device, precision=precision)
    version = opened.version
    with Output(as_json=as_json) as output, opened.lock():
        model = load_model(version.path)
        for case in chosen:
            with case.open_labels() as store:
                job = predict_into_labels_job(
                    store, model, options, version=version.number
                )
                found = run(job, output.progress)
            edges = len(found.edges() or [])
            output.result(
                {"case": case.name, "prediction": found.number, "edges": edges},
                f"{case.name}: prediction {found.number} by version {version.number}, "
                f"{edges} uncertain edges ({found.figures['seconds']:.1f} s)",
            )


@project.command()
def info(name: Name, *, as_json: AsJson = False) -> None:
    """Tell the cases of a project, how far they are, and its model versions."""
    from e2miseg_core.progress import run
    from e2miseg_core.project import Project
    from e2miseg_core.project.sites import SiteFinder

    with Output(as_json=as_json) as output:
        opened = Project.open(name)
        values = _values(opened)
        for case, found in zip(
            values["cases"],
            run(SiteFinder().find(opened), output.progress),
            strict=True,
        ):
            case.update(_decided(opened.case(case["name"]), found))
        output.result(values)
        for table in _tables(values):
            output.table(table)


@project.command()
def export(
    name: Name,
    *,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for the label files.")
    ],
    suffix: Annotated[
        str,
        typer.Option(
            "--suffix",
            help="Format of all files, such as .nrrd, or .dcm for DICOM series; else "
            "one that fits each image.",
        ),
    ] = "",
    authority: Annotated[
        bool,
        typer.Option(
            "--authority",
            help="Also write who says so: 0 machine, 1 drawn, 2 accepted by a human.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing files.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the corrected labels of each case on the grid of its image."""
    from e2miseg_core.progress import run
    from e2miseg_core.project import Project, export_labels

    with Output(as_json=as_json) as output:
        opened = Project.open(name)
        _check_suffix(suffix)
        job = export_labels(
            opened, out, suffix=suffix, authority=authority, overwrite=overwrite
        )
        written = run(job, output.progress)
        for case, paths in written.items():
            if not paths:
                output.warning(f"{case} is left out: it is not predicted, nor drawn in")
            elif opened.case(case).merged is None:
                output.warning(
                    f"{case} is not predicted yet: its file holds only what was drawn"
                )
        files = [str(path) for paths in written.values() for path in paths]
        if not files:
            raise ConfigError(
                found=f"nothing to export in {opened.path.name}",
                needed="a case that is predicted or drawn in",
                do=f"predict first: e2miseg project predict {name}",
            )
        output.result({"files": files}, "\n".join(files))


@project.command()
def relocate(
    name: Name,
    case: Annotated[str, typer.Argument(metavar="CASE", help="As `info` names it.")],
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="Where its image is now.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Tell a case where its image is now; it must be the same image."""
    from e2miseg_core.project import Project

    with Output(as_json=as_json) as output:
        opened = Project.open(name)
        with opened.lock():
            moved = opened.case(case)
            moved.relocate(image)
        output.result(
            {"case": case, "image": opened.case(case).image_uri},
            f"{case}: its image is {opened.case(case).image_uri}",
        )


def _check_suffix(suffix: str) -> None:
    from e2miseg_core.io import known_suffixes

    if suffix and suffix not in known_suffixes(writable=True):
        raise ConfigError(
            found=f"the suffix {suffix!r}",
            needed="one of " + ", ".join(known_suffixes(writable=True)),
            do="take one of these, or leave it out",
        )


def _check_new(images: Sequence[str], known: Sequence[str], project: str) -> None:
    """Refuse an image that is a case already, or is named twice."""
    from e2miseg_core.io.naming import same_place

    for number, image in enumerate(images):
        if any(same_place(image, case) for case in known):
            raise ConfigError(
                found=f"{image} is a case of {project} already",
                needed="images that are not",
                do="leave it out",
            )
        if any(same_place(image, other) for other in images[:number]):
            raise ConfigError(
                found=f"{image} is named twice",
                needed="each image once, as one case",
                do="leave it out the second time",
            )


def _cases(opened: "Project") -> str:
    count = len(opened.cases)
    return f"{count} case" if count == 1 else f"{count} cases"


def _values(opened: "Project") -> dict[str, Any]:
    return {
        "project": str(opened.path),
        "classes": {label.value: label.name for label in opened.classes},
        "version": opened.version.number,
        "versions": [
            {
                "number": version.number,
                "model": version.card.name,
                "made": version.made,
                "parent": version.parent,
                "sentence": version.sentence,
            }
            for version in opened.versions
        ],
        "cases": [_case_values(opened.case(name)) for name in opened.cases],
    }


def _case_values(case: "Case") -> dict[str, Any]:
    from e2miseg_core.io.naming import exists

    newest, merged = case.prediction, case.merged
    edges = newest.edges() if newest is not None else None
    return {
        "name": case.name,
        "image": case.image_uri,
        "image_found": exists(case.image_uri),
        "shape": list(case.geometry.shape),
        "predictions": len(case.predictions()),
        "merged": None if merged is None else merged.number,
        "edges": None if edges is None else len(edges),
    }


def _decided(case: "Case", found: "CaseSites") -> dict[str, Any]:
    """What people have said of a case; a verdict that was undone is none."""
    stands = [site.verdict for site in found.sites]
    skipped = list(case.review().by_box().values()).count("skipped")
    return {
        "verdicts": {
            "corrected": stands.count("corrected"),
            "fine": stands.count("fine"),
            "skipped": skipped,
        },
        "painted": stands.count("painted"),
        "drawn_voxels": found.drawn,
    }


def _tables(values: dict[str, Any]) -> list[Table]:
    cases = Table(title=f"Cases of {Path(values['project']).name}")
    for column in ("case", "size", "predictions", "edges", "reviewed", "image"):
        cases.add_column(column)
    for case in values["cases"]:
        verdicts = case["verdicts"]
        cases.add_row(
            case["name"],
            " x ".join(map(str, case["shape"])),
            str(case["predictions"]),
            "not ranked" if case["edges"] is None else str(case["edges"]),
            f"{verdicts['corrected']} corrected, {verdicts['fine']} fine, "
            f"{case['painted']} painted",
            case["image"] if case["image_found"] else f"missing: {case['image']}",
        )
    versions = Table(title="Model versions")
    for column in ("", "version", "model", "why"):
        versions.add_column(column)
    for version in values["versions"]:
        used = "in use" if version["number"] == values["version"] else ""
        number = str(version["number"])
        versions.add_row(used, number, version["model"], version["sentence"])
    return [cases, versions]
