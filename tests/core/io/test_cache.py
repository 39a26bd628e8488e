"""Copies in the cache are whole or not there, and never taken from who uses them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from e2miseg_core.errors import ConfigError, ReadError
from e2miseg_core.io.cache import entry, users
from e2miseg_core.io.cache import keeping as cache
from e2miseg_core.io.cache.folder import GIB, cache_folder, cache_limit

CHILD = """
import sys, time
from pathlib import Path
from e2miseg_core.io.cache import keeping as cache
key, what = sys.argv[1:]
if what == "use":
    print("has" if cache.find_entry(key) else "has not", flush=True)
    time.sleep(60)
with cache.making(key, 0) as folder:
    if folder is None:
        print("busy", flush=True)
    else:
        (folder / "half").write_bytes(b"x" * 1000)
        print("half", flush=True)
        if what == "hang":
            time.sleep(60)
        sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("E2MISEG_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def child():
    """Start a process that does something with the cache; it is killed at the end."""
    started = []

    def start(key, what):
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, key, what],
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def make(key, nbytes=1000):
    with cache.making(key, nbytes) as folder:
        (folder / "voxels").write_bytes(b"x" * nbytes)


def forget(*keys):
    """Let this process use these entries no more."""
    for key in keys:
        for marker in (cache_folder() / "users").glob(f"{key}@*"):
            marker.unlink()


def aged(key, seconds):
    about = cache_folder() / "entries" / key / "about.json"
    os.utime(about, (time.time() - seconds,) * 2)


def test_an_entry_is_found_whole(folder):
    assert cache.find_entry("a-1") is None
    assert not folder.exists()
    make("a-1")
    found = cache.find_entry("a-1")
    assert (found / "voxels").read_bytes() == b"x" * 1000
    (entry,) = cache.list_entries()
    assert (entry.key, entry.nbytes) == ("a-1", 1000)
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "CACHEDIR.TAG").is_file()


def test_a_failed_maker_leaves_nothing(folder):
    def fail():
        with cache.making("a-1", 0) as half:
            (half / "voxels").write_bytes(b"x")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert cache.list_entries() == []
    assert list((folder / "making").iterdir()) == []
    make("a-1")
    assert cache.find_entry("a-1")


def test_the_key_follows_path_content_and_purpose(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"1")
    key = cache.entry_key(one, "x")
    assert key == cache.entry_key(one, "x")
    assert key.split("-")[0] not in cache.entry_key(one, "y")
    assert key.split("-")[0] not in cache.entry_key(two, "x")
    one.write_bytes(b"12")
    assert cache.entry_key(one, "x").split("-")[0] == key.split("-")[0]
    assert cache.entry_key(one, "x") != key
    os.utime(one, (1, 1))
    assert cache.entry_key(one, "x") != key


def test_a_changed_source_takes_the_place_of_the_old_one(folder):
    make("a-1")
    make("b-1")
    forget("a-1")
    make("a-2")
    assert {entry.key for entry in cache.list_entries()} == {"a-2", "b-1"}


def test_the_entries_used_longest_ago_go_first(folder, monkeypatch):
    monkeypatch.setenv("E2MISEG_CACHE_GB", str(3500 / GIB))
    for number, key in enumerate(["a-1", "b-1", "c-1"]):
        make(key)
        aged(key, 100 - number)
    cache.find_entry("a-1")
    forget("a-1", "b-1", "c-1")
    make("d-1")
    assert [entry.key for entry in cache.list_entries()] == ["c-1", "a-1", "d-1"]


def test_what_a_living_process_uses_stays(folder, monkeypatch, child):
    for key in ("a-1", "b-1"):
        make(key)
    forget("a-1", "b-1")
    user, said = child("a-1", "use")
    assert said == "has"
    monkeypatch.setenv("E2MISEG_CACHE_GB", "0")
    cache.trim()
    assert [entry.key for entry in cache.list_entries()] == ["a-1"]
    assert cache.clear() == 0
    user.kill()
    user.wait()
    assert cache.clear() == 1000
    assert cache.list_entries() == []


def test_a_number_given_again_is_another_process(folder):
    make("a-1")
    forget("a-1")
    host = cache.mark_used.__globals__["_host"]()
    (folder / "users" / f"a-1@{host}@{os.getpid()}@12345").touch()
    assert cache.clear() == 1000


