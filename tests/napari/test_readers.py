import time
from dataclasses import replace

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
from napari._qt.dialogs.qt_notification import NapariQtNotification
from napari.layers import Image, Labels, Layer
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QDialog

from e2miseg_core.errors import Choice, ChoiceError, ReadError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_volume, write_image
from e2miseg_core.io.raw.pixels import RawPixels
from e2miseg_core.progress import Progress
from e2miseg_core.volume import Segments, Volume
from e2miseg_napari import choosing, loading, readers
from e2miseg_napari.contrast import sampled_contrast
from e2miseg_napari.convert import KEY, image_layers, make_layer
from e2miseg_napari.readers import get_reader, read_layers
from e2miseg_napari.shown_level import ShownLevel
from e2miseg_napari.waiting import WaitingDialog


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("a.nii", True),
        ("b.nii.gz", True),
        ("C.NII.GZ", True),
        ("d.ome.zarr", True),
        ("d.zarr/", True),
        (["a.nii", "b.nii.gz"], True),
        (["a.nii", "b.doc"], False),
        ("e.doc", False),
        ("nii", False),
    ],
)
def test_the_reader_takes_what_it_can_open(path, taken):
    assert (get_reader(path) is not None) == taken


def test_a_volume_becomes_one_lazy_layer_on_its_canonical_grid(oblique_scan):
    ((data, options, kind),) = read_layers(str(oblique_scan))
    stored = nib.load(oblique_scan)
    # The file's x grows to A (1.1 mm), y to S (2.5), z to L (0.8), all turned by 20°.
    expected = np.asarray(stored.dataobj).transpose(1, 0, 2)[:, ::-1]
    assert kind == "image"
    assert isinstance(data, ShownLevel)
    np.testing.assert_array_equal(data.compute(), expected)
    assert options["scale"] == pytest.approx((2.5, 1.1, 0.8))
    assert options["units"] == ("mm", "mm", "mm")
    assert options["axis_labels"] == ("z", "y", "x")
    assert options["name"] == "scan"


def test_a_layer_remembers_where_it_comes_from(oblique_scan):
    own = read_layers(str(oblique_scan))[0][1]["metadata"][KEY]
    volume = open_volume(oblique_scan)
    assert own["uri"] == str(oblique_scan)
    assert own["oblique"] is True
    assert Geometry.from_json(own["geometry"]).matches(volume.geometry)
    np.testing.assert_allclose(own["affine"], nib.load(oblique_scan).affine, atol=1e-6)


def test_a_relative_path_is_made_absolute(oblique_scan, monkeypatch):
    monkeypatch.chdir(oblique_scan.parent)
    own = read_layers(oblique_scan.name)[0][1]["metadata"][KEY]
    assert own["uri"] == str(oblique_scan)


def test_two_upright_scans_of_a_patient_lie_over_each_other(tmp_path):
    """The same point of the body has the same place in the viewer."""
    point = np.array([5.0, -7.0, 11.0])  # RAS+, mm
    places = []
    for name, spacing, origin in (
        ("ct", (3.0, 1.0, 1.0), (-60.0, -50.0, -40.0)),
        ("pet", (4.0, 4.0, 4.0), (-90.0, -80.0, -70.0)),
    ):
        affine = np.diag([spacing[2], spacing[1], spacing[0], 1.0])
        affine[:3, 3] = origin
        path = tmp_path / f"{name}.nii"
        nib.save(nib.Nifti1Image(np.zeros((30, 30, 30), np.uint8), affine), path)
        layer = Layer.create(*read_layers(str(path))[0])
        voxel = open_volume(path).geometry.voxel(point)
        places.append(layer.data_to_world(voxel))
    np.testing.assert_allclose(places[0], places[1], atol=1e-4)


