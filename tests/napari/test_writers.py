import threading

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QWidget

from e2miseg_core.errors import Cancelled, GeometryError, ReadError, WriteError
from e2miseg_core.io import open_labels, open_volume, write_labels
from e2miseg_core.samples import sample_path
from e2miseg_napari import waiting, writers
from e2miseg_napari.convert import KEY, grid_of
from e2miseg_napari.readers import read_layers
from e2miseg_napari.writers import write_labels_layer


def labels_over(path) -> Labels:
    """A labels layer as a project of this volume would have it."""
    viewer = ViewerModel()
    data, options, _ = read_layers(path)[0]
    image = viewer.add_image(data, **options)
    values = np.zeros(data.shape, np.uint8)
    values[2:9, 3:6, 4:20] = 1
    values[-1, -1, -1] = 2
    own = {
        "role": "labels",
        "image": str(path),
        "geometry": open_volume(path).geometry.to_json(),
        "names": {1: "a"},
    }
    return Labels(values, metadata={KEY: own}, **grid_of(image))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".ome.zarr"])
@pytest.mark.parametrize("which", ["sample", "permuted"])
def test_saved_labels_lie_on_the_exact_grid(tmp_path, oblique_scan, suffix, which):
    source = sample_path() if which == "sample" else oblique_scan
    layer = labels_over(source)
    out = tmp_path / f"out{suffix}"
    data, options, _ = layer.as_layer_data_tuple()
    assert write_labels_layer(str(out), data, options) == [str(out)]
    written, image = open_labels(out), open_volume(source)
    assert written.geometry.matches(image.geometry)
    np.testing.assert_array_equal(written.data[0].compute(), layer.data)
    if suffix != ".ome.zarr":
        np.testing.assert_array_equal(nib.load(out).affine, nib.load(source).affine)
    assert layer.metadata[KEY]["saved"] == str(out)


def test_napari_saves_through_the_writer(tmp_path, make_napari_viewer):
    viewer = make_napari_viewer()
    layer = viewer.add_layer(labels_over(sample_path()))
    out = tmp_path / "mine.nii.gz"
    assert viewer.layers.save(str(out), plugin="e2miseg-napari") == [str(out)]
    np.testing.assert_array_equal(nib.load(out).affine, nib.load(sample_path()).affine)
    assert layer.metadata[KEY]["saved"] == str(out)


def test_labels_of_unknown_origin_keep_their_spacing(tmp_path):
    layer = Labels(np.ones((3, 4, 5), np.int64), scale=(2.0, 1.0, 0.5))
    out = tmp_path / "own.nii.gz"
    data, options, _ = layer.as_layer_data_tuple()
    write_labels_layer(str(out), data, options)
    assert open_volume(out).geometry.spacing == pytest.approx((2.0, 1.0, 0.5))
    assert nib.load(out).get_data_dtype() == np.uint8


def test_a_plane_is_refused_in_one_line(tmp_path):
    layer = Labels(np.ones((4, 5), np.uint8))
    data, options, _ = layer.as_layer_data_tuple()
    with pytest.raises(GeometryError, match="2 axes"):
        write_labels_layer(str(tmp_path / "own.nii.gz"), data, options)


def test_labels_are_not_written_on_another_images_grid(oblique_scan, tmp_path):
    layer = labels_over(oblique_scan)
    nib.save(nib.Nifti1Image(np.zeros((30, 40, 50), np.int16), np.eye(4)), oblique_scan)
    data, options, _ = layer.as_layer_data_tuple()
    with pytest.raises(ReadError, match="another grid"):
        write_labels_layer(str(tmp_path / "out.nii.gz"), data, options)


def test_names_and_colours_of_any_labels_layer_are_kept(tmp_path):
    values = np.zeros((3, 4, 5), np.uint8)
    values[1, 2, 3], values[2, 1, 1] = 1, 5
    colors = {None: "white", 0: "transparent", 1: (1, 0, 0.2, 1), 5: "lime"}
    layer = Labels(
        values,
        features={"index": [0, 1, 5], "name": ["background", "liver", "cyst"]},
        colormap=DirectLabelColormap(color_dict=colors),
    )
    out = tmp_path / "own.seg.nrrd"
    data, options, _ = layer.as_layer_data_tuple()
    write_labels_layer(str(out), data, options)
    segments = open_volume(out).segments
    assert segments.names == {1: "liver", 5: "cyst"}
    assert segments.colors == {1: (255, 0, 51), 5: (0, 255, 0)}


def test_a_segmentation_from_a_file_is_saved_on_its_own_grid(tmp_path, oblique_scan):
    image = open_volume(oblique_scan)
    values = np.zeros(image.geometry.shape, np.uint8)
    values[3, 4, 5] = 2
    first = write_labels(values, tmp_path / "a.seg.nrrd", like=image, names={2: "cyst"})
    layer = Layer.create(*read_layers(first)[0])
    assert isinstance(layer, Labels)
    out = tmp_path / "b.seg.nrrd"
    data, options, _ = layer.as_layer_data_tuple()
    write_labels_layer(str(out), data, options)
    again = open_labels(out)
    assert again.geometry.matches(image.geometry)
    assert again.segments.names == {2: "cyst"}
    np.testing.assert_array_equal(again.data[0], values)


def test_the_image_itself_is_never_replaced(oblique_scan):
    layer = labels_over(oblique_scan)
    before = oblique_scan.read_bytes()
    data, options, _ = layer.as_layer_data_tuple()
    with pytest.raises(WriteError, match="never written over"):
        write_labels_layer(str(oblique_scan), data, options)
    assert oblique_scan.read_bytes() == before


def test_looking_at_the_image_again_never_freezes_the_window(
    tmp_path, oblique_scan, qtbot, monkeypatch
):
    window = QWidget()
    qtbot.addWidget(window)
    window.show()
    data, options, _ = labels_over(oblique_scan).as_layer_data_tuple()
    monkeypatch.setattr(waiting, "live_window", lambda: window)
    go, turns = threading.Event(), []
    reopen = writers.reopen

    def slowly(*which):
        go.wait(10)
        return reopen(*which)

    monkeypatch.setattr(writers, "reopen", slowly)
    out = tmp_path / "out.nii.gz"

    def turn() -> None:  # the window lives while the writer waits
        turns.append(threading.current_thread())
        go.set()

    QTimer.singleShot(100, turn)
    write_labels_layer(str(out), data, options)
    monkeypatch.undo()
    assert turns == [threading.main_thread()]
    np.testing.assert_array_equal(open_labels(out).data[0], data)


def test_saving_can_be_cancelled_before_anything_is_written(
    tmp_path, oblique_scan, monkeypatch
):
    def cancel(*_, **__):
        raise Cancelled

    data, options, _ = labels_over(oblique_scan).as_layer_data_tuple()
    monkeypatch.setattr(waiting, "live_window", QObject)
    monkeypatch.setattr(waiting, "wait_for", cancel)
    with pytest.raises(Cancelled):
        write_labels_layer(str(tmp_path / "out.nii"), data, options)
    assert not (tmp_path / "out.nii").exists()
