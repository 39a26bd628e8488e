"""Few files are open at once, and none that nobody reads."""

import gc
import pickle
import threading

import pytest

from e2miseg_core.io import open_files
from e2miseg_core.io.open_files import KeptOpen

log: list[str] = []


class Opener:
    """Opens something that has a name; equal ones are different files."""

    def __init__(self, name):
        self.name = name

    def __call__(self):
        log.append(f"+{self.name}")
        return self.name, lambda: log.append(f"-{self.name}")


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    log.clear()
    monkeypatch.setattr(open_files, "_POOL", open_files._Pool())
    monkeypatch.setattr(open_files, "_MOST_IDLE", 2)


def read(kept):
    with kept.borrow() as handle:
        return handle


def test_those_used_longest_ago_are_closed_first():
    a, b, c = (KeptOpen(Opener(name)) for name in "abc")
    assert [read(a), read(b), read(a), read(c), read(a), read(b)] == list("abacab")
    assert log == ["+a", "+b", "+c", "-b", "+b", "-c"]


def test_what_is_read_stays_open_however_many_there_are():
    kept = [KeptOpen(Opener(name)) for name in "abcd"]
    with kept[0].borrow(), kept[0].borrow(), kept[1].borrow():
        assert [read(kept[2]), read(kept[3])] == ["c", "d"]
        assert log == ["+a", "+b", "+c", "+d"]
    assert log[4:] == ["-b", "-a"]


def test_after_an_error_it_is_opened_again():
    kept = KeptOpen(Opener("a"))
    with kept.borrow():
        with pytest.raises(KeyError), kept.borrow():
            raise KeyError
        assert log == ["+a"]  # another one reads
        assert read(kept) == "a"
    assert log == ["+a", "+a", "-a"]


def test_it_is_closed_with_its_owner_even_while_others_are_at_it():
    kept, other = KeptOpen(Opener("a")), KeptOpen(Opener("b"))
    read(kept)
    again = pickle.loads(pickle.dumps(other))
    with open_files._POOL._lock:
        del kept
        gc.collect()
    assert log == ["+a"]
    assert read(other) == "b"
    assert log == ["+a", "+b", "-a"]
    assert read(again) == "b"
    del other, again
    gc.collect()
    assert log[3:] == ["+b", "-b", "-b"]


def test_threads_share_one():
    kept, start = KeptOpen(Opener("a")), threading.Barrier(4)

    def work():
        start.wait()
        for _ in range(200):
            read(kept)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log == ["+a"]
