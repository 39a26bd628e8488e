"""Whatever happens to the child, the parent gets its answer or one line."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from e2miseg_core.errors import E2MISegError, GeometryError, ReadError
from e2miseg_core.io.foreign.guard import run_guarded

POSIX_ONLY = pytest.mark.skipif(sys.platform == "win32", reason="has no signals")


# What the child does. It imports this module by its name.
def echo(request, folder):
    (folder / "voxels").write_bytes(b"12")
    return {"twice": request["number"] * 2}


def noise(request, folder):
    os.write(1, b"x" * 10_000)
    os.write(2, b"y" * 10_000_000)  # would fill a pipe that nobody reads
    return {}


def raise_ours(request, folder):
    raise GeometryError(found="a\nb", needed="c", do="d")


def raise_theirs(request, folder):
    msg = "/tmp/source.cxx:99:\nITK ERROR: it is broken"
    raise RuntimeError(msg)


def unsayable(request, folder):
    return {"array": np.zeros(3)}


def abort(request, folder):
    os.abort()


def segfault(request, folder):
    ctypes.string_at(0)


def leave(request, folder):
    os._exit(7)


def hang(request, folder):
    time.sleep(100)


def devour(request, folder):
    kept = [np.ones(64 << 20, np.uint8) for _ in range(100)]
    return {"sum": len(kept)}


def write_half_an_answer(request, folder):
    (folder / "guard-answer.json").write_text('{"result": {')
    os._exit(0)


@pytest.fixture
def ask(tmp_path, monkeypatch, request):
    """Run one of the functions above in a child."""
    monkeypatch.setenv("PYTHONPATH", str(request.path.parent))

    def run(name, memory=1 << 30, seconds=60.0, **values):
        function = f"{request.path.stem}:{name}"
        kept = {"place": "scan.x", "memory": memory, "seconds": seconds}
        return run_guarded(function, values, tmp_path, **kept)

    return run


def complaint(ask, name, kind=ReadError, **limits):
    with pytest.raises(E2MISegError) as caught:
        ask(name, **limits)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_answer_and_the_files_come_back(ask, tmp_path):
    assert ask("echo", number=21) == {"twice": 42}
    assert [path.name for path in tmp_path.iterdir()] == ["voxels"]


def test_noise_is_swallowed(ask, capfd):
    assert ask("noise") == {}
    assert capfd.readouterr() == ("", "")


def test_our_errors_pass_as_they_are(ask):
    assert complaint(ask, "raise_ours", GeometryError) == "a b; needed: c; d"


def test_errors_of_libraries_become_one_line(ask):
    told = complaint(ask, "raise_theirs")
    assert told.startswith(
        "scan.x cannot be read (RuntimeError: ITK ERROR: it is broken)"
    )
    assert "TypeError" in complaint(ask, "unsayable")


@POSIX_ONLY
@pytest.mark.parametrize(
    ("name", "signal_name"), [("abort", "SIGABRT"), ("segfault", "SIGSEGV")]
)
def test_a_crash_is_told_by_its_signal(ask, name, signal_name):
    assert f"scan.x ended the process that read it ({signal_name})" in complaint(
        ask, name
    )


def test_an_exit_without_an_answer_is_told(ask):
    assert "(code 7)" in complaint(ask, "leave")
    assert "(code 0)" in complaint(ask, "write_half_an_answer")


def test_a_child_that_hangs_is_ended_in_time(ask):
    started = time.monotonic()
    assert "was not read within 0.5 s" in complaint(ask, "hang", seconds=0.5)
    assert time.monotonic() - started < 30
    assert not psutil.Process().children()


def test_a_child_that_wants_all_memory_is_ended(ask):
    assert "memory to be read" in complaint(ask, "devour", memory=256 << 20)


@pytest.mark.skipif(sys.platform != "linux", reason="only there a limit is kept")
def test_memory_is_limited_by_the_system_too(tmp_path):
    code = (
        "from e2miseg_core.io.foreign.guard import _set_limits; import numpy as np;"
        "_set_limits(1 << 29, 60); np.empty(1 << 30, np.uint8)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "MemoryError" in ended.stderr


def test_what_is_left_by_a_killed_parent_is_bounded(tmp_path, request):
    asked = {"function": "test_guard:echo", "request": {"number": 1}}
    asked |= {"memory": 1 << 30, "seconds": 5}
    (tmp_path / "guard-request.json").write_text(json.dumps(asked))
    path = {**os.environ, "PYTHONPATH": str(request.path.parent)}
    command = [sys.executable, "-m", "e2miseg_core.io.foreign.guard", str(tmp_path)]
    assert subprocess.run(command, env=path, check=False).returncode == 0
    assert json.loads((tmp_path / "guard-answer.json").read_text()) == {
        "result": {"twice": 2}
    }


def test_signals_have_names_or_numbers():
    from e2miseg_core.io.foreign.guard import _cause

    assert "SIGKILL" in _cause(-int(getattr(signal, "SIGKILL", 9)))
    assert "signal 250" in _cause(-250)
    if hasattr(signal, "SIGXCPU"):
        assert "too long" in _cause(-signal.SIGXCPU)
