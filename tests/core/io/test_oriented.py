"""Who says how a volume lies in the world, and who leaves it to be guessed."""

import h5py
import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as everybody calls it
import tifffile
import zarr
from PIL import Image

from e2miseg_core.conversion import ConversionOptions, convert
from e2miseg_core.io import create_store, open_volume, write_image
from e2miseg_core.io.channels.combine import combine
from e2miseg_core.io.channels.names import open_channels

VOXELS = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def npy(folder):
    np.save(folder / "a.npy", VOXELS)
    return folder / "a.npy"


def npz(folder):
    np.savez(folder / "a.npz", a=VOXELS)
    return folder / "a.npz"


def tiff(folder):
    tifffile.imwrite(folder / "a.tif", VOXELS, photometric="minisblack")
    return folder / "a.tif"


def ome_tiff(folder):
    sizes = {f"PhysicalSize{axis}": 2 for axis in "XYZ"}
    metadata = {"axes": "ZYX", **sizes}
    tifffile.imwrite(folder / "a.ome.tif", VOXELS, metadata=metadata)
    return folder / "a.ome.tif"


def slices(folder):
    (folder / "slices").mkdir()
    for number, plane in enumerate(VOXELS.astype(np.uint8)):
        Image.fromarray(plane).save(folder / "slices" / f"{number}.png")
    return folder / "slices"


def hdf5(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file["raw"] = VOXELS
    return folder / "a.h5"


def bare_zarr(folder):
    zarr.save_array(str(folder / "a.zarr"), VOXELS)
    return folder / "a.zarr"


def ome_zarr(folder, geometry=None):
    path = folder / "a.ome.zarr"
    create_store(path, geometry or open_volume(npy(folder)).geometry, np.int16)[:] = (
        VOXELS
    )
    return path


def foreign_ome_zarr(folder):
    path = ome_zarr(folder)
    group = zarr.open_group(str(path))
    del group.attrs["e2miseg"]  # as other programs write it
    ome = group.attrs["ome"]
    for axis in ome["multiscales"][0]["axes"]:
        axis.pop("orientation", None)
    group.attrs["ome"] = ome
    return path


def analyze(folder):
    nib.save(nib.AnalyzeImage(VOXELS, np.eye(4)), folder / "a.img")
    return folder / "a.hdr"


def nifti(folder, *, sform=0, qform=0, affine=None):
    image = nib.Nifti1Image(VOXELS, np.diag([2, 3, 4, 1]))
    image.set_sform(affine, sform)
    image.set_qform(None, qform)
    nib.save(image, folder / "a.nii")
    return folder / "a.nii"


def broken_nifti(folder):
    path = nifti(folder, sform=1)
    with path.open("r+b") as file:
        file.seek(280)  # srow_x, srow_y, srow_z
        file.write(np.zeros(12, "<f4").tobytes())
    return path


def nrrd_file(folder, **header):
    nrrd.write(str(folder / "a.nrrd"), VOXELS, header)
    return folder / "a.nrrd"


def plain_nrrd(folder):
    return nrrd_file(folder, spacings=[1.0, 2.0, 3.0])


def unnamed_nrrd(folder):  # of a space, but of which is not said
    directions = {"space directions": np.eye(3), "space dimension": 3}
    return nrrd_file(folder, **directions)


def plain_mhd(folder):
    (folder / "a.raw").write_bytes(VOXELS.tobytes())
    (folder / "a.mhd").write_text(
        "NDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\n"
        "ElementSpacing = 1 1 2\nElementDataFile = a.raw\n"
    )
    return folder / "a.mhd"


def mrc(folder):
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(folder / "a.mrc"))
    return folder / "a.mrc"


GUESSED = (
    *(npy, npz, tiff, ome_tiff, slices, hdf5, bare_zarr, foreign_ome_zarr, analyze),
    *(nifti, broken_nifti, plain_nrrd, unnamed_nrrd, plain_mhd, mrc),
)


@pytest.mark.parametrize("make", GUESSED, ids=lambda make: make.__name__)
def test_a_file_that_says_nothing_is_not_oriented(tmp_path, make):
    volume = open_volume(make(tmp_path))
    assert volume.is_oriented is False
    np.testing.assert_array_equal(
        np.sort(np.asarray(volume.data).ravel()), np.sort(VOXELS.ravel())
    )


def stated_nrrd(folder):
    return nrrd_file(
        folder, **{"space": "LPS", "space directions": np.diag([1.0, 2, 3])}
    )


def stated_mha(folder):
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(folder / "a.mha"))
    return folder / "a.mha"


def stated_nifti(folder):
    return nifti(folder, sform=1)


def scanner_nifti(folder):
    return nifti(folder, qform=1)


def mgz(folder):
    nib.save(nib.MGHImage(VOXELS.astype(np.int32), np.eye(4)), folder / "a.mgz")
    return folder / "a.mgz"


STATED = (stated_nrrd, stated_mha, stated_nifti, scanner_nifti, mgz, ome_zarr)


@pytest.mark.parametrize("make", STATED, ids=lambda make: make.__name__)
def test_a_file_that_says_it_is_oriented(tmp_path, make):
    assert open_volume(make(tmp_path)).is_oriented is True


@pytest.mark.parametrize("make", [npy, stated_nifti], ids=["npy", "nifti"])
def test_what_is_not_known_is_not_known_after_conversion(tmp_path, make):
    source = make(tmp_path)
    known = open_volume(source)
    pyramid = convert(source, tmp_path / "b.ome.zarr", ConversionOptions()).output
    plain = write_image(known.data[0], tmp_path / "c.zarr", like=known)
    for path in (pyramid, plain):
        again = open_volume(path)
        assert again.is_oriented is known.is_oriented
        assert again.geometry.matches(known.geometry)
        own = zarr.open_group(str(path), mode="r").attrs["e2miseg"]
        assert own.get("oriented") is (None if known.is_oriented else False)


def test_channels_are_oriented_as_the_image_of_the_grid(tmp_path):
    one, other = npy(tmp_path), ome_zarr(tmp_path)
    for first, second in ((one, other), (other, one)):
        expected = first == other
        both = open_channels({"a": first, "b": second})
        assert both.is_oriented is expected
        assert both.frame(1).is_oriented is expected
        volumes = {"a": open_volume(first), "b": open_volume(second)}
        assert combine(volumes).is_oriented is expected
