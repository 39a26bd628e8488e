"""The images in a folder: each once, whatever it consists of."""

from pathlib import Path

from e2miseg_core.io.listing import list_images


def test_each_image_is_listed_once(tmp_path: Path) -> None:
    for name in (
        *("b.nii.gz", "a.nrrd", "._a.nrrd", "notes.txt", ".hidden.nii"),
        *("pair.hdr", "pair.img", "lonely.img", "f+orig.HEAD", "f+orig.BRIK"),
    ):
        (tmp_path / name).touch()
    (tmp_path / "c.ome.zarr").mkdir()
    (tmp_path / "empty").mkdir()
    dicom = tmp_path / "series"
    dicom.mkdir()
    (dicom / "IM1").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 64)
    assert [path.name for path in list_images(tmp_path)] == [
        *("a.nrrd", "b.nii.gz", "c.ome.zarr", "f+orig.HEAD", "lonely.img"),
        *("pair.hdr", "series"),
    ]
