import contextlib
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2miseg_core.errors import ChoiceError, E2MISegError
from e2miseg_core.io import open_volume

SHAPES = {
    (4, 5): (1, 1, 4, 5),
    (3, 4, 5): (1, 3, 4, 5),
    (2, 3, 4, 5): (2, 3, 4, 5),
    (9, 4, 5, 2): (2, 9, 4, 5),
    (2, 3, 4, 2): (2, 3, 4, 2),
    (1, 1, 1, 1): (1, 1, 1, 1),
}
DTYPES = ["u1", "<i2", ">i2", "<u4", "<i8", "<f2", "<f4", ">f8", "?"]


def refused(path, *words, part=""):
    with pytest.raises(E2MISegError) as caught:
        open_volume(path, part=part).data.compute()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def as_channels(array):
    """The rule, said again with numpy: (C, Z, Y, X)."""
    if array.ndim == 4 and array.shape[-1] <= 4 < array.shape[0]:
        return np.moveaxis(array, -1, 0)
    return array.reshape(SHAPES[array.shape])


@settings(max_examples=40)
@given(
    shape=st.sampled_from(list(SHAPES)),
    dtype=st.sampled_from(DTYPES),
    order=st.sampled_from("CF"),
    ending=st.sampled_from(["npy", "npz", "packed"]),
)
def test_every_voxel_keeps_its_place(tmp_path_factory, shape, dtype, order, ending):
    values = np.random.default_rng(1).integers(0, 99, shape).astype(dtype)
    array = np.array(values, order=order)
    folder = tmp_path_factory.mktemp("numpy")
    if ending == "npy":
        path = folder / "scan.npy"
        np.save(path, array)
    else:
        path = folder / "scan.npz"
        save = np.savez if ending == "npz" else np.savez_compressed
        save(path, image=array)
    volume = open_volume(path)
    expected = as_channels(array)
    assert tuple(volume.data.shape) == SHAPES[shape] == expected.shape
    np.testing.assert_array_equal(volume.data.compute(), expected)
    part = volume.data[-1, :, 1:3, -1].compute()
    np.testing.assert_array_equal(part, expected[-1, :, 1:3, -1])
    assert volume.geometry.orientation == "SPL"
    assert volume.geometry.spacing == (1, 1, 1)
    assert any("no spacing" in note for note in volume.notes)


def test_plain_arrays_are_mapped_not_read(tmp_path):
    path = tmp_path / "big.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (2000, 1000, 1000))  # sparse
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\7")
    assert open_volume(path).data[0, -1, -1, -1].compute() == 7


def test_headers_of_python_2(tmp_path):
    text = b"{'descr': '<i2', 'fortran_order': False, 'shape': (2L, 3L, 4L), }"
    path = tmp_path / "a.npy"
    start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
    path.write_bytes(start + text + np.arange(24, dtype="<i2").tobytes())
    assert open_volume(path).data[0, 1, 2, 3].compute() == 23


def test_booleans_are_whole_numbers(tmp_path):
    np.save(tmp_path / "mask.npy", np.ones((2, 3, 4), bool))
    assert open_volume(tmp_path / "mask.npy").dtype == np.uint8


def test_several_arrays_are_listed(tmp_path):
    path = tmp_path / "case.npz"
    scan = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    np.savez_compressed(path, image=scan, labels=scan % 3)
    with pytest.raises(ChoiceError) as caught:
        open_volume(path)
    assert [choice.part for choice in caught.value.choices] == ["image", "labels"]
    assert caught.value.choices[0].detail == "2 x 3 x 4, int16"
    for part in ("labels", "labels.npy"):
        volume = open_volume(f"{path}#part={part}")
        np.testing.assert_array_equal(volume.data[0].compute(), scan % 3)
    again = open_volume(volume.source.uri)
    np.testing.assert_array_equal(again.data[0].compute(), scan % 3)
    refused(path, "no array 'other'", "image, labels", part="other")


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    objects = np.array([Bomb()], dtype=object)
    np.save(tmp_path / "bomb.npy", objects, allow_pickle=True)
    refused(tmp_path / "bomb.npy", "type object")
    np.savez(tmp_path / "bomb.npz", a=objects)
    refused(tmp_path / "bomb.npz", "type object")
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(objects.shape))
    refused(tmp_path / "pickle.npy")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 3, 4), complex), ["complex"]),
        (np.zeros((2, 3, 4), "U3"), ["type"]),
        (np.zeros((2, 3), [("a", int)]), ["type"]),
        (np.zeros(5), ["shape (5,)"]),
        (np.zeros(()), ["shape ()"]),
        (np.zeros((1, 2, 3, 4, 5)), ["shape (1, 2, 3, 4, 5)"]),
        (np.zeros((0, 2, 3)), ["empty"]),
    ],
)
def test_what_is_no_image_gets_one_line(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array)
    refused(tmp_path / "a.npy", *words)


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<i2', 'fortran_order': False, 'shape': (30000, 30000, 30000), }",
        "{'descr': '<i2', 'fortran_order': False, 'shape': (-3, 4, 5), }",
        "{'descr': '<i2', 'fortran_order': False, 'shape': 3, }",
        "{'descr': '<i2', 'fortran_order': 7, 'shape': (3, 4, 5), }",
        "{'descr': 'wrong', 'fortran_order': False, 'shape': (3, 4, 5), }",
        "{'descr': '<i2', 'shape': (3, 4, 5), }",
        "__import__('os').abort()",
        "{" * 900,
        "[" * 9000,
        "-" * 9000 + "1",
        "3",
        "",
    ],
)
def test_lying_headers_get_one_line(tmp_path, text):
    path = tmp_path / "a.npy"
    start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
    path.write_bytes(start + text.encode() + bytes(120))
    refused(path)


@pytest.mark.parametrize("kept", [0, 5, 9, 90, 200])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_cut_off_files(tmp_path, kept, ending):
    path = tmp_path / f"a.{ending}"
    (np.save if ending == "npy" else np.savez_compressed)(path, np.ones((9, 9, 9)))
    path.write_bytes(path.read_bytes()[:kept])
    refused(path)
    refused(tmp_path / f"missing.{ending}", "missing")


def test_damage_inside_an_archive(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, image=np.random.default_rng(0).random((9, 9, 9)))
    content = path.read_bytes()
    for at in range(0, len(content), 97):
        path.write_bytes(content[:at] + b"\xff\x00\xff" + content[at + 3 :])
        with contextlib.suppress(E2MISegError):
            open_volume(path).data.compute()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    refused(path, "no arrays")
