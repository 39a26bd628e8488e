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


def test_a_pair_is_one_image_however_its_halves_are_packed(tmp_path: Path) -> None:
    for stem, first, second in (
        ("a", ".hdr", ".img"),
        ("b", ".hdr.gz", ".img"),
        ("c", ".hdr", ".img.gz"),
        ("d", ".hdr.gz", ".img.gz"),
    ):
        (tmp_path / f"{stem}{first}").touch()
        (tmp_path / f"{stem}{second}").touch()
    names = [path.name for path in list_images(tmp_path)]
    assert names == ["a.hdr", "b.hdr.gz", "c.hdr", "d.hdr.gz"]
