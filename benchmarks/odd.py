"""Every odd or damaged file of ../shared/data/odd, opened and compared.

`python -m benchmarks.odd [--markdown]`. What opens is compared with nibabel, SimpleITK
or pydicom, voxel by voxel and corner by corner; what does not must say so in one line.
"""

import argparse
import gzip
import importlib
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import E2MISegError
from e2miseg_core.geometry import Geometry, canonical_transform
from e2miseg_core.io import open_volume

FOLDER = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "odd"
VOXELS = 1e-6  # of the largest value: scaled ones are float32
CORNERS = 0.01  # mm: positions of slices are rounded in DICOM
Reference = tuple[NDArray[Any], NDArray[np.float64]]  # (X, Y, Z, ...), RAS+


@dataclass(frozen=True)
class Outcome:
    """What came of a file; differences are None where nothing else reads it."""

    name: str
    opened: str = ""
    line: str = ""
    library: str = ""
    voxels_differ: float | None = None
    corners_differ: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        if self.line:
            return "\n" not in self.line and "; needed: " in self.line
        if self.voxels_differ is None or self.corners_differ is None:
            return not self.library  # nobody else reads it
        return self.voxels_differ <= VOXELS and self.corners_differ <= CORNERS


def by_nibabel(path: Path) -> Reference:
    nib: Any = importlib.import_module("nibabel")
    image = nib.load(path)
    voxels = np.asarray(image.dataobj)
    if voxels.dtype.names:  # colours
        voxels = np.stack([voxels[name] for name in voxels.dtype.names], axis=-1)
    if path.suffix == ".mnc" and voxels.ndim == 4:  # time first
        voxels = np.moveaxis(voxels, 0, -1)
    return voxels, image.affine


def by_simpleitk(path: Path) -> Reference:
    sitk: Any = importlib.import_module("SimpleITK")
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1.0, -1, 1, 1]) @ affine


def by_pydicom(path: Path) -> Reference:
    wrappers: Any = importlib.import_module("nibabel.nicom.dicomwrappers")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.dcm"
        content = path.read_bytes()
        plain.write_bytes(gzip.decompress(content) if path.suffix == ".gz" else content)
        wrapper = wrappers.wrapper_from_file(plain)
        voxels = np.asarray(wrapper.get_data())
        affine = np.asarray(wrapper.affine)
    voxels = voxels.reshape(*voxels.shape, *[1] * (3 - voxels.ndim))
    # Rows come first there.
    return voxels.swapaxes(0, 1), np.diag([-1.0, -1, 1, 1]) @ affine[:, [1, 0, 2, 3]]


LIBRARIES = {
    "nifti": ("nibabel", by_nibabel),
    "foreign": ("nibabel", by_nibabel),
    "nrrd": ("SimpleITK", by_simpleitk),
    "metaimage": ("SimpleITK", by_simpleitk),
    "dicom": ("pydicom", by_pydicom),
}


def examine(path: Path) -> Outcome:
    """Open one file, read all of it and compare."""
    name = f"{path.parent.name}/{path.name}"
    try:
        volume = open_volume(path)
        volume.data.compute()
    except E2MISegError as error:
        return Outcome(name, line=str(error).replace(str(path.parent), "."))
    source = volume.source
    if source is None:
        return Outcome(name, opened="in memory")
    sizes = (*source.geometry.shape[::-1], volume.n_channels)
    told = f"{source.format} {'x'.join(map(str, sizes))} {volume.dtype}"
    told += f" {source.geometry.orientation[::-1]}"
    outcome = Outcome(name, opened=told, notes=volume.notes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            library, reader = LIBRARIES[source.format]
            voxels, affine = reader(path)
    except Exception:  # noqa: BLE001 - libraries raise anything
        return outcome
    # Libraries may count slices the other way: compare what lies where in the world.
    grid = Geometry.from_xyz(voxels.shape[:3], affine)
    transform = canonical_transform(grid)
    frames = voxels.reshape(*voxels.shape[:3], -1, order="F").T
    expected = transform.apply(frames).astype(np.float64)
    found = volume.data.compute().astype(np.float64)
    if expected.shape != found.shape:
        shape = "x".join(map(str, voxels.shape))
        return Outcome(name, told, "", f"{library} has {shape}", notes=volume.notes)
    scale = max(1.0, float(np.nanmax(np.abs(expected))))
    same_nan = np.array_equal(np.isnan(expected), np.isnan(found))
    apart = float(np.nanmax(np.abs(found - expected))) / scale if same_nan else np.inf
    corners = transform.apply_geometry(grid).corners() - volume.geometry.corners()
    moved = float(np.abs(corners).max())
    return Outcome(name, told, "", library, apart, moved, volume.notes)


def examine_all(folder: Path = FOLDER) -> Iterator[Outcome]:
    for path in sorted(folder.glob("*/*")):
        yield examine(path)


def markdown(outcomes: list[Outcome]) -> str:
    lines = ["| file | outcome | equal to |", "|---|---|---|"]
    for each in outcomes:
        told = each.opened + "".join(f"; {note}" for note in each.notes)
        equal = each.library
        if each.voxels_differ:
            equal += f" to {each.voxels_differ:.1g}"
        if each.corners_differ:
            equal += f", corners to {each.corners_differ:.1g} mm"
        if not each.is_right:
            equal = f"WRONG: {equal}"
        lines.append(f"| {each.name} | {told or each.line} | {equal} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="the table of the docs")
    asked = parser.parse_args()
    outcomes = list(examine_all())
    if asked.markdown:
        print(markdown(outcomes))
    else:
        for each in outcomes:
            print("ok   " if each.is_right else "WRONG", each)
    return int(not all(each.is_right for each in outcomes))


if __name__ == "__main__":
    raise SystemExit(main())