def test_opening_reads_some_planes_only(tmp_path, monkeypatch):
    path = tmp_path / "large.nii"
    with path.open("wb") as file:  # 512 MiB of nothing, in a file with a hole
        header = nib.Nifti1Header()
        header.set_data_shape((1024, 1024, 256))
        header.set_data_dtype(np.int16)
        header["vox_offset"], header["magic"] = 352, b"n+1"
        header.set_sform(np.eye(4), code=1)
        file.write(header.binaryblock + b"\0" * 4)
        file.truncate(352 + 2 * 1024 * 1024 * 256)
    read = []
    real = RawPixels.read

    def counting(self, box):
        block = real(self, box)
        read.append(block.nbytes)
        return block

    monkeypatch.setattr(RawPixels, "read", counting)
    ((data, options, _),) = read_layers(str(path))
    assert sum(read) <= 3 * 2 * 1024 * 1024 * 4
    Image(data, **options)
    assert options["contrast_limits"] == (0.0, 1.0)


def test_channels_become_layers_of_which_the_first_is_shown(tmp_path):
    image = np.stack([np.full((4, 5, 6), value, np.float32) for value in (1, 2, 3)])
    like = Volume.from_array(image, spacing=(1, 1, 1), channels=("T1", "T2", "FLAIR"))
    path = write_image(image, tmp_path / "mr.ome.zarr", like=like)
    layers = read_layers(str(path))
    assert [options["name"] for _, options, _ in layers] == [
        "mr: T1",
        "mr: T2",
        "mr: FLAIR",
    ]
    assert [options["visible"] for _, options, _ in layers] == [True, False, False]
    assert [options["metadata"][KEY]["channel"] for _, options, _ in layers] == [
        0,
        1,
        2,
    ]
    assert [float(data.mean().compute()) for data, _, _ in layers] == [1, 2, 3]


def test_a_series_becomes_one_layer_with_a_slider(tmp_path):
    frames = np.zeros((5, 6, 7, 12), np.float32)
    frames[..., 3] = 8
    path = tmp_path / "series.nii.gz"
    nib.save(nib.Nifti1Image(frames, np.diag([1, 2, 3, 1])), path)
    ((data, options, _),) = read_layers(str(path))
    assert data.shape == (12, 7, 6, 5)
    assert options["scale"] == (1, 3, 2, 1)
    layer = Image(data, **options)
    assert float(np.asarray(layer.data[3]).mean()) == 8


def test_what_cannot_be_read_is_told_in_one_line(tmp_path):
    path = tmp_path / "not.nii.gz"
    path.write_bytes(b"hello")
    with pytest.raises(ReadError) as told:
        read_layers(str(path))
    assert "\n" not in str(told.value)
    assert "not.nii.gz" in str(told.value)


def coloured(shape=(4, 5, 6)) -> Volume:
    labels = np.zeros(shape, np.uint8)
    labels[1, 2, 3], labels[2, 2, 2] = 4, 9
    volume = Volume.from_array(labels, spacing=(3.0, 1.0, 2.0))
    names, colors = {4: "liver", 9: "tumour"}, {4: (255, 0, 51)}
    return replace(volume, segments=Segments(names=names, colors=colors))


def test_a_segmentation_becomes_labels_with_names_and_colours():
    ((data, options, kind),) = image_layers(coloured())
    assert kind == "labels"
    layer = Layer.create(data, options, kind)
    assert isinstance(layer, Labels)
    assert dict(zip(layer.features["index"], layer.features["name"], strict=True)) == {
        0: "background",
        4: "liver",
        9: "tumour",
    }
    np.testing.assert_allclose(layer.get_color(4), (1, 0, 0.2, 1), atol=1e-3)
    assert np.ptp(layer.get_color(9)[:3]) > 0  # a colour of its own, not the default
    assert tuple(layer.scale) == (3.0, 1.0, 2.0)
    own = layer.metadata[KEY]
    assert own["role"] == "segmentation"
    assert own["names"] == {4: "liver", 9: "tumour"}


