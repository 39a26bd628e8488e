"""One program at a time."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from e2miseg_core.project import Project, ProjectInUse, ProjectLock, lock
from e2miseg_core.project.lock import is_held_here, updating

HOLD = """
import sys, time
from e2miseg_core.project import Project
lock = Project.open(sys.argv[1]).lock()
print("held", flush=True)
time.sleep(60)
"""


def test_a_living_program_keeps_its_lock_a_dead_one_does_not(project: Project) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(project.path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(ProjectInUse, match=f"process {child.pid}"):
            project.lock()
        assert not is_held_here(project.path)
        child.kill()
    with project.lock():
        assert is_held_here(project.path)
        with pytest.raises(ProjectInUse, match="open in this program"):
            project.lock()
    assert not (project.path / "lock").exists()
    assert sorted(p.name for p in project.path.iterdir() if "lock" in p.name) == []


@pytest.mark.parametrize(
    "owner",
    [
        {"pid": os.getpid(), "started": 1.0, "host": platform.node()},  # number reused
        {"pid": 2**22 + 1, "started": 1.0, "host": platform.node()},
        {"host": platform.node()},
        None,  # cut short
    ],
)
def test_stale_locks_are_taken_over(
    project: Project, owner: dict[str, object] | None
) -> None:
    (project.path / "lock").write_text(json.dumps(owner) if owner else "")
    with project.lock():
        assert is_held_here(project.path)


def test_a_copy_of_a_project_is_not_locked_by_who_has_the_first(
    project: Project, tmp_path: Path
) -> None:
    with project.lock():
        copy = shutil.copytree(project.path, tmp_path / "copy.e2m")
        assert (copy / "lock").exists()
        assert not is_held_here(copy)
        with Project.open(copy).lock():
            assert is_held_here(copy)
            assert is_held_here(project.path)
        with pytest.raises(ProjectInUse, match="open in this program"):
            project.lock()


def test_a_project_by_another_path_is_the_same(
    project: Project, tmp_path: Path
) -> None:
    beside = tmp_path / "beside.e2m"
    beside.symlink_to(project.path, target_is_directory=True)
    moved = tmp_path / "moved.e2m"
    with project.lock() as held:
        with pytest.raises(ProjectInUse):
            Project.open(beside).lock()
        project.path.rename(moved)
        with pytest.raises(ProjectInUse):
            Project.open(moved).lock()
        moved.rename(project.path)
        stored = json.loads(held.path.read_text())
        # On some disks a folder's number is another one each time.
        held.path.write_text(json.dumps(stored | {"inode": 1}))
        with pytest.raises(ProjectInUse):
            project.lock()
        # A program of before has told no folder.
        old = {key: stored[key] for key in ("pid", "started", "host", "token")}
        held.path.write_text(json.dumps(old))
        with pytest.raises(ProjectInUse):
            project.lock()
        held.path.unlink()


def test_a_step_of_the_clock_makes_no_lock_stale(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = project.path / "cases"
    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(project.path)], stdout=subprocess.PIPE
        ) as child,
        ProjectLock(case) as mine,
    ):
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        for step in (0.7, 3600.0, -3600.0):
            with monkeypatch.context() as patch:
                step_clock(patch, step)
                with pytest.raises(ProjectInUse, match=f"process {child.pid}"):
                    project.lock()
                assert is_held_here(case)
                with pytest.raises(ProjectInUse, match="open in this program"):
                    ProjectLock(case)
        child.kill()
        mine.close()
        assert not is_held_here(case)


def step_clock(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the time of day jump: on Linux all that is counted from the start follows."""
    if not psutil.LINUX:
        return
    boot, create = psutil.boot_time, psutil.Process.create_time
    patch.setattr(psutil, "boot_time", lambda: boot() + seconds)
    patch.setattr(
        psutil.Process, "create_time", lambda process: create(process) + seconds
    )


def test_nobody_can_tell_of_another_computer(project: Project) -> None:
    owner = {"pid": 1, "started": 1.0, "host": "elsewhere"}
    (project.path / "lock").write_text(json.dumps(owner))
    with pytest.raises(ProjectInUse, match="on the computer elsewhere"):
        project.lock()


def test_a_lock_that_was_taken_from_us_is_left_alone(project: Project) -> None:
    lock = project.lock()
    (project.path / "lock").write_text("of another program")
    lock.close()
    assert (project.path / "lock").read_text() == "of another program"
    (project.path / "lock").unlink()
    lock.close()


def test_locks_work_on_disks_without_links(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    with project.lock():
        assert is_held_here(project.path)
        with pytest.raises(ProjectInUse):
            project.lock()


def test_a_lock_without_content_gets_time_to_be_written(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.path / "lock"
    owner = {"pid": 1, "started": 1.0, "host": "elsewhere"}
    path.write_text("")
    waited: list[float] = []

    def write_meanwhile(seconds: float) -> None:
        waited.append(seconds)
        path.write_text(json.dumps(owner))

    monkeypatch.setattr(time, "sleep", write_meanwhile)
    with pytest.raises(ProjectInUse, match="on the computer elsewhere"):
        project.lock()
    assert json.loads(path.read_text()) == owner
    assert len(waited) == 1


def test_only_one_removes_a_stale_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two find it stale; what the slower one would remove is the other's new guard."""
    guard = tmp_path / ".file.updating"
    guard.write_text(json.dumps({"pid": 2**22 + 1, "host": platform.node()}))
    living = json.dumps({"pid": os.getppid(), "started": 1.0, "host": "elsewhere"})
    is_stale, replaced = lock._is_stale, []

    def slowly(*arguments: Any) -> bool:
        stale = is_stale(*arguments)
        if not replaced:  # the quicker one enters
            replaced.append(stale)
            guard.write_text(living)
        return stale

    def leave(_: float) -> None:
        assert guard.read_text() == living
        guard.unlink()
        left.append(True)

    left: list[bool] = []
    monkeypatch.setattr(lock, "_is_stale", slowly)
    monkeypatch.setattr(time, "sleep", leave)
    with updating(tmp_path / "file"):
        assert left == [True]
    assert replaced == [True]
    assert list(tmp_path.iterdir()) == []


def test_a_guard_that_was_taken_from_us_is_left_alone(tmp_path: Path) -> None:
    guard = tmp_path / ".file.updating"
    with updating(tmp_path / "file"):
        guard.write_text("of another program")
    assert guard.read_text() == "of another program"


def test_a_guard_that_a_crash_left_is_removed(tmp_path: Path) -> None:
    dead = {"pid": 2**22 + 1, "started": 1.0, "host": platform.node()}
    guard = tmp_path / ".file.updating"
    guard.write_text(json.dumps(dead))
    with updating(tmp_path / "file"):
        assert json.loads(guard.read_text())["pid"] == psutil.Process().pid
    assert not guard.exists()
