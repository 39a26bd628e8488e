"""What programs leave that are killed: gone at the next opening, but not before."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2miseg_core.progress import run
from e2miseg_core.project import Case, Project
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


def begin(project: Project, name: str, begun: int, *, ended: bool = False) -> Path:
    folder = project.path / "jobs" / name
    for part in ("crops", "replay"):
        (folder / part).mkdir(parents=True)
        (folder / part / "0.npz").write_bytes(bytes(99))
    for file in ("request.json", "prepared.json", "checkpoint.safetensors"):
        (folder / file).write_text("{}")
    (folder / ".0123abcd.partial.history.csv").write_text("half")
    if ended:
        (folder / "result.json").write_text("{}")
    os.utime(folder / "request.json", (begun, begun))
    return folder


def test_crops_of_jobs_that_are_over_go(project: Project) -> None:
    older = begin(project, "older", 1)  # nobody went on with it
    ended = begin(project, "ended", 2, ended=True)
    newest = begin(project, "newest", 3)  # may be resumed
    whole = set(names(newest)) - {".0123abcd.partial.history.csv"}
    project.lock().close()
    assert names(older) == ["request.json"]
    assert names(ended) == ["request.json", "result.json"]
    assert set(names(newest)) == whole
    assert newest_unfinished(project.path) == newest


def test_a_job_that_somebody_is_at_work_on_keeps_everything(project: Project) -> None:
    older = begin(project, "older", 1)
    begin(project, "ended", 2, ended=True)
    whole = names(older)
    with stopped_in_the_middle(TUNING, project.path, older):
        project.lock().close()
        assert names(older) == sorted([*whole, "lock"])
    project.lock().close()
    assert names(older) == ["request.json"]


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
