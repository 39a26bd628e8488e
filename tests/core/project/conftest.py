"""Small projects for tests: no network runs here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from e2miseg_core.geometry import Geometry
from e2miseg_core.io import create_store, open_volume, write_image
from e2miseg_core.project import (
    Case,
    CasePrediction,
    LabelStore,
    Project,
    complete_prediction,
)
from e2miseg_core.volume import Volume


@pytest.fixture
def image_path(tmp_path: Path) -> Path:
    """A flipped, oblique image of one channel in a file."""
    geometry = Geometry(
        shape=(9, 14, 11),
        affine=np.array(
            [
                [0.1, 0.0, 1.1, -4.0],
                [0.0, 0.9, 0.0, 7.0],
                [-1.2, 0.0, 0.1, 3.0],
                [0, 0, 0, 1],
            ]
        ),
    )
    image = np.random.default_rng(5).normal(100, 20, geometry.shape).astype(np.float32)
    volume = Volume.from_array(image, geometry)
    (tmp_path / "images").mkdir()
    return write_image(volume.data[0], tmp_path / "images" / "scan.nii.gz", like=volume)


@pytest.fixture
def project(tmp_path: Path, tiny_model_path: Path) -> Project:
    """An empty project with the classes 2 and 7."""
    return Project.create(tmp_path / "study.e2m", model=tiny_model_path)


@pytest.fixture
def make_case(project: Project, tmp_path: Path) -> Callable[..., Case]:
    """Make a case of any shape."""

    def make(shape: tuple[int, int, int], name: str = "case") -> Case:
        geometry = Geometry.from_spacing(shape, (1.0, 1.0, 1.0))
        path = tmp_path / f"{name}.ome.zarr"
        create_store(path, geometry, np.uint8, kind="image")
        return project.add_case(open_volume(path), name=name)

    return make


@pytest.fixture
def locked(project: Project) -> Iterator[None]:
    """Hold the project's lock."""
    with project.lock():
        yield


@pytest.fixture
def predict() -> Callable[..., tuple[CasePrediction, NDArray[np.uint8]]]:
    """Make a random prediction of a case."""

    def make(case: Case, seed: int) -> tuple[CasePrediction, NDArray[np.uint8]]:
        rng = np.random.default_rng(seed)
        labels = rng.choice(np.array([0, 0, 2, 7], np.uint8), case.geometry.shape)
        labels[: seed % 3] = 0
        folder = case.new_prediction_folder()
        store = create_store(
            folder / "labels.ome.zarr", case.geometry, np.uint8, chunks=(8, 64, 64)
        )
        store[:] = labels
        complete_prediction(folder, version=0, figures={"seed": seed})
        newest = case.prediction
        assert newest is not None
        return newest, labels

    return make


@pytest.fixture
def steps() -> Callable[[LabelStore], tuple[list[str], list[str]]]:
    """Tell the names of the steps that can be undone and redone, the next one last."""

    def names(store: LabelStore) -> tuple[list[str], list[str]]:
        strokes = store._journal.strokes
        return [one.name for one in strokes.done], [one.name for one in strokes.undone]

    return names
