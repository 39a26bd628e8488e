"""Edits a case without end, saying what is on disk: a program for a test to kill.

Called with a project and a seed. `edits` tells which edits it makes.
"""

import sys
import time
from collections.abc import Iterator

import numpy as np


def edits(seed: int, shape: tuple[int, ...]) -> Iterator[tuple[tuple[slice, ...], int]]:
    """A box and a label for each entry of the journal; each entry changes something."""
    rng = np.random.default_rng(seed)
    number = 0
    while True:
        start = [int(rng.integers(0, n - 1)) for n in shape]
        size = [int(rng.integers(1, min(30, n))) for n in shape]
        box = tuple(
            slice(low, min(low + count, n))
            for low, count, n in zip(start, size, shape, strict=True)
        )
        number += 1
        yield box, number % 250 + 1


def main() -> None:
    from e2miseg_core.project import Project

    project = Project.open(sys.argv[1])
    with project.lock():
        store = project.case("case").open_labels()
        for number, (box, label) in enumerate(
            edits(int(sys.argv[2]), store.levels[0].shape), start=1
        ):
            store.levels[0][box] = label
            if number % 7 == 0:
                store.undo()
                store.redo()
            if number % 40 == 0:
                time.sleep(1.3)  # long enough for chunks to be written
            sys.stdout.write(f"{number} {store.seq} {store.saved_seq}\n")
            sys.stdout.flush()
            time.sleep(0.002)


if __name__ == "__main__":
    main()
