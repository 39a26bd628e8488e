import dask.array as da
import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image, Layer

from e2miseg_core.errors import ReadError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_volume, write_image
from e2miseg_core.io.nifti import _NiftiPixels
from e2miseg_core.volume import Volume
from e2miseg_napari.convert import KEY
from e2miseg_napari.readers import get_reader, read_layers


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("a.nii", True),
        ("b.nii.gz", True),
        ("C.NII.GZ", True),
        ("d.ome.zarr", True),
        ("d.zarr/", True),
        (["a.nii", "b.nii.gz"], True),
        (["a.nii", "b.tif"], False),
        ("e.tif", False),
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
    assert isinstance(data, da.Array)
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
    real = _NiftiPixels.read

    def counting(self, box):
        block = real(self, box)
        read.append(block.nbytes)
        return block

    monkeypatch.setattr(_NiftiPixels, "read", counting)
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
