"""Slices read in the background: offered where they are slow, set only by the user."""

from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Layer
from napari.settings import get_settings

from e2miseg_core.volume import Source, Volume
from e2miseg_napari.convert import KEY, image_layers
from e2miseg_napari.images import ImageChoice
from e2miseg_napari.panels.volume_section import VolumeSection
from e2miseg_napari.slicing import window_waits_for


@pytest.fixture(autouse=True)
def as_before():
    settings = get_settings().experimental
    settings.async_ = False
    yield
    settings.async_ = False


def layer_from(uri: str) -> Layer:
    volume = Volume.from_array(np.zeros((3, 4, 5), np.uint8), spacing=(1, 1, 1))
    source: Source = replace(volume.source, uri=uri)
    return Layer.create(*image_layers(replace(volume, source=source))[0])


@pytest.mark.parametrize(
    ("uri", "slow"),
    [("https://host.org/em.ome.zarr", True), ("/data/scan.nii.gz", False)],
)
def test_only_slow_volumes_are_offered(qtbot, uri, slow):
    section = VolumeSection()
    qtbot.addWidget(section)
    layer = layer_from(uri)
    assert layer.metadata[KEY]["slow"] is slow
    section.show_choices([ImageChoice(title="it", layer=layer)])
    assert section.background.isVisibleTo(section) is slow
    assert not get_settings().experimental.async_


def test_the_users_click_turns_it_on(qtbot):
    section = VolumeSection()
    qtbot.addWidget(section)
    layer = layer_from("s3://bucket/em.ome.zarr")
    section.show_choices([ImageChoice(title="it", layer=layer)])
    section.background.click()
    assert get_settings().experimental.async_
    assert not window_waits_for(layer)
    assert not section.background.isVisibleTo(section)
