"""A program that edits is killed at any moment: what was told to be on disk is."""

import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2miseg_core.progress import run
from e2miseg_core.project import Case, LabelStore, Project

SHAPE = (40, 90, 300)
PROGRAM = Path(__file__).with_name("edit_until_killed.py")


def edit_and_kill(project: Project, seed: int, seconds: float) -> tuple[int, int]:
    """Edits made, and entries of the journal told to be on disk."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(project.path), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        lines = [first, *child.stdout.read().splitlines()]
    whole = [line.split() for line in lines if len(line.split()) == 3]
    return int(whole[-1][0]), int(whole[-1][2])


def state_after(seed: int, entries: int, total: int) -> Any:
    """Labels after so many entries of the journal: undo and redo cancel out."""
    edits = runpy.run_path(str(PROGRAM))["edits"]
    labels = np.zeros(SHAPE, np.uint8)
    seq = 0
    for number, (box, label) in enumerate(islice(edits(seed, SHAPE), total), start=1):
        before = labels.copy()
        labels[box] = label
        seq += 1
        if seq == entries:
            return labels
        if number % 7 == 0:
            seq += 2
            if seq - 1 == entries:
                return before
            if seq == entries:
                return labels
    return None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_no_edit_told_to_be_on_disk_is_lost(
    seed: int, make_case: Callable[..., Case], project: Project
) -> None:
    case = make_case(SHAPE)
    seconds = float(np.random.default_rng(seed).uniform(0.05, 3.5))
    made, saved = edit_and_kill(project, seed, seconds)
    with project.lock(), case.open_labels() as store:  # a dead program's lock
        assert store.seq >= saved
        assert store.notes == ()
        expected = state_after(seed, store.seq, made + 2)
        np.testing.assert_array_equal(np.asarray(store.levels[0]), expected)
        np.testing.assert_array_equal(np.asarray(store.authority), expected > 0)
        while store.undo() is not None:
            pass
        assert not np.asarray(store.levels[0]).any()


def test_a_merge_that_was_cut_short_is_made_again(
    make_case: Callable[..., Case], predict: Any, project: Project, tmp_path: Path
) -> None:
    case = make_case((70, 130, 300))
    first, _ = predict(case, 1)
    second, labels = predict(case, 2)
    with project.lock():
        with case.open_labels() as store:
            run(store.merge(first))
            store.levels[0][10:20, 60:70, 5:200] = 9
            drawn = np.asarray(store.authority) > 0
            job = store.merge(second)
            for _ in range(3):
                next(job)
            assert case.merging is not None  # told before the first voxel
            assert case.merging.number == 2
            check_copy_made_now(project, store, labels, drawn, tmp_path / "copy.e2m")
            job.close()
            assert case.merging is not None
            store.undo()  # of voxels in both parts
            store.redo()
        assert case.merged is not None
        assert case.merged.number == 1
        with case.open_labels() as store:
            assert case.merging is not None
            assert case.merging.number == 2
            run(store.merge(case.merging))
            check_merged(store, labels, drawn)
            assert run(store.merge(second)) == 0  # as often as one likes
            check_merged(store, labels, drawn)
            assert (case.merged.number, case.merging) == (2, None)


def check_copy_made_now(
    project: Project, store: LabelStore, labels: Any, drawn: Any, path: Path
) -> None:
    """What a loss of the program in the middle of a merge leaves."""
    store.levels[0][10:20, 50:60, 5:200] = 9
    while store.saved_seq < store.seq:
        pass
    drawn = drawn.copy()
    drawn[10:20, 50:60, 5:200] |= np.asarray(store.authority[10:20, 50:60, 5:200]) > 0
    shutil.copytree(project.path, path, ignore=shutil.ignore_patterns("lock"))
    store.undo()
    copy = Project.open(path)
    with copy.lock(), copy.case("case").open_labels() as again:
        assert again.case.merging is not None
        assert again.case.merging.number == 2
        run(again.merge(again.case.merging))
        check_merged(again, labels, drawn)


def check_merged(store: LabelStore, labels: Any, drawn: Any) -> None:
    expected = np.where(drawn, 9, labels)
    np.testing.assert_array_equal(np.asarray(store.levels[0]), expected)
    coarse = np.asarray(store.levels[1])
    assert coarse.shape == (35, 65, 150)
    corners = list(np.ndindex(2, 2, 2))
    blocks = np.stack([expected[z::2, y::2, x::2] for z, y, x in corners])
    human = np.stack([drawn[z::2, y::2, x::2] for z, y, x in corners]).any(0)
    assert (blocks == coarse).any(0).all()
    assert (coarse[human] == 9).all()
    # Where no human spoke, no label is more frequent than the chosen one.
    votes = (blocks == coarse).sum(0)
    for value in (0, 2, 7):
        assert (votes >= (blocks == value).sum(0))[~human].all()
