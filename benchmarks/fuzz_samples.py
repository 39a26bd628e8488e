"""Small sound images of every format that is read, for `benchmarks.fuzz` to damage."""

import gzip
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_volume, write_image, write_labels
from e2miseg_core.volume import Volume

SHAPE = (6, 7, 8)
TOGETHER = "together"  # folder of files that refer to each other
AFFINE = np.array(
    [[-1.9, 0.1, 0, 11], [0.1, 2.8, 0.2, 22], [0, -0.2, 4, 33], [0, 0, 0, 1.0]]
)


def voxels(dtype: str = "i2", shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 99, shape).astype(dtype)


def volume(dtype: str = "i2") -> Volume:
    return Volume.from_array(
        voxels(dtype), Geometry.from_xyz(SHAPE[::-1], AFFINE, "mm")
    )


def nifti(folder: Path) -> list[Path]:
    import nibabel as nib

    made = [folder / f"{name}" for name in ("plain.nii", "packed.nii.gz")]
    for path in made:
        nib.save(nib.Nifti1Image(voxels(), AFFINE), path)
    scaled = nib.Nifti2Image(voxels(">i2", (*SHAPE, 3)), AFFINE)
    scaled.header.set_slope_inter(0.5, 3)
    scaled.header.set_data_dtype(">i2")
    nib.save(scaled, folder / "second.nii")
    nib.save(nib.Nifti1Pair(voxels("f4"), AFFINE), folder / "pair.img")
    nib.save(nib.AnalyzeImage(voxels(), np.diag([-2, 3, 4, 1])), folder / "old.img")
    return [*made, *(folder / name for name in ("second.nii", "pair.img", "old.img"))]


def nrrd(folder: Path) -> list[Path]:
    import nrrd as library

    made = []
    for encoding in ("raw", "gzip", "bzip2"):
        made.append(folder / f"{encoding}.nrrd")
        header = {
            "encoding": encoding,
            "space": "left-posterior-superior",
            "space directions": AFFINE[:3, :3].T,
            "space origin": AFFINE[:3, 3],
            "kinds": ["domain"] * 3,
        }
        library.write(str(made[-1]), voxels(), header)
    library.write(str(folder / "apart.nhdr"), voxels(), {"encoding": "raw"})
    labels = folder / "labels.seg.nrrd"
    write_labels(volume("u1").data[0] % 3, labels, like=volume(), names={1: "a"})
    return [*made, folder / "apart.nhdr", labels]


def metaimage(folder: Path) -> list[Path]:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(voxels())
    image.SetSpacing((2, 3, 4))
    SimpleITK.WriteImage(image, folder / "plain.mha")
    SimpleITK.WriteImage(image, folder / "packed.mha", useCompression=True)
    SimpleITK.WriteImage(image, folder / "apart.mhd")
    return [folder / name for name in ("plain.mha", "packed.mha", "apart.mhd")]


def zarr(folder: Path) -> list[Path]:
    import zarr as library
    from numcodecs import LZ4, Blosc, Zlib

    write_image(volume().data, folder / "image.ome.zarr", like=volume())
    write_labels(volume("u1").data[0] % 3, folder / "labels.ome.zarr", like=volume())
    made = [folder / "image.ome.zarr", folder / "labels.ome.zarr"]
    for version in (2, 3):
        made.append(folder / f"bare{version}.zarr")
        array = library.create_array(
            made[-1], shape=SHAPE, chunks=(4, 4, 4), dtype="i2", zarr_format=version
        )
        array[:] = voxels()
    old = folder / "old.ome.zarr"
    group = library.open_group(old, mode="w", zarr_format=2)
    array = group.create_array("0", shape=(2, *SHAPE), chunks=(1, 4, 4, 8), dtype="u2")
    array[:] = voxels("u2", (2, *SHAPE))
    axes = [{"name": "c", "type": "channel"}]
    axes += [
        {"name": name, "type": "space", "unit": "micrometer"}
        for name in ("z", "y", "x")
    ]
    scale = {"type": "scale", "scale": [1.0, 4.0, 3.0, 2.0]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": axes, "datasets": datasets}
    ]
    sharded = folder / "sharded.zarr"
    array = library.create_array(
        sharded, shape=(8, 8, 8), chunks=(4, 4, 4), shards=(8, 8, 8), dtype="u1"
    )
    array[:] = voxels("u1", (8, 8, 8))
    for name, codec in (("lz4", LZ4()), ("zlib", Zlib()), ("blosc", Blosc("lz4"))):
        made.append(folder / f"{name}.zarr")
        array = library.create_array(
            made[-1],
            shape=SHAPE,
            chunks=(4, 4, 4),
            dtype="i2",
            zarr_format=2,
            compressors=codec,
        )
        array[:] = voxels()
    with zipfile.ZipFile(folder / "zipped.ozx", "w") as archive:
        for file in sorted((folder / "image.ome.zarr").rglob("*")):
            archive.write(file, file.relative_to(folder / "image.ome.zarr"))
    return [*made, old, sharded, folder / "zipped.ozx"]


