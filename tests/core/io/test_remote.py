"""Images at URLs: a server in a thread, and fsspec's memory."""

import functools
import http.server
import pickle
import socket
import threading
from pathlib import Path
from urllib.parse import unquote

import fsspec
import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from e2miseg_core.cli.commands import app
from e2miseg_core.errors import Cancelled, ReadError
from e2miseg_core.io import open_volume, write_image
from e2miseg_core.io.channels.names import open_channels
from e2miseg_core.io.remote.address import without_secrets
from e2miseg_core.io.remote.files import fetch, reporting_downloads
from e2miseg_core.volume import Volume


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder with ranges; counts requests, and fails where it is told to."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        path = self.path.partition("?")[0]
        file = Path(self.directory) / unquote(path.lstrip("/"))
        status = server.answers.get(path)
        if status is not None or not file.is_file():
            self.send_error(status or 404)
            return
        content = file.read_bytes()
        start, end = 0, len(content)
        wanted = self.headers.get("Range")
        if wanted and server.has_ranges:
            low, _, high = wanted.removeprefix("bytes=").partition("-")
            start = int(low) if low else end - int(high)
            end = min(end, int(high) + 1) if low and high else end
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        else:
            self.send_response(200)
        part = content[start:end]
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{file.stat().st_mtime_ns}"')
        self.end_headers()
        if self.command == "HEAD":
            return
        if server.breaks_after and len(part) > server.breaks_after:
            self.wfile.write(part[: server.breaks_after])
            self.close_connection = True
            server.breaks_after = 0
            return
        server.sent += len(part)  # before the client can go on
        self.wfile.write(part)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_args):
        pass


@pytest.fixture
def server(tmp_path):
    """A server of the folder `tmp_path/www`, with what it was asked."""
    (tmp_path / "www").mkdir()
    handler = functools.partial(Handler, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.daemon_threads = True
        running.asked, running.answers, running.sent = [], {}, 0
        running.has_ranges, running.breaks_after = True, 0
        running.folder = tmp_path / "www"
        running.url = f"http://127.0.0.1:{running.server_address[1]}"
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(1, 9, (8, 8, 8), dtype=np.uint8)


def ome(path, array, *, version=3):
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    steps = [{"type": "scale", "scale": [3, 2, 1]}]
    stated = {
        "multiscales": [
            {
                "axes": axes,
                "datasets": [{"path": "0", "coordinateTransformations": steps}],
            }
        ]
    }
    stated = {"ome": {"version": "0.5", **stated}} if version == 3 else stated
    root = zarr.create_group(str(path), zarr_format=version, attributes=stated)
    stored = root.create_array("0", shape=array.shape, chunks=(2, 4, 4), dtype="u1")
    stored[...] = array


def nifti(path, array):
    volume = Volume.from_array(array, spacing=(3, 2, 1))
    return write_image(array, path, like=volume)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["scan.ome.zarr", "scan"])
def test_zarr_is_read_chunk_by_chunk(server, array, version, name):
    ome(server.folder / name, array, version=version)
    volume = open_volume(f"{server.url}/{name}")
    assert volume.geometry.spacing == (3, 2, 1)
    assert volume.source.uri == f"{server.url}/{name}"
    server.asked.clear()
    middle = volume.data[0, 4].compute()
    np.testing.assert_array_equal(middle, array[4])
    chunks = sorted(path.partition("/0/")[2] for path in server.asked)
    wanted = [f"2/{y}/{x}" for y in (0, 1) for x in (0, 1)]
    lead = "c/" if version == 3 else ""
    assert [path.replace(".", "/") for path in chunks] == [lead + w for w in wanted]
    again = pickle.loads(pickle.dumps(volume.data))
    np.testing.assert_array_equal(again[0], array)


def test_shards_are_read_by_ranges_or_whole_where_the_server_knows_none(server):
    array = np.random.default_rng(0).integers(0, 99, (4, 32, 32), dtype=np.uint8)
    stored = zarr.create_array(
        str(server.folder / "s.zarr"),
        shape=array.shape,
        dtype=array.dtype,
        chunks=(1, 16, 16),
        shards=(4, 32, 32),
        compressors=None,
    )
    stored[...] = array
    volume = open_volume(f"{server.url}/s.zarr")
    server.sent = 0
    np.testing.assert_array_equal(volume.data[0, 2].compute(), array[2])
    assert server.sent < array.nbytes / 2
    server.has_ranges = False
    np.testing.assert_array_equal(volume.data[0, 3].compute(), array[3])


def test_a_forbidden_chunk_is_an_error_and_a_busy_server_is_asked_again(server, array):
    ome(server.folder / "scan.zarr", array)
    volume = open_volume(f"{server.url}/scan.zarr")
    chunk = "/scan.zarr/0/c/0/0/0"
    server.answers[chunk] = 403
    with pytest.raises(ReadError, match="refuses access"):
        volume.data[0, 0].compute()
    server.answers[chunk] = 503
    server.asked.clear()
    with pytest.raises(ReadError, match="answers with the error 503"):
        volume.data[0, 0].compute()
    assert server.asked.count(chunk) == 3
    del server.answers[chunk]
    np.testing.assert_array_equal(volume.data[0, 0].compute(), array[0])


