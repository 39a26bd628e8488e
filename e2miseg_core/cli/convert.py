"""`e2miseg convert`: from any readable volume to any writable format."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from e2miseg_core.cli.options import AsJson
from e2miseg_core.cli.output import Output
from e2miseg_core.errors import Cancelled, ConfigError

if TYPE_CHECKING:
    from e2miseg_core.conversion import Conversion

__all__ = ["convert"]

_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_RATED = 100_000_000  # bytes; with fewer, a speed tells of imports


def convert(  # noqa: PLR0913 - one parameter an option
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="A file, a folder or a URL.")
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT",
            help="Its end chooses the format; .ome.zarr becomes a pyramid.",
        ),
    ],
    *,
    part: Annotated[
        str,
        typer.Option("--part", help="Which image, where INPUT holds several."),
    ] = "",
    frame: Annotated[
        int | None,
        typer.Option("--frame", min=0, help="One frame of a series, from 0."),
    ] = None,
    labels: Annotated[
        bool | None,
        typer.Option(
            "--labels/--image",
            help="What the voxels are; else told by the format. Coarser levels of "
            "labels hold the most frequent label, of images the mean.",
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="IMAGE",
            help="Image that labels were made on: the DICOM folder, for a DICOM "
            "segmentation of labels that come from elsewhere.",
        ),
    ] = None,
    levels: Annotated[
        int | None,
        typer.Option("--levels", min=1, help="Levels in all; else down to 256 voxels."),
    ] = None,
    chunk: Annotated[
        int, typer.Option("--chunk", help="Voxels along an edge of a chunk.")
    ] = 64,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="Threads; else one a processor, up to 4."
        ),
    ] = None,
    max_memory: Annotated[
        str,
        typer.Option("--max-memory", help="For voxels on their way, such as 512MiB."),
    ] = "1GiB",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output that exists.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue what an interrupted run has left."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Convert an image or labels to another format, checked by reading it back."""
    from e2miseg_core.conversion import ConversionOptions, conversion_job
    from e2miseg_core.conversion.workplace import is_resumable, workplace_of
    from e2miseg_core.io.address import Address
    from e2miseg_core.io.remote.files import reporting_downloads
    from e2miseg_core.progress import run

    options = ConversionOptions(
        kind=None if labels is None else "labels" if labels else "image",
        n_levels=levels,
        chunk=chunk,
        workers=workers,
        max_memory=_n_bytes(max_memory),
        overwrite=overwrite,
        resume=resume,
        like=like,
    )
    given = Address.parse(source)
    _check_once("part", given.part, part)
    _check_once("frame", given.frame, frame)
    address = replace(
        given,
        part=part or given.part,
        frame=given.frame if frame is None else frame,
    )
    with Output(as_json=as_json) as out:
        try:
            with reporting_downloads(out.stages):
                result = run(conversion_job(address, output, options), out.progress)
        except KeyboardInterrupt as interrupt:
            if is_resumable(workplace_of(output.expanduser())):
                kept = "what is finished is kept; the same call with --resume continues"
                raise Cancelled(kept=kept) from interrupt
            raise
        for note in result.notes:
            out.warning(note)
        out.result(_values(result), _sentence(result))


def _check_once(name: str, in_address: object, option: object) -> None:
    """Refuse an option that contradicts the address."""
    unsaid = (None, "")
    if in_address in unsaid or option in unsaid or in_address == option:
        return
    raise ConfigError(
        found=f"#{name}={in_address} in the address and --{name} {option}",
        needed=f"one {name}",
        do="leave one of them out",
    )


def _n_bytes(text: str) -> int:
    """Bytes of a number with or without a unit, such as 2GiB."""
    number, factor = text.strip(), 1
    for unit, size in _UNITS.items():
        if number.lower().endswith(unit.lower()):
            number, factor = number[: -len(unit)], size
    try:
        return int(float(number) * factor)
    except (ValueError, OverflowError):
        raise ConfigError(
            found=f"{text!r} as an amount of memory",
            needed="a number with KiB, MiB, GiB or TiB",
            do="write it such as 512MiB or 2GiB",
        ) from None


def _values(result: "Conversion") -> dict[str, object]:
    return {
        "output": str(result.output),
        "kind": result.kind,
        "shapes": [list(shape) for shape in result.shapes],
        "dtype": result.dtype,
        "bytes": result.n_bytes,
        "seconds": result.seconds,
        "notes": list(result.notes),
    }


def _sentence(result: "Conversion") -> str:
    size = " x ".join(map(str, result.shapes[0][1:]))
    if result.shapes[0][0] > 1:
        size = f"{result.shapes[0][0]} channels of {size}"
    levels = f", {len(result.shapes)} levels" if len(result.shapes) > 1 else ""
    took = f"{result.seconds:.1f} s"
    if result.n_bytes > _RATED:
        took += f", {result.n_bytes / 1e6 / result.seconds:.0f} MB/s"
    return (
        f"{result.output}: {result.kind} of {size} voxels (Z, Y, X), "
        f"{result.dtype}{levels}; read back and equal ({took})"
    )
