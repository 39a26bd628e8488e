"""The headless demonstration goes the whole way round."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
from skimage.io import imread

from e2miseg_core.boxes import make_box
from e2miseg_core.demo import loop
from e2miseg_core.demo.loop import PROJECT, choose_demo_model, run_headless
from e2miseg_core.demo.pictures import Stage, write_picture
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_volume
from e2miseg_core.model import save_model
from e2miseg_core.model_card import LabelInfo
from e2miseg_core.models import add_model
from e2miseg_core.project import Project
from e2miseg_core.samples import sample_labels_path, sample_path


def test_a_picture_shows_image_labels_and_errors_of_one_slice(tmp_path):
    image = np.zeros((3, 40, 20))
    image[1, :, 10:] = 100
    labels = np.zeros(image.shape, np.uint8)
    labels[1, 5:35, 2:8] = 1
    errors = np.zeros(image.shape, np.float32)
    errors[1, 5:35, 12:18] = 0.6
    classes = [LabelInfo(value=1, name="a", color="#00ff00")]
    stage = Stage(
        labels=labels, errors=errors, boxes=[make_box((1, 0, 0), (1, 40, 20))]
    )
    path = tmp_path / "a.png"
    geometry = Geometry.from_spacing(image.shape, (1, 1, 1))
    write_picture(path, image, geometry, classes, stage, 1)
    picture = imread(path)
    assert picture.shape == (480, 720, 3)  # each part is 480 x 240: 12 pixels a voxel
    at = lambda part, y, x: tuple(picture[12 * y + 6, 240 * part + 12 * x + 6])  # noqa: E731
    assert at(0, 20, 5) == (0, 0, 0)
    assert at(0, 20, 15) == (255, 255, 255)
    assert at(1, 5, 4) == (0, 255, 0)  # the labels' rim
    red, green, blue = at(2, 20, 14)
    assert red > green < blue  # magenta
    assert at(2, 0, 10) == at(2, 20, 0) == (255, 255, 255)  # the edge's outline


def test_the_starter_model_is_the_one_for_the_sample():
    assert choose_demo_model(open_volume(sample_path())) == "phantom-lesions"


@pytest.fixture
def quick_model(tiny_model, tmp_path, monkeypatch):
    """Stand in for the starter model, of which each step takes seconds."""
    labels = tuple(
        replace(label, value=value)
        for value, label in enumerate(tiny_model.card.labels, start=1)
    )
    path = tmp_path / "quick.safetensors"
    save_model(tiny_model.network, replace(tiny_model.card, labels=labels), path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(loop, "DEMO_MODEL", add_model(path).name)


@pytest.fixture
def part_of_the_sample(tmp_path, monkeypatch):
    """Stand in for the sample: a part with a lesion."""
    for name, whole in (
        ("sample_path", sample_path()),
        ("sample_labels_path", sample_labels_path()),
    ):
        path = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.load(whole).slicer[20:52, 30:62, 18:38], path)
        monkeypatch.setattr(loop, name, lambda path=path: path)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_model", "part_of_the_sample")
def test_the_loop_is_closed_without_a_window(tmp_path):
    earlier = tmp_path / PROJECT
    earlier.mkdir()
    mine = earlier / "mine.txt"
    mine.write_text("precious")
    told = run_headless(tmp_path, steps=2)
    assert "Dice" in told
    assert "Fine-tuning, 2 steps:" in told
    assert mine.read_text() == "precious"
    project = Project.open(tmp_path / "phantom-2.e2m")
    (name,) = project.cases
    assert len(project.case(name).review().sites()) == 12
    assert [line["event"] for line in project.history()] in (["kept"], ["refused"])
    assert (tmp_path / "1-predicted.png").is_file()
    assert (tmp_path / "2-corrected.png").is_file()