@pytest.mark.parametrize("name", ["scan.nii.gz", "with space.nii"])
def test_a_file_is_fetched_once_and_again_when_it_changes(server, array, name):
    nifti(server.folder / name, array)
    url = f"{server.url}/{name.replace(' ', '%20')}"
    volume = open_volume(url)
    np.testing.assert_array_equal(volume.data[0], array)
    assert volume.source.uri == url
    assert volume.source.format == "nifti"
    server.sent = 0
    assert open_volume(url).geometry.matches(volume.geometry)
    assert server.sent == 0
    (server.folder / name).unlink()
    nifti(server.folder / name, array[::-1])
    np.testing.assert_array_equal(open_volume(url).data[0], array[::-1])


def test_a_broken_download_goes_on_where_it_stopped(server):
    content = np.random.default_rng(0).bytes(300_000)
    (server.folder / "big.bin").write_bytes(content)
    server.breaks_after = 100_000
    assert fetch(f"{server.url}/big.bin").read_bytes() == content
    assert server.sent == 200_000


def test_progress_is_told_and_cancelling_leaves_nothing(server):
    content = bytes(12 << 20)
    (server.folder / "big.bin").write_bytes(content)
    told = []

    def stop(step):
        told.append((step.done, step.total))
        raise Cancelled

    with reporting_downloads(stop), pytest.raises(Cancelled):
        fetch(f"{server.url}/big.bin")
    with reporting_downloads(lambda step: told.append((step.done, step.total))):
        assert fetch(f"{server.url}/big.bin").stat().st_size == len(content)
    assert told[-1] == (12, 12)


def test_what_goes_wrong_is_told_without_secrets(server, array, tmp_path):
    host = server.url.removeprefix("http://")
    nifti(server.folder / "scan.nii", array)
    url = f"http://user:pass@{host}/scan.nii?X-Amz-Signature=abc"
    volume = open_volume(url)
    assert volume.source.uri == f"{server.url}/scan.nii"
    (server.folder / "cut.nii").write_bytes(b"no image")
    ome(server.folder / "cut.zarr", array)
    (server.folder / "cut.zarr" / "0" / "zarr.json").unlink()
    for bad in ("cut.nii", "none.nii", "cut.zarr", "none.zarr", "none"):
        with pytest.raises(ReadError) as caught:
            open_volume(f"http://user:pass@{host}/{bad}?X-Amz-Signature=abc")
        text = str(caught.value)
        assert f"{server.url}/{bad}" in text
        assert not {"pass", "abc", str(tmp_path)} & set(text.replace("=", " ").split())
        assert "pass@" not in text
        assert str(tmp_path) not in text


def test_servers_that_are_not_there_and_protocols_that_are_not_known():
    for name in ("scan.nii", "scan.zarr", "scan"):
        with pytest.raises(ReadError, match=r"cannot be reached"):
            open_volume(f"http://127.0.0.1:9/{name}")
    with pytest.raises(ReadError, match="unknown protocol"):
        open_volume("nowhere://host/scan.nii")


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr("e2miseg_core.io.remote.address._SILENT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name in ("scan.nii", "scan.zarr"):
            with pytest.raises(ReadError, match="does not answer in time"):
                open_volume(f"http://127.0.0.1:{silent.getsockname()[1]}/{name}")


def test_a_missing_package_is_named(monkeypatch):
    def missing(*_args, **_options):
        raise ImportError

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(ReadError, match=r's3fs.*"e2miseg-napari\[remote\]"'):
        open_volume("s3://bucket/scan.zarr")


def test_secrets_are_left_out_of_what_is_shown():
    shown = without_secrets("https://me:pw@h.org:8/a.zarr?sig=1&se=2#frag")
    assert shown == "https://h.org:8/a.zarr"
    assert without_secrets("https://h.org/get?id=5") == "https://h.org/get?id=5"
    assert without_secrets("s3://bucket/key.zarr") == "s3://bucket/key.zarr"


def test_any_file_system_of_fsspec_will_do(tmp_path, array):
    files = fsspec.filesystem("memory")
    try:
        ome(tmp_path / "scan.zarr", array)
        files.put(str(tmp_path / "scan.zarr"), "/test_remote/scan.zarr", recursive=True)
        nifti(tmp_path / "scan.nii", array)
        files.put(str(tmp_path / "scan.nii"), "/test_remote/scan.nii")
        for name in ("scan.zarr", "scan.nii"):
            volume = open_volume(f"memory://test_remote/{name}")
            np.testing.assert_array_equal(volume.data[0], array)
        with pytest.raises(ReadError, match="not there"):
            open_volume("memory://test_remote/none.nii")
    finally:
        files.rm("/test_remote", recursive=True)
    local = open_volume((tmp_path / "scan.nii").as_uri())
    np.testing.assert_array_equal(local.data[0], array)
    assert local.source.uri == str(tmp_path / "scan.nii")


def test_channels_at_signed_addresses_are_named_without_their_signatures(server, array):
    nifti(server.folder / "a.nii", array)
    signed = f"{server.url}/a.nii?X-Amz-Signature=GEHEIM"
    for sources in (
        {"P": server.folder / "a.nii", "C": signed},
        {"P": signed, "C": signed},
    ):
        volume = open_channels(sources)
        assert "GEHEIM" not in volume.source.uri
        assert open_volume(volume.source.uri).channels == ("P", "C")


def test_the_command_tells_of_a_download(server, array):
    nifti(server.folder / "a.nii", array)
    ran = CliRunner().invoke(app, ["info", f"{server.url}/a.nii"])
    assert ran.exit_code == 0
    assert f"fetching {server.url}/a.nii" in ran.stderr
