"""What the panel offers where a file does not say all that there is to say."""

from pathlib import Path

import napari
import nibabel as nib
import numpy as np
import pytest
from napari.components import LayerList
from napari.layers import Image, Labels

from e2miseg_core.errors import ReadError
from e2miseg_napari import dialogs
from e2miseg_napari.images import ImageChoice, with_voxel_size
from e2miseg_napari.panels import volume_section
from e2miseg_napari.panels.main import MainPanel
from e2miseg_napari.pet_overlay import PetOverlay

WAIT = 20_000


@pytest.fixture
def panel(make_napari_viewer, fake_client):
    made = MainPanel(make_napari_viewer(), fake_client("good"))
    made._viewer.window.add_dock_widget(made, name="E2MISeg")
    yield made
    made.shutdown(at_once=True)


def open_in(panel: MainPanel, path: Path, qtbot) -> napari.layers.Layer:
    panel.predict.volume.open_asked.emit(str(path))
    qtbot.waitUntil(lambda: not panel._opening.busy, timeout=WAIT)
    return panel._viewer.layers[-1]


@pytest.mark.parametrize(
    ("text", "spacing", "unit"),
    [
        ("50, 4.6, 4.6 nm", (50, 4.6, 4.6), "nm"),
        ("50 4.6 4.6nm", (50, 4.6, 4.6), "nm"),
        ("0.5 µm", (0.5, 0.5, 0.5), "um"),
        ("3 x 1 x 1", (3, 1, 1), "mm"),
    ],
)
def test_size_of_voxels_as_people_write_it(text, spacing, unit):
    address = with_voxel_size("a.npy", text)
    assert (address.spacing, address.unit) == (spacing, unit)


@pytest.mark.parametrize("text", ["", "1, 2", "a b c", "1,2,3 furlongs", "0 nm"])
def test_no_size_of_voxels_is_one_line(text):
    with pytest.raises(ReadError, match="voxel size"):
        with_voxel_size("a.npy", text)


def test_assumed_size_is_told_and_can_be_stated(panel, tmp_path, qtbot, monkeypatch):
    np.save(tmp_path / "em.npy", np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6))
    open_in(panel, tmp_path / "em.npy", qtbot)
    section = panel.predict.volume
    assert "1 × 1 × 1 mm (assumed)" in section.facts.text()
    assert section.resize_button.isVisibleTo(section)
    monkeypatch.setattr(volume_section, "ask_voxel_size", lambda *_: "50 4.6 4.6 nm")
    section.resize_button.click()
    qtbot.waitUntil(lambda: not panel._opening.busy, timeout=WAIT)
    (layer,) = panel._viewer.layers
    np.testing.assert_allclose(layer.scale, (50, 4.6, 4.6))
    assert "50 × 4.6 × 4.6 nm" in section.facts.text()
    assert "assumed" not in section.facts.text()
    assert section.resize_button.isVisibleTo(section)  # to correct it


def test_stated_size_is_not_asked_for(panel, oblique_scan, qtbot):
    open_in(panel, oblique_scan, qtbot)
    section = panel.predict.volume
    assert not section.resize_button.isVisibleTo(section)
    assert not section.labels_button.isVisibleTo(section)


def test_labels_among_images_become_labels_when_the_user_says_so(
    panel, tmp_path, qtbot
):
    values = np.zeros((4, 5, 6), np.float32)
    values[1:3, 1:4] = 2
    for name in ("brain_label.nii.gz", "brain_t1.nii.gz"):
        nib.save(nib.Nifti1Image(values, np.diag([2, 3, 4, 1])), tmp_path / name)
    section = panel.predict.volume
    open_in(panel, tmp_path / "brain_t1.nii.gz", qtbot)
    assert not section.labels_button.isVisibleTo(section)  # by its name no labels
    image = open_in(panel, tmp_path / "brain_label.nii.gz", qtbot)
    assert isinstance(image, Image)  # never of itself
    assert section.labels_button.isVisibleTo(section)
    section.labels_button.click()
    qtbot.waitUntil(lambda: not panel._opening.busy, timeout=WAIT)
    first, labels = panel._viewer.layers
    assert first.name == "brain_t1"
    assert isinstance(labels, Labels)
    np.testing.assert_array_equal(np.asarray(labels.data), np.asarray(image.data))
    np.testing.assert_array_equal(labels.scale, image.scale)
    np.testing.assert_array_equal(labels.translate, image.translate)
    assert labels.metadata["e2miseg"]["role"] == "segmentation"
    assert section.choice.layer is first


