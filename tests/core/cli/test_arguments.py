"""No argument is swallowed: what cannot be followed is refused, or noted, in a line."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from e2miseg_core.cli.commands import run
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_volume, write_image
from e2miseg_core.volume import Volume


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4)), path)
    return path


def told(capsys, arguments, code):
    """Lines on standard error of a command that ends with a code."""
    assert run([str(each) for each in arguments]) == code
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("address", "options", "says"),
    [
        ("#part=foo", [], "a file of NIfTI holds one image"),
        ("", ["--part", "foo"], "a file of NIfTI holds one image"),
        ("#part=2", ["--part", "1"], "#part=2 in the address and --part 1"),
        ("#frame=2", ["--frame", "1"], "#frame=2 in the address and --frame 1"),
    ],
)
def test_parts_that_are_not_there_are_refused(
    scan, tmp_path, capsys, address, options, says
):
    call = ["convert", f"{scan}{address}", tmp_path / "b.nrrd", *options]
    [line] = told(capsys, call, 2)
    assert line.startswith("error: ")
    assert says in line
    assert not (tmp_path / "b.nrrd").exists()


def test_a_frame_of_one_of_several_images_asks_for_the_image_first(tmp_path, capsys):
    path = tmp_path / "two.npz"
    np.savez(path, a=np.ones((2, 3, 4, 5)), b=np.ones((2, 3, 4, 5)))
    call = ["convert", f"{path}#frame=1", tmp_path / "b.nrrd"]
    [line] = told(capsys, call, 2)
    assert f"{path}#part=a&frame=1" in line
    [line] = told(capsys, ["info", f"{path}#frame=1"], 0)
    assert f"{path}#part=a&frame=1" in line


@pytest.mark.parametrize(
    ("output", "options", "says"),
    [
        ("b.ome.zarr", ["--levels", "40"], "4 levels instead of 40"),
        ("b.nrrd", ["--levels", "2"], "levels not used: NRRD holds one level"),
        ("b.nii", ["--resume", "--chunk", "16"], "chunk, resume not used: NIfTI"),
    ],
)
def test_options_that_are_not_followed_are_noted(
    scan, tmp_path, capsys, output, options, says
):
    lines = told(capsys, ["convert", scan, tmp_path / output, *options], 0)
    assert any(line.startswith("note: ") and says in line for line in lines)


def test_the_input_is_looked_at_before_the_output(scan, tmp_path, capsys):
    there = tmp_path / "y.nrrd"
    there.write_bytes(b"precious")
    [line] = told(capsys, ["convert", tmp_path / "nofile.nrrd", there], 2)
    assert "nofile.nrrd cannot be read (No such file" in line
    assert there.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha", "a.h5", "a.dcm"])
def test_an_empty_file_is_called_empty(tmp_path, capsys, name):
    path = tmp_path / name
    path.touch()
    [line] = told(capsys, ["info", path], 2)
    assert "the file is empty" in line


def test_what_is_written_as_labels_stays_labels(tmp_path, capsys):
    volume = Volume.from_array(
        np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 3,
        Geometry.from_spacing((3, 4, 5), (1, 1, 1)),
    )
    first = write_image(volume.data[0], tmp_path / "l.ome.zarr", like=volume)
    chain = [first, *(tmp_path / f"l{n}" for n in ("1.nrrd", "2.mha", "3.nrrd"))]
    assert run(["convert", str(first), str(chain[1]), "--labels"]) == 0
    capsys.readouterr()
    for source, output in itertools.pairwise(chain[1:]):
        lines = told(capsys, ["convert", source, output], 0)
        assert any("taken as labels: the format says so" in line for line in lines)
        assert open_volume(output).segments is not None


def test_users_are_told_in_their_words(scan, tmp_path, capsys):
    assert run(["info", str(scan)]) == 0
    shown = capsys.readouterr().out
    assert "NIfTI" in shown
    assert "channels" not in shown
    path = tmp_path / "two.npz"
    np.savez(path, a=np.ones((2, 3, 4, 5), np.uint8))
    assert run(["convert", str(path), str(tmp_path / "b.nrrd")]) == 0
    assert (
        "image of 2 channels of 3 x 4 x 5 voxels (Z, Y, X)" in capsys.readouterr().out
    )
