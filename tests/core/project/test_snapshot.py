"""Labels read while another program edits them: whole, or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from e2miseg_core.project import Case, ProjectInUse
from e2miseg_core.project.journal import is_flushed
from e2miseg_core.project.snapshot import snapshot

pytestmark = pytest.mark.usefixtures("locked")


def test_what_is_on_disk_is_read_while_the_labels_are_open(
    make_case: Callable[..., Case], tmp_path: Path
) -> None:
    case = make_case((6, 8, 10))
    with case.open_labels() as store:
        store.levels[0][2, 3:5] = 7
    with case.open_labels(), snapshot(case, tmp_path) as (labels, authority):
        expected = np.zeros((6, 8, 10))
        expected[2, 3:5] = 7
        np.testing.assert_array_equal(labels[:], expected)
        np.testing.assert_array_equal(authority[:], expected > 0)
    assert not list(tmp_path.glob(".*.partial"))


def test_edits_that_only_the_journal_has_are_missed(
    make_case: Callable[..., Case], tmp_path: Path
) -> None:
    case = make_case((6, 8, 10))
    with case.open_labels() as store:
        store.levels[0][2] = 7
        store.flush()
        store.levels[0][3] = 2
    lines = case.journal_path.read_bytes().splitlines(keepends=True)
    edits = [number for number, line in enumerate(lines) if b'"paint"' in line]
    case.journal_path.write_bytes(b"".join(lines[: edits[-1] + 1]))
    assert not is_flushed(case.journal_path)
    with pytest.raises(ProjectInUse, match="last edits"), snapshot(case, tmp_path):
        pass
    half = b"".join(lines[: edits[-1]]) + lines[edits[-1]][:20]
    case.journal_path.write_bytes(half)
    assert not is_flushed(case.journal_path)
    case.journal_path.write_bytes(b"".join(lines[: edits[-1]]))
    assert is_flushed(case.journal_path)
    with snapshot(case, tmp_path):
        pass


@pytest.mark.parametrize("what", ["edited", "merged", "a file gone"])
def test_what_changes_while_it_is_read_is_refused(
    make_case: Callable[..., Case],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    case = make_case((6, 8, 10))
    with case.open_labels() as store:
        store.levels[0][2] = 7
    copyfile, changed = shutil.copyfile, []

    def slowly(source: Path, target: Path) -> None:
        if not changed:
            changed.append(what)
            if what == "a file gone":
                raise FileNotFoundError
            if what == "merged":
                case.set_merged(4, merging=None)
            if what == "edited":  # closing saves all: what is on disk is whole again
                with case.open_labels() as store:
                    store.levels[0][3] = 2
        copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", slowly)
    with pytest.raises(ProjectInUse), snapshot(case, tmp_path):
        pass
    assert changed == [what]
    assert not list(tmp_path.glob(".*.partial"))
