"""What programs leave that are killed: gone at the next opening, but not before."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2miseg_core.progress import run
from e2miseg_core.project import Case, Project, ProjectLock
from e2miseg_core.project.jobs import newest_unfinished

# Each stops in the middle, says so, and waits to be killed.
START = """
import os, shutil, sys
from pathlib import Path
from e2miseg_core.project import Project
project = Project.open(sys.argv[1])
def wait(*_):
    print("half done", flush=True)
    sys.stdin.read()
"""
COPYING = """
def fill(path):
    path.mkdir()
    (path / "half").write_bytes(bytes(99))
    wait()
    yield
for _ in project.add_copied_case("copied", fill): pass
"""
ADDING_A_VERSION = """
shutil.copyfile = wait
project.add_version(project.version.path, figures={}, sentence="")
"""
BEGINNING = """
from e2miseg_core.project.jobs import working_on
with working_on(project.new_job_folder()):
    wait()
"""
TUNING = """
from e2miseg_core.project.jobs import working_on
with working_on(Path(sys.argv[2])):
    wait()
"""


@contextmanager
def stopped_in_the_middle(program: str, *arguments: Path) -> Iterator[None]:
    """Run the block while a program is half done; then kill it."""
    with subprocess.Popen(
        [sys.executable, "-c", START + program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half done\n"
        yield
        child.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("program", "where"), [(COPYING, "cases"), (ADDING_A_VERSION, "versions")]
)
def test_half_a_folder_goes_when_its_maker_is_dead(
    program: str, where: str, project: Project
) -> None:
    before = names(project.path / where)
    with stopped_in_the_middle(program, project.path):
        (half,) = set(names(project.path / where)) - set(before)
        with project.lock():
            assert (project.path / where / half).is_dir()
    assert (project.path / where / half).is_dir()
    with project.lock():
        assert names(project.path / where) == before
    assert "lock" not in names(project.path)


def test_a_folder_without_any_lock_goes(project: Project) -> None:
    (project.path / "cases" / ".0123abcd.partial" / "labels").mkdir(parents=True)
    project.lock().close()
    assert names(project.path / "cases") == []


def test_what_is_whole_has_no_lock_in_it(
    project: Project, make_case: Callable[..., Case]
) -> None:
    case = make_case((4, 5, 6))
    assert "lock" not in names(case.folder)
    assert names(project.version.path.parent) == ["model.safetensors", "version.json"]


def name_at(second: int, ending: str = "0123abcd") -> str:
    """As `Project.new_job_folder` names a folder."""
    return f"2026-01-02T0304{second:02}-{ending}"


def begin(
    project: Project, name: str, *, modified: int = 5, ended: bool = False
) -> Path:
    folder = project.path / "jobs" / name
    for part in ("crops", "replay"):
        (folder / part).mkdir(parents=True)
        (folder / part / "0.npz").write_bytes(bytes(99))
    for file in ("request.json", "prepared.json", "checkpoint.safetensors"):
        (folder / file).write_text("{}")
    for torn in (".0123abcd.partial.history.csv", ".unfinished.safetensors"):
        (folder / torn).write_text("half")
    if ended:
        (folder / "result.json").write_text("{}")
    os.utime(folder / "request.json", (modified, modified))
    return folder


MATERIAL = ["checkpoint.safetensors", "crops", "prepared.json", "replay"]


@pytest.mark.parametrize("modified", list(permutations((1, 2, 3))))
def test_crops_of_jobs_that_are_over_go(
    modified: Sequence[int], project: Project
) -> None:
    """Whatever times a copy of the project has given the files."""
    first, second, third = modified
    older = begin(project, name_at(1), modified=first)  # nobody went on with it
    ended = begin(project, name_at(2), modified=second, ended=True)
    newest = begin(project, name_at(3), modified=third)  # may be resumed
    project.lock().close()
    assert names(older) == ["request.json"]
    assert names(ended) == ["request.json", "result.json"]
    assert names(newest) == sorted([*MATERIAL, "request.json"])
    assert newest_unfinished(project.path) == newest


@pytest.mark.parametrize(
    "name", [name_at(2, "89abcdef"), f"copy of {name_at(1)}", "mine"]
)
def test_where_it_is_in_doubt_which_was_begun_first_crops_stay(
    name: str, project: Project
) -> None:
    begin(project, name_at(2), modified=9, ended=True)
    folder = begin(project, name, modified=1)
    project.lock().close()
    assert names(folder) == sorted([*MATERIAL, "request.json"])


def test_a_job_that_somebody_is_at_work_on_keeps_everything(project: Project) -> None:
    older = begin(project, name_at(1))
    begin(project, name_at(2), ended=True)
    whole = names(older)
    with stopped_in_the_middle(TUNING, project.path, older):
        project.lock().close()
        assert names(older) == sorted([*whole, "lock"])
    project.lock().close()
    assert names(older) == ["request.json"]


def test_a_job_that_never_began_goes_when_its_maker_is_dead(project: Project) -> None:
    waiting = project.new_job_folder()  # somebody may be about to lock it
    with stopped_in_the_middle(BEGINNING, project.path):
        project.lock().close()
        assert len(names(project.path / "jobs")) == 2
    project.lock().close()
    assert names(project.path / "jobs") == [waiting.name]


def test_half_a_lock_goes_when_its_maker_is_dead(project: Project) -> None:
    folder = begin(project, name_at(1), ended=True)
    dead = json.dumps({"pid": 2**22 + 1, "started": 1.0, "host": platform.node()})
    with ProjectLock(folder):
        alive = (folder / "lock").read_text()
    for number, owner in enumerate((dead, alive)):
        for state in ("partial", "stale"):
            (folder / f".lock.0000000{number}.{state}").write_text(owner)
    project.lock().close()
    assert [name for name in names(folder) if name.startswith(".")] == [
        ".lock.00000001.partial",
        ".lock.00000001.stale",
    ]


def test_half_written_chunks_go(
    make_case: Callable[..., Case],
    predict: Any,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The state of the disk in the middle of a write, as a kill would leave it."""
    case, copy = make_case((6, 8, 10)), tmp_path / "killed.e2m"
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if path.suffix == ".partial" and "labels.ome.zarr" in path.parts:
            ignored = shutil.ignore_patterns("lock")
            shutil.copytree(project.path, copy, ignore=ignored, dirs_exist_ok=True)
        return replace(path, target)

    with project.lock(), case.open_labels() as store:
        store.levels[0][2] = 7
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", killed)
            store.flush()
    again = Project.open(copy)
    assert list(copy.glob("cases/case/labels.ome.zarr/**/*.partial"))
    with again.lock(), again.case("case").open_labels() as store:
        assert not list(copy.glob("cases/case/*/**/*.partial"))
        assert np.asarray(store.levels[0])[:, 0, 0].tolist() == [0, 0, 7, 0, 0, 0]
        prediction, labels = predict(again.case("case"), 1)
        run(store.merge(prediction))
        assert (np.asarray(store.levels[0])[3:] == labels[3:]).all()
