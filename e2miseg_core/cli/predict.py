"""`e2miseg predict`: from images to labels and error maps."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from e2miseg_core.cli.options import AsJson, Device, Model, Precision
from e2miseg_core.cli.output import Output
from e2miseg_core.errors import ConfigError, WriteError

if TYPE_CHECKING:
    from e2miseg_core.inference.files import FilePrediction, OutputPaths
    from e2miseg_core.model_card import ModelCard
    from e2miseg_core.volume import Volume

__all__ = ["predict"]


def predict(  # noqa: PLR0913 - one parameter an option
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT...]",
            help="Images: files, DICOM folders, zarr, URLs; what is meant in one with "
            "several images after #part=. A folder with CASE_0000.nii.gz, "
            "CASE_0001.nii.gz, ... holds cases with a file a channel.",
        ),
    ] = None,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Where the labels go: a file (.nii.gz, .nrrd, .ome.zarr and others), "
            "or a folder for several images.",
        ),
    ],
    model: Model,
    channels: Annotated[
        list[str] | None,
        typer.Option(
            "--channels",
            metavar="NAME=FILE",
            help="A channel of the one case, instead of INPUT; again for the next. "
            "Names as the model has them; the first file's grid is the case's.",
        ),
    ] = None,
    error_map: Annotated[
        Path | None,
        typer.Option(
            "--error-map",
            metavar="F",
            help="Also write the chance, 0 to 1, that each voxel's label is wrong: a "
            "file, or a folder for several images.",
        ),
    ] = None,
    edge_map: Annotated[
        Path | None,
        typer.Option(
            "--edge-map",
            metavar="F",
            help="Also write the probability, 0 to 1, that a class ends at each voxel: "
            "a file, or a folder. For models with an edge head.",
        ),
    ] = None,
    probabilities: Annotated[
        Path | None,
        typer.Option(
            "--probabilities",
            metavar="F",
            help="Also write the probability of every class: a file, or a folder.",
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    overlap: Annotated[
        float,
        typer.Option("--overlap", help="Share of a tile that its neighbour repeats."),
    ] = 0.5,
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror", help="Average over mirrored images: slower, steadier."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Label images with a model, on exactly their own grid."""
    cases = _cases(images or [], channels or [], model)
    from e2miseg_core.io.remote.files import reporting_downloads

    with Output(as_json=as_json) as out, reporting_downloads(out.stages):
        volumes = _open_inputs(cases, overlap)
    wanted = {
        "error_map": error_map,
        "edge_map": edge_map,
        "probabilities": probabilities,
    }
    plan = _plan(cases, output, {k: v for k, v in wanted.items() if v is not None})
    from e2miseg_core.inference.files import check_edge_map, check_outputs, predict_file
    from e2miseg_core.inference.prediction import PredictionOptions
    from e2miseg_core.io.naming import short_name
    from e2miseg_core.model import load_model
    from e2miseg_core.progress import run

    with Output(as_json=as_json) as out:
        for outputs in plan.values():
            check_outputs(outputs, overwrite=overwrite, inputs=cases)
        loaded = load_model(model)
        for outputs in plan.values():
            check_edge_map(outputs, loaded)
        options = PredictionOptions(
            device=device,
            precision=precision,
            overlap=overlap,
            mirror=mirror,
        )
        for image, outputs in plan.items():
            _tell_doubt(out, image, volumes[image], loaded.card)
            job = predict_file(image, outputs, loaded, options, overwrite=overwrite)
            result = run(job, out.progress)
            for note in result.notes:
                out.warning(f"{short_name(image)}: {note}")
            out.result(_values(result), _sentence(result, loaded.card))


def _cases(images: list[str], channels: list[str], model: str) -> dict[str, str]:
    """Names of cases by addresses; empty where the address gives the name."""
    from e2miseg_core.cli.channels import named_case, with_numbered_cases

    if bool(images) == bool(channels):
        raise ConfigError(
            found="both images and --channels" if images else "no image",
            needed="images, or the channels of one case",
            do="name files, or --channels NAME=FILE for each channel",
        )
    if channels:
        return {named_case(channels, model): ""}
    return with_numbered_cases(images, model)


def _open_inputs(images: Iterable[str], overlap: float) -> "dict[str, Volume]":
    """Open every image, so that what is wrong is told before torch is loaded."""
    if not 0 <= overlap < 1:
        raise ConfigError(
            found=f"an overlap of {overlap}",
            needed="at least 0 and less than 1",
            do="take 0.5 unless you know why not",
        )
    from e2miseg_core.io import open_volume

    return {image: open_volume(image) for image in images}


def _plan(
    cases: dict[str, str],
    labels: Path,
    maps: dict[str, Path],
) -> "dict[str, OutputPaths]":
    """The outputs of every image; `maps` by their fields of `OutputPaths`."""
    from e2miseg_core.inference.files import OutputPaths
    from e2miseg_core.io import split_suffix
    from e2miseg_core.io.naming import label_suffix, suggested_name

    wanted = [labels, *maps.values()]
    into_folders = len(cases) > 1 or _is_folder(labels)
    if not into_folders:
        return {image: OutputPaths(labels=labels, **maps) for image in cases}
    for folder in wanted:
        if split_suffix(folder)[1]:
            raise WriteError(
                found=f"{len(cases)} images and the single output {folder}",
                needed="a folder",
                do="name a folder that is to hold one file an image",
            )
    names = [
        f"{name or suggested_name(image)}{label_suffix(image)}"
        for image, name in cases.items()
    ]
    if len(set(names)) < len(names) or len({p.resolve() for p in wanted}) < len(wanted):
        raise WriteError(
            found="two outputs that would bear the same name",
            needed="images of different names, and a folder for each kind of output",
            do="run them one after the other, or choose other folders",
        )
    for folder in wanted:
        folder.mkdir(parents=True, exist_ok=True)
    return {
        image: OutputPaths(
            labels=labels / name,
            **{field: folder / name for field, folder in maps.items()},
        )
        for image, name in zip(cases, names, strict=True)
    }


def _is_folder(path: Path) -> bool:
    from e2miseg_core.io import split_suffix

    return path.is_dir() and not split_suffix(path)[1]


def _tell_doubt(out: Output, image: str, volume: "Volume", card: "ModelCard") -> None:
    from e2miseg_core.fit import doubt_fit
    from e2miseg_core.io.naming import short_name

    doubt = doubt_fit(card, volume.geometry, volume.channels, volume.notes)
    if doubt:
        out.warning(f"{short_name(image)}: {doubt}")


def _values(result: "FilePrediction") -> dict[str, Any]:
    values = asdict(result)
    outputs = {k: str(v) for k, v in values.pop("outputs").items() if v is not None}
    return {**values, "outputs": outputs}


def _sentence(result: "FilePrediction", card: "ModelCard") -> str:
    from e2miseg_core.io.naming import short_name

    volumes = ", ".join(
        f"{name} {result.volumes_ml[value]:.2f} ml"
        for value, name in card.label_names.items()
    )
    return (
        f"{short_name(result.image)} -> {result.outputs.labels}: {volumes} "
        f"({result.seconds:.1f} s on {result.device}, {result.precision})"
    )
