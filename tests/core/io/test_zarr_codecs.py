"""Chunks of Blosc that lie about their length would end the process."""

import json
import pickle
import struct

import numcodecs
import numpy as np
import pytest
import zarr

from e2miseg_core.errors import ReadError
from e2miseg_core.io import open_volume

ARRAY = np.random.default_rng(0).integers(0, 99, (6, 7, 8), dtype=np.int16)


@pytest.fixture(params=[2, 3])
def store(tmp_path, request):
    """Path of an array of one chunk that Blosc packed, and of the chunk."""
    path = tmp_path / "a.zarr"
    old, new = numcodecs.Blosc(cname="zstd"), zarr.codecs.BloscCodec(cname="zstd")
    array = zarr.create_array(
        path,
        shape=ARRAY.shape,
        chunks=ARRAY.shape,
        dtype=ARRAY.dtype,
        zarr_format=request.param,
        compressors=new if request.param == 3 else old,
    )
    array[:] = ARRAY
    (chunk,) = (file for file in path.rglob("*0") if file.is_file())
    return path, chunk


def test_sound_chunks_are_read(store):
    volume = open_volume(store[0])
    np.testing.assert_array_equal(volume.as_source(volume.data)[0], ARRAY)


@pytest.mark.parametrize(
    ("at", "number"),
    [(12, 1_946_157_394), (12, 0), (4, 2**31), (4, 2**32 - 1), (8, 2**32 - 1), (8, 0)],
)
def test_a_chunk_that_lies_is_a_read_error(store, at, number):
    path, chunk = store
    content = bytearray(chunk.read_bytes())
    content[at : at + 4] = struct.pack("<I", number)
    chunk.write_bytes(content)
    with pytest.raises(ReadError, match="Blosc"):
        open_volume(path).data.compute()


@pytest.mark.parametrize("kept", [0, 10, 20, 200, -1])
def test_a_chunk_that_was_cut_off_is_a_read_error(store, kept):
    path, chunk = store
    chunk.write_bytes(chunk.read_bytes()[:kept])
    with pytest.raises(ReadError):
        open_volume(path).data.compute()


class Evil:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize("place", ["filters", "compressor"])
def test_no_pickle_is_loaded(tmp_path, place):
    path = tmp_path / "a.zarr"
    array = zarr.create_array(
        path,
        shape=(2, 2, 2),
        chunks=(2, 2, 2),
        dtype="i2",
        zarr_format=2,
        compressors=None,
    )
    array[:] = 1
    (chunk,) = (file for file in path.rglob("*0") if file.is_file())
    chunk.write_bytes(pickle.dumps(Evil()))
    metadata = json.loads((path / ".zarray").read_text())
    codec = {"id": "pickle", "protocol": 5}
    metadata[place] = [codec] if place == "filters" else codec
    (path / ".zarray").write_text(json.dumps(metadata))
    with pytest.raises(ReadError):
        open_volume(path).data.compute()
