"""The same oblique volume in every format, for the table over formats."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.conversion import convert
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_volume, write_image, write_labels
from e2miseg_core.volume import Volume

__all__ = ["SAMPLES", "make_geometry", "make_volume"]

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def make_geometry(shape: tuple[int, int, int]) -> Geometry:
    """Make an oblique grid that grows to inferior, anterior and right."""
    angle = np.deg2rad(12.3456789)
    turn = np.array(
        [
            [np.cos(angle), -np.sin(angle), 0],
            [np.sin(angle), np.cos(angle), 0],
            [0, 0, 1],
        ]
    )
    affine = np.eye(4)
    axes = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float)  # world of Z, Y, X
    affine[:3, :3] = turn @ axes * (1.1, 0.7123456, 0.6123456)
    affine[:3, 3] = (-81.23456789, 33.3333333, -512.7654321)
    return Geometry(shape=shape, affine=affine)


def make_volume(shape: tuple[int, int, int]) -> Volume:
    """Make a smooth volume with noise, int16."""
    rng = np.random.default_rng(0)
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    noise = rng.normal(0, 12, shape[1:]).astype(np.float32)
    voxels = np.empty(shape, np.int16)
    for at, height in enumerate(z):
        waves = np.sin(9 * x + 3 * height)[None] * np.cos(7 * y)[:, None]
        voxels[at] = 300 * waves + np.roll(noise, 31 * at, axis=1)
    return Volume.from_array(voxels, make_geometry(shape))


def _stored(volume: Volume) -> NDArray[np.int16]:
    voxels: NDArray[np.int16] = np.asarray(volume.as_source(volume.data)[0])
    return voxels


def _written(suffix: str) -> Callable[[Volume, Path], Path]:
    def write(volume: Volume, folder: Path) -> Path:
        return write_image(volume.data[0], folder / f"a{suffix}", like=volume)

    return write


def _pyramid(volume: Volume, folder: Path) -> Path:
    source = write_image(volume.data[0], folder / "source.nii", like=volume)
    output = convert(source, folder / "a.ome.zarr").output
    source.unlink()
    return output


def _detached(header: str, data: str) -> Callable[[Volume, Path], Path]:
    """Write a header and its voxels apart, as SimpleITK does."""

    def write(volume: Volume, folder: Path) -> Path:
        import SimpleITK

        whole = write_image(volume.data[0], folder / f"whole{data}", like=volume)
        path = folder / f"a{header}"
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(whole)), str(path))
        whole.unlink()
        return path

    return write


def _npy(volume: Volume, folder: Path) -> Path:
    np.save(folder / "a.npy", _stored(volume), allow_pickle=False)
    return folder / "a.npy"


def _npz(volume: Volume, folder: Path) -> Path:
    np.savez_compressed(folder / "a.npz", _stored(volume))
    return folder / "a.npz"


def _zarr2(volume: Volume, folder: Path) -> Path:
    import zarr

    zarr.create_array(
        folder / "a.zarr", data=_stored(volume), chunks=(64,) * 3, zarr_format=2
    )
    return folder / "a.zarr"


def _zipped(volume: Volume, folder: Path) -> Path:
    import zipfile

    store = write_image(volume.data[0], folder / "inner.ome.zarr", like=volume)
    with zipfile.ZipFile(folder / "a.ozx", "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(store.rglob("*")):
            archive.write(path, path.relative_to(store))
    return folder / "a.ozx"


def _hdf5(volume: Volume, folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset(
            "raw",
            data=_stored(volume),
            chunks=tuple(min(64, size) for size in volume.geometry.shape),
            compression="gzip",
        )
    return folder / "a.h5"


def _tiff(volume: Volume, folder: Path) -> Path:
    import tifffile

    tifffile.imwrite(
        folder / "a.ome.tiff",
        _stored(volume),
        compression="zlib",
        tile=(256, 256),
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.6, "PhysicalSizeXUnit": "mm"},
    )
    return folder / "a.ome.tiff"


def _mgz(volume: Volume, folder: Path) -> Path:
    import nibabel

    image = nibabel.MGHImage(
        _stored(volume).transpose(), make_geometry(_stored(volume).shape).affine_xyz
    )
    nibabel.save(image, folder / "a.mgz")
    return folder / "a.mgz"


def _dicom(volume: Volume, folder: Path) -> Path:
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    (folder / "series").mkdir()
    geometry = make_geometry(_stored(volume).shape)
    lps = np.diag([-1.0, -1.0, 1.0]) @ geometry.affine[:3]
    spacing = geometry.spacing
    text = pydicom.valuerep.format_number_as_ds
    shared = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "Modality": "CT",
        "SOPClassUID": CT_IMAGE,
        "PatientID": "sample",
        "PatientName": "",
        "Rows": geometry.shape[1],
        "Columns": geometry.shape[2],
        "PixelSpacing": [text(spacing[1]), text(spacing[2])],
        "ImageOrientationPatient": [
            text(float(v)) for axis in (2, 1) for v in lps[:, axis] / spacing[axis]
        ],
        "SliceThickness": text(spacing[0]),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
    }
    for number, plane in enumerate(_stored(volume)):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CT_IMAGE
        meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        for keyword, value in shared.items():
            setattr(dataset, keyword, value)
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.InstanceNumber = number + 1
        place = lps[:, 3] + number * lps[:, 0]
        dataset.ImagePositionPatient = [text(float(v)) for v in place]
        dataset.PixelData = plane.astype("<i2").tobytes()
        dataset.save_as(
            folder / "series" / f"{number:04}.dcm", enforce_file_format=True
        )
    return folder / "series"


def _segmentation(volume: Volume, folder: Path) -> Path:
    series = open_volume(_dicom(volume, folder))
    labels = (series.data[0] > 150).astype(np.uint8)
    return write_labels(labels, folder / "a.dcm", like=series, names={1: "bright"})


# What: how it is made, and whether it holds the whole affine.
SAMPLES: dict[str, tuple[Callable[[Volume, Path], Path], bool]] = {
    "NIfTI, plain": (_written(".nii"), True),
    "NIfTI, gzip": (_written(".nii.gz"), True),
    "NRRD": (_written(".nrrd"), True),
    "NRRD, detached": (_detached(".nhdr", ".nrrd"), True),
    "MetaImage": (_written(".mha"), True),
    "MetaImage, detached": (_detached(".mhd", ".mha"), True),
    "OME-Zarr 0.5": (_written(".ome.zarr"), True),
    "OME-Zarr 0.5, pyramid": (_pyramid, True),
    "OME-Zarr, zipped": (_zipped, True),
    "zarr 2 array": (_zarr2, False),
    "DICOM series": (_dicom, True),
    "DICOM SEG": (_segmentation, True),
    "HDF5, 64^3 chunks, gzip": (_hdf5, False),
    "OME-TIFF, tiled, zlib": (_tiff, False),
    "NumPy": (_npy, False),
    "NumPy, npz": (_npz, False),
    "MGZ (by a copy)": (_mgz, True),
}
