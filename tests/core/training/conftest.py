"""A small trained model, and projects whose corrections show it something new."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices, clip_box, make_box
from e2miseg_core.io import open_volume, write_image, write_labels
from e2miseg_core.model import save_model
from e2miseg_core.model_card import LabelInfo, ModelCard
from e2miseg_core.networks import preset_config
from e2miseg_core.preprocess import Normalization
from e2miseg_core.progress import run
from e2miseg_core.project import Edge, Project
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.run import TrainingRun
from e2miseg_core.volume import Volume

SHAPE = (20, 36, 32)
SMALL = (6, 8, 8)  # of a dark box, all of which is seen when its edges are corrected
PLAIN = Normalization(scheme="clipped", mean=0.0, std=1.0)
Truth = NDArray[np.uint8]


def draw(seed: int, *, dark: bool) -> tuple[NDArray[np.float32], Truth, list[Box]]:
    """Noise with a bright box and, if asked for, a dark one; both are the object."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 0.3, SHAPE).astype(np.float32)
    truth = np.zeros(SHAPE, np.uint8)
    boxes = []
    for column, level in ((2, 2.0), (18, -2.0)):
        if level > 0 or dark:
            corner = (*rng.integers(2, 8, 2), column + int(rng.integers(0, 3)))
            size = (8, 14, 9) if level > 0 else SMALL
            box = clip_box(make_box([int(c) for c in corner], size), SHAPE)
            image[box_slices(box)] += level
            truth[box_slices(box)] = 1
            boxes.append(box)
    return image, truth, boxes


def edges_of(box: Box) -> list[Box]:
    """Review boxes at the four corners of a box in its middle slice."""
    (z0, z1), (y0, y1), (x0, x1) = box
    centre = (z0 + z1) // 2
    return [
        clip_box(make_box((centre - 3, y - 4, x - 4), (7, 8, 8)), SHAPE)
        for y in (y0, y1)
        for x in (x0, x1)
    ]


@pytest.fixture(scope="session")
def bright_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on bright boxes only."""
    config = preset_config("tiny", patch_size=(8, 16, 16), in_channels=1, n_classes=2)
    cases = []
    for seed in range(4):
        image, truth, _ = draw(seed, dark=False)
        cases.append(
            PreparedCase(
                name=f"case {seed}",
                image=image[None],
                classes=truth,
                foreground=(np.argwhere(truth == 1),),
            )
        )
    folder = tmp_path_factory.mktemp("bright")
    training = TrainingRun(
        folder,
        config,
        Recipe(epochs=5, iterations=20, learning_rate=3e-3, validate_every=5),
        device="cpu",
        precision="float32",
    )
    trained = run(training.train(cases[:3], cases[3:]))
    card = ModelCard(
        name="bright boxes",
        labels=(LabelInfo(value=5, name="box", color="#E69F00"),),
        channels=("MR",),
        normalizations=(PLAIN,),
        spacing=(1.0, 1.0, 1.0),
        patch_size=config.patch_size,
        network={"architecture": "e2miseg", "config": config.to_json()},
        calibration={"temperature": 1.2},
        training={"mirror_axes": [2]},
        licence="CC0",
    )
    save_model(trained.network, card, folder / "bright.safetensors")
    return folder / "bright.safetensors"


@pytest.fixture(scope="session")
def dark_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boxes of which the model knows the bright ones only."""
    folder = tmp_path_factory.mktemp("dark")
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for number in range(5):
        image, truth, _ = draw(300 + number, dark=True)
        like = Volume.from_array(image, spacing=(1.0, 1.0, 1.0))
        write_image(image, folder / "images" / f"c{number}.nii.gz", like=like)
        write_labels(
            5 * truth.astype(np.uint8),
            folder / "labels" / f"c{number}.nii.gz",
            like=like,
        )
    return folder


@dataclass(frozen=True)
class Corrected:
    """A project and the truth behind it."""

    project: Project
    truths: dict[str, Truth]


Correct = Callable[[Truth], Truth]


@pytest.fixture
def corrected_project(bright_model: Path, tmp_path: Path) -> Callable[..., Corrected]:
    """Make a project of dark and bright boxes, corrected at their edges.

    `correct` may tell lies instead of the truth.
    """

    def make(
        n_cases: int = 3,
        *,
        correct: Correct = lambda truth: truth,
        model: Path = bright_model,
        folder: Path = tmp_path,
    ) -> Corrected:
        project = Project.create(folder / "study.e2m", model=model)
        truths = {}
        for number in range(n_cases):
            image, truth, boxes = draw(100 + number, dark=True)
            volume = Volume.from_array(image, spacing=(1.0, 1.0, 1.0))
            path = write_image(image, folder / f"scan_{number}.nii.gz", like=volume)
            case = project.add_case(open_volume(path))
            truths[case.name] = truth
            labels = zarr.open_array(str(case.labels_path / "0"), mode="r+")
            authority = zarr.open_array(str(case.authority_path / "0"), mode="r+")
            said = (5 * correct(truth)).astype(labels.dtype)
            # What the model sees by itself: the bright box only.
            labels[...] = 5 * np.where(np.arange(SHAPE[2]) < 16, truth, 0)
            for index, box in enumerate(edges_of(boxes[1]), start=1):
                where = box_slices(box)
                labels[where], authority[where] = said[where], 1
                edge = Edge(
                    number=index,
                    box=box,
                    centre=tuple((lo + hi) // 2 for lo, hi in box),
                    expected_wrong=1.0,
                    gain=0.1,
                    classes=(5,),
                )
                case.review().append(edge, "corrected", prediction=1)
        return Corrected(project=project, truths=truths)

    return make
