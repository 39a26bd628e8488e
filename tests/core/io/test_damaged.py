"""Whatever is wrong with a file, one line says so and nothing large is allocated."""

import gzip
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from e2miseg_core.errors import E2MISegError, ReadError
from e2miseg_core.io import open_labels, open_volume


@pytest.fixture
def plain(tmp_path):
    """Name of a sound .nii file."""
    array = np.random.default_rng(0).integers(0, 99, (20, 20, 20), dtype=np.int16)
    path = tmp_path / "sound.nii"
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


def with_fields(path, content, **fields):
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


def refused(path, message, opener=open_volume):
    with pytest.raises(ReadError, match=message) as caught:
        opener(path)
    text = str(caught.value)
    assert "\n" not in text
    assert "; needed: " in text
    return text


def complaint(path):
    """What the user is told about a file, None if nothing is wrong."""
    try:
        open_volume(path).data[:, 0].compute()
    except E2MISegError as error:
        return str(error)
    return None


def test_missing_files_folders_and_unknown_names(tmp_path):
    refused(tmp_path / "none.nii", "No such file")
    refused(tmp_path / "none.xyz", "missing")
    refused(tmp_path / "none.ome.zarr", "missing")
    (tmp_path / "folder.nii.gz").mkdir()
    refused(tmp_path / "folder.nii.gz", "is a folder")
    refused(tmp_path, "unknown format")
    (tmp_path / "notes.txt").write_text("hello")
    assert ".nii.gz" in refused(tmp_path / "notes.txt", "unknown format")
    refused("nowhere://host/scan.nii.gz", "unknown protocol")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_empty_files(tmp_path, suffix):
    path = tmp_path / f"empty{suffix}"
    path.write_bytes(b"")
    refused(path, "empty")


def test_other_content_under_the_name(tmp_path, plain):
    other = tmp_path / "other.nii"
    other.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(999))
    refused(other, "PNG")
    other.write_bytes(bytes(10_000))
    refused(other, "starts with")
    other.write_bytes(plain.read_bytes()[:200])
    refused(other, "starts with")
    pair = with_fields(tmp_path / "pair.nii", plain.read_bytes(), magic=b"ni1")
    refused(pair, "pair")
    pair = with_fields(tmp_path / "pair.nii", plain.read_bytes(), magic=b"xxx")
    refused(pair, "starts with")


def test_compression_against_the_name(tmp_path, plain):
    named_gz = tmp_path / "plain.nii.gz"
    named_gz.write_bytes(plain.read_bytes())
    refused(named_gz, "not compressed")
    named_plain = tmp_path / "packed.nii"
    named_plain.write_bytes(gzip.compress(plain.read_bytes()))
    refused(named_plain, "is compressed")


def test_cut_off_plain_files_are_found_at_once(tmp_path, plain):
    path = tmp_path / "cut.nii"
    path.write_bytes(plain.read_bytes()[:-1])
    refused(path, "cut off: it has 16351 bytes; needed: 16352 bytes")


@pytest.mark.parametrize("kept", [3, 12, 100, 5000, -8])
def test_cut_off_gzip_files_are_found_by_reading_at_the_latest(tmp_path, plain, kept):
    path = tmp_path / "cut.nii.gz"
    path.write_bytes(gzip.compress(plain.read_bytes())[:kept])
    with pytest.raises(ReadError) as caught:
        open_volume(path).data.compute()
    assert "\n" not in str(caught.value)


def test_gzip_with_too_few_voxels(tmp_path, plain):
    path = tmp_path / "short.nii.gz"
    path.write_bytes(gzip.compress(plain.read_bytes()[:-5000]))
    volume = open_volume(path)
    with pytest.raises(ReadError, match="cut off"):
        volume.data.compute()


