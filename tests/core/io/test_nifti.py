import gzip
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.errors import GeometryError
from e2miseg_core.geometry import Geometry, canonical_transform
from e2miseg_core.io import open_labels, open_volume, write_image, write_labels
from e2miseg_core.volume import Volume

seeds = st.integers(0, 2**32 - 1)
suffixes = st.sampled_from([".nii", ".nii.gz"])


def write(path, array_xyz, affine=None, *, kind=nib.Nifti1Image, change=None):
    """Write with nibabel, an implementation that is not ours."""
    image = kind(array_xyz, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    if change is not None:
        change(image)
    nib.save(image, path)
    return path


def patch(path, **fields):
    """Change fields of an uncompressed NIfTI-1 header behind nibabel's back."""
    content = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(content)
    return path


@given(seed=seeds, suffix=suffixes, kind=st.sampled_from([1, 2]))
def test_every_voxel_keeps_its_place(
    make_geometry, tmp_path_factory, seed, suffix, kind
):
    geometry = make_geometry(seed, (5, 4, 3))
    array = np.random.default_rng(seed).integers(-99, 99, (3, 4, 5), dtype=np.int16)
    path = tmp_path_factory.mktemp("place") / f"scan{suffix}"
    nifti = nib.Nifti1Image if kind == 1 else nib.Nifti2Image
    write(path, array, geometry.affine_xyz, kind=nifti)
    volume = open_volume(path)
    assert volume.geometry.orientation == "SPL"
    canonical = volume.data[0].compute()
    index = np.moveaxis(np.indices(canonical.shape), 0, -1)
    world = volume.geometry.world(index)
    image = nib.load(path)
    ijk = nib.affines.apply_affine(np.linalg.inv(image.affine), world)
    np.testing.assert_allclose(ijk, np.rint(ijk), atol=1e-3)
    i, j, k = np.moveaxis(np.rint(ijk).astype(int), -1, 0)
    np.testing.assert_array_equal(canonical, np.asarray(image.dataobj)[i, j, k])


@given(seed=seeds, source=suffixes, target=suffixes)
def test_labels_come_back_on_the_exact_grid(
    make_geometry, tmp_path_factory, seed, source, target
):
    folder = tmp_path_factory.mktemp("grid")
    geometry = make_geometry(seed, (5, 4, 3))
    rng = np.random.default_rng(seed)
    path = folder / f"scan{source}"
    write(path, rng.normal(size=(3, 4, 5)).astype(np.float32), geometry.affine_xyz)
    volume = open_volume(path)
    labels = rng.integers(0, 4, volume.geometry.shape)
    out = write_labels(labels, folder / f"labels{target}", like=volume)
    before, after = nib.load(path), nib.load(out)
    np.testing.assert_array_equal(after.affine, before.affine)
    for field in ("sform_code", "qform_code", "pixdim", "xyzt_units", "quatern_b"):
        np.testing.assert_array_equal(after.header[field], before.header[field])
    assert after.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(
        np.asarray(after.dataobj).transpose(2, 1, 0), volume.as_source(labels)
    )
    again = open_labels(out)
    assert again.geometry.matches(volume.geometry, tolerance=1e-12)
    np.testing.assert_array_equal(again.data[0], labels)


@given(seed=seeds)
def test_a_grid_from_elsewhere_fits_into_nifti(make_geometry, tmp_path_factory, seed):
    """Nothing of a NIfTI header to copy: the affine itself is written."""
    geometry = make_geometry(seed, (3, 4, 5))
    array = np.random.default_rng(seed).integers(0, 9, (3, 4, 5), dtype=np.int16)
    volume = Volume.from_array(array, geometry)
    out = tmp_path_factory.mktemp("elsewhere") / "image.nii"
    write_image(volume.data[0], out, like=volume)
    again = open_volume(out)
    assert again.geometry.matches(volume.geometry)
    assert again.notes == ()
    image = nib.load(out)
    np.testing.assert_allclose(image.affine, geometry.affine_xyz, rtol=1e-6, atol=3e-5)
    assert int(image.header["sform_code"]) == 1
    np.testing.assert_array_equal(image.dataobj, array.T)
    # A third implementation reads the same grid.
    itk = SimpleITK.ReadImage(str(out))
    lps = itk.TransformIndexToPhysicalPoint((4, 3, 2))
    expected = geometry.world((2, 3, 4)) * [-1, -1, 1]
    np.testing.assert_allclose(lps, expected, atol=1e-3)


def test_slabs_are_cut_along_the_slowest_axis(tmp_path, monkeypatch):
    monkeypatch.setattr("e2miseg_core.io.lazy._SLAB_BYTES", 2 * 4 * 5 * 2)
    array = np.arange(120, dtype=np.int16).reshape(5, 4, 6)
    for suffix in (".nii", ".nii.gz"):
        volume = open_volume(write(tmp_path / f"scan{suffix}", array))
        assert volume.data.chunks == ((1,), (2, 2, 2), (4,), (5,))
        np.testing.assert_array_equal(volume.data[0], array.T[:, ::-1, ::-1])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_boxes_are_read_without_the_rest(tmp_path, suffix, monkeypatch):
    array = np.random.default_rng(0).integers(0, 999, (9, 8, 7), dtype=np.int32)
    path = write(tmp_path / f"scan{suffix}", array, np.diag([-1, 2, -3, 1]))
    monkeypatch.setattr("e2miseg_core.io.raw.pixels._HELD_BYTES", 0)  # by the index
    monkeypatch.setattr("e2miseg_core.io.raw.stored._AT_ONCE_BYTES", 2 * 72 * 4)
    volume = open_volume(path)
    expected = volume.data[0].compute()
    for index in (
        (0, 3),
        (0, slice(1, 6), slice(2, 5), slice(0, 9, 3)),
        (slice(None), slice(5, 1, -2), 4),
        (0, [1, 5], 3, slice(2, 4)),
        (Ellipsis, 4),
        (0, slice(3, 3)),
    ):
        picked = volume.data[index].compute()
        np.testing.assert_array_equal(picked, expected[None][index])
    monkeypatch.setattr(
        "e2miseg_core.io.raw.stored._AT_ONCE_BYTES", 8
    )  # rows, not planes
    np.testing.assert_array_equal(volume.data[0, :, 2:4].compute(), expected[:, 2:4])


def test_threads_may_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("e2miseg_core.io.lazy._SLAB_BYTES", 64)
    array = np.random.default_rng(0).integers(0, 255, (8, 8, 40), dtype=np.uint8)
    volume = open_volume(write(tmp_path / "scan.nii.gz", array))
    for _ in range(3):
        read = volume.data.compute(scheduler="threads", num_workers=8)
        np.testing.assert_array_equal(read[0], array.T[:, ::-1, ::-1])


def test_further_dimensions_become_channels(tmp_path):
    array = np.random.default_rng(0).normal(size=(3, 4, 5, 2, 3)).astype(np.float32)
    volume = open_volume(write(tmp_path / "five.nii.gz", array))
    assert volume.data.shape == (6, 5, 4, 3)
    assert "6" in volume.notes[0]
    for time in range(2):
        for component in range(3):
            np.testing.assert_array_equal(
                volume.data[component * 2 + time],
                array[..., time, component].T[:, ::-1, ::-1],
            )
    frames = open_volume(write(tmp_path / "four.nii", array[..., 0]))
    assert frames.notes == ("4D: 2 frames taken as channels",)
    single = open_volume(write(tmp_path / "single.nii", array[..., :1, 0]))
    assert single.notes == ()
    assert single.channels == ("image",)


def test_a_plane_is_a_volume(tmp_path):
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    volume = open_volume(write(tmp_path / "plane.nii", array))
    assert volume.data.shape == (1, 1, 3, 2)
    np.testing.assert_array_equal(volume.data[0, 0], array.T[::-1, ::-1])


def test_scaled_values_are_float32_and_said_so(tmp_path):
    array = np.array([[[0, 1, 1000, -3]]], dtype=np.int16)
    for suffix in (".nii", ".nii.gz"):
        path = tmp_path / f"scaled{suffix}"
        plain = patch(
            write(tmp_path / "plain.nii", array), scl_slope=0.5, scl_inter=-10
        )
        content = plain.read_bytes()
        path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
        volume = open_volume(path)
        assert volume.dtype == np.float32
        np.testing.assert_array_equal(volume.data.ravel(), [-10, -9.5, 490, -11.5])
        assert "scaled by 0.5 and shifted by -10" in volume.notes[0]


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_types_are_kept(tmp_path, dtype):
    array = np.array([[[0, 1, 100]]], dtype=dtype)
    volume = open_volume(write(tmp_path / "scan.nii", array))
    assert volume.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(volume.data.ravel(), [0, 1, 100])


def test_big_endian_and_missing_values(tmp_path):
    array = np.array([[[1.5, np.nan, -np.inf]]], dtype=">f4")
    image = nib.Nifti1Image(array, np.eye(4), nib.Nifti1Header(endianness=">"))
    nib.save(image, tmp_path / "big.nii.gz")
    volume = open_volume(tmp_path / "big.nii.gz")
    assert volume.dtype == np.dtype("=f4")
    np.testing.assert_array_equal(volume.data.ravel(), [1.5, np.nan, -np.inf])


def test_sform_goes_before_qform_and_the_difference_is_stated(tmp_path):
    def change(image):
        image.set_qform(np.diag([1, 2, 3, 1]), code=1)
        image.set_sform(np.diag([1, 2, 4, 1]), code=1)

    path = write(tmp_path / "scan.nii", np.zeros((3, 4, 5), np.uint8), change=change)
    volume = open_volume(path)
    assert volume.geometry.spacing == (4, 2, 1)
    # The farthest corner is 4 voxels off, each 1 mm; the smallest voxel side is 1 mm.
    assert volume.notes == ("sform used; qform lies up to 4 mm (4 voxels) away",)


def test_qform_alone_is_used(tmp_path):
    def change(image):
        image.set_sform(None, code=0)
        image.set_qform(np.diag([-1, 2, 3, 1]), code=1)

    volume = open_volume(
        write(tmp_path / "scan.nii", np.zeros((3, 4, 5), np.uint8), change=change)
    )
    np.testing.assert_allclose(volume.geometry.spacing, (3, 2, 1))
    assert volume.source.geometry.orientation == "SAL"
    assert volume.notes == ()


def test_voxel_sizes_alone_are_used_and_said_so(tmp_path):
    path = write(tmp_path / "scan.nii", np.zeros((3, 4, 5), np.uint8))
    patch(path, sform_code=0, qform_code=0, pixdim=[0, 1, 2, 3, 0, 0, 0, 0])
    volume = open_volume(path)
    assert volume.geometry.spacing == (3, 2, 1)
    assert volume.source.geometry.orientation == "SAR"
    assert "no usable orientation" in volume.notes[0]


def test_voxel_sizes_against_the_sform_are_stated(tmp_path):
    path = write(tmp_path / "scan.nii", np.zeros((3, 4, 5), np.uint8))
    patch(path, qform_code=0, pixdim=[1, 1, 1, 7, 0, 0, 0, 0])
    assert "7 x 1 x 1" in open_volume(path).notes[0]


@pytest.mark.parametrize("row", [[0, 0, 0, 0], [np.nan, 0, 0, 0], [np.inf] * 4])
def test_a_bad_sform_falls_back_with_its_numbers_told(tmp_path, row):
    def change(image):
        image.set_qform(np.diag([2, 2, 2, 1]), code=1)

    path = write(tmp_path / "scan.nii", np.zeros((3, 4, 5), np.uint8), change=change)
    volume = open_volume(patch(path, srow_y=row, sform_code=1))
    assert volume.geometry.spacing == (2, 2, 2)
    told = [*row[2::-1], row[3]]  # Z, Y, X
    assert " ".join(f"{number:g}" for number in told) in volume.notes[0]
    both = open_volume(patch(path, quatern_b=3, quatern_c=3))
    assert both.geometry.spacing == (2, 2, 2)
    assert [note[:5] for note in both.notes] == ["sform", "qform", "no us"]
    out = write_labels(np.ones((5, 4, 3), int), tmp_path / "labels.nii", like=both)
    assert open_labels(out).geometry.matches(both.geometry)


def test_no_usable_grid_at_all_is_refused(tmp_path):
    path = write(tmp_path / "scan.nii", np.zeros((3, 4, 5), np.uint8))
    patch(path, sform_code=0, qform_code=0, pixdim=[1, 0, 1, 1, 0, 0, 0, 0])
    with pytest.raises(GeometryError, match="neither a usable affine nor"):
        open_volume(path)
    # Along an axis of one voxel nothing depends on its size.
    flat = write(tmp_path / "flat.nii", np.zeros((3, 4, 1), np.uint8))
    patch(flat, sform_code=0, qform_code=0, pixdim=[1, 2, 2, 0, 0, 0, 0, 0])
    assert open_volume(flat).geometry.spacing == (1, 2, 2)


@pytest.mark.parametrize(
    ("code", "unit", "spacing", "n_notes"),
    [
        (0, "mm", 2, 0),
        (1, "mm", 2000, 1),
        (2, "mm", 2, 0),
        (3, "um", 2, 0),
        (5, "mm", 2, 1),
    ],
)
def test_units(tmp_path, code, unit, spacing, n_notes):
    path = write(
        tmp_path / "scan.nii", np.zeros((3, 4, 5), np.uint8), np.diag([2] * 3 + [1])
    )
    volume = open_volume(patch(path, xyzt_units=code | 8))
    assert volume.geometry.unit == unit
    assert volume.geometry.spacing == (spacing,) * 3
    assert len(volume.notes) == n_notes
    out = write_labels(np.ones((5, 4, 3), int), tmp_path / "labels.nii", like=volume)
    assert int(nib.load(out).header["xyzt_units"]) == code
    assert open_volume(out).geometry.matches(volume.geometry)


def test_nanometres_are_written_as_micrometres(tmp_path, make_geometry):
    geometry = make_geometry(3, (3, 4, 5)).in_unit("nm")
    volume = Volume.from_array(np.zeros((3, 4, 5), np.uint8), geometry)
    again = open_volume(write_image(volume.data, tmp_path / "em.nii", like=volume))
    assert again.geometry.unit == "um"
    assert again.geometry.matches(volume.geometry)


@pytest.mark.parametrize(("origin", "version"), [(100.0, 1), (123456.789, 2)])
def test_a_grid_that_single_precision_would_shift_becomes_nifti_2(
    tmp_path, origin, version
):
    affine = np.diag([0.01, 0.01, 0.01, 1.0])[:, [2, 1, 0, 3]]
    affine[0, 3] = origin  # float32 would be 0.4 voxels off at the farther one
    geometry = Geometry(shape=(2, 3, 4), affine=affine)
    labels = np.zeros((2, 3, 4), np.uint8)
    like = Volume.from_array(labels, geometry)
    path = write_labels(labels, tmp_path / "far.nii", like=like)
    assert nib.load(path).header["sizeof_hdr"] == {1: 348, 2: 540}[version]
    moved = open_volume(path).source.geometry.affine - geometry.affine
    assert np.abs(moved).max() < 1e-3 * 0.01


def test_a_sheared_grid_is_written_without_qform(tmp_path):
    affine = np.array([[0, 0, -1, 0], [0, -1, 0.3, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    sheared = Geometry(shape=(3, 4, 5), affine=affine)
    volume = Volume.from_array(np.zeros((3, 4, 5), np.uint8), sheared)
    out = write_image(volume.data, tmp_path / "sheared.nii", like=volume)
    assert int(nib.load(out).header["qform_code"]) == 0
    assert open_volume(out).geometry.matches(volume.geometry)


def test_equal_voxels_give_equal_files(tmp_path):
    volume = Volume.from_array(np.arange(24).reshape(2, 3, 4) % 3, spacing=(3, 2, 1))
    one = write_labels(volume.data[0], tmp_path / "one.nii.gz", like=volume)
    two = write_labels(volume.data[0], tmp_path / "two.nii.gz", like=volume)
    assert one.read_bytes() == two.read_bytes()


def test_nibabel_reads_our_files_without_a_complaint(tmp_path):
    array = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    volume = Volume.from_array(array, spacing=(3, 2, 1))
    out = write_image(array, tmp_path / "channels.nii.gz", like=volume)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = nib.load(out)
        np.testing.assert_array_equal(np.asarray(image.dataobj).T, array)
    assert canonical_transform(volume.geometry).is_identity


def test_real_volumes_agree_with_nibabel(shared_data):
    folder = shared_data / "odd"
    names = [
        "nifti_4d_asl_thick/pcasl.nii.gz",
        "nifti_5d_small/5D_small.nii",
        "nifti_big_endian/big.nii.gz",
        "nifti_functional_thin/functional.nii",
        "nifti2_mni_sform_only/avg152T1_LR_nifti2.nii.gz",
        "nifti_with_extension/with_extension.nii.gz",
        "mrtrix_oblique_b0/b0.nii.gz",
    ]
    for name in names:
        volume, image = open_volume(folder / name), nib.load(folder / name)
        np.testing.assert_allclose(
            volume.source.geometry.affine_xyz, image.affine, rtol=0, atol=0
        )
        stored = volume.as_source(volume.data).compute()
        expected = image.get_fdata().T.reshape(stored.shape)
        np.testing.assert_allclose(stored, expected, rtol=1e-6, atol=1e-6)


def test_real_labels_come_back_bit_for_bit(shared_data, tmp_path):
    cases = sorted((shared_data / "msd_hippocampus" / "labels").glob("*.nii.gz"))[::40]
    assert cases
    for case in cases:
        labels = open_labels(case)
        out = write_labels(labels.data[0], tmp_path / case.name, like=labels)
        before, after = nib.load(case), nib.load(out)
        np.testing.assert_array_equal(after.affine, before.affine)
        np.testing.assert_array_equal(after.dataobj, np.asarray(before.dataobj))