def test_segments_that_overlap_become_a_labels_layer_each():
    volume = Volume.from_array(
        np.ones((3, 2, 4, 4), np.uint8),
        spacing=(1, 1, 1),
        channels=("liver", "tumour", "cyst"),
    )
    segments = Segments(
        names={2: "liver", 5: "tumour", 7: "cyst"}, colors={5: (255, 0, 51)}
    )
    found = image_layers(replace(volume, segments=segments.stacked()))
    layers = [Layer.create(*each) for each in found]
    assert all(isinstance(layer, Labels) for layer in layers)
    assert [layer.features["name"][1] for layer in layers] == [
        "liver", "tumour", "cyst",
    ]  # fmt: skip
    assert [layer.metadata[KEY]["names"] for layer in layers] == [
        {1: "liver"}, {1: "tumour"}, {1: "cyst"},
    ]  # fmt: skip
    np.testing.assert_allclose(layers[1].get_color(1), (1, 0, 0.2, 1), atol=1e-3)
    assert len({tuple(layer.get_color(1)) for layer in layers}) == 3


def test_red_green_and_blue_add_up_to_the_files_colours():
    volume = Volume.from_array(
        np.zeros((3, 2, 4, 4), np.uint8),
        spacing=(1, 1, 1),
        channels=("red", "green", "blue"),
    )
    options = [options for _, options, _ in image_layers(volume)]
    assert [one["colormap"] for one in options] == ["red", "green", "blue"]
    assert all(one["visible"] and one["blending"] == "additive" for one in options)
    assert all(one["contrast_limits"] == (0, 255) for one in options)


def test_units_of_microscopy_are_kept():
    geometry = Geometry.from_spacing((2, 3, 4), (50.0, 4.6, 4.6), "nm")
    ((_, options, _),) = image_layers(
        Volume.from_array(np.zeros((2, 3, 4), np.uint8), geometry)
    )
    assert options["units"] == ("nm", "nm", "nm")
    assert options["scale"] == pytest.approx((50, 4.6, 4.6))


def test_what_has_air_in_hounsfield_units_shows_soft_tissue():
    values = np.full((8, 64, 64), -1000, np.int16)
    values[:, 20:44, 20:44] = 60
    values[:, 30:34, 30:34] = 1200
    volume = Volume.from_array(values, spacing=(1, 1, 1))
    seen = sampled_contrast(volume, 0)
    assert (seen.limits, seen.range) == ((-200, 300), (-1000, 1200))
    # Without the air the name of the channel tells; else it may be anything.
    other = np.maximum(values, -300)
    for name, limits in {"CT": (-200, 300), "image": (-300, 1200)}.items():
        named = Volume.from_array(other, spacing=(1, 1, 1), channels=(name,))
        assert sampled_contrast(named, 0).limits == limits


def test_pet_in_suv_is_shown_from_nothing_to_the_hot_spots():
    values = np.full((8, 8, 8), 0.5, np.float32)
    values[:, 2:5, 2:5] = 9
    volume = Volume.from_array(values, spacing=(1, 1, 1), channels=("SUV bw",))
    assert sampled_contrast(volume, 0).limits == (0, 9)


def test_the_slider_of_a_layer_reaches_all_values_known():
    values = np.full((8, 64, 64), -1000, np.int16)
    values[:, 20:44, 20:44] = 60
    values[:, 30:34, 30:34] = 1200
    ((data),) = image_layers(Volume.from_array(values, spacing=(1, 1, 1)))
    layer = make_layer(data)
    assert tuple(layer.contrast_limits) == (-200, 300)
    assert tuple(layer.contrast_limits_range) == (-1000, 1200)


def test_a_sample_reads_a_few_chunks_of_a_huge_volume():
    """Each chunk is read once, and one of them is the middle, shown first."""
    read = []

    def chunk(block_info=None):
        place = block_info[None]["chunk-location"]
        read.append(place)
        return np.full((1, 64, 64, 64), sum(place), np.uint16)

    huge = da.map_blocks(
        chunk, chunks=((1,), (64,) * 40, (64,) * 30, (64,) * 20), dtype=np.uint16
    )
    geometry = Geometry.from_spacing(huge.shape[1:], (1.0, 1.0, 1.0))
    volume = Volume(levels=(huge,), geometry=geometry, channels=("em",))
    low, high = sampled_contrast(volume, 0).limits
    assert sorted(read) == sorted(set(read))
    assert len(read) == 5
    assert (0, 19, 14, 9) in read
    assert (low, high) == (19 + 7 + 4, 19 + 22 + 14)