def numpy(folder: Path) -> list[Path]:
    np.save(folder / "plain.npy", voxels("f4"))
    np.save(folder / "fortran.npy", np.asfortranarray(voxels()))
    np.savez_compressed(folder / "packed.npz", image=voxels())
    return [folder / name for name in ("plain.npy", "fortran.npy", "packed.npz")]


def hdf5(folder: Path) -> list[Path]:
    import h5py

    with h5py.File(folder / "plain.h5", "w") as file:
        file["raw"] = voxels()
        file["raw"].attrs["element_size_um"] = [4.0, 3.0, 2.0]
    with h5py.File(folder / "chunked.h5", "w") as file:
        options = {"chunks": (4, 4, 4), "compression": "gzip", "shuffle": True}
        file.create_dataset("volumes/raw", data=voxels("f4"), **options)
        file.create_dataset("volumes/labels", data=voxels("u1"), fletcher32=True)
    return [folder / "plain.h5", folder / "chunked.h5"]


def tiff(folder: Path) -> list[Path]:
    import tifffile

    grey: dict[str, Any] = {"photometric": "minisblack"}
    size = {"axes": "ZYX", "PhysicalSizeX": 2.0, "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(folder / "plain.tif", voxels(), **grey)
    tifffile.imwrite(
        folder / "image.ome.tif", voxels("u2"), ome=True, metadata=size, **grey
    )
    tifffile.imwrite(folder / "packed.tif", voxels(), compression="zlib", **grey)
    tifffile.imwrite(
        folder / "imagej.tif", voxels("u2"), imagej=True, metadata={"axes": "ZYX"}
    )
    tiles = {"tile": (16, 16), "compression": "zlib", "predictor": True}
    big = voxels("u1", (3, 40, 40))
    tifffile.imwrite(folder / "tiled.tif", big, bigtiff=True, **grey, **tiles)
    names = ("plain.tif", "image.ome.tif", "packed.tif", "imagej.tif", "tiled.tif")
    return [folder / name for name in names]


def dicom(folder: Path) -> list[Path]:
    from benchmarks.fuzz_dicom import (
        write_multi_frame,
        write_packed,
        write_series,
        write_structures,
    )

    series = folder / "series"
    write_series(series, voxels())
    write_multi_frame(folder / "frames.dcm", voxels("u2"))
    source = write_series(folder / "single", voxels()[:1])[0]
    packed = folder / "packed.dcm.gz"
    packed.write_bytes(gzip.compress(source.read_bytes(), mtime=0))
    write_packed(folder / "runs.dcm", voxels("u2"))
    made = [series, folder / "frames.dcm", packed, folder / "runs.dcm"]
    image = open_volume(series)
    write_labels(image.data[0] % 3 // 2, folder / "labels.dcm", like=image)
    write_series(folder / TOGETHER, voxels())
    write_structures(folder / TOGETHER / "structures.dcm", SHAPE[0])
    return [*made, folder / "labels.dcm", folder / TOGETHER / "structures.dcm"]


def foreign(folder: Path) -> list[Path]:
    import nibabel as nib
    import SimpleITK

    nib.save(nib.MGHImage(voxels(), AFFINE), folder / "plain.mgh")
    nib.save(nib.MGHImage(voxels("f4"), AFFINE), folder / "packed.mgz")
    image = SimpleITK.GetImageFromArray(voxels())
    names = ("a.gipl", "b.vtk", "c.mrc")
    for name in names:
        SimpleITK.WriteImage(image, folder / name)
    header = (
        "mrtrix image\ndim: 6,7,8\nvox: 2,3,4\nlayout: +0,-1,+2\ndatatype: Int16LE\n"
        "transform: 1,0,0,5\ntransform: 0,1,0,6\ntransform: 0,0,1,7\nfile: . 256\nEND\n"
    )
    mif = header.encode().ljust(256) + voxels("<i2").tobytes()
    (folder / "d.mif").write_bytes(mif)
    return [folder / name for name in ("plain.mgh", "packed.mgz", *names, "d.mif")]


MAKERS: dict[str, Callable[[Path], list[Path]]] = {
    "nifti": nifti,
    "nrrd": nrrd,
    "metaimage": metaimage,
    "zarr": zarr,
    "numpy": numpy,
    "hdf5": hdf5,
    "tiff": tiff,
    "dicom": dicom,
    "foreign": foreign,
}


def make_samples(folder: Path, only: str = "") -> dict[str, list[Path]]:
    """Write the samples of every format into folders of their own."""
    made = {}
    for key, maker in MAKERS.items():
        if only and key != only:
            continue
        own = folder / key
        own.mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made[key] = maker(own)
    return made
