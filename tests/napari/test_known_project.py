"""An image's project is looked for again whenever layers change, without a flicker."""

import numpy as np
import pytest
from napari.layers import Image

from e2miseg_core.io import open_volume
from e2miseg_core.project import Project
from e2miseg_napari.convert import KEY
from e2miseg_napari.images import iter_images
from e2miseg_napari.panels.known_project import KnownProject

WAIT = 20_000


@pytest.fixture
def project(oblique_scan, tiny_model):
    project = Project.create(oblique_scan.with_name("scan.e2m"), model=tiny_model)
    project.add_case(open_volume(oblique_scan))
    return project


def layer_of(uri: str) -> Image:
    layer = Image(np.zeros((3, 4, 5), np.uint8))
    layer.metadata[KEY] = {"role": "image", "uri": uri}
    return layer


def test_what_is_known_of_an_image_stays_while_it_is_looked_for_again(
    qtbot, project, oblique_scan, tmp_path
):
    layer = layer_of(str(oblique_scan))
    known, seen = KnownProject(), []
    known.changed.connect(lambda: seen.append(known.path))
    for _ in range(3):  # each time layers come and go
        (choice,) = iter_images([layer])
        known.look(choice)
        qtbot.waitUntil(lambda: not known._background.busy, timeout=WAIT)
    assert seen == [project.path]
    (other,) = iter_images([layer_of(str(tmp_path / "other.nii"))])
    known.look(other)
    assert seen == [project.path, None]
    qtbot.waitUntil(lambda: not known._background.busy, timeout=WAIT)


def test_another_file_in_the_same_layer_is_another_image(
    qtbot, project, oblique_scan, tmp_path
):
    layer = layer_of(str(oblique_scan))
    known = KnownProject()
    known.look(next(iter_images([layer])))
    qtbot.waitUntil(lambda: known.path == project.path, timeout=WAIT)
    layer.metadata[KEY] = {"role": "image", "uri": str(tmp_path / "other.nii")}
    known.look(next(iter_images([layer])))
    assert known.path is None
    qtbot.waitUntil(lambda: not known._background.busy, timeout=WAIT)