def test_several_images_are_listed_for_a_script(monkeypatch):
    asked_to_choose(monkeypatch)
    with pytest.raises(ChoiceError, match="holds 2 series") as told:
        read_layers("study")
    assert [choice.part for choice in told.value.choices] == ["1", "2"]


def asked_to_choose(monkeypatch) -> None:
    """Let the place "study" hold two images."""

    def open_one(address):
        if not address.part:
            choices = [Choice("1", "CT", "4 slices"), Choice("2", "PT", "5 slices")]
            raise ChoiceError.among(address, "series", choices)
        depth = {"1": 4, "2": 5}[address.part]
        return Volume.from_array(np.zeros((depth, 3, 3)), spacing=(1, 1, 1))

    monkeypatch.setattr(loading, "open_volume", open_one)


@pytest.fixture
def acting(make_napari_viewer, qtbot):
    """Call a function as a click in a window would; returns what it returns."""
    viewer = make_napari_viewer(show=True)

    def act(function):
        got = []
        QTimer.singleShot(0, lambda: got.append(function()))
        qtbot.waitUntil(lambda: bool(got), timeout=20_000)
        return got[0]

    yield act
    for notice in viewer.window._qt_window.findChildren(NapariQtNotification):
        notice.close()
    qtbot.wait(50)  # Qt deletes what was closed


def test_in_a_window_the_user_chooses_among_several(acting, monkeypatch):
    asked_to_choose(monkeypatch)
    titles = []

    def both(dialog):
        titles.append(dialog.table.item(1, 1).text())
        assert [choice.part for choice in dialog.chosen] == ["1"]
        dialog.table.selectAll()
        return QDialog.DialogCode.Accepted

    monkeypatch.setattr(choosing.ChoiceDialog, "exec", both)
    layers = acting(lambda: read_layers("study"))
    assert [layer.data.shape[0] for layer in layers] == [4, 5]
    assert titles == ["PT"]
    monkeypatch.setattr(
        choosing.ChoiceDialog, "exec", lambda _: QDialog.DialogCode.Rejected
    )
    assert acting(lambda: read_layers("study")) == [(None,)]  # nothing opens


def test_in_a_window_an_error_is_a_notification_and_opens_nothing(acting, tmp_path):
    path = tmp_path / "not.nii.gz"
    path.write_bytes(b"hello")
    before = len(notification_manager.records)
    assert acting(lambda: read_layers(str(path))) == [(None,)]
    (told,) = notification_manager.records[before:]
    assert "not.nii.gz" in told.message
    assert "\n" not in told.message


def test_the_window_lives_while_a_slow_volume_opens(acting, monkeypatch):
    ticks, steps = [], []

    def slow(address, report, cancelled):
        for done in range(20):
            report(Progress(done=done, total=20, stage="unpacking"))
            time.sleep(0.05)
            steps.append(done)
            if cancelled():
                return []
        data = np.zeros((2, 3, 4))
        return [(data, {"name": address.place}, "image")]

    monkeypatch.setattr(readers, "load_layers", slow)
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(1))
    timer.start(10)
    (layer,) = acting(lambda: read_layers("big.nii.gz"))
    assert layer.name == "big.nii.gz"
    assert len(ticks) > 20

    def press_cancel() -> None:
        (dialog,) = [
            one
            for one in QApplication.topLevelWidgets()
            if isinstance(one, WaitingDialog) and one.isVisible()
        ]
        assert dialog.words.text() == "Unpacking…"
        dialog.button.click()

    steps.clear()
    QTimer.singleShot(800, press_cancel)
    assert acting(lambda: read_layers("big.nii.gz")) == [(None,)]
    assert len(steps) < 20
    timer.stop()