@pytest.mark.parametrize("at", [20, 900, 6000])
def test_flipped_bytes_in_gzip_never_escape_as_something_else(tmp_path, plain, at):
    content = bytearray(gzip.compress(plain.read_bytes()))
    content[at] ^= 0xFF
    path = tmp_path / "flipped.nii.gz"
    path.write_bytes(content)
    message = complaint(path)
    assert message is None or "\n" not in message


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_lying_header_allocates_nothing(tmp_path, plain, suffix):
    lying = with_fields(
        tmp_path / "lying.nii",
        plain.read_bytes(),
        dim=[3, 32000, 32000, 32000, 1, 1, 1, 1],
    )
    path = tmp_path / f"lying_too{suffix}"
    content = lying.read_bytes()
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    tracemalloc.start()
    refused(path, "cut off")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": [0] * 8}, "dimensions"),
        ({"dim": [3, 20, -20, 20, 1, 1, 1, 1]}, "dimensions"),
        ({"dim": [9, 20, 20, 20, 1, 1, 1, 1]}, "dimensions"),
        ({"datatype": 32, "bitpix": 64}, "complex"),
        ({"datatype": 1536, "bitpix": 128}, "more than 64 bits|type 1536"),
        ({"datatype": 128, "bitpix": 24}, "cut off.* in 3 channels"),
        ({"datatype": 128, "dim": [4, 9, 9, 9, 2, 1, 1, 1]}, "2 frames of colours"),
        ({"dim": [5, 1, 1, 1, 300, 300, 1, 1], "datatype": 2}, "90000 channels"),
        ({"datatype": 999}, "values of type 999"),
        ({"datatype": 0}, "values of type 0"),
        ({"scl_slope": 1, "scl_inter": np.nan}, "scaling"),
        ({"vox_offset": 20}, "inside the header"),
        ({"vox_offset": np.nan}, "inside the header"),
        ({"vox_offset": 1e9}, "cut off"),
    ],
)
def test_bad_fields(tmp_path, plain, fields, message):
    refused(with_fields(tmp_path / "bad.nii", plain.read_bytes(), **fields), message)


def test_a_file_that_vanishes_is_a_read_error(plain):
    volume = open_volume(plain)
    plain.unlink()
    with pytest.raises(ReadError, match=r"cannot be read .No such file"):
        volume.data.compute()


def test_labels_must_be_one_whole_number_a_voxel(tmp_path):
    def save(array):
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "labels.nii")
        return tmp_path / "labels.nii"

    refused(save(np.zeros((2, 2, 2, 3), np.uint8)), "3 channels", open_labels)
    for wrong in (0.5, -1, np.nan, np.inf, 2.0**32):
        labels = open_labels(save(np.array([[[0, 1, wrong]]], np.float64)))
        with pytest.raises(ReadError, match="holds the value"):
            labels.data.compute()
    negative = open_labels(save(np.array([[[0, -1]]], np.int16)))
    with pytest.raises(ReadError, match="value -1"):
        negative.data.compute()


@pytest.mark.parametrize(
    ("stored", "opened"),
    [
        ("u1", "u1"),
        ("i1", "u1"),
        ("i2", "u2"),
        ("i4", "u4"),
        ("f4", "u4"),
        ("f8", "u4"),
    ],
)
def test_labels_are_unsigned_whatever_their_type(tmp_path, stored, opened):
    array = np.array([[[0, 1, 100]]], dtype=stored)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "labels.nii")
    labels = open_labels(tmp_path / "labels.nii")
    assert labels.data.dtype == np.dtype(opened)
    assert labels.channels == ("labels",)
    np.testing.assert_array_equal(labels.data.ravel(), [0, 1, 100])


def test_scaled_labels_lose_only_the_rounding(tmp_path, plain):
    content = plain.read_bytes()
    path = with_fields(tmp_path / "scaled.nii", content, scl_slope=1 / 3, scl_inter=0)
    stored = np.frombuffer(content[352:], np.int16)
    if np.any(stored % 3):
        with pytest.raises(ReadError, match="holds the value"):
            open_labels(path).data.compute()
    tripled = (stored * 3).astype(np.int16).tobytes()
    path.write_bytes(path.read_bytes()[:352] + tripled)
    labels = open_labels(path)
    np.testing.assert_array_equal(labels.as_source(labels.data).ravel(), stored)


def test_real_odd_files_open_or_are_refused_in_one_line(shared_data):
    opened, turned_down = 0, 0
    for path in sorted((shared_data / "odd").rglob("*")):
        if not path.is_file():
            continue
        message = complaint(path)
        opened += message is None
        turned_down += message is not None
        assert message is None or "\n" not in message
    assert opened >= 30  # of 44 files, one of which is text
    assert turned_down >= 1