def test_of_two_makers_one_makes_and_a_killed_one_holds_up_nobody(folder, child):
    maker, said = child("a-1", "hang")
    assert said == "half"
    assert child("a-1", "make")[1] == "busy"
    assert cache.find_entry("a-1") is None
    assert (cache.find_unfinished("a-1") / "half").is_file()
    cache.trim()  # leaves a living maker alone
    assert cache.find_unfinished("a-1") is not None
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    cache.trim()
    assert cache.find_unfinished("a-1") is None
    assert list((folder / "making").iterdir()) == []
    make("a-1")
    assert cache.find_entry("a-1")


def test_nothing_is_seen_half_removed(folder, monkeypatch):
    """What is missing of a copy would read as 0."""
    seen = []
    real = entry.shutil.rmtree

    def rmtree(path, **options):
        seen.append(path.name)
        assert (path / "voxels").is_file()
        real(path, **options)

    monkeypatch.setattr(entry.shutil, "rmtree", rmtree)

    def fail(key):
        with cache.making(key, 0) as half:
            (half / "voxels").write_bytes(b"x")
            raise KeyError

    with pytest.raises(KeyError):
        fail("a-1")
    for number in range(2):  # of killed processes
        remains = folder / "making" / f"b-{number}.1234"
        remains.mkdir()
        (remains / "voxels").write_bytes(b"x")
    with pytest.raises(KeyError):
        fail("b-0")
    cache.trim()
    assert len(seen) == 4
    assert all(name.startswith("gone.") for name in seen)
    assert list((folder / "making").iterdir()) == []


def test_who_removes_an_entry_leaves_the_lock_of_who_makes_it_anew(folder, monkeypatch):
    make("a-1")
    forget("a-1")
    users._marked.clear()
    real = entry.shutil.rmtree
    makers = []

    def rmtree(path, **options):
        if not makers:  # in between, another process begins
            makers.append(cache.making("a-1", 0))
            (makers[0].__enter__() / "voxels").write_bytes(b"new")
        real(path, **options)

    monkeypatch.setattr(entry.shutil, "rmtree", rmtree)
    assert cache.clear() == 1000
    cache.trim()
    assert (cache.find_unfinished("a-1") / "voxels").is_file()
    with cache.making("a-1", 0) as second:
        assert second is None
    makers[0].__exit__(None, None, None)
    assert (cache.find_entry("a-1") / "voxels").read_bytes() == b"new"


def test_an_entry_made_twice_at_once_is_fine(folder):
    """A lock may be lost, as on some network drives."""
    with cache.making("a-1", 0) as one:
        (one / "voxels").write_bytes(b"mine")
        for lock in (folder / "locks").iterdir():
            lock.unlink()
        with cache.making("a-1", 0) as two:
            # The lock of the other seems dead, and its remains are gone.
            (two / "voxels").write_bytes(b"theirs")
        one.mkdir(exist_ok=True)
        (one / "voxels").write_bytes(b"mine")
    assert (cache.find_entry("a-1") / "voxels").read_bytes() == b"theirs"


def test_an_entry_that_lost_a_file_is_made_again(folder):
    make("a-1")
    (folder / "entries" / "a-1" / "voxels").unlink()
    assert cache.find_entry("a-1") is None
    assert cache.list_entries() == []
    make("a-1")
    (folder / "entries" / "a-1" / "about.json").write_text("{")
    assert cache.find_entry("a-1") is None


def test_a_full_disk_is_told_before_and_while_it_is_filled(folder, monkeypatch):
    with pytest.raises(ReadError, match=r"cannot be used .*No space left"):
        make("a-1", 1 << 60)
    with (
        pytest.raises(ReadError, match=r"E2MISEG_CACHE_DIR"),
        cache.making("a-1", 0),
    ):
        raise OSError(28, "No space left on device")
    assert list((folder / "making").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("E2MISEG_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(ReadError, match=r"file/cache cannot be used") as caught:
        make("a-1")
    assert "\n" not in str(caught.value)
    assert cache.list_entries() == []
    assert cache.clear() == 0


def test_the_limit_is_read_from_the_environment(monkeypatch):
    assert cache_limit() == 20 * GIB
    monkeypatch.setenv("E2MISEG_CACHE_GB", "0.5")
    assert cache_limit() == GIB // 2
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("E2MISEG_CACHE_GB", wrong)
        with pytest.raises(ConfigError, match="E2MISEG_CACHE_GB"):
            cache_limit()


def test_damaged_descriptions_are_no_entries(folder):
    make("a-1")
    (folder / "entries" / "a-1" / "about.json").write_text(json.dumps([1]))
    assert [entry.nbytes for entry in cache.list_entries()] == [0]
