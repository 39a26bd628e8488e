"""Every label set of a folder of data, written in every format that can hold it.

Each is opened, written, opened again and compared: voxels equal, and the largest
distance of a corner from where it was. DICOM segmentations are written where the labels
lie on a DICOM series.

``python -m benchmarks.round_trip ../shared/data``, beside whose ``cases.csv`` the data
lie, with the columns ``dataset`` and ``label``.
"""

import csv
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import machine
from e2miseg_core.errors import E2MISegError
from e2miseg_core.io import open_labels, open_volume, write_labels
from e2miseg_core.volume import Volume

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha", ".ome.zarr")
SERIES_SUFFIX = ".dcm"


def label_sets(data: Path) -> list[tuple[str, str]]:
    """Name and path of every label set that the table lists."""
    with (data / "cases.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        (row["dataset"], f"{data}/{row['label'].replace(':', '#', 1)}")
        for row in rows
        if row["label"]
    ]


def round_trip(labels: Volume, like: Volume, path: Path) -> tuple[bool, float]:
    """Whether voxels come back equal, and how far the corners move, in the unit."""
    written = write_labels(labels.data[0], path, like=like, names={})
    again = open_labels(written)
    equal = bool(np.array_equal(again.data[0].compute(), labels.data[0].compute()))
    moved = np.abs(again.geometry.corners() - labels.geometry.corners()).max()
    return equal, float(moved)


def dicom_series(data: Path) -> list[Volume]:
    """The image series below a folder that are alone in theirs."""
    found = []
    for folder in sorted(data.glob("**/*dicom*/**/")):
        try:
            volume = open_volume(folder)
        except E2MISegError:
            continue
        if volume.source is not None and volume.source.format == "dicom":
            found.append(volume)
    return found


def main() -> None:
    data = Path(sys.argv[1])
    counts: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    failed, series = [], dicom_series(data)
    for dataset, path in label_sets(data):
        try:
            labels = open_labels(path)
        except E2MISegError as error:
            failed.append(f"{dataset}: {path}: {error}")
            continue
        outputs = [(suffix, labels) for suffix in SUFFIXES]
        outputs += [
            (SERIES_SUFFIX, one)
            for one in series
            if one.geometry.matches(labels.geometry, tolerance=1e-4)
        ]
        for suffix, like in outputs:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    found = round_trip(labels, like, Path(folder) / f"labels{suffix}")
                except E2MISegError as error:
                    failed.append(f"{dataset}: {path} as {suffix}: {error}")
                    continue
            counts[suffix].append(found)
    table = Table(title="Label sets written and read again")
    for column in ("format", "label sets", "equal", "corners moved at most, mm"):
        table.add_column(column)
    for suffix, found in counts.items():
        equal = sum(same for same, _ in found)
        farthest = max(moved for _, moved in found)
        table.add_row(suffix, str(len(found)), str(equal), f"{farthest:.2g}")
    console = Console()
    console.print(machine(), table)
    console.print(f"{len(failed)} could not be done:", *failed, sep="\n")


if __name__ == "__main__":
    main()
