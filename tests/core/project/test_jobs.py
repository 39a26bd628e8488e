"""Folders of fine-tunings: one program at a time, and nothing that ended is lost."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2miseg_core.project import Project, ProjectInUse, ProjectLock
from e2miseg_core.project.jobs import (
    discard_job,
    is_at_work,
    is_untouched,
    kept_version,
    newest_unfinished,
    remove_material,
    working_on,
)

HOLD = """
import sys, time
from pathlib import Path
from e2miseg_core.project.jobs import working_on
with working_on(Path(sys.argv[1])):
    print("at work", flush=True)
    time.sleep(60)
"""


def begin(project: Project, name: str, begun: int = 0) -> Path:
    folder = project.path / "jobs" / name
    folder.mkdir()
    (folder / "request.json").write_text("{}")
    os.utime(folder / "request.json", (begun, begun))
    return folder


def test_a_job_that_runs_elsewhere_is_left_alone_until_its_program_dies(
    project: Project,
) -> None:
    folder = begin(project, "a")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"at work\n"
        assert is_at_work(folder)
        with pytest.raises(ProjectInUse, match="at work on the fine-tuning") as caught:
            discard_job(project, folder)
        assert "\n" not in str(caught.value)
        assert folder.exists()
        child.kill()
    assert not is_at_work(folder)
    with working_on(folder):
        assert is_at_work(folder)
    assert not is_at_work(folder)
    assert discard_job(project, folder)
    assert not folder.exists()


def test_the_last_one_begun_is_the_one_to_resume(project: Project) -> None:
    assert newest_unfinished(project.path) is None
    older, newer = begin(project, "b", 1), begin(project, "a", 2)
    assert newest_unfinished(project.path) == newer
    (older / "result.json").write_text("{}")
    assert newest_unfinished(project.path) == newer
    (newer / "result.json").write_text("{}")
    (older / "result.json").unlink()
    assert newest_unfinished(project.path) is None


def test_copied_files_do_not_change_which_was_begun_last(project: Project) -> None:
    begin(project, "2026-01-02T030406-aaaaaaaa", 2)
    newer = begin(project, "2026-01-02T030407-00000000", 1)
    assert newest_unfinished(project.path) == newer


def test_a_kill_never_leaves_a_checkpoint_to_other_crops(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begin(project, "a")
    for name in ("checkpoint.safetensors", "prepared.json"):
        (folder / name).write_text("{}")
    for name in ("crops", "replay"):
        (folder / name).mkdir()
    seen: list[list[str]] = []
    remove = shutil.rmtree

    def look(path: Path, **options: bool) -> None:
        seen.append(sorted(entry.name for entry in folder.iterdir()))
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", look)
    remove_material(folder)
    assert seen[0] == ["crops", "replay", "request.json"]
    assert [entry.name for entry in folder.iterdir()] == ["request.json"]


def test_what_has_ended_is_not_discarded(project: Project) -> None:
    folder = begin(project, "a")
    (folder / "result.json").write_text("{}")
    assert not discard_job(project, folder)
    assert folder.exists()


def test_a_version_without_its_result_has_ended_and_is_logged_once(
    project: Project,
) -> None:
    folder = begin(project, "a")
    assert kept_version(project, folder) is None
    shutil.copyfile(project.version.path, folder / "model.safetensors")
    assert kept_version(project, folder) is None  # the starter came of no job
    version = project.add_version(
        folder / "model.safetensors", figures={"held_out": 3}, sentence="Kept: better."
    )
    lines = [line for line in project.history() if line["event"] == "kept"]
    for log in ("", None):  # killed before the line was written; afterwards
        if log is not None:
            (project.path / "versions.jsonl").write_text(log)
        found = kept_version(project, folder)
        assert found is not None
        assert found.number == version.number == 1
        (line,) = (one for one in project.history() if one["event"] == "kept")
        assert {**line, "time": ""} == {**lines[0], "time": ""}
    assert not discard_job(project, folder)


def test_only_a_jobs_folder_is_removed(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.mkdir()
    (other / "thesis.txt").write_text("all of it")
    assert discard_job(project, other)
    assert (other / "thesis.txt").exists()
    empty = project.new_job_folder()
    dead = {"pid": 2**22 + 1, "started": 1.0, "host": platform.node()}
    for name in ("lock", ".lock.0123abcd.partial"):
        (empty / name).write_text(json.dumps(dead))
    assert is_untouched(empty)
    assert discard_job(project, empty)
    assert not empty.exists()
    assert discard_job(project, empty)


def test_one_part_of_a_program_at_a_time(project: Project) -> None:
    folder = begin(project, "a")
    with ProjectLock(folder), pytest.raises(ProjectInUse), working_on(folder):
        pass
