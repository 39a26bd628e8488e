"""`python -m e2miseg_core.samples OUT --cases N --seed S` makes a training set."""

import argparse
import sys

from e2miseg_core.errors import E2MISegError
from e2miseg_core.progress import Progress, run
from e2miseg_core.samples.dataset import write_phantoms
from e2miseg_core.samples.phantom import DEFAULT_SHAPE, LESION_KINDS


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0 when done, 2 when the user can mend what went wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m e2miseg_core.samples",
        description="Make a training set of phantoms with lesions.",
    )
    parser.add_argument("output", help="folder for imagesTr, labelsTr, dataset.json")
    parser.add_argument("--cases", type=int, default=40, help="volumes (default 40)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default 0)")
    parser.add_argument(
        "--shape",
        type=int,
        nargs=3,
        default=DEFAULT_SHAPE,
        metavar=("Z", "Y", "X"),
        help="voxels of each volume (default %(default)s)",
    )
    parser.add_argument(
        "--lesions",
        choices=LESION_KINDS,
        default=LESION_KINDS[0],
        help="bright throughout, or ringed: a bright rim around a dark core "
        "(default %(default)s)",
    )
    chosen = parser.parse_args(arguments)
    job = write_phantoms(
        chosen.output,
        chosen.cases,
        chosen.seed,
        shape=tuple(chosen.shape),
        lesion_kind=chosen.lesions,
    )
    try:
        card = run(job, _show)
    except E2MISegError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    sys.stdout.write(f"{card}\n")
    return 0


def _show(step: Progress) -> None:
    """Overwrite one line on a terminal; in a file the result alone is of use."""
    if not sys.stderr.isatty():
        return
    sys.stderr.write(f"\r{step.stage}: {step.done} of {step.total}")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
