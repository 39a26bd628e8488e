"""One program at a time."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from e2miseg_core.project import Project, ProjectInUse
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


def test_a_guard_that_a_crash_left_is_removed(tmp_path: Path) -> None:
    dead = {"pid": 2**22 + 1, "started": 1.0, "host": platform.node()}
    guard = tmp_path / ".file.updating"
    guard.write_text(json.dumps(dead))
    with updating(tmp_path / "file"):
        assert json.loads(guard.read_text())["pid"] == psutil.Process().pid
    assert not guard.exists()
