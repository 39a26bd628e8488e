"""Small labelled cases, and a project in which a model predicted one of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from e2miseg_core.inference.prediction import PredictionOptions
from e2miseg_core.io import write_image, write_labels
from e2miseg_core.model import Model
from e2miseg_core.progress import run
from e2miseg_core.project import Project
from e2miseg_core.simulation.robot import Robot
from e2miseg_core.simulation.subjects import Subject, add_subjects
from e2miseg_core.training.dataset import Dataset, find_dataset
from e2miseg_core.volume import Volume

SHAPE = (14, 24, 26)


@pytest.fixture(scope="session")
def labelled_folder(
    tmp_path_factory: pytest.TempPathFactory, make_image: Callable[..., Volume]
) -> Path:
    """Four cases with the labels of the tiny model, 2 and 7."""
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for number in range(4):
        volume = make_image(number, SHAPE)
        labels = np.zeros(volume.geometry.shape, np.uint8)
        z, y, x = (n // 4 for n in labels.shape)
        labels[z : 3 * z, y : 2 * y, x : 3 * x] = 2
        labels[z : 2 * z, 2 * y : 3 * y, 2 * x : 3 * x] = 7
        image = np.asarray(volume.data[0]) + 40 * labels
        write_image(image, folder / "images" / f"case_{number}.nii.gz", like=volume)
        write_labels(labels, folder / "labels" / f"case_{number}.nii.gz", like=volume)
    return folder


@pytest.fixture(scope="session")
def labelled(labelled_folder: Path) -> Dataset:
    """The cases of `labelled_folder`."""
    return find_dataset(labelled_folder)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A project of two predicted cases, its lock held, and the truth of the first."""

    project: Project
    subjects: list[Subject]
    robot: Robot

    @property
    def subject(self) -> Subject:
        """The first case."""
        return self.subjects[0]


@pytest.fixture
def bench(
    tmp_path: Path, labelled: Dataset, tiny_model: Model, tiny_model_path: Path
) -> Iterator[Bench]:
    """Make a new project for each test, since tests correct it."""
    project = Project.create(tmp_path / "bench.e2m", model=tiny_model_path)
    options = PredictionOptions(device="cpu", precision="float32")
    with project.lock():
        subjects = run(add_subjects(project, labelled.cases[:2], tiny_model, options))
        yield Bench(project=project, subjects=subjects, robot=subjects[0].robot())
