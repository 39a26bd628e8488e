import os
import time

import psutil

from e2miseg_napari.session import SessionFolder


def age(folder, days: float) -> None:
    then = time.time() - days * 24 * 3600
    os.utime(folder, (then, then))


def test_a_session_ends_with_its_folder(tmp_path):
    session = SessionFolder(tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing before it is needed
    first, second = session.new_folder("j1"), session.new_folder("j2")
    assert first.parent == second.parent
    (first / "labels").write_bytes(b"x")
    session.close()
    assert list(tmp_path.iterdir()) == []


def test_only_old_folders_of_ended_viewers_are_removed(tmp_path, wait_for):
    me = psutil.Process()
    dead_old = tmp_path / "999999-5-1"
    dead_new = tmp_path / "999999-5-2"
    living_old = tmp_path / f"{me.pid}-{round(me.create_time())}-3"
    reused_old = tmp_path / f"{me.pid}-17-4"  # the number went to another process
    for folder in (dead_old, dead_new, living_old, reused_old):
        folder.mkdir()
    for folder in (dead_old, living_old, reused_old):
        age(folder, 8)
    session = SessionFolder(tmp_path)
    session.new_folder("j")
    assert wait_for(lambda: not dead_old.exists() and not reused_old.exists(), 5)
    assert dead_new.exists()
    assert living_old.exists()
    session.close()