def suv(name: str) -> Image:
    own = {"role": "image", "channels": ["SUV body weight"], "channel": 0}
    return Image(np.zeros((3, 4, 5)), name=name, metadata={"e2miseg": own})


def ct() -> Image:
    own = {"role": "image", "channels": ["CT"], "channel": 0}
    return Image(np.zeros((3, 4, 5)), name="ct", metadata={"e2miseg": own})


@pytest.mark.parametrize("pet_first", [False, True])
def test_pet_lies_over_another_image_in_colours(pet_first):
    layers = LayerList()
    overlay = PetOverlay(layers)
    pet, other = suv("pet"), ct()
    layers.append(pet if pet_first else other)
    assert pet.colormap.name == "gray"  # alone it is as it was
    layers.append(other if pet_first else pet)
    assert pet.colormap.name == "inferno"
    assert other.colormap.name == "gray"
    assert layers[1].blending == "additive"
    assert overlay is not None  # layers hold what listens to them weakly


def test_a_colour_that_the_user_gave_to_pet_stays():
    layers = LayerList()
    overlay = PetOverlay(layers)
    pet = suv("pet")
    pet.colormap = "green"
    layers.extend([ct(), pet])
    assert pet.colormap.name == "green"
    assert overlay is not None


class Told:
    """A saver that only notes what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.saved, self.failed = folder, [], self
        self.lines: list[str] = []

    def suggest(self, _case, _what) -> Path:
        return self.folder / "scan_labels.nii.gz"

    def save(self, _case, _store, _what, path, *, overwrite) -> None:
        self.saved.append((path, overwrite))

    def emit(self, problem) -> None:
        self.lines.append(problem.line)


class OfImage:
    """A case of which only the image's address matters."""

    def __init__(self, uri: str) -> None:
        self.image_uri = uri


@pytest.mark.parametrize(
    ("typed", "saved"),
    [("o.tif", None), ("o", ("o.nii.gz", False)), ("o.nrrd", ("o.nrrd", True))],
)
def test_a_name_of_a_format_that_cannot_be_written_is_refused(
    tmp_path, monkeypatch, typed, saved
):
    saver, case = Told(tmp_path), OfImage(str(tmp_path / "scan.nii.gz"))
    monkeypatch.setattr(
        dialogs.QFileDialog,
        "getSaveFileName",
        lambda *_: (str(tmp_path / typed), "?"),
    )
    dialogs.ask_and_save(None, saver, case, None, "labels")
    if saved is None:
        assert not saver.saved
        assert "o.tif" in saver.lines[0]
        assert ".nii.gz" in saver.lines[0]
    else:
        assert saver.saved == [(tmp_path / saved[0], saved[1])]


def test_labels_of_dicom_are_offered_as_dicom_first(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        dialogs.QFileDialog,
        "getSaveFileName",
        lambda _parent, _title, path, filters, usual: (
            asked.append((path, filters, usual)) or ("", "")
        ),
    )
    dialogs.ask_and_save(None, Told(tmp_path), OfImage("scan.dcm"), None, "labels")
    dialogs.ask_and_save(None, Told(tmp_path), OfImage("scan.nrrd"), None, "labels")
    (path, filters, usual), (other, other_filters, _) = asked
    assert path.endswith("scan_labels.dcm")
    assert filters.startswith(usual)
    assert "*.dcm" in usual
    assert other.endswith(".nii.gz")
    assert "*.dcm" not in other_filters


@pytest.mark.parametrize(
    ("place", "few", "offered"),
    [
        ("a/brain1_label.nrrd", True, True),
        ("a/PET_mask.nii.gz", True, True),
        ("case/labels", True, True),
        ("labelsTr/brain1.nii.gz", True, True),
        ("a.h5#part=/seg", True, True),
        ("a/PET_mask.nii.gz", False, False),
        ("a/unlabelled.nii.gz", True, False),
        ("a/brain1.nii.gz", True, False),
    ],
)
def test_labels_are_told_by_few_values_and_by_a_name(place, few, offered):
    own = {"role": "image", "uri": place, "few_values": few}
    image = Image(np.zeros((3, 4, 5)), metadata={"e2miseg": own})
    assert ImageChoice(title="a", layer=image).looks_like_labels == offered
